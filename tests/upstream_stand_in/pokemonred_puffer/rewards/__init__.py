"""Reward classes, which are environments."""
