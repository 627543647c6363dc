"""Pure functions of arrays: targets, losses, priorities, schedules, statistics. No settings, no state."""
