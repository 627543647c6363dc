"""The game's RAM as typed facts. In: bytes. Out: `GameState`, milestones, features. Knows no emulator and no torch."""

from daddy_puffer.game.features import FEATURE_COUNT, FEATURES, ID_FIELDS, FeatureWriter
from daddy_puffer.game.milestones import MILESTONE_BYTES, MILESTONES, milestone_bits, milestones_reached
from daddy_puffer.game.state import GameState, RamReader

__all__ = [
    "FEATURES",
    "FEATURE_COUNT",
    "ID_FIELDS",
    "MILESTONES",
    "MILESTONE_BYTES",
    "FeatureWriter",
    "GameState",
    "RamReader",
    "milestone_bits",
    "milestones_reached",
]
