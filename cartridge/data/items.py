"""Items. Ids are those of the RAM map; names, prices and uses are ours.

Kinds (enum ITEM_* in src/battle_tables.h): `key` cannot be sold or tossed; `ball` (value: ten times the chance), `heal`
(value: HP), `cure` (value: condition bits of the RAM map), `revive` (value: part of the HP in percent), `repel` (value:
steps), `teach` (value: name of the move; kept after use), `card` (the same, used up), `candy` (a level), `none`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item; price 0 = not for sale."""

    id: int
    name: str  # at most 12 characters
    kind: str = "none"
    price: int = 0
    value: int | str = 0


POISONED, PARALYZED, ASLEEP, ANY_CONDITION = 0x08, 0x40, 0x07, 0xFF

STARTING_BAG = [(0x05, 1)]  # a key item: the bag is never empty
STARTING_MONEY = 3000

ITEMS = [
    Item(id=0x01, name="SURE ORB", kind="ball", value=255),
    Item(id=0x02, name="GREAT ORB", kind="ball", price=1200, value=20),
    Item(id=0x03, name="GOOD ORB", kind="ball", price=600, value=15),
    Item(id=0x04, name="CATCH ORB", kind="ball", price=200, value=10),
    Item(id=0x05, name="FIELD MAP", kind="key"),
    Item(id=0x06, name="SWIFT CYCLE", kind="key"),
    Item(id=0x0A, name="PALE STONE", price=2000),
    Item(id=0x0B, name="BITTER LEAF", kind="cure", price=100, value=POISONED),
    Item(id=0x0E, name="WAKE BELL", kind="cure", price=200, value=ASLEEP),
    Item(id=0x0F, name="LIMBER OIL", kind="cure", price=200, value=PARALYZED),
    Item(id=0x12, name="PURE TONIC", kind="heal", price=1500, value=200),
    Item(id=0x13, name="DEEP TONIC", kind="heal", price=700, value=50),
    Item(id=0x14, name="HERB TONIC", kind="heal", price=300, value=20),
    Item(id=0x1E, name="WARD SPRAY", kind="repel", price=350, value=100),
    Item(id=0x28, name="GROW SWEET", kind="candy", price=4800),
    Item(id=0x2B, name="RUSTY KEY", kind="key"),
    Item(id=0x2D, name="CYCLE NOTE", kind="key"),
    Item(id=0x30, name="PASS CARD", kind="key"),
    Item(id=0x31, name="GOLD LUMP", price=10000),
    Item(id=0x34, name="CURE ALL", kind="cure", price=600, value=ANY_CONDITION),
    Item(id=0x35, name="STIR SALTS", kind="revive", price=1500, value=50),
    Item(id=0x38, name="LONG SPRAY", kind="repel", price=500, value=200),
    Item(id=0x3C, name="CLEAR WATER", kind="heal", price=200, value=50),
    Item(id=0x3D, name="FIZZ DRINK", kind="heal", price=300, value=60),
    Item(id=0x3E, name="SOUR DRINK", kind="heal", price=350, value=80),
    Item(id=0x3F, name="SHIP PASS", kind="key"),
    Item(id=0x40, name="LOST TEETH", kind="key"),
    Item(id=0x46, name="SEALED BOX", kind="key"),
    Item(id=0x48, name="TRUE GLASS", kind="key"),
    Item(id=0x49, name="WAKE PIPE", kind="key"),
    Item(id=0x4A, name="HOIST KEY", kind="key"),
    Item(id=0xC4, name="SLASH DISC", kind="teach", value="SLASHER"),
    Item(id=0xC6, name="WAVE DISC", kind="teach", value="BIG WAVE"),
    Item(id=0xC7, name="HEAVE DISC", kind="teach", value="HEAVE"),
    Item(id=0xD3, name="FROTH CARD", kind="card", price=2000, value="FROTH"),
]
