"""Makes the practice cartridge's start state: power on, through title and intro by buttons, saved where walking begins.

Run after the cartridge is built: `python -m daddy_puffer.envs.start_state`. The same ROM gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, find_rom, packaged
from daddy_puffer.envs.scripted import UI_OVERWORLD, UI_STATE, ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing

ACTION_FRAMES = 24
MAX_PRESSES = 300  # power-on to walking takes about thirty


def make_start_state(rom_path: Path) -> bytes:
    """Save state of the first moment in which the player can walk.

    Raises:
        UserError: the game does not come that far.
    """
    emulator = Emulator(find_rom(str(rom_path)))
    player = ScriptedPlayer()
    try:
        emulator.wait(120)
        for _ in range(MAX_PRESSES):
            if emulator.memory[UI_STATE] == UI_OVERWORLD and emulator.memory[0xD35E]:
                return emulator.save_state()
            emulator.tap(player.act(emulator.memory), ACTION_FRAMES - 1)
            emulator.render_frame()
    finally:
        emulator.close()
    raise UserError(f"{rom_path} does not reach its first map within {MAX_PRESSES} buttons: rebuild the cartridge")


def main() -> None:
    """Write the start state beside the packaged ROM."""
    rom_path = packaged(PRACTICE_ROM)
    target = rom_path.with_name(PRACTICE_START)
    with replacing(target) as temporary:
        temporary.write_bytes(make_start_state(rom_path))
    print(f"wrote {target.name}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
