"""Replay of sequences with stored recurrent states: `SequenceReplay`."""

from daddy_puffer.replay.rollouts import Rollouts
from daddy_puffer.replay.sequence_store import SequenceReplay

__all__ = ["Rollouts", "SequenceReplay"]
