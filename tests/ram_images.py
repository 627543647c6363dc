"""Hand-made memory images for tests."""

from __future__ import annotations


def image(**bytes_at: int | bytes) -> bytearray:
    """64 KiB of zeros with bytes written at `a<hex address>`."""
    memory = bytearray(0x10000)
    for key, value in bytes_at.items():
        data = bytes([value]) if isinstance(value, int) else value
        memory[int(key[1:], 16) : int(key[1:], 16) + len(data)] = data
    return memory


def creature(species: int, level: int, hp: int, max_hp: int) -> bytes:
    data = bytearray(44)
    data[0], data[0x21] = species, level
    data[1:3], data[0x22:0x24] = hp.to_bytes(2, "big"), max_hp.to_bytes(2, "big")
    data[5:7], data[8:12], data[0x1D:0x21] = b"\x16\x03", b"\x0f\x21\x00\x00", b"\x5e\x23\x00\x00"
    return bytes(data)


def fighter(species: int, level: int, hp: int, max_hp: int) -> bytes:
    """A battle struct."""
    data = bytearray(29)
    data[0], data[1:3], data[0x0E], data[0x0F:0x11] = species, hp.to_bytes(2, "big"), level, max_hp.to_bytes(2, "big")
    return bytes(data)
