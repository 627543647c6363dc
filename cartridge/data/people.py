"""Who and what stands on each map.

Kinds: `talk` (text or script), `trainer` (sight, battle, texts), `ball` (an item on the ground, hidden by a missable
bit once taken). `signs`, `hidden` items and `triggers` (cells that run a script when stepped on) belong to the map as
well. People move: stand, wander (within `range` cells) or turn.
"""

from typing import Any

NURSE = {"kind": "talk", "at": (3, 1), "picture": "NURSE", "script": "nurse"}


def clerk(script: str) -> dict[str, Any]:
    """The person behind the counter of a shop."""
    return {"kind": "talk", "at": (0, 2), "picture": "CLERK", "facing": "right", "script": script}


PEOPLE: dict[int, list[dict[str, Any]]] = {
    37: [{"kind": "talk", "at": (2, 3), "picture": "WOMAN", "facing": "right", "script": "mother"}],
    39: [{"kind": "talk", "at": (6, 3), "picture": "GIRL", "facing": "left", "script": "neighbour"}],
    40: [
        {"kind": "talk", "at": (4, 2), "picture": "SCHOLAR", "script": "professor"},
        {"kind": "talk", "at": (7, 4), "picture": "RIVAL", "facing": "left", "script": "rival"},
        {
            "kind": "talk",
            "at": (1, 5),
            "picture": "WOMAN",
            "move": "wander",
            "range": 1,
            "text": "A creature grows when it wins battles.",
        },
    ],
    0: [
        {
            "kind": "talk",
            "at": (7, 12),
            "picture": "GIRL",
            "move": "wander",
            "range": 1,
            "text": "Wild creatures hide in tall grass!",
        },
        {"kind": "talk", "at": (10, 7), "picture": "OLD_MAN", "move": "turn", "text": "The lab is the big dark house."},
    ],
    12: [
        {"kind": "talk", "at": (4, 15), "picture": "CLERK", "facing": "right", "script": "sample"},
        {
            "kind": "talk",
            "at": (8, 10),
            "picture": "BOY",
            "move": "wander",
            "range": 2,
            "text": "Look for the gaps in the ledges.",
        },
    ],
    1: [
        {
            "kind": "talk",
            "at": (5, 12),
            "picture": "OLD_MAN",
            "move": "turn",
            "text": "When all your friends faint you wake up here.",
        },
        {
            "kind": "talk",
            "at": (11, 9),
            "picture": "BOY",
            "move": "wander",
            "range": 2,
            "text": "The shop keeps a box for someone in Lowmere.",
        },
    ],
    41: [
        NURSE,
        {"kind": "talk", "at": (6, 3), "picture": "MAN", "move": "turn", "text": "Healing is free. Come often!"},
    ],
    42: [
        clerk("clerk_1"),
        {"kind": "talk", "at": (6, 3), "picture": "BOY", "move": "turn", "text": "A TONIC saves a long walk."},
    ],
    43: [
        {"kind": "talk", "at": (4, 1), "picture": "SCHOLAR", "text": "Water puts out fire, fire burns leaves."},
        {
            "kind": "talk",
            "at": (5, 3),
            "picture": "BOY",
            "facing": "up",
            "text": "Leaves drink water. I know that now!",
        },
    ],
    44: [{"kind": "talk", "at": (3, 3), "picture": "MAN", "facing": "right", "script": "traveller"}],
    13: [
        {"kind": "ball", "at": (7, 9), "item": "MOON_STONE", "missable": "ROUTE_2_ITEM_1"},
        {"kind": "ball", "at": (9, 1), "item": "REPEL", "missable": "ROUTE_2_ITEM_2"},
        {
            "kind": "talk",
            "at": (1, 1),
            "picture": "GIRL",
            "move": "turn",
            "text": "A small tree blocks the short way. Cut it!",
        },
    ],
    51: [
        {
            "kind": "trainer",
            "at": (10, 10),
            "picture": "CADET",
            "facing": "down",
            "sight": 2,
            "trainer": "FOREST_BOY",
            "event": "BEAT_VIRIDIAN_FOREST_TRAINER_0",
            "before": "My bugs saw you first!",
            "after": "The left way is quiet. Too quiet.",
        },
        {"kind": "ball", "at": (17, 1), "item": "ANTIDOTE", "missable": "VIRIDIAN_FOREST_ITEM_1"},
        {"kind": "ball", "at": (17, 8), "item": "POTION", "missable": "VIRIDIAN_FOREST_ITEM_2"},
        {
            "kind": "talk",
            "at": (15, 13),
            "picture": "GIRL",
            "move": "wander",
            "range": 1,
            "text": "The way out is in the north west.",
        },
    ],
    2: [
        {"kind": "talk", "at": (17, 5), "picture": "GUARD", "script": "guard"},
        {
            "kind": "talk",
            "at": (6, 9),
            "picture": "WOMAN",
            "move": "wander",
            "range": 1,
            "text": "Our gym is built from one single rock.",
        },
        {
            "kind": "talk",
            "at": (15, 4),
            "picture": "BOY",
            "move": "turn",
            "text": "Greta is hard as stone. Leaves wear her down.",
        },
    ],
    58: [
        NURSE,
        {"kind": "talk", "at": (6, 3), "picture": "HIKER", "move": "turn", "text": "I crossed the hill. My feet hurt!"},
    ],
    56: [clerk("clerk_2")],
    55: [
        {
            "kind": "talk",
            "at": (4, 3),
            "picture": "OLD_MAN",
            "facing": "right",
            "text": "Open the START menu and save your game!",
        }
    ],
    54: [
        {"kind": "talk", "at": (4, 2), "picture": "STONE_LEADER", "script": "stone_leader", "event": "BEAT_BROCK"},
        {
            "kind": "trainer",
            "at": (3, 6),
            "picture": "CADET",
            "facing": "right",
            "sight": 2,
            "trainer": "STONE_PUPIL",
            "event": "BEAT_PEWTER_GYM_TRAINER_0",
            "before": "Nobody slips past me to the leader!",
            "after": "She is much harder than I am.",
        },
        {"kind": "talk", "at": (7, 11), "picture": "MAN", "facing": "left", "text": "The leader waits at the far end."},
    ],
    14: [
        {
            "kind": "trainer",
            "at": (8, 5),
            "picture": "CADET",
            "facing": "down",
            "sight": 3,
            "trainer": "ROUTE_3_BOY",
            "event": "BEAT_ROUTE_3_TRAINER_0",
            "before": "Our eyes met. Let's fight!",
            "after": "Only a cut opens the way to the hill.",
        },
        {
            "kind": "trainer",
            "at": (23, 4),
            "picture": "GIRL",
            "facing": "left",
            "sight": 4,
            "trainer": "ROUTE_3_GIRL",
            "event": "BEAT_ROUTE_3_TRAINER_1",
            "before": "You walked right into my view!",
            "after": "You may jump west over the ledges.",
        },
    ],
    59: [
        {
            "kind": "trainer",
            "at": (8, 8),
            "picture": "HIKER",
            "facing": "right",
            "sight": 4,
            "trainer": "CAVE_HIKER",
            "event": "BEAT_MT_MOON_1_TRAINER_0",
            "before": "Ho! An echo with legs!",
            "after": "The other way round is longer.",
        },
        {
            "kind": "trainer",
            "at": (6, 9),
            "picture": "MAN",
            "facing": "left",
            "sight": 3,
            "trainer": "CAVE_SNEAK",
            "event": "BEAT_MT_MOON_1_TRAINER_1",
            "before": "This hill is mine. Turn around!",
            "after": "All right. Half of it is yours.",
        },
        {"kind": "ball", "at": (14, 11), "item": "RARE_CANDY", "missable": "MT_MOON_1F_ITEM_1"},
        {"kind": "ball", "at": (19, 8), "item": "SUPER_POTION", "missable": "MT_MOON_1F_ITEM_2"},
    ],
    15: [
        {
            "kind": "trainer",
            "at": (10, 6),
            "picture": "GIRL",
            "facing": "up",
            "sight": 3,
            "trainer": "ROUTE_4_GIRL",
            "event": "BEAT_ROUTE_4_TRAINER_0",
            "before": "Smell the sea? First a fight!",
            "after": "Tidehaven lies to the east.",
        },
        {"kind": "ball", "at": (21, 1), "item": "POKE_BALL", "missable": "ROUTE_4_ITEM"},
    ],
    3: [
        {
            "kind": "talk",
            "at": (6, 5),
            "picture": "WOMAN",
            "move": "wander",
            "range": 2,
            "text": "Iris swims before she thinks.",
        },
        {
            "kind": "talk",
            "at": (11, 12),
            "picture": "OLD_MAN",
            "move": "turn",
            "text": "Small trees hide small things.",
        },
    ],
    64: [
        NURSE,
        {"kind": "talk", "at": (6, 3), "picture": "GIRL", "move": "turn", "text": "Grass and sparks beat the pool."},
    ],
    67: [clerk("clerk_3")],
    62: [{"kind": "talk", "at": (5, 2), "picture": "BOY", "move": "turn", "text": "I will be a gym leader one day!"}],
    65: [
        {"kind": "talk", "at": (4, 2), "picture": "TIDE_LEADER", "script": "tide_leader", "event": "BEAT_MISTY"},
        {
            "kind": "trainer",
            "at": (1, 8),
            "picture": "BOY",
            "facing": "right",
            "sight": 6,
            "trainer": "TIDE_PUPIL_A",
            "event": "BEAT_CERULEAN_GYM_TRAINER_0",
            "before": "Dive in! The water is fine!",
            "after": "Brr. I should dry myself.",
        },
        {
            "kind": "trainer",
            "at": (3, 5),
            "picture": "CADET",
            "facing": "right",
            "sight": 2,
            "trainer": "TIDE_PUPIL_B",
            "event": "BEAT_CERULEAN_GYM_TRAINER_1",
            "before": "One more lane before Iris!",
            "after": "She never loses twice. Or does she?",
        },
    ],
}

# map -> [(x, y, text or script)]
SIGNS: dict[int, list[tuple[int, int, str]]] = {
    0: [
        (2, 6, "LOWMERE Where small roads begin."),
        (13, 6, "The neighbour's house. Come in!"),
        (12, 11, "PROF. LARCH's LAB"),
    ],
    12: [(9, 5, "PATH 1 Alderholt north, Lowmere south"), (2, 15, "Grass hides wild creatures.")],
    1: [(2, 6, "ALDERHOLT The green town"), (14, 6, "HEALING CENTRE below, SHOP above"), (14, 12, "No swimming!")],
    13: [(8, 2, "PATH 2 Slatebridge north"), (5, 11, "ALDER WOOD ahead. Mind the maze!")],
    51: [(11, 5, "North west: the way out"), (16, 12, "Tired? Go back to Alderholt.")],
    2: [(5, 5, "SLATEBRIDGE A town of stone"), (9, 5, "GYM of Greta the unmoved"), (6, 12, "HEALING CENTRE")],
    14: [(3, 6, "PATH 3 Hollow Hill east"), (23, 8, "HOLLOW HILL Mind your head!")],
    59: [(7, 14, "North: the way to Path 4")],
    15: [(3, 5, "PATH 4 Tidehaven east")],
    3: [(7, 4, "TIDEHAVEN The last town of the road"), (7, 12, "GYM of Iris the tide")],
    38: [],
}

# map -> [(x, y, item, event)]
HIDDEN: dict[int, list[tuple[int, int, str, str]]] = {
    51: [(2, 10, "POTION", "HIDDEN_FOREST")],
    15: [(22, 7, "NUGGET", "HIDDEN_ROUTE_4")],
    65: [(8, 11, "SUPER_POTION", "HIDDEN_CERULEAN")],
}

# map -> [(x, y, script)]
TRIGGERS: dict[int, list[tuple[int, int, str]]] = {
    40: [(4, 7, "lab_entry"), (5, 7, "lab_entry")],
    39: [(2, 4, "neighbour_entry"), (3, 4, "neighbour_entry"), (1, 5, "neighbour_entry"), (4, 5, "neighbour_entry")],
    2: [(17, 6, "gate"), (17, 7, "gate")],
}
