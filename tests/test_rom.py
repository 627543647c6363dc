"""Bad ROMs and states get one line that says what was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.rom import find_rom, find_state, packaged
from daddy_puffer.errors import UserError

ROM = packaged("practice.gb").read_bytes()


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "game.gb"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        find_rom(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_practice_cartridge_is_the_default() -> None:
    assert find_rom("").path == packaged("practice.gb")
    assert find_rom("").size == len(ROM) == 1024 * 1024


def test_missing_rom() -> None:
    with pytest.raises(UserError, match="nowhere.gb does not exist"):
        find_rom("nowhere.gb")


def test_truncated_rom(tmp_path: Path) -> None:
    assert f"truncated (title {find_rom('').title!r}, 600000 bytes" in refused(tmp_path, ROM[:600_000])
    assert "truncated (40 bytes)" in refused(tmp_path, ROM[:40])


def test_damaged_and_other_roms(tmp_path: Path) -> None:
    assert "header checksum" in refused(tmp_path, ROM[:0x134] + b"X" + ROM[0x135:])
    assert "header checksum" in refused(tmp_path, b"PK\x03\x04" * 100_000)
    small = bytearray(ROM[: 32 * 1024])
    small[0x148] = 0
    checksum = 0
    for byte in small[0x134:0x14D]:
        checksum = (checksum - byte - 1) & 0xFF
    small[0x14D] = checksum
    assert "another game" in refused(tmp_path, bytes(small))


def test_states(tmp_path: Path) -> None:
    rom = find_rom("")
    assert find_state("", rom) == packaged("practice_start.state").read_bytes()
    with pytest.raises(UserError, match="does not exist"):
        find_state(str(tmp_path / "no.state"), rom)
    (tmp_path / "empty.state").touch()
    with pytest.raises(UserError, match="is empty"):
        find_state(str(tmp_path / "empty.state"), rom)


@pytest.mark.parametrize("cut", [10, 5_000, 100_000])
def test_corrupt_state_is_named_and_the_machine_stays(tmp_path: Path, cut: int) -> None:
    state = packaged("practice_start.state").read_bytes()
    env = RedEnv()
    env.reset(seed=0)
    before = env.save_state()
    with pytest.raises(UserError, match="does not fit PyBoy"):
        env.reset(options={"state": state[:cut]})
    assert env.save_state() == before
    (tmp_path / "cut.state").write_bytes(state[:cut])
    with pytest.raises(UserError, match="does not fit PyBoy"):
        RedEnv(init_state=str(tmp_path / "cut.state"))
    env.close()


def test_another_rom_starts_from_power_on(tmp_path: Path) -> None:
    copy = tmp_path / "copy.gb"
    copy.write_bytes(ROM)
    env = RedEnv(str(copy))
    _, _ = env.reset(seed=0)
    title_screen = env.render()
    assert env.rom_path == copy
    env._emulator.wait(300)
    assert env.memory[0xCD82] == 1  # the title's menu
    env.close()
    start = RedEnv()
    start.reset(seed=0)
    assert (start.render() != title_screen).any()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.gb"]  # nothing is written beside a ROM
