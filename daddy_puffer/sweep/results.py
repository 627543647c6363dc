"""What a sweep found. In: trials. Out: tables on the terminal, `results.csv`, `best.yaml`.

The tables fit 80 columns. `rank corr.` is Spearman's, of a setting with the objective, over finished trials.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from daddy_puffer.config import load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.sweep.space import Parameter, short_names
from daddy_puffer.sweep.trials import Trial, best_trial, pareto

SHOWN = 10  # trials in the table, besides those of the Pareto front
FEWEST = 5  # trials that a correlation needs


def show(console: Console, trials: Sequence[Trial], parameters: Sequence[Parameter], objective: str) -> None:
    """Print the tables."""
    best = best_trial(trials)
    if best is None:
        console.print(f"no trial of {len(trials)} has finished")
        return
    console.print(_trial_table(trials, objective))
    console.print(_settings_table(trials, parameters, best))


def write_csv(path: Path, trials: Sequence[Trial], parameters: Sequence[Parameter], objective: str) -> None:
    """One row a trial; replaces the file in one step."""
    front = {trial.number for trial in pareto(trials)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [p.name for p in parameters]
    writer.writerow(["trial", "state", objective, "seconds", "steps", "episodes", "pareto", "reason", *names])
    for trial in sorted(trials, key=lambda trial: trial.number):
        outcome = trial.outcome
        state = "finished" if outcome else "failed" if trial.reason else "running"
        values = [outcome.objective, outcome.cost, outcome.steps, outcome.episodes] if outcome else [""] * 4
        on_front = int(trial.number in front)
        writer.writerow(
            [trial.number, state, *values, on_front, trial.reason, *(trial.settings[name] for name in names)]
        )
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def write_best(folder: Path, best: Trial) -> Path:
    """The configuration of the best trial, ready for a run of its own, as `best.yaml`."""
    config = load_config(folder / "config.yaml", dict(best.settings))
    save_config(replace(config, train=replace(config.train, run_name="")), folder / "best.yaml")
    return folder / "best.yaml"


def rank_correlation(trials: Sequence[Trial], name: str) -> float:
    """Spearman's; NaN with few trials, or where nothing varies."""
    pairs = [(trial.settings[name], trial.outcome.objective) for trial in trials if trial.outcome]
    if len(pairs) < FEWEST:
        return float("nan")
    ranks = [rankdata(column) for column in zip(*pairs, strict=True)]
    if any(np.ptp(column) == 0.0 for column in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def check_folder(folder: Path) -> None:
    """Raise where `folder` is no sweep's.

    Raises:
        UserError: one of the files that every sweep begins with is missing.
    """
    for name in ("config.yaml", "sweep.yaml", "trials.jsonl"):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is no folder of a sweep: it has no {name}")


def _trial_table(trials: Sequence[Trial], objective: str) -> Table:
    front = {trial.number for trial in pareto(trials)}
    ranked = sorted((t for t in trials if t.outcome), key=lambda t: -t.outcome.objective if t.outcome else 0.0)
    failed = sum(bool(trial.reason) for trial in trials)
    left = len(trials) - len(ranked) - failed
    parts = [
        f"{len(ranked)} trials finished",
        *([f"{failed} failed"] * bool(failed)),
        *([f"{left} to go on"] * bool(left)),
    ]
    table = Table(title=", ".join(parts), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("trial", objective, "seconds", "steps", "episodes"):
        table.add_column(name, justify="right")
    table.add_column("")
    for index, trial in enumerate(ranked):
        if trial.outcome is None or (index >= SHOWN and trial.number not in front):
            continue
        notes = ["Pareto front"] * (trial.number in front) + ["config"] * (trial.number == 0)
        outcome = trial.outcome
        table.add_row(
            str(trial.number),
            f"{outcome.objective:.4g}",
            f"{outcome.cost:,.1f}",
            f"{outcome.steps:,}",
            str(outcome.episodes),
            ", ".join(notes),
        )
    if len(ranked) > SHOWN:
        table.caption, table.caption_justify = f"the best {SHOWN} and the Pareto front; all are in results.csv", "left"
    return table


def _settings_table(trials: Sequence[Trial], parameters: Sequence[Parameter], best: Trial) -> Table:
    table = Table(title=f"settings of trial {best.number}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", overflow="fold")
    for name in ("searched", "config", f"trial {best.number}", "rank corr."):
        table.add_column(name, justify="right")
    for name, p in zip(short_names(parameters), parameters, strict=True):
        correlation = rank_correlation(trials, p.name)
        table.add_row(
            name,
            f"{p.space.min:g}..{p.space.max:g}",
            f"{p.centre:g}",
            f"{best.settings[p.name]:.4g}",
            "" if np.isnan(correlation) else f"{correlation:+.2f}",
        )
    return table
