"""Trainers: index = trainer id of OP_BATTLE. Skill 0 picks moves at random, 1 mostly the best, 2 always with a plan."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """One opponent; `tonics` is how often it heals a creature (by 20 HP, from trainer class on)."""

    id: int
    name: str  # at most 12 characters
    party: list[tuple[int, str]]  # (level, species), at most 6
    reward: int
    skill: int = 1
    tonics: int = 0


TRAINERS = [
    Trainer(id=1, name="SCOUT TOBY", party=[(4, "LARVOL"), (4, "MIRESLUG")], reward=120, skill=0),
    Trainer(id=2, name="RIVAL WREN", party=[(5, "PIFFLE")], reward=175, skill=0),
    Trainer(id=3, name="PUPIL HUGH", party=[(6, "PEBBLOP")], reward=240, skill=0),
    Trainer(id=4, name="MASON GRETA", party=[(9, "PEBBLOP"), (11, "CRAGWORM")], reward=1000, skill=1),
    Trainer(id=5, name="LAD PERCY", party=[(8, "NIBBUN"), (8, "COILETT")], reward=200),
    Trainer(id=6, name="LASS ODA", party=[(9, "PIFFLE"), (9, "VOLTKIN")], reward=200),
    Trainer(id=7, name="HIKER BOLE", party=[(10, "PEBBLOP"), (10, "CRAGWORM")], reward=380),
    Trainer(id=8, name="SNEAK VIC", party=[(10, "DUSKFLIT"), (10, "COILETT")], reward=330),
    Trainer(id=9, name="LASS MAY", party=[(11, "NIBBUN"), (11, "PUDDLIN")], reward=240),
    Trainer(id=10, name="DIVER KIT", party=[(12, "PUDDLIN")], reward=350),
    Trainer(id=11, name="DIVER FERN", party=[(12, "SNIPCLAW"), (12, "PUDDLIN")], reward=360),
    Trainer(id=12, name="WARDEN IRIS", party=[(13, "PUDDLIN"), (14, "MARELLE")], reward=1600, skill=2, tonics=1),
]
