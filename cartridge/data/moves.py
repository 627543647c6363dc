"""Moves. Ids are legal move ids of the RAM map (at most 0xA3); names, strengths and effects are ours.

Effects, carried out by src/battle.c (enum EFFECT_* in src/battle_tables.h):
 attack_down defense_down speed_down accuracy_down   a stat of the other falls one stage
 attack_up defense_up                                an own stat rises one stage
 poison paralyze sleep                               condition of the other
 drain    half of the damage heals the user          mend     half of the user's HP come back
 recoil   a quarter of the damage hurts the user     quick    goes first
 keen     critical hits are four times as likely
`chance` is the percentage at which a damaging move has its effect (drain, recoil, quick and keen always).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move; power 0 = does no damage, accuracy in percent."""

    id: int
    name: str  # at most 12 characters
    type: str
    power: int
    accuracy: int
    pp: int
    effect: str = ""
    chance: int = 100


MOVES = [
    # id 0 stands for "no PP left", and for any id that is not in this list
    Move(id=0x00, name="FLAIL", type="PLAIN", power=30, accuracy=100, pp=1, effect="recoil"),
    Move(id=0x21, name="BUMP", type="PLAIN", power=40, accuracy=100, pp=35),
    Move(id=0x62, name="DART", type="PLAIN", power=40, accuracy=100, pp=30, effect="quick"),
    Move(id=0x0F, name="SLASHER", type="PLAIN", power=55, accuracy=95, pp=30),  # cuts trees
    Move(id=0x46, name="HEAVE", type="PLAIN", power=75, accuracy=100, pp=15),  # for boulders
    Move(id=0x24, name="RECKLESS", type="PLAIN", power=85, accuracy=90, pp=20, effect="recoil"),
    Move(id=0x2D, name="GLOWER", type="PLAIN", power=0, accuracy=100, pp=40, effect="attack_down"),
    Move(id=0x27, name="TAIL FEINT", type="PLAIN", power=0, accuracy=100, pp=30, effect="defense_down"),
    Move(id=0x51, name="SNARE", type="SWARM", power=0, accuracy=95, pp=40, effect="speed_down"),
    Move(id=0x1C, name="DUST KICK", type="EARTH", power=0, accuracy=100, pp=15, effect="accuracy_down"),
    Move(id=0x6A, name="BRACE", type="PLAIN", power=0, accuracy=100, pp=30, effect="defense_up"),
    Move(id=0x0E, name="PUMP UP", type="PLAIN", power=0, accuracy=100, pp=30, effect="attack_up"),
    Move(id=0x69, name="MEND", type="PLAIN", power=0, accuracy=100, pp=10, effect="mend"),
    Move(id=0x02, name="ONE TWO", type="MIGHT", power=50, accuracy=100, pp=25, effect="keen"),
    Move(id=0x40, name="GALE PECK", type="WIND", power=40, accuracy=100, pp=35),
    Move(id=0x11, name="WING BASH", type="WIND", power=60, accuracy=100, pp=30),
    Move(id=0x28, name="BARB", type="VENOM", power=15, accuracy=100, pp=35, effect="poison", chance=30),
    Move(id=0x7B, name="MURK", type="VENOM", power=50, accuracy=95, pp=20, effect="poison", chance=20),
    Move(id=0x4D, name="FOUL DUST", type="VENOM", power=0, accuracy=75, pp=30, effect="poison"),
    Move(id=0x4F, name="DOZE DUST", type="LEAF", power=0, accuracy=70, pp=15, effect="sleep"),
    Move(id=0x59, name="TREMOR", type="EARTH", power=60, accuracy=100, pp=15),
    Move(id=0x58, name="STONE TOSS", type="STONE", power=45, accuracy=90, pp=20),
    Move(id=0x2C, name="NIP", type="SWARM", power=35, accuracy=100, pp=30),
    Move(id=0x34, name="CINDERS", type="FLAME", power=45, accuracy=100, pp=25),
    Move(id=0x35, name="FLARE UP", type="FLAME", power=80, accuracy=95, pp=15),
    Move(id=0x37, name="SPLURT", type="TIDE", power=40, accuracy=100, pp=25),
    Move(id=0x3D, name="FROTH", type="TIDE", power=60, accuracy=100, pp=20, effect="speed_down", chance=20),
    Move(id=0x39, name="BIG WAVE", type="TIDE", power=85, accuracy=100, pp=15),  # crosses water
    Move(id=0x16, name="LEAF FLICK", type="LEAF", power=45, accuracy=100, pp=30),
    Move(id=0x47, name="SIP", type="LEAF", power=35, accuracy=100, pp=20, effect="drain"),
    Move(id=0x4B, name="THORN WHIRL", type="LEAF", power=65, accuracy=95, pp=20, effect="keen"),
    Move(id=0x54, name="ZAP", type="SPARK", power=45, accuracy=100, pp=25, effect="paralyze", chance=10),
    Move(id=0x55, name="BIG BOLT", type="SPARK", power=80, accuracy=95, pp=15, effect="paralyze", chance=10),
    Move(id=0x56, name="NUMBING", type="SPARK", power=0, accuracy=85, pp=20, effect="paralyze"),
    Move(id=0x5D, name="MIND JAB", type="MIND", power=50, accuracy=100, pp=25),
    Move(id=0x3A, name="COLD SNAP", type="FROST", power=45, accuracy=95, pp=20, effect="speed_down", chance=20),
]
