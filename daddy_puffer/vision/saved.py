"""Files of networks: whole or not there, read without running anything, named when damaged.

In: a tree of tensors, numbers and texts. Out: the same tree.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from daddy_puffer.errors import UserError
from daddy_puffer.files import check_stored, replacing

FORMAT = 1


def save(path: Path, kind: str, state: dict[str, Any]) -> Path:
    """Write what a network is.

    Raises:
        UserError: the disk is full; the file is as before.
    """
    whole = io.BytesIO()
    torch.save({"format": FORMAT, "kind": kind, **state}, whole)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(whole.getbuffer())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def find_saved(path: Path, name: str) -> Path:
    """The file `path`, or the one called `name` in folder `path`.

    Raises:
        UserError: there is none.
    """
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"no {name} at {path}: give a folder of `daddy-puffer pretrain`, or the file")
    return file


def load_saved(file: Path, kind: str, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        UserError: it is damaged, something else, or of another version.
    """
    try:
        check_stored(file)
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # damage makes torch and zipfile raise nearly anything
        raise UserError(f"{file} is damaged, or no file of `daddy-puffer pretrain`") from error
    said = [state.get(key) for key in ("format", "kind")] if isinstance(state, dict) else []
    if any(isinstance(value, torch.Tensor) for value in said) or said != [FORMAT, kind]:
        raise UserError(f"{file} is no {kind} of format {FORMAT}")
    return state
