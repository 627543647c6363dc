"""Milestones: 8 badges, then the 76 that upstream requires (61 events, 4 specials, 11 items).

Out: packed bits, LSB first, in the order of `MILESTONES`. An item counts only while it is in the bag, as upstream says.
"""

from __future__ import annotations

from dataclasses import dataclass

from daddy_puffer.game import addresses as at
from daddy_puffer.game import facts
from daddy_puffer.game.state import EVENT_SLICE, GameState, offset

BADGE_NAMES = ("Boulder", "Cascade", "Thunder", "Rainbow", "Soul", "Marsh", "Volcano", "Earth")


@dataclass(frozen=True, slots=True)
class Milestone:
    """`kind`: badge, event, special or item; a flag at (address, bit), or an item id."""

    index: int
    kind: str
    name: str
    address: int
    bit: int
    item: int


def _all() -> tuple[Milestone, ...]:
    found = [Milestone(bit, "badge", name, at.BADGES, bit, 0) for bit, name in enumerate(BADGE_NAMES)]
    for row in facts.rows("milestones"):
        number = int(row["address_or_id"], 16)
        bit = 0 if row["bit"] == "-" else int(row["bit"])
        is_item = row["kind"] == "item"
        item, address = (number, 0) if is_item else (0, number)
        found.append(Milestone(len(found), row["kind"], row["name"], address, bit, item))
    return tuple(found)


MILESTONES = _all()
MILESTONE_BYTES = (len(MILESTONES) + 7) // 8
_FLAGS = tuple((m.index, offset(m.address), m.bit) for m in MILESTONES if m.kind in ("badge", "event"))
_SPECIALS = tuple(m for m in MILESTONES if m.kind == "special")
_ITEMS = {m.item: m.index for m in MILESTONES if m.kind == "item"}
_KEY = slice(offset(at.BAG_COUNT), EVENT_SLICE.stop)


def milestone_key(ram: bytes) -> bytes:
    """Bytes that hold all that milestones depend on, and little else: while they stay equal, so do the milestones.

    One piece of memory is compared faster than the five parts of it that count.
    """
    return ram[_KEY]


def milestone_bits(state: GameState) -> bytes:
    """`MILESTONE_BYTES` bytes, bit `index` set when reached."""
    ram = state.ram
    bits = 0
    for index, position, bit in _FLAGS:
        bits |= (ram[position] >> bit & 1) << index
    for special in _SPECIALS:
        value = ram[offset(special.address)]
        # the ship's script counts only while its byte is exactly 4
        done = value == 4 if special.address == at.SS_ANNE_2F_SCRIPT else value >> special.bit & 1
        bits |= int(done) << special.index
    for item in state.bag:
        if item in _ITEMS:
            bits |= 1 << _ITEMS[item]
    return bits.to_bytes(MILESTONE_BYTES, "little")


def milestones_reached(bits: bytes) -> list[str]:
    """Names of the set bits, in order."""
    value = int.from_bytes(bits, "little")
    return [milestone.name for milestone in MILESTONES if value >> milestone.index & 1]
