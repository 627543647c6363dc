"""What is damaged, hostile or cannot be written: one clear line, and nothing that was good is lost.

The long forms are `benchmarks/fuzz_files.py` and `benchmarks/kill_resume.py`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support import FakeRed
from test_curriculum import game as curriculum
from test_swarm_registry import CHAIN, STATE, facts, fresh, registry
from test_telemetry_writer import believed, disk_of, file_sinks, records, written
from test_trainer import ENVS, config, trainer

from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.envs import emulator as emulator_module
from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import PRACTICE_START, find_rom, packaged
from daddy_puffer.errors import UserError
from daddy_puffer.files import read_archive
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.swarm import Chain
from daddy_puffer.swarm.outcomes import Outcomes
from daddy_puffer.telemetry import Event
from daddy_puffer.telemetry.run_folder import open_run_folder, write_meta
from daddy_puffer.vector import VectorEnv

ROOT = Path(__file__).resolve().parents[1]


def load_benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fuzz_files = load_benchmark("fuzz_files")
PLAYS = ("save state", "registry", "recording", "ROM", "state.pt")  # kinds that take a game or a network


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fuzz_files.zip_bomb("")
    return fuzz_files.make_run(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("kind", fuzz_files.KINDS, ids=lambda kind: kind.name)
def test_a_mutated_file_is_loaded_refused_or_put_aside(kind: Any, real_run: Path) -> None:
    mutants = 14 if kind.name.startswith(PLAYS) or kind.name.endswith(PLAYS) else 60
    found = list(fuzz_files.fuzz(kind, real_run, [fuzz_files.CONTROL, *range(mutants)], fuzz_files.SECONDS))
    assert len(found) == mutants + 1 and found[0][2] == fuzz_files.LOADED
    fine = (fuzz_files.LOADED, fuzz_files.REFUSED, fuzz_files.ASIDE)
    assert [entry for entry in found if entry[2] not in fine] == []


def test_a_loader_that_fails_in_another_way_is_found_out(real_run: Path) -> None:
    """The checks above can fail: loaders that raise, hang, die or run what they read."""

    def unpickles(path: Path, _: Any) -> str:
        import pickle

        pickle.loads(path.read_bytes())
        return "loaded"

    def hangs(path: Path, _: Any) -> str:
        import time

        time.sleep(60)
        return "loaded"

    def dies(path: Path, _: Any) -> str:
        os.abort()

    pickled = (fuzz_files.pickled,)
    loaders = {unpickles: "code ran", hangs: "hang", dies: "process died"}
    for loader, outcome in loaders.items():
        kind = fuzz_files.Kind(name="bad", mutators=pickled, pattern="config.yaml", load=loader)
        assert [entry[2] for entry in fuzz_files.fuzz(kind, real_run, [1], 0.5)] == [outcome]
    kind = fuzz_files.Kind(name="bad", mutators=(fuzz_files.another_type,), pattern="config.yaml", load=unpickles)
    assert [entry[2] for entry in fuzz_files.fuzz(kind, real_run, [1], 5.0)] == ["exception"]


def test_a_run_that_is_killed_again_and_again_loses_nothing_but_an_interval() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/kill_resume.py"), "--kills", "2", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "while a checkpoint is written" in done.stdout and ", 0 wrong" in done.stdout


def test_a_full_disk_costs_a_warning_and_the_older_checkpoint_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(1000, save_interval=200)
    steps: list[tuple[str, int]] = []
    with VectorEnv([partial(FakeRed)] * ENVS) as env:
        run = trainer(settings, env, tmp_path).run(StopSignals())
        for record in run:
            if not isinstance(record, Event):
                continue
            steps.append((record.name, record.step))
            if record.name == "checkpoint" and len(steps) == 1:
                with disk_of(3000):  # neither a network nor the random generators fit into it
                    event = next(r for r in run if isinstance(r, Event))
                steps.append((event.name, event.step))
                assert find_checkpoint(tmp_path).name == f"step_{steps[0][1]}"
                assert load_checkpoint(find_checkpoint(tmp_path))["step"] == steps[0][1]
                assert sorted(os.listdir(tmp_path / "checkpoints")) == ["latest", f"step_{steps[0][1]}"]
    assert [name for name, _ in steps] == ["checkpoint", "no_checkpoint", *["checkpoint"] * 3, "stop"]
    assert steps[-1][1] >= 1000 and steps[4][1] == steps[5][1]  # training went on to its end, which is saved once
    (line,) = [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]
    assert "File too large; training goes on" in line and f"newest: {tmp_path}" in line


def test_a_disk_that_is_full_at_the_end_is_an_error(tmp_path: Path) -> None:
    with VectorEnv([partial(FakeRed)] * ENVS) as env:
        run = trainer(config(100), env, tmp_path).run(StopSignals())
        with (
            disk_of(3000),
            pytest.raises(UserError, match=r"step 100 cannot be written to .*: File too large; there is"),
        ):
            list(run)


def test_a_flipped_bit_in_a_checkpoint_is_seen(tmp_path: Path) -> None:
    """Torch would load the other number and say nothing."""
    path = save_checkpoint(tmp_path, 5, {"weight": torch.ones(1000)}, Config(), 3)
    data = bytearray((path / "state.pt").read_bytes())
    place = data.find(np.ones(100, np.float32).tobytes())
    assert place > 0
    data[place + 3] ^= 1
    (path / "state.pt").write_bytes(data)
    assert torch.load(path / "state.pt", weights_only=True)["weight"][0] != 1
    with pytest.raises(UserError, match="damaged or no checkpoint: take an older one"):
        load_checkpoint(path)


def hanging() -> bytes:
    """A save state with which the machine loops for ever: its clock of the screen, 64 bits, is damaged."""
    start, clock = packaged(PRACTICE_START).read_bytes(), 9138  # found by damaging one place after the other
    return start[:clock] + b"\xff" * 7 + b"\x7f" + start[clock + 8 :]


def test_a_state_with_which_the_machine_hangs_is_refused_and_the_game_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator_module, "PROBE_SECONDS", 1.0)
    emulator = Emulator(find_rom(""))
    emulator.load_state(packaged(PRACTICE_START).read_bytes())
    before = emulator.save_state()
    with pytest.raises(UserError, match="the machine crashes or hangs"):
        emulator.load_state(hanging())
    assert emulator.save_state() == before
    emulator.close()


def test_a_registry_with_a_hanging_state_out_of_the_future_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator_module, "PROBE_SECONDS", 1.0)
    left = curriculum(tmp_path)
    bad = left.registry.register(hanging(), facts(), CHAIN)
    left.close()
    sidecar = tmp_path / f"{bad.tag}.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "made": time.time() + 1e6}))
    env = curriculum(tmp_path, **{"curriculum.true_start_share": 0.0})
    _, info = env.reset(seed=1)
    env.step(np.int64(0))
    assert "hangs" in (tmp_path / f"quarantine/{bad.tag}.txt").read_text() and not info.get("savestate_tag")
    env.close()


def test_only_so_many_states_are_remembered_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator_module, "KNOWN_GOOD_STATES", 3)
    emulator = Emulator(find_rom(""))
    probes = []
    monkeypatch.setattr(emulator, "_runs", lambda: probes.append(1) or True)
    states = []
    for _ in range(4):
        emulator.wait(1)
        states.append(emulator.save_state())
    for state in states[::-1]:
        emulator.load_state(state)
    assert len(probes) == 1 and len(emulator._known_good) == 3  # the oldest had to be tried
    emulator.close()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("replay/rows/action", lambda old: np.full_like(old, 200), "action 200 of 7"),
        ("replay/rows/count", lambda old: old - 10_000, "-[0-9]+ rows"),
        ("replay/rows/history", lambda old: np.full_like(old, 9), "history of environment 0 is wrong"),
        ("replay/rng", lambda old: old[:-1], "JSONDecodeError"),
        ("replay/layout", lambda old: None, "begins empty.*another replay.kind"),
        ("replay/states", lambda old: old[..., :-1], "begins empty.*states is float32"),
        ("episodes/moment/state", lambda old: old[:, :-1], "new episodes begin.*state is float32"),
        ("episodes/moment/vector_steps", lambda old: None, "new episodes begin.*vector_steps"),
        ("episodes/games/ended", lambda old: old[:1], "new episodes begin.*1 environments"),
        ("episodes/sums/_total", lambda old: old[:1], "new episodes begin.*_total is float64 .1., this run has"),
        ("episodes/progress/_bits", lambda old: old[:, :3], "new episodes begin.*_bits"),
        ("episodes/moment/env_ids", lambda old: old + 1, "new episodes begin.*environments .1, 2."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_forged_replay_is_refused_in_one_line_or_begins_anew(
    real_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: Any, said: str
) -> None:
    folder = tmp_path / "step_400"
    shutil.copytree(find_checkpoint(real_run), folder)
    arrays = fuzz_files.numpy_arrays((folder / "replay.npz").read_bytes())
    changed = value(arrays.pop(name))
    (folder / "replay.npz").write_bytes(fuzz_files.npz_of(arrays | ({} if changed is None else {name: changed})))
    reader = fuzz_files._trainer(tmp_path)
    try:
        reader.resume(folder)
        assert reader._begin().batch.first.all()
        message = caplog.text
    except UserError as error:
        message = str(error)
        assert "\n" not in message and "replay.npz is damaged" in message and "delete it" in message
    assert re.search(said, message), message
    reader.env.close()


YAML_BOMBS = {
    "deep": "[" * 100_000,
    "wide": "x: &a [1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "\n".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '*a'] * 9)}]" for n in range(9)),
    "in itself": "env: &a {gb_path: *a}",
    "long": "# " + "x" * 300_000,
    "code": "!!python/object/apply:os.mkdir [marker]",
    "no number": "train: {seed: 2024-13-45}",
    "too long a number": f"train: {{max_seconds: {'9' * 400}}}",
    "no text": "\udcff",
}


@pytest.mark.parametrize("text", YAML_BOMBS.values(), ids=YAML_BOMBS)
def test_a_hostile_configuration_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_aliases_of_a_usual_size_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train: {seed: &n 3, num_envs: *n, num_workers: *n}\n")
    assert load_config(path).train.num_envs == 3


def test_an_archive_is_not_unpacked_beyond_its_limit() -> None:
    bomb = fuzz_files.zip_bomb("actions.npy")
    assert len(bomb) < 1 << 20
    with pytest.raises(ValueError, match="unpacks to 3145.* are allowed"):
        read_archive(bomb)


@pytest.mark.parametrize(
    "change",
    [{"waits": [-1]}, {"waits": [2**31 - 1]}, {"lengths": [5, -2], "waits": [1, 1]}, {"actions": [1.0, 2.0, 3.0]},
     {"visited": [[1, 2]]}],
    ids=str,
)  # fmt: skip
def test_a_way_that_no_replay_could_go_is_refused(change: dict[str, Any]) -> None:
    arrays = {name: getattr(CHAIN, name) for name in Chain.__slots__}
    like = {name: None if name == "actions" else array.dtype for name, array in arrays.items()}
    changed = {**arrays, **{name: np.array(value, like[name]) for name, value in change.items()}}
    with pytest.raises(ValueError, match="no actions|segment"):
        Chain.from_bytes(fuzz_files.npz_of(changed))


@pytest.mark.parametrize(
    "change", [{"size": 10**15}, {"size": 0}, {"made": float("nan")}, {"milestones": [1]}, {"map_id": 10**400}], ids=str
)
def test_a_sidecar_that_lies_harms_nobody_else(tmp_path: Path, change: dict[str, Any]) -> None:
    mine = registry(tmp_path)
    good, bad = mine.register(STATE, facts("a"), CHAIN), mine.register(STATE, facts("b"), CHAIN)
    sidecar = tmp_path / f"{bad.tag}.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **change}))
    other = registry(tmp_path)
    other.refresh(force=True)
    third = other.register(STATE, facts("c"), CHAIN)
    assert other.states() == [good, third] == fresh(tmp_path)
    assert (tmp_path / f"quarantine/{bad.tag}.txt").is_file()


@pytest.mark.parametrize("count", ["-3", "1e999", "NaN", "9" * 400, "1.5", '"7"'])
def test_a_count_that_cannot_be_is_not_counted(tmp_path: Path, count: str) -> None:
    (tmp_path / "host_1_ab.jsonl").write_text(f'{{"seen": {{"a": {count}}}}}\n{{"seen": {{"a": 1}}}}\n')
    assert Outcomes(tmp_path).read().seen["a"] == 1


def test_damaged_tables_are_put_aside_and_what_can_be_read_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for sink in (sinks := file_sinks(tmp_path)):
        for record in records(range(1, 9)):
            sink.take(record)
        sink.close()
    assert len(sinks) == 5
    for name, damage in (
        ("episodes.csv", b"\n\xff\0,x\n"),
        ("progress.csv", b"nan,Boulder\n"),
        ("events.jsonl", b"[7]\n"),
    ):
        lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
        (tmp_path / name).write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
    (shard,) = (tmp_path / "steps").iterdir()
    shard.write_bytes(shard.read_bytes()[:-40])
    for sink in file_sinks(tmp_path, 8):
        if type(sink).__name__ == "ProgressCsv":
            sink.take(believed(9))
        sink.close()
    found = written(tmp_path)
    assert found["episodes"] == found["events"] == found["metrics"] == list(range(1, 9))
    assert found["progress"] == list(range(1, 10)) and found["steps"] == []
    aside = sorted(path.name for path in tmp_path.rglob("*.damaged"))
    assert aside == sorted(
        [shard.name + ".damaged", *(f"{n}.damaged" for n in ("episodes.csv", "events.jsonl", "progress.csv"))]
    )
    assert caplog.text.count("put aside") == 4
    file_sinks(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.rglob("*.damaged")) == aside  # it stays


def test_a_half_written_last_line_is_no_damage(tmp_path: Path) -> None:
    for sink in file_sinks(tmp_path):
        for record in records(range(1, 5)):
            sink.take(record)
        sink.close()
    for name in ("episodes.csv", "progress.csv", "metrics.csv", "events.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write('{"ev' if name.endswith("l") else "9,1")
    for sink in file_sinks(tmp_path, 4):
        sink.close()
    assert not list(tmp_path.rglob("*.damaged")) and written(tmp_path)["episodes"] == [1, 2, 3, 4]


def test_a_damaged_meta_json_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"started": ')
    write_meta(tmp_path, steps=3)
    assert json.loads((tmp_path / "meta.json").read_text())["steps"] == 3
    assert (tmp_path / "meta.json.damaged").read_text() == '{"started": '


def test_what_a_killed_session_left_under_temporary_names_goes(tmp_path: Path) -> None:
    old, young = tmp_path / "recordings/a.npz.tmp", tmp_path / "savestates/b.state.tmp"
    for path in (old, young):
        path.parent.mkdir()
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    open_run_folder(tmp_path, Config())
    assert not old.exists() and young.exists()


def test_a_run_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file stands where the folder should be")
    with pytest.raises(UserError, match="run cannot be written to: "):
        open_run_folder(tmp_path / "run", Config())


def test_a_checkpoint_of_other_things_is_refused_before_training(tmp_path: Path) -> None:
    with VectorEnv([partial(FakeRed)] * ENVS) as env:
        made = trainer(config(100), env, tmp_path)
        list(made.run(StopSignals()))
        state = load_checkpoint(made.checkpoint)
        for changed in ({"counters": {"steps": -5}}, {"counters": {}, "rng": None}, {"owed_rows": "x"}, {"learner": 3}):
            path = save_checkpoint(tmp_path / "other", 1, {**state, **changed}, replace(config(100)), 3)
            with pytest.raises(UserError, match="damaged, or was written with other settings|holds another network"):
                trainer(config(100), env, tmp_path).resume(path)


def test_saved_settings_are_not_changed_by_the_size_check(tmp_path: Path) -> None:
    save_config(Config(), tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == Config()
