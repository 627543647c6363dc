"""Creatures: all invented here. Ids are legal species ids of the RAM map (at most 0xBD).

`learns` is (level, move); a creature of a level knows the last four of them up to that level. `body` tells the artist
of the pictures which plan to draw. `cuts` marks ids that tools written for the RAM map regard as able to learn move
0x0F; only those take HM_01 here, and the player's first creature and all that it grows into are among them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Creature:
    """One species; `base` is (HP, attack, defense, speed, special)."""

    id: int
    name: str  # at most 10 characters
    dex: int  # 1..151: its bit in the seen and owned flags
    types: tuple[str, str]
    base: tuple[int, int, int, int, int]
    catch_rate: int  # of 255
    experience: int  # given when beaten at level 4; in proportion to the level, half more by trainers
    body: str
    learns: list[tuple[int, str]]
    evolves: tuple[int, str] | None = None  # (level, into)
    cuts: bool = False


STARTER = ("BRAMBIT", 6)

CREATURES = [
    Creature(
        id=0xB0,
        name="BRAMBIT",
        dex=1,
        types=("LEAF", "LEAF"),
        base=(60, 56, 58, 60, 68),
        catch_rate=45,
        experience=62,
        body="beast",
        learns=[(1, "LEAF FLICK"), (1, "BUMP"), (9, "SIP"), (13, "THORN WHIRL"), (20, "RECKLESS"), (26, "MEND")],
        evolves=(14, "BRAMBLYNX"),
        cuts=True,
    ),
    Creature(
        id=0xB2,
        name="BRAMBLYNX",
        dex=2,
        types=("LEAF", "LEAF"),
        base=(70, 68, 68, 76, 80),
        catch_rate=45,
        experience=140,
        body="beast",
        learns=[(1, "LEAF FLICK"), (1, "BUMP"), (9, "SIP"), (13, "THORN WHIRL"), (21, "RECKLESS"), (28, "MEND")],
        evolves=(34, "THORNMANE"),
        cuts=True,
    ),
    Creature(
        id=0xB4,
        name="THORNMANE",
        dex=3,
        types=("LEAF", "EARTH"),
        base=(82, 86, 82, 92, 98),
        catch_rate=45,
        experience=210,
        body="beast",
        learns=[(1, "LEAF FLICK"), (9, "SIP"), (13, "THORN WHIRL"), (21, "RECKLESS"), (28, "MEND"), (36, "TREMOR")],
        cuts=True,
    ),
    Creature(
        id=0x24,
        name="PIFFLE",
        dex=4,
        types=("PLAIN", "WIND"),
        base=(38, 42, 38, 52, 34),
        catch_rate=255,
        experience=50,
        body="bird",
        learns=[(1, "BUMP"), (4, "DUST KICK"), (7, "GALE PECK"), (15, "WING BASH")],
        evolves=(18, "PIFFALCON"),
    ),
    Creature(
        id=0x96,
        name="PIFFALCON",
        dex=5,
        types=("PLAIN", "WIND"),
        base=(62, 60, 56, 72, 52),
        catch_rate=120,
        experience=113,
        body="bird",
        learns=[(1, "BUMP"), (4, "DUST KICK"), (7, "GALE PECK"), (15, "WING BASH"), (28, "RECKLESS")],
    ),
    Creature(
        id=0xA5,
        name="NIBBUN",
        dex=6,
        types=("PLAIN", "PLAIN"),
        base=(34, 50, 36, 66, 28),
        catch_rate=255,
        experience=54,
        body="beast",
        learns=[(1, "BUMP"), (3, "TAIL FEINT"), (8, "DART"), (16, "RECKLESS")],
    ),
    Creature(
        id=0x70,
        name="LARVOL",
        dex=7,
        types=("SWARM", "SWARM"),
        base=(38, 34, 32, 44, 22),
        catch_rate=255,
        experience=46,
        body="bug",
        learns=[(1, "BUMP"), (1, "SNARE"), (5, "NIP")],
        evolves=(9, "STINGARD"),
    ),
    Creature(
        id=0x72,
        name="STINGARD",
        dex=8,
        types=("SWARM", "VENOM"),
        base=(62, 76, 44, 74, 48),
        catch_rate=60,
        experience=120,
        body="bug",
        learns=[(1, "NIP"), (1, "SNARE"), (9, "BARB"), (14, "PUMP UP"), (20, "MURK")],
        cuts=True,
    ),
    Creature(
        id=0x7B,
        name="MIRESLUG",
        dex=9,
        types=("SWARM", "EARTH"),
        base=(44, 30, 44, 26, 34),
        catch_rate=255,
        experience=48,
        body="blob",
        learns=[(1, "BUMP"), (4, "BRACE"), (6, "NIP"), (12, "DUST KICK"), (17, "TREMOR")],
    ),
    Creature(
        id=0xB9,
        name="TOADBUD",
        dex=10,
        types=("LEAF", "VENOM"),
        base=(45, 50, 54, 32, 66),
        catch_rate=200,
        experience=68,
        body="plant",
        learns=[(1, "SIP"), (6, "FOUL DUST"), (11, "DOZE DUST"), (15, "MURK"), (20, "THORN WHIRL")],
        cuts=True,
    ),
    Creature(
        id=0x54,
        name="VOLTKIN",
        dex=11,
        types=("SPARK", "SPARK"),
        base=(36, 54, 34, 86, 52),
        catch_rate=160,
        experience=82,
        body="beast",
        learns=[(1, "ZAP"), (4, "GLOWER"), (9, "NUMBING"), (14, "DART"), (22, "BIG BOLT")],
    ),
    Creature(
        id=0x52,
        name="EMBURR",
        dex=12,
        types=("FLAME", "FLAME"),
        base=(40, 46, 42, 62, 60),
        catch_rate=160,
        experience=64,
        body="beast",
        learns=[(1, "CINDERS"), (1, "GLOWER"), (11, "DART"), (20, "FLARE UP")],
    ),
    Creature(
        id=0x6C,
        name="COILETT",
        dex=13,
        types=("VENOM", "VENOM"),
        base=(36, 58, 44, 54, 40),
        catch_rate=220,
        experience=62,
        body="snake",
        learns=[(1, "BARB"), (1, "GLOWER"), (10, "BUMP"), (14, "MURK")],
    ),
    Creature(
        id=0x39,
        name="BRAWLOP",
        dex=14,
        types=("MIGHT", "MIGHT"),
        base=(42, 72, 36, 64, 34),
        catch_rate=190,
        experience=72,
        body="beast",
        learns=[(1, "BUMP"), (1, "GLOWER"), (9, "ONE TWO"), (16, "PUMP UP"), (24, "HEAVE")],
    ),
    Creature(
        id=0xA9,
        name="PEBBLOP",
        dex=15,
        types=("STONE", "EARTH"),
        base=(36, 62, 74, 22, 26),
        catch_rate=255,
        experience=72,
        body="rock",
        learns=[(1, "BUMP"), (1, "BRACE"), (10, "STONE TOSS"), (17, "TREMOR")],
    ),
    Creature(
        id=0x22,
        name="CRAGWORM",
        dex=16,
        types=("STONE", "EARTH"),
        base=(38, 48, 96, 50, 28),
        catch_rate=60,
        experience=104,
        body="snake",
        learns=[(1, "BUMP"), (1, "GLOWER"), (9, "STONE TOSS"), (18, "TREMOR"), (25, "HEAVE")],
    ),
    Creature(
        id=0x6B,
        name="DUSKFLIT",
        dex=17,
        types=("VENOM", "WIND"),
        base=(40, 44, 36, 56, 40),
        catch_rate=255,
        experience=54,
        body="bird",
        learns=[(1, "NIP"), (8, "BARB"), (12, "GALE PECK"), (19, "WING BASH")],
    ),
    Creature(
        id=0x60,
        name="BURRUNT",
        dex=18,
        types=("EARTH", "EARTH"),
        base=(50, 68, 72, 42, 30),
        catch_rate=200,
        experience=84,
        body="beast",
        learns=[(1, "BUMP"), (1, "BRACE"), (10, "DUST KICK"), (14, "TREMOR"), (24, "RECKLESS")],
        cuts=True,
    ),
    Creature(
        id=0x4E,
        name="SNIPCLAW",
        dex=19,
        types=("TIDE", "TIDE"),
        base=(32, 82, 74, 48, 30),
        catch_rate=200,
        experience=80,
        body="bug",
        learns=[(1, "SPLURT"), (1, "BUMP"), (12, "BRACE"), (18, "FROTH"), (25, "HEAVE")],
        cuts=True,
    ),
    Creature(
        id=0x47,
        name="PUDDLIN",
        dex=20,
        types=("TIDE", "TIDE"),
        base=(44, 46, 40, 76, 46),
        catch_rate=255,
        experience=74,
        body="fish",
        learns=[(1, "SPLURT"), (7, "DOZE DUST"), (13, "BUMP"), (19, "FROTH")],
    ),
    Creature(
        id=0x1B,
        name="MARELLE",
        dex=21,
        types=("TIDE", "FROST"),
        base=(44, 46, 56, 72, 68),
        catch_rate=90,
        experience=110,
        body="fish",
        learns=[(1, "SPLURT"), (1, "BRACE"), (14, "COLD SNAP"), (20, "FROTH"), (30, "MEND")],
    ),
    Creature(
        id=0x94,
        name="MUSELET",
        dex=22,
        types=("MIND", "MIND"),
        base=(34, 28, 28, 84, 92),
        catch_rate=200,
        experience=78,
        body="blob",
        learns=[(1, "MIND JAB"), (8, "GLOWER"), (16, "MEND")],
    ),
]

# map id -> (chance of 256 a step, ten equally likely (level, species))
WILD: dict[int, tuple[int, list[tuple[int, str]]]] = {
    12: (  # first route
        25,
        [(2, "PIFFLE"), (2, "NIBBUN"), (3, "PIFFLE"), (3, "NIBBUN"), (2, "NIBBUN"), (2, "PIFFLE")]
        + [(3, "NIBBUN"), (3, "PIFFLE"), (2, "NIBBUN"), (4, "PIFFLE")],
    ),
    13: (  # second route
        25,
        [(3, "PIFFLE"), (3, "NIBBUN"), (3, "LARVOL"), (3, "MIRESLUG"), (4, "NIBBUN"), (4, "PIFFLE")]
        + [(3, "LARVOL"), (4, "MIRESLUG"), (4, "PIFFLE"), (5, "NIBBUN")],
    ),
    51: (  # forest
        20,
        [(3, "LARVOL"), (3, "MIRESLUG"), (3, "LARVOL"), (4, "MIRESLUG"), (4, "LARVOL"), (3, "PIFFLE")]
        + [(3, "MIRESLUG"), (4, "NIBBUN"), (4, "PIFFLE"), (4, "VOLTKIN")],
    ),
    14: (  # third route
        25,
        [(7, "PIFFLE"), (7, "COILETT"), (8, "NIBBUN"), (8, "BRAWLOP"), (8, "COILETT"), (9, "PIFFLE")]
        + [(9, "BRAWLOP"), (7, "BURRUNT"), (8, "EMBURR"), (9, "NIBBUN")],
    ),
    59: (  # cave
        12,
        [(8, "DUSKFLIT"), (8, "PEBBLOP"), (9, "DUSKFLIT"), (9, "PEBBLOP"), (10, "DUSKFLIT"), (8, "DUSKFLIT")]
        + [(10, "PEBBLOP"), (9, "BURRUNT"), (10, "CRAGWORM"), (10, "DUSKFLIT")],
    ),
    15: (  # fourth route
        25,
        [(9, "COILETT"), (10, "BURRUNT"), (10, "PIFFLE"), (10, "PUDDLIN"), (11, "SNIPCLAW"), (11, "BRAWLOP")]
        + [(11, "TOADBUD"), (10, "EMBURR"), (11, "PUDDLIN"), (11, "MUSELET")],
    ),
}
