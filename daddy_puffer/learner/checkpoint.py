"""Checkpoints: one folder `step_<N>` each, complete or not there at all.

In: a tree of tensors, numbers and strings. Out: the same tree. A folder is written aside, synced and renamed, the link
`latest` is replaced in one step, all but the newest few are deleted. When the disk is full what was begun is removed,
and the older ones stay as they are. Read back with `weights_only=True`, so that a file from elsewhere cannot run code,
after its checksums were compared: torch itself does not look at them.

What is large and of use for going on only, the replay, is a file of its own; the newest checkpoint alone has one.
"""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daddy_puffer.arrays import Arrays
from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.files import check_stored, read_archive, write_archive

STATE_FILE = "state.pt"
CONFIG_FILE = "config.yaml"
REPLAY_FILE = "replay.npz"
LARGEST_REPLAY = 1 << 36  # bytes that it may unpack to
LATEST = "latest"
FORMAT = 1


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], config: Config, keep: int, replay: Arrays | None = None
) -> Path:
    """Write `folder/step_<step>`, point `latest` at it, keep the newest `keep`; returns the new folder.

    No older one keeps its replay.

    Raises:
        OSError: the disk is full or gone; the checkpoints are as before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".*.tmp"):  # left by a killed run
        _remove(stale)
    final = folder / f"step_{step}"
    temporary = folder / f".{final.name}.tmp"
    try:
        _write(temporary, {"format": FORMAT, "step": step, **state}, config, replay)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk has no room for half a checkpoint
        raise
    if final.exists():  # a rename does not replace a folder with files in it; without it there may be no checkpoint
        (final / REPLAY_FILE).unlink(missing_ok=True)  # first of all: it does not belong to the new state
        for name in (CONFIG_FILE, STATE_FILE, *([] if replay is None else [REPLAY_FILE])):
            (temporary / name).replace(final / name)
        _sync(final)
        temporary.rmdir()
    else:
        temporary.rename(final)
    link = folder / f".{LATEST}.tmp"
    link.symlink_to(final.name)
    link.replace(folder / LATEST)
    _sync(folder)
    kept = by_step(folder)
    for other in kept:
        if other != final:
            (other / REPLAY_FILE).unlink(missing_ok=True)
    for old in kept[:-keep]:
        if old != final:
            _remove(_aside(old))
    return final


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder meant by `path`: itself, a run folder's latest, or a `checkpoints` folder's latest.

    Raises:
        UserError: there is none.
    """
    for candidate in (path, path / LATEST, path / "checkpoints" / LATEST):
        if (candidate / STATE_FILE).is_file():
            return candidate.resolve()
    for folder in (path, path / "checkpoints"):  # the link is missing, the folders may be there
        if folder.is_dir() and (found := by_step(folder)):
            return found[-1].resolve()
    raise UserError(f"no checkpoint in {path}: give a run folder, its checkpoints/step_<N>, or train first")


def by_step(folder: Path) -> list[Path]:
    """The complete ones in a `checkpoints` folder, oldest first."""
    found = [path for path in folder.glob("step_*") if path.name[5:].isdigit() and (path / STATE_FILE).is_file()]
    return sorted(found, key=step_in_name)


def step_in_name(path: Path) -> int:
    """N of a folder `step_<N>`."""
    return int(path.name.removeprefix("step_"))


def checkpoint_step(path: Path) -> int:
    """Environment steps that checkpoint folder `path` was written after."""
    return int(load_checkpoint(path)["step"])


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The state kept in checkpoint folder `path`.

    Raises:
        UserError: missing, damaged, or of another format.
    """
    file = path / STATE_FILE
    try:
        check_stored(file)
        state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: is {path} a checkpoint folder?") from error
    except Exception as error:  # damage makes torch and zipfile raise nearly anything
        raise UserError(f"{file} is damaged or no checkpoint: take an older one of {path.parent}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("step"), int):
        raise UserError(f"{file} is no checkpoint of format {FORMAT}: it was written by another version")
    return state


def load_replay(path: Path) -> Arrays | None:
    """What `save_checkpoint` was given as replay of checkpoint folder `path`, if it is there.

    Raises:
        UserError: it is damaged.
    """
    file = path / REPLAY_FILE
    if not file.exists():
        return None
    try:
        return read_archive(file.read_bytes(), LARGEST_REPLAY)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def load_checkpoint_config(path: Path) -> Config:
    """The configuration that the checkpoint in folder `path` was trained with."""
    return load_config(path / CONFIG_FILE)


def rng_state() -> dict[str, Any]:
    """The state of the global random generators; learner and replay keep their own."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": list(random.getstate()[1]),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
    }
    if torch.cuda.is_initialized():  # a run on the CPU leaves the GPUs alone
        state["cuda"] = [torch.cuda.get_rng_state()]
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `rng_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate((random.getstate()[0], tuple(state["python"]), None))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())


def to_tensors(tree: Any) -> Any:
    """A tree of dicts and lists with its numpy arrays as tensors, which is what a checkpoint may hold."""
    if isinstance(tree, dict):
        return {key: to_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [to_tensors(value) for value in tree]
    return torch.from_numpy(tree.copy()) if isinstance(tree, np.ndarray) else tree


def restore_learner(load: Callable[[dict[str, Any]], None], path: Path) -> dict[str, Any]:
    """Hand the learner's part of checkpoint folder `path` to `load`; returns all that the checkpoint says.

    Raises:
        UserError: there is none, it is damaged, or of a network with another shape.
    """
    state = load_checkpoint(path)
    try:
        load(state["learner"])
    except Exception as error:  # torch raises nearly anything over what it did not write
        raise UserError(
            f"{path} holds another network: it needs the policy settings, and the version, that it was made with"
        ) from error
    return state


def to_arrays(tree: Any) -> Any:
    """The inverse of `to_tensors`."""
    if isinstance(tree, dict):
        return {key: to_arrays(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [to_arrays(value) for value in tree]
    return tree.cpu().numpy() if isinstance(tree, torch.Tensor) else tree


def _write(folder: Path, state: dict[str, Any], config: Config, replay: Arrays | None) -> None:
    """Make the folder with its files, on disk on return."""
    whole = io.BytesIO()  # torch's own writer says of a full disk only that a position is not what it expected
    torch.save(state, whole)
    folder.mkdir()
    with (folder / STATE_FILE).open("wb") as file:
        file.write(whole.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    save_config(config, folder / CONFIG_FILE)
    _sync(folder / CONFIG_FILE)
    if replay is not None:
        write_archive(folder / REPLAY_FILE, replay)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aside(checkpoint: Path) -> Path:
    """Rename what is to be removed: killed in the middle of that, it would be a checkpoint that lacks a file."""
    return checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.old.tmp"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
