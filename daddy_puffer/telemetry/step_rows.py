"""`steps/`: sampled steps of all environments, column by column. In: `StepRows`. Out: `steps/<first step>.npz` files.

A file holds about `ROWS` rows; what is left is written at every checkpoint and at the end. Read them with
`numpy.load(path)`: its columns are those of `StepRows`; `watched` names the milestones of the last two.
"""

from __future__ import annotations

import io
import logging
from dataclasses import fields
from pathlib import Path

import numpy as np

from daddy_puffer.files import DAMAGED, put_aside, read_archive, replacing
from daddy_puffer.telemetry.records import StepRows
from daddy_puffer.telemetry.sinks import Sink
from daddy_puffer.types import Array

_log = logging.getLogger(__name__)

ROWS = 8192
COLUMNS = tuple(field.name for field in fields(StepRows))


class StepShards(Sink):
    """Sampled steps of a run."""

    def __init__(self, folder: Path, watched: list[str], resume_step: int | None = None):
        """Write to `folder`; `resume_step` keeps the rows up to there, None starts anew."""
        self._folder, self._watched = folder, np.array(watched, dtype=np.str_)
        self._rows: list[StepRows] = []
        self._count = 0
        for path in sorted(folder.glob("*")):
            if resume_step is None or path.suffix not in (".npz", DAMAGED):
                path.unlink()
            elif path.suffix == ".npz":
                self._cut(path, resume_step)

    def steps(self, rows: StepRows) -> None:
        """Keep them until there are enough for a file; when it cannot be written they are kept for the next time."""
        self._rows.append(rows)
        self._count += len(rows.env_id)
        if self._count >= ROWS:
            try:
                self.flush()
            except OSError:
                self._count -= len(self._rows.pop().env_id)  # it will be handed over once more
                raise

    def flush(self) -> None:
        """Write what there is."""
        if not self._rows:
            return
        columns = {name: np.concatenate([getattr(rows, name) for rows in self._rows]) for name in COLUMNS}
        self._folder.mkdir(exist_ok=True)
        self._write(self._folder / f"{columns['step_global'][0]:012d}.npz", columns)
        self._rows, self._count = [], 0

    def close(self) -> None:
        """Write the rest."""
        self.flush()

    def _cut(self, path: Path, resume_step: int) -> None:
        """Drop the rows after `resume_step`."""
        try:
            columns = _read(path)
        except ValueError as error:
            _log.warning("%s is put aside as %s: %s", path, put_aside(path).name, error)
            return
        kept = columns["step_global"] <= resume_step
        if not kept.any():
            path.unlink()
        elif not kept.all():
            watched = columns.pop("watched")
            self._write(path, {name: column[kept] for name, column in columns.items()}, watched)

    def _write(self, path: Path, columns: dict[str, Array], watched: Array | None = None) -> None:
        whole = io.BytesIO()
        np.savez_compressed(whole, watched=self._watched if watched is None else watched, **columns)
        with replacing(path) as temporary:
            temporary.write_bytes(whole.getvalue())


def _read(path: Path) -> dict[str, Array]:
    """The columns of one file, and `watched`.

    Raises:
        ValueError: it is damaged.
    """
    columns = read_archive(path.read_bytes())
    if missing := {*COLUMNS, "watched"} - columns.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if len({column.shape[:1] for name, column in columns.items() if name != "watched"}) != 1:
        raise ValueError("its columns are not of one length")
    step = columns["step_global"]
    if step.ndim != 1 or not np.issubdtype(step.dtype, np.integer):
        raise ValueError("its steps are no whole numbers")
    return columns
