"""The doctor finds what is wrong, names the cure, and goes on with the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from daddy_puffer import doctor
from daddy_puffer.config import load_config
from daddy_puffer.doctor import BAD, OK, WARN, Finding, Wanted, examine
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.game.features import FEATURE_COUNT
from daddy_puffer.game.milestones import MILESTONE_BYTES
from daddy_puffer.policies.hierq import PRESETS
from daddy_puffer.sweep.searchers import CARBS_LINE

STAND_IN = Path(__file__).parent / "upstream_stand_in"


def levels(check: doctor.Check, wanted: Wanted | None = None) -> dict[str, str]:
    return {finding.name: finding.level for finding in examine(wanted or Wanted(), (check,))}


def only(check: doctor.Check, wanted: Wanted | None = None) -> Finding:
    (finding,) = examine(wanted or Wanted(), (check,))
    return finding


def test_python_must_fit_pufferlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor.check_python).level == OK
    for version, level in (((3, 9, 9), BAD), ((3, 10, 0), OK), ((3, 11, 20), OK), ((3, 12, 0), BAD)):
        monkeypatch.setattr(sys, "version_info", version)
        finding = only(doctor.check_python)
        assert finding.level == level and bool(finding.cure) == (level == BAD)


def test_clashing_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(doctor.check_requirements) == {"packages": OK}
    real = metadata.version

    def pretended(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return {"pyboy": "2.8.1", "numpy": "2.1.0"}.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", pretended)
    found = {finding.name: finding for finding in examine(Wanted(), (doctor.check_requirements,))}
    assert {name: finding.level for name, finding in found.items()} == {"pyboy": BAD, "numpy": BAD, "scipy": BAD}
    assert "save states" in found["pyboy"].cure and "pyboy==2.7.0" in found["pyboy"].cure
    assert found["scipy"].found == "missing"


def test_versions_other_than_known_good_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    monkeypatch.setattr(doctor, "CONSTRAINTS", pins)
    numpy = metadata.version("numpy")
    pins.write_text(f"# known good\nnumpy=={numpy}\nnot-installed-at-all==1\ngymnasium==9; python_version < '3'\n")
    assert only(doctor.check_known_good) == Finding("versions", OK, "all 1 as in constraints.txt")
    pins.write_text(f"numpy=={numpy}\npyyaml==0.1\n")
    finding = only(doctor.check_known_good)
    assert finding.level == WARN and "1 not: pyyaml" in finding.found and "(0.1)" in finding.found


@pytest.mark.parametrize(("source", "level"), [("class CARBS:\n    pass\n", OK), ("class Carb:\n    pass\n", WARN)])
def test_the_wrong_carbs_is_told_from_the_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, level: str
) -> None:
    package = tmp_path / "carbs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "carbs.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "carbs", raising=False)
    finding = only(doctor.check_carbs)
    assert finding.level == level and (CARBS_LINE in finding.cure) == (level == WARN)


def test_practice_cartridge_starts_and_its_state_loads() -> None:
    assert levels(doctor.check_rom) == {"rom": OK, "emulator": OK, "start state": OK}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rom: rom[:0x1000], "truncated"),
        (lambda rom: b"\0" * 0x4000, "no Game Boy ROM"),
        (lambda rom: rom[:0x140] + b"\xff" + rom[0x141:], "no Game Boy ROM"),
    ],
)
def test_a_bad_rom_is_one_line_with_a_cure(tmp_path: Path, damage: Any, said: str) -> None:
    path = tmp_path / "red.gb"
    path.write_bytes(damage(packaged(PRACTICE_ROM).read_bytes()))
    finding = only(doctor.check_rom, Wanted(rom=str(path)))
    assert finding.level == BAD and said in finding.found and finding.cure
    missing = only(doctor.check_rom, Wanted(rom=str(tmp_path / "none.gb")))
    assert missing.level == BAD and "--rom" in missing.cure


def test_states_are_loaded_one_by_one(tmp_path: Path) -> None:
    good = packaged(PRACTICE_START).read_bytes()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "good.state").write_bytes(good)
    assert only(doctor.check_states, Wanted(states=tmp_path)).level == OK
    (tmp_path / "newer.state").write_bytes(bytes([200]) + good[1:])
    (tmp_path / "half.state").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.state").write_bytes(b"")
    finding = only(doctor.check_states, Wanted(states=tmp_path))
    assert finding.level == BAD and finding.found.startswith("1 of 4 load")
    assert "newer.state (format 200)" in finding.found and "empty.state (empty)" in finding.found
    assert only(doctor.check_states, Wanted(states=tmp_path / "none")).level == BAD
    assert examine(Wanted(), (doctor.check_states,)) == []


def test_memory_and_disk_are_measured_against_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("train:\n  replay:\n    capacity: 4_000_000_000\n")
    assert only(doctor.check_config, Wanted(config=config)).level == OK
    assert levels(doctor.check_space, Wanted(config=config))["memory"] == WARN
    config.write_text("train:\n  replay:\n    capacity: 4_000_000_000\n    file: replay.bin\n")
    assert levels(doctor.check_space, Wanted(config=config))["disk"] == WARN
    config.write_text("train:\n  nonsense: 1\n")
    finding = only(doctor.check_config, Wanted(config=config))
    assert finding.level == BAD and "nonsense" in finding.found + finding.cure
    assert set(levels(doctor.check_space, Wanted(config=config))) == {"disk", "memory"}, "the rest is looked at as well"


def test_needed_memory_is_what_replay_takes() -> None:
    # 1440 bytes of frame, 45 of visited cells and 2 a feature at least; the states only every few rows
    config = load_config(None, {"replay.capacity": 1_000_000})
    need = doctor.replay_bytes(config)
    least = 1440 + 45 + 2 * FEATURE_COUNT + MILESTONE_BYTES
    assert least < need / 1_000_000 < least + 4 * doctor.STATE_FLOATS["slim"]
    assert doctor.replay_bytes(load_config(None, {"replay.kind": "rollouts", "replay.burn_in": 0})) < need / 100


@pytest.mark.parametrize("size", ["slim", "large"])
def test_recurrent_states_are_as_large_as_thought(size: str) -> None:
    preset = PRESETS[size]
    assert doctor.STATE_FLOATS[size] == 3 * preset.memory + 1 + 2 * preset.modes


@pytest.mark.parametrize(("omp", "level"), [("", OK), ("1", OK), ("4096", WARN), ("many", WARN)])
def test_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, omp: str, level: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    config = tmp_path / "c.yaml"
    config.write_text("train:\n  num_workers: 1\n")
    assert only(doctor.check_threads, Wanted(config=config)).level == level
    monkeypatch.delenv("OMP_NUM_THREADS")
    config.write_text("train:\n  num_workers: 4096\n  num_envs: 4096\n")
    assert only(doctor.check_threads, Wanted(config=config)).level == WARN


def test_films_can_be_made() -> None:
    assert only(doctor.check_films).level == OK


def test_upstream_is_looked_at_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert only(doctor.check_upstream).level in (OK, WARN)
    host = "pokemonred_puffer"
    for name in [name for name in sys.modules if name.split(".")[0] == host]:
        monkeypatch.delitem(sys.modules, name)
    shutil.copytree(STAND_IN / host, tmp_path / host)
    monkeypatch.syspath_prepend(tmp_path)
    found = {f.name: f for f in examine(Wanted(), (doctor.check_upstream,))}
    assert found["upstream"].level == WARN and "unknown version" in found["upstream"].found
    head = tmp_path / ".git" / "HEAD"
    head.parent.mkdir()
    head.write_text("ref: refs/heads/main\n")
    (head.parent / "packed-refs").write_text(f"# pack-refs\n{doctor.KNOWN_HOST_COMMIT}0000 refs/heads/main\n")
    assert {f.name: f.level for f in examine(Wanted(), (doctor.check_upstream,))}["upstream"] == OK
    (tmp_path / host / "cleanrl_puffer.py").write_text("class Other: ...\n")
    finding = only(doctor.check_upstream)
    assert finding.level == BAD and "class CleanPuffeRL" in finding.found and doctor.KNOWN_HOST_COMMIT in finding.cure
    assert host not in sys.modules


def test_a_check_that_fails_unforeseen_is_a_finding() -> None:
    def check_moon(wanted: Wanted) -> Any:
        yield Finding("sun", OK, "shines")
        raise ImportError("no moon\nat all")

    findings = examine(Wanted(), (check_moon, doctor.check_python))
    assert [(f.name, f.level) for f in findings] == [("sun", OK), ("moon", BAD), ("python", OK)]
    assert findings[1].found == "ImportError: no moon at all" and "pip install" in findings[1].cure


def test_every_line_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    findings = [
        Finding("start state", WARN, "a long way " * 20, "Do this and that " * 12),
        Finding("rom", OK, "x" * 200),
    ]
    doctor._show_table(findings)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 6 and max(map(len, lines)) <= 80
    doctor.show(findings)  # not a terminal: nothing is wrapped, so that it can be searched
    plain = capsys.readouterr().out.splitlines()
    assert plain[0].startswith("warn  start state   a long way") and plain[1].startswith("      -> Do this")
    assert plain[-1] == "0 bad, 1 to look at, 1 ok"


def test_command_says_so_by_its_exit_code(tmp_path: Path) -> None:
    # as on a machine without torch: everything else is looked at all the same
    script = "import sys; sys.modules['torch'] = None; from daddy_puffer import doctor; doctor.main()"
    command = [sys.executable, "-c", script, "--json", "--rom", str(tmp_path / "none.gb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in told["findings"]}
    assert not told["ok"] and {"python", "torch", "rom", "memory", "ffmpeg", "upstream"} <= set(found)
    assert found["torch"]["level"] == found["rom"]["level"] == BAD and found["memory"]["level"] in (OK, WARN)
    assert all(finding["cure"] for finding in told["findings"] if finding["level"] != OK)
