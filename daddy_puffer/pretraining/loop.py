"""The loop of every kind of pretraining: update, log, evaluate, draw, save; stops when asked and goes on later.

In: a `Trainer`. Out: a folder with the network, `metrics.csv`, `metrics.jsonl`, `tb/` and pictures. A run that was
killed goes on from its last file with the same random numbers: on a CPU, to the same network bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import rng_state, set_rng_state
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.telemetry.records import Interval
from daddy_puffer.telemetry.sinks import JsonLines, MetricsCsv, Sink, TensorBoard
from daddy_puffer.vision.saved import find_saved, load_saved, save

Values = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """How long to learn, and how often to do what else, all in updates."""

    updates: int
    log_every: int = 50
    evaluate_every: int = 500
    save_every: int = 250

    def __post_init__(self) -> None:
        """Check ranges."""
        whole = (self.updates, self.log_every, self.evaluate_every, self.save_every)
        if min(whole) < 1:
            raise UserError(f"updates and periods are at least 1, got {whole}")


class Trainer(Protocol):
    """What learns."""

    kind: str  # of its file
    file_name: str

    def update(self, share_done: float) -> Values:
        """One update; what there is to log of it. `share_done` of all updates, 0 to 1, for what is annealed."""

    def evaluate(self) -> Values:
        """Measure on held-out runs."""

    def draw(self, folder: Path, step: int) -> list[Path]:
        """Leave pictures of held-out runs."""

    def state(self) -> dict[str, Any]:
        """All that a file has to hold."""

    def load_state(self, state: dict[str, Any], file: Path) -> None:
        """Go on from there; raises UserError when it does not fit."""


class Log:
    """Where measurements of a folder go."""

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        self._sinks: list[Sink] = [
            MetricsCsv(folder / "metrics.csv", resume_step),
            JsonLines(folder / "metrics.jsonl", resume_step),
            TensorBoard(folder / "tb", resume_step),
        ]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One row everywhere, and a line on the screen."""
        for sink in self._sinks:
            sink.take(Interval.of(step, dict(values)))
        print(f"{step:>7} " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)

    def close(self) -> None:
        """Close the files."""
        for sink in self._sinks:
            sink.close()


class Averages:
    """Means of what every update says, until they are logged."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}
        self._since = time.perf_counter()

    def add(self, values: Values) -> None:
        """Take note."""
        for name, value in values.items():
            self._found.setdefault(name, []).append(value)

    def take(self) -> Values:
        """The means and the speed since the last call."""
        count = max((len(values) for values in self._found.values()), default=0)
        now = time.perf_counter()
        means = {name: sum(values) / len(values) for name, values in self._found.items()}
        means["speed/updates_per_second"] = count / max(now - self._since, 1e-9)
        self._found, self._since = {}, now
        return means


def learn(trainer: Trainer, folder: Path, periods: Periods, resume: bool) -> int:
    """Learn until the updates are done or a signal comes; returns the exit code.

    Raises:
        UserError: there is nothing to resume, or something there and not to be resumed; the loss is no number.
    """
    step = _resume(trainer, folder) if resume else _begin(trainer, folder)
    log, averages = Log(folder, step if resume else None), Averages()
    try:
        with StopSignals() as stop:
            while step < periods.updates and not stop.received:
                values = trainer.update(step / periods.updates)
                step += 1
                _check_finite(values, step)
                averages.add(values)
                _follow_up(trainer, folder, periods, step, log, averages)
            _save(trainer, folder, step)
            if stop.received:
                print(f"stopped at update {step} of {periods.updates}: go on with --resume", flush=True)
            return stop.exit_code
    finally:
        log.close()


def _follow_up(trainer: Trainer, folder: Path, periods: Periods, step: int, log: Log, averages: Averages) -> None:
    """What comes after an update, when its time has come."""
    last = step == periods.updates
    evaluates = last or step % periods.evaluate_every == 0
    if evaluates or step % periods.log_every == 0:
        values = averages.take()
        log.write(step, values | trainer.evaluate() if evaluates else values)
    if evaluates:
        for path in trainer.draw(folder, step):
            print(f"        {path}", flush=True)
    if not last and step % periods.save_every == 0:
        _save(trainer, folder, step)


def _save(trainer: Trainer, folder: Path, step: int) -> Path:
    # the random numbers are part of it: else a resumed run would see the first batches again
    return save(folder / trainer.file_name, trainer.kind, {"step": step, "rng": rng_state(), **trainer.state()})


def _resume(trainer: Trainer, folder: Path) -> int:
    file = find_saved(folder, trainer.file_name)
    state = load_saved(file, trainer.kind)
    trainer.load_state(state, file)
    set_rng_state(state["rng"])
    return int(state["step"])


def _begin(trainer: Trainer, folder: Path) -> int:
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UserError(f"{folder} is there already: give a new --out, or go on with --resume")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    _save(trainer, folder, 0)  # a run killed early can be resumed too
    return 0


def _check_finite(values: Values, step: int) -> None:
    if not math.isfinite(values["loss"]):
        raise UserError(f"the loss of update {step} is {values['loss']}: take a smaller --learning-rate")
