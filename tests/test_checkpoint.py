"""Checkpoints are whole or absent, read without running code, and put the random generators back."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daddy_puffer.config import Config, TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import (
    find_checkpoint,
    load_checkpoint,
    load_checkpoint_config,
    rng_state,
    save_checkpoint,
    set_rng_state,
    to_arrays,
    to_tensors,
)

CONFIG = Config(train=TrainConfig(seed=11))


def save(folder: Path, step: int, keep: int = 3, **state: object) -> Path:
    return save_checkpoint(folder, step, dict(state), CONFIG, keep)


def test_round_trip_of_tensors_numbers_and_config(tmp_path: Path):
    path = save(tmp_path, 40, weight=torch.arange(6.0).reshape(2, 3), counters={"steps": 40}, name="x")
    state = load_checkpoint(path)
    assert torch.equal(state["weight"], torch.arange(6.0).reshape(2, 3))
    assert state["counters"] == {"steps": 40} and state["name"] == "x" and state["step"] == 40
    assert load_checkpoint_config(path) == CONFIG


def test_random_generators_go_on_where_they_were(tmp_path: Path):
    path = save(tmp_path, 1, rng=rng_state())
    expected = (np.random.random(), torch.rand(2).tolist(), random.random())
    set_rng_state(load_checkpoint(path)["rng"])
    assert (np.random.random(), torch.rand(2).tolist(), random.random()) == expected


def test_a_run_on_the_cpu_leaves_gpus_alone(monkeypatch: pytest.MonkeyPatch):
    def touched(*_: object) -> None:
        raise AssertionError("a GPU was initialised")

    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    state = rng_state()
    assert "cuda" not in state
    set_rng_state({**state, "cuda": [torch.zeros(16, dtype=torch.uint8)]})  # of a run on a GPU


def test_generators_of_more_gpus_than_there_are_now_are_no_error(monkeypatch: pytest.MonkeyPatch):
    """As an older checkpoint holds them: of all that were to be seen; the one in use is the first."""
    gpus = [torch.zeros(16, dtype=torch.uint8)]

    def put(state: torch.Tensor, device: int | str = "cuda") -> None:
        gpus[0 if device == "cuda" else int(device)][:] = state

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: gpus[0].clone())
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [gpu.clone() for gpu in gpus])
    monkeypatch.setattr(torch.cuda, "set_rng_state", put)
    state = rng_state()
    set_rng_state({**state, "cuda": [torch.full((16,), n, dtype=torch.uint8) for n in (3, 4)]})
    assert gpus[0].tolist() == [3] * 16
    set_rng_state(state)
    assert gpus[0].tolist() == [0] * 16


def test_latest_points_at_the_newest_and_old_ones_go(tmp_path: Path):
    for step in (5, 10, 100, 20):
        save(tmp_path, step, keep=2)
        assert (tmp_path / "latest").resolve().name == f"step_{step}"
    assert sorted(p.name for p in tmp_path.glob("step_*")) == ["step_100", "step_20"]
    assert not [p for p in os.listdir(tmp_path) if p.startswith(".")]


def test_same_step_may_be_written_again(tmp_path: Path):
    save(tmp_path, 5, value=1)
    assert load_checkpoint(save(tmp_path, 5, value=2))["value"] == 2


class Killed(BaseException):
    """Nothing runs after it."""


def test_killed_at_any_moment_of_writing_a_step_again_there_is_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The only one; killed before and after each change of the folder."""
    changes = ("rename", "replace", "unlink", "rmdir", "symlink", "mkdir")
    lived = 0
    for moment in range(100):
        folder = tmp_path / str(moment)
        save(folder, 5, value=1)
        left = [moment]

        def dying(real: Any, left: list[int] = left) -> Any:
            def change(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*arguments, **options)

            return change

        with monkeypatch.context() as patch:
            for name in changes:
                patch.setattr(os, name, dying(getattr(os, name)))
            patch.setattr("shutil.rmtree", dying(shutil.rmtree))
            try:
                save(folder, 5, value=2)
            except Killed:
                lived += 1
        found = find_checkpoint(folder)
        assert load_checkpoint(found)["value"] in (1, 2) and load_checkpoint_config(found) == CONFIG
        save(folder, 6, keep=1, value=3)
        assert sorted(os.listdir(folder)) == ["latest", "step_6"]
        if left[0] >= 0:
            break
    assert lived > 4, "the folder was changed so often"


def test_failed_write_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 5, value=1)

    def half_a_write(tree: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half_a_write)
        with pytest.raises(OSError, match="disk is full"):
            save(tmp_path, 6)
    assert find_checkpoint(tmp_path).name == "step_5"
    assert not (tmp_path / "step_6").exists()
    save(tmp_path, 7)
    assert sorted(os.listdir(tmp_path)) == ["latest", "step_5", "step_7"]  # the half-written folder is gone


def test_checkpoint_is_found_from_run_folder_checkpoint_or_link(tmp_path: Path):
    run = tmp_path / "run"
    path = save(run / "checkpoints", 5)
    for given in (run, run / "checkpoints", run / "checkpoints" / "latest", path):
        assert find_checkpoint(given) == path.resolve()
    (run / "checkpoints" / "latest").unlink()
    assert find_checkpoint(run) == path.resolve()


DAMAGED = {"empty": b"", "text": b"not a checkpoint", "pickle": pickle.dumps({"format": 1})}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_is_a_user_error(tmp_path: Path, content: bytes):
    path = save(tmp_path, 5)
    (path / "state.pt").write_bytes(content)
    with pytest.raises(UserError, match="damaged or no checkpoint|no checkpoint of format"):
        load_checkpoint(path)


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o777)


def test_a_checkpoint_cannot_run_code(tmp_path: Path):
    path = save(tmp_path / "run", 5)
    torch.save({"format": 1, "bomb": Bomb(tmp_path / "ran")}, path / "state.pt")
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_missing_checkpoint_says_what_to_do(tmp_path: Path):
    with pytest.raises(UserError, match="no checkpoint in .*: give a run folder"):
        find_checkpoint(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path)


def test_trees_of_arrays_come_back_from_a_checkpoint(tmp_path: Path):
    tree = {"rows": [np.arange(3.0), np.zeros((2, 0), np.float32)], "deep": {"counts": np.array([7])}, "n": 3}
    kept = to_arrays(load_checkpoint(save(tmp_path, 1, tree=to_tensors(tree)))["tree"])
    assert kept["n"] == 3
    for mine, other in zip(
        [*tree["rows"], tree["deep"]["counts"]], [*kept["rows"], kept["deep"]["counts"]], strict=True
    ):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype and not np.shares_memory(mine, other)


def test_killed_while_an_old_one_is_removed_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 1, {}, Config(), keep=1)

    def half(path: Path, **_: object) -> None:
        (path / "state.pt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", half)
        save_checkpoint(tmp_path, 2, {}, Config(), keep=1)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["latest", "step_2"]
    save_checkpoint(tmp_path, 3, {}, Config(), keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_3"], "and goes with the next one"
