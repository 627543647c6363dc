"""Types of creatures and moves, and what works against what. Ids are those of the RAM map; names and chart are ours."""

TYPES: dict[str, int] = {
    "PLAIN": 0x00,
    "MIGHT": 0x01,
    "WIND": 0x02,
    "VENOM": 0x03,
    "EARTH": 0x04,
    "STONE": 0x05,
    "SWARM": 0x07,
    "FLAME": 0x14,  # from here on a move uses the special stat
    "TIDE": 0x15,
    "LEAF": 0x16,
    "SPARK": 0x17,
    "MIND": 0x18,
    "FROST": 0x19,
}

# attacker -> (strong against: damage x2, weak against: x1/2, useless against: x0); all other pairs are x1
MATCHUPS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "PLAIN": ([], ["STONE"], []),
    "MIGHT": (["PLAIN", "STONE", "FROST"], ["WIND", "VENOM", "MIND"], []),
    "WIND": (["LEAF", "SWARM", "MIGHT"], ["STONE", "SPARK"], []),
    "VENOM": (["LEAF", "SWARM"], ["VENOM", "EARTH", "STONE"], []),
    "EARTH": (["FLAME", "SPARK", "STONE", "VENOM"], ["LEAF", "SWARM"], ["WIND"]),
    "STONE": (["FLAME", "WIND", "SWARM", "FROST"], ["MIGHT", "EARTH"], []),
    "SWARM": (["LEAF", "MIND"], ["FLAME", "WIND", "MIGHT"], []),
    "FLAME": (["LEAF", "SWARM", "FROST"], ["FLAME", "TIDE", "STONE"], []),
    "TIDE": (["FLAME", "EARTH", "STONE"], ["TIDE", "LEAF"], []),
    "LEAF": (["TIDE", "EARTH", "STONE"], ["LEAF", "FLAME", "VENOM"], []),
    "SPARK": (["TIDE", "WIND"], ["SPARK", "LEAF"], ["EARTH"]),
    "MIND": (["MIGHT", "VENOM"], ["MIND"], []),
    "FROST": (["LEAF", "WIND", "EARTH"], ["FROST", "FLAME", "TIDE"], []),
}


def type_chart() -> list[tuple[int, int, int]]:
    """Return (attacker, defender, ten times the factor) of every pair that is not neutral."""
    return [
        (TYPES[attacker], TYPES[defender], factor)
        for attacker, columns in MATCHUPS.items()
        for factor, defenders in zip((20, 5, 0), columns, strict=True)
        for defender in defenders
    ]
