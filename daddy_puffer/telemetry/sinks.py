"""Where records go: CSV, JSON lines, TensorBoard, Weights & Biases. In: records. Out: files of the run folder.

Text files are written line by line, so that a killed run leaves whole lines. A run that goes on from a checkpoint
first drops the rows after it, so that no step is there twice. The console and `steps/` have their own files, console.py
and step_rows.py; writer.py hands the records over.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from daddy_puffer.files import put_aside, replacing
from daddy_puffer.telemetry.lines import LineFile, csv_line
from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval, ProgressRow, Record, StepRows

_log = logging.getLogger(__name__)


class Sink:
    """Takes records; a sink overrides what it cares for.

    When it raises OSError it must be able to take the same record once more, as if nothing had been.
    """

    waits = False  # for something that takes its time: the end of a run then waits as well

    def take(self, record: Record) -> None:
        """Take a record of any kind."""
        if isinstance(record, Interval):
            self.interval(record)
        elif isinstance(record, EpisodeRecord):
            self.episode(record)
        elif isinstance(record, ProgressRow):
            self.progress(record)
        elif isinstance(record, StepRows):
            self.steps(record)
        else:
            self.event(record)

    def interval(self, interval: Interval) -> None:
        """Take one interval's measurements."""

    def episode(self, episode: EpisodeRecord) -> None:
        """Take one finished episode."""

    def event(self, event: Event) -> None:
        """Take one event."""

    def progress(self, row: ProgressRow) -> None:
        """Take what is believed of one milestone."""

    def steps(self, rows: StepRows) -> None:
        """Take one sampled step."""

    def flush(self) -> None:
        """Write what has been kept back."""

    def close(self) -> None:
        """Flush and close."""


class EpisodeCsv(Sink):
    """`episodes.csv`: one row an episode."""

    COLUMNS = tuple(field.name for field in fields(EpisodeRecord))

    def __init__(self, path: Path, resume_step: int | None = None):
        """Open `path`; `resume_step` keeps the rows up to there, None starts anew."""
        _start_csv(path, self.COLUMNS, "end_step_global", resume_step)
        self._file = LineFile(path)

    def episode(self, episode: EpisodeRecord) -> None:
        """Write one row; flags as 0 and 1, floats short."""
        self._file.write(csv_line(asdict(episode).values()))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsCsv(Sink):
    """`metrics.csv`: one row an interval, one column a metric; a metric that comes later adds its column."""

    def __init__(self, path: Path, resume_step: int | None = None):
        """Open `path`; `resume_step` keeps the rows up to there, None starts anew."""
        self._path = path
        _start_csv(path, ("step",), "step", resume_step)
        self._columns = tuple(next(csv.reader(_read_text(path).splitlines())))

    def interval(self, interval: Interval) -> None:
        """Write one row."""
        values: dict[str, float] = {"step": interval.step, **interval.values()}
        new = tuple(name for name in values if name not in self._columns)
        if new:
            _write_csv(self._path, self._columns + new, _read_rows(self._path))
            self._columns += new
        file = LineFile(self._path)
        try:
            file.write(csv_line(values.get(name, "") for name in self._columns))
        finally:
            file.close()


class ProgressCsv(Sink):
    """`progress.csv`: what is believed about each milestone, one row a milestone and interval."""

    COLUMNS = tuple(field.name for field in fields(ProgressRow))

    def __init__(self, path: Path, resume_step: int | None = None):
        """Open `path`; `resume_step` keeps the rows up to there, None starts anew."""
        _start_csv(path, self.COLUMNS, "step", resume_step)
        self._file = LineFile(path)

    def progress(self, row: ProgressRow) -> None:
        """Write one row."""
        self._file.write(csv_line(asdict(row).values()))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines(Sink):
    """`events.jsonl`: everything but sampled steps, one JSON object a line with `event` and `step`."""

    def __init__(self, path: Path, resume_step: int | None = None):
        """Open `path`; `resume_step` keeps the lines up to there, None starts anew."""
        kept: list[str] = []
        if resume_step is not None and path.exists():
            lines = [(line, _json_step(line)) for line in _read_text(path).splitlines()]
            if any(step == math.inf for _, step in lines[:-1]):
                _keep_damaged(path)
            kept = [line for line, step in lines if step <= resume_step]
        _replace_text(path, "".join(line + "\n" for line in kept))
        self._file = LineFile(path)

    def interval(self, interval: Interval) -> None:
        """Write the measurements; what is no number becomes null."""
        self._write("interval", interval.step, interval.values())

    def episode(self, episode: EpisodeRecord) -> None:
        """Write the episode."""
        self._write("episode", episode.end_step_global, asdict(episode))

    def event(self, event: Event) -> None:
        """Write the event."""
        self._write(event.name, event.step, event.details)

    def progress(self, row: ProgressRow) -> None:
        """Write what is believed of a milestone."""
        self._write("progress", row.step, asdict(row))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, name: str, step: int, details: dict[str, Any]) -> None:
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in details.items()}
        self._file.write(json.dumps({"event": name, "step": step, **clean}, default=str) + "\n")


class TensorBoard(Sink):
    """Event files in `tb/`. What its own thread has not written when the disk is full is lost."""

    def __init__(self, folder: Path, resume_step: int | None = None):
        """Open a writer; it hides what was written later than `resume_step`, everything if that is None."""
        self._folder = folder
        # a new run begins with a mark as well: TensorBoard hides nothing for the first that it meets
        self._writer: Any = self._open(0 if resume_step is None else resume_step + 1)

    def interval(self, interval: Interval) -> None:
        """Write every scalar."""
        self._add({scalar.name: scalar.value for scalar in interval.scalars}, interval.step)

    def episode(self, episode: EpisodeRecord) -> None:
        """Write its numbers as scalars, the rest as text."""
        self._add(_of_episode(episode), episode.end_step_global)

    def progress(self, row: ProgressRow) -> None:
        """Write what is believed of a milestone."""
        self._add(_by_milestone(row), row.step)

    def flush(self) -> None:
        """Hand over what the writer keeps."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError:
            self._writer = None
            raise

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, purge_step: int | None = None) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        return SummaryWriter(str(self._folder), purge_step=purge_step)

    def _add(self, values: Mapping[str, float | str], step: int) -> None:
        try:
            self._writer = self._writer or self._open()
            for name, value in values.items():
                if isinstance(value, str):
                    self._writer.add_text(name, value, step)
                else:
                    self._writer.add_scalar(name, value, step)
        except OSError:
            self._writer = None  # it cannot be used again: another file at the next attempt
            raise


class WeightsAndBiases(Sink):
    """A wandb run kept in the run folder; `WANDB_MODE=offline` needs no network.

    Environment steps are a value, `step`, that charts have as their axis: wandb's own steps only rise and would not
    take the rows of a run that goes on from an older checkpoint. What was logged after that checkpoint stays there.
    """

    def __init__(
        self, folder: Path, project: str, name: str, config: dict[str, Any], resume_step: int | None = None
    ) -> None:
        """Start a run shown as `name`; with `resume_step` go on with that of this folder, if it has one."""
        import wandb  # slow to import

        self._run = wandb.init(
            project=project,
            name=name,
            id=_wandb_id(folder / "wandb" / "run_id", resume_step),
            resume=None if resume_step is None else "allow",
            dir=str(folder),
            config=config,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def interval(self, interval: Interval) -> None:
        """Log every scalar."""
        self._log(interval.step, interval.values())

    def episode(self, episode: EpisodeRecord) -> None:
        """Log all fields, those that are text too."""
        self._log(episode.end_step_global, _of_episode(episode))

    def progress(self, row: ProgressRow) -> None:
        """Log what is believed of a milestone."""
        self._log(row.step, _by_milestone(row))

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()

    def _log(self, step: int, values: Mapping[str, float | str]) -> None:
        self._run.log({"step": step, **values})


def _wandb_id(path: Path, resume_step: int | None) -> str:
    """What wandb knows the run by: random, since a name may come again when its folder is gone."""
    noted = _read_text(path).strip() if resume_step is not None and path.exists() else ""
    if re.fullmatch("[0-9a-f]{16}", noted):
        return noted
    path.parent.mkdir(exist_ok=True)
    new = secrets.token_hex(8)
    _replace_text(path, new + "\n")
    return new


def _of_episode(episode: EpisodeRecord) -> dict[str, float | str]:
    """Its fields; flags as 0 and 1."""
    values = asdict(episode).items()
    return {f"episode/{name}": value if isinstance(value, str) else float(value) for name, value in values}


def _by_milestone(row: ProgressRow) -> dict[str, float]:
    names = ("alpha", "beta", "mean", "lower", "upper")
    values = {f"posterior_{name}/{row.milestone}": getattr(row, name) for name in names}
    return {**values, f"alarm_score/{row.milestone}": row.alarm_score}


def _start_csv(path: Path, columns: Sequence[str], step_column: str, resume_step: int | None) -> None:
    """Make `path` hold a header and, on resume, the rows up to `resume_step`."""
    rows: list[dict[str, str]] = []
    if resume_step is not None and path.exists():
        header, found, whole = _read_csv(path)
        steps = [_csv_step(row, step_column) for row in found]
        if not whole or math.inf in steps or step_column not in header:
            _keep_damaged(path)
        rows = [row for row, step in zip(found, steps, strict=True) if step <= resume_step]
        columns = tuple(dict.fromkeys([*header, *columns]))
    _write_csv(path, columns, rows)


def _keep_damaged(path: Path) -> None:
    """Put a table aside of which some lines cannot be read; the others go on in a new one."""
    _log.warning("%s is damaged: it is put aside as %s, what can be read of it is kept", path, put_aside(path).name)


def _read_text(path: Path) -> str:
    """A text, also where it is none: what does not belong there becomes a mark, zeros go."""
    return path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]], bool]:
    """Header, rows, and whether all but the last line, which may be half written, are rows."""
    reader = csv.reader(_read_text(path).splitlines())
    lines: list[list[str]] = []
    try:
        lines.extend(reader)
    except csv.Error:
        return (lines[0] if lines else []), [], False
    header, cells = (lines[0], lines[1:]) if lines else ([], [])
    rows = [dict(zip(header, row, strict=True)) for row in cells if len(row) == len(header)]
    return header, rows, all(len(row) == len(header) for row in cells[:-1])


def _read_rows(path: Path) -> list[dict[str, str]]:
    return _read_csv(path)[1]


def _csv_step(row: dict[str, str], column: str) -> float:
    try:
        return int(row[column])
    except (ValueError, KeyError):
        return math.inf


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _replace_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _json_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf  # a half-written or damaged line
