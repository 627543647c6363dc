"""Finds and checks the files an emulator is started from: the ROM and the save state.

Every mistake gets one line that names the file, what was looked at and what to do. Knows no emulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from daddy_puffer.errors import UserError

PRACTICE_ROM = "practice.gb"
PRACTICE_START = "practice_start.state"
POWER_ON = "power_on"  # in place of a save state: the machine as it is switched on, before title and intro
_TITLE = slice(0x134, 0x144)
_HEADER_CHECKED = slice(0x134, 0x14D)
_HEADER_CHECKSUM, _SIZE_CODE = 0x14D, 0x148
_MIN_SIZE = 512 * 1024  # 32 banks: the game's RAM map belongs to cartridges of at least that size


@dataclass(frozen=True, slots=True)
class Rom:
    """A checked ROM file."""

    path: Path
    title: str
    size: int


def packaged(name: str) -> Path:
    """A file of the package's data folder.

    Raises:
        UserError: it is not there (an incomplete installation).
    """
    path = Path(str(resources.files("daddy_puffer").joinpath(f"data/{name}")))
    if not path.is_file():
        raise UserError(
            f"{name} is missing from the package: reinstall daddy_puffer, or build it with `make cartridge`"
        )
    return path


def is_practice_rom(path: Path) -> bool:
    """Whether a file is the practice cartridge, wherever it lies."""
    return path.is_file() and path.read_bytes() == packaged(PRACTICE_ROM).read_bytes()


def find_rom(gb_path: str) -> Rom:
    """The ROM at `gb_path`, or the practice cartridge when it is empty.

    Raises:
        UserError: missing, truncated, no Game Boy ROM, or damaged.
    """
    path = Path(gb_path).expanduser() if gb_path else packaged(PRACTICE_ROM)
    if not path.is_file():
        raise UserError(f"ROM {path} does not exist: give the path of your own with --rom, or leave it out to practise")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"ROM {path} cannot be read: {error.strerror}") from error
    title = data[_TITLE].split(b"\0")[0].decode("ascii", errors="replace")
    looked_at = f"title {title!r}, {len(data)} bytes"
    if len(data) < 0x150:
        raise UserError(f"ROM {path} is truncated ({len(data)} bytes): copy it again")
    checksum = 0
    for byte in data[_HEADER_CHECKED]:
        checksum = (checksum - byte - 1) & 0xFF
    if checksum != data[_HEADER_CHECKSUM]:
        raise UserError(
            f"{path} is no Game Boy ROM or is damaged ({looked_at}, header checksum {checksum:#04x}, "
            f"stored {data[_HEADER_CHECKSUM]:#04x}): give another --rom"
        )
    expected = 32 * 1024 << data[_SIZE_CODE] if data[_SIZE_CODE] <= 8 else 0
    if len(data) != expected:
        raise UserError(f"ROM {path} is truncated ({looked_at}, its header says {expected}): copy it again")
    if len(data) < _MIN_SIZE:
        raise UserError(
            f"ROM {path} is another game ({looked_at}): the RAM map needs Pokemon Red or the cartridge here"
        )
    return Rom(path=path, title=title, size=len(data))


def find_state(init_state: str, rom: Rom) -> bytes | None:
    """Bytes of the state to start from; None = power on.

    Empty means the practice cartridge's start state for the practice cartridge, power-on for any other ROM; `power_on`
    means that for either.

    Raises:
        UserError: missing or empty file.
    """
    if init_state == POWER_ON:
        return None
    if not init_state:
        if rom.path != packaged(PRACTICE_ROM):
            return None
        return packaged(PRACTICE_START).read_bytes()
    path = Path(init_state).expanduser()
    if not path.is_file():
        raise UserError(f"save state {path} does not exist: give another env.init_state, or leave it out")
    data = path.read_bytes()
    if not data:
        raise UserError(f"save state {path} is empty: give another env.init_state, or leave it out")
    return data
