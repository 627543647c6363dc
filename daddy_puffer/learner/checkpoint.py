"""Checkpoints: one folder `step_<N>` each, complete or not there at all.

In: a tree of tensors, numbers and strings. Out: the same tree. A folder is written aside and renamed, the link
`latest` is replaced in one step, all but the newest few are deleted. Read back with `weights_only=True`, so that
a file from elsewhere cannot run code.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError

STATE_FILE = "state.pt"
CONFIG_FILE = "config.yaml"
LATEST = "latest"
FORMAT = 1


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], config: Config, keep: int) -> Path:
    """Write `folder/step_<step>`, point `latest` at it, keep the newest `keep`; returns the new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".*.tmp"):  # left by a killed run
        _remove(stale)
    final = folder / f"step_{step}"
    temporary = folder / f".{final.name}.tmp"
    temporary.mkdir()
    with (temporary / STATE_FILE).open("wb") as file:
        torch.save({"format": FORMAT, "step": step, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    save_config(config, temporary / CONFIG_FILE)
    if final.exists():  # a rename does not replace a folder with files in it
        discarded = folder / f".{final.name}.old.tmp"
        final.rename(discarded)
        temporary.rename(final)
        _remove(discarded)
    else:
        temporary.rename(final)
    link = folder / f".{LATEST}.tmp"
    link.symlink_to(final.name)
    link.replace(folder / LATEST)
    for old in _by_step(folder)[:-keep]:
        if old != final:
            _remove(old)
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
        if folder.is_dir() and (found := _by_step(folder)):
            return found[-1].resolve()
    raise UserError(f"no checkpoint in {path}: give a run folder, its checkpoints/step_<N>, or train first")


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
        state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: is {path} a checkpoint folder?") from error
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} is damaged or no checkpoint: take an older one of {path.parent}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{file} is no checkpoint of format {FORMAT}: it was written by another version")
    return state


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
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `rng_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate((random.getstate()[0], tuple(state["python"]), None))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([row.cpu() for row in state["cuda"]])


def to_tensors(tree: Any) -> Any:
    """A tree of dicts and lists with its numpy arrays as tensors, which is what a checkpoint may hold."""
    if isinstance(tree, dict):
        return {key: to_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [to_tensors(value) for value in tree]
    return torch.from_numpy(tree.copy()) if isinstance(tree, np.ndarray) else tree


def to_arrays(tree: Any) -> Any:
    """The inverse of `to_tensors`."""
    if isinstance(tree, dict):
        return {key: to_arrays(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [to_arrays(value) for value in tree]
    return tree.cpu().numpy() if isinstance(tree, torch.Tensor) else tree


def _by_step(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [path for path in folder.glob("step_*") if path.name[5:].isdigit() and (path / STATE_FILE).is_file()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
