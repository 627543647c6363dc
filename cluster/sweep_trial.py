"""One trial of a sweep that many jobs share: `python cluster/sweep_trial.py FOLDER NUMBER [options]`.

In: the sweep's folder, made by whichever job comes first; the trial's number. Out: the same folder as that of
`daddy-puffer sweep`. The journal is held only while a job chooses settings or writes down an outcome, so any number of
jobs can train at a time; the searcher knows all outcomes so far. Run again after a stop, a trial goes on from its
newest checkpoint, also after a disk was full. Exit codes are those of training.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.config import load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.sweep.command import choose_objective
from daddy_puffer.sweep.journal import FILE, Journal
from daddy_puffer.sweep.measure import OUTCOME_FILE, measure, read_outcome
from daddy_puffer.sweep.plots import draw
from daddy_puffer.sweep.results import write_best, write_csv
from daddy_puffer.sweep.searchers import choose_searcher, make_searcher
from daddy_puffer.sweep.space import Parameter, read_space
from daddy_puffer.sweep.trial import is_passing, lock, run_trial
from daddy_puffer.sweep.trials import (
    Outcome,
    Plan,
    Trial,
    best_trial,
    check_settings,
    facts_of,
    plan_of,
    trial_folder,
    trials_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the first job of a sweep decides for all; the others find it written down."""

    config: Path | None
    sweep: Path
    steps: int | None
    seed: int | None
    objective: str
    episodes: int
    searcher: str


class SharedSweep:
    """The sweep's folder with its journal held: nobody else reads or writes it meanwhile."""

    def __init__(self, folder: Path, journal: Journal, wishes: Wishes) -> None:
        """Read what is known, or begin the sweep."""
        self.folder, self._journal = folder, journal
        facts = journal.read()
        plan = plan_of(facts)
        if plan is None:
            plan = self._begin(wishes)
        self.plan = plan
        self.base = load_config(folder / "config.yaml")
        self.parameters: tuple[Parameter, ...] = read_space(folder / "sweep.yaml", self.base)
        known = trials_of(facts)
        check_settings(known, self.parameters, folder)
        self.trials = {trial.number: trial for trial in known}

    def _begin(self, wishes: Wishes) -> Plan:
        base = load_config(wishes.config, {"train.total_steps": wishes.steps})
        objective = choose_objective(wishes.objective, read_space(wishes.sweep, base))
        seed = base.train.seed if wishes.seed is None else wishes.seed
        searcher = choose_searcher(wishes.searcher)
        plan = Plan(searcher=searcher, objective=objective, episodes=wishes.episodes, seed=seed)
        save_config(base, self.folder / "config.yaml")
        shutil.copyfile(wishes.sweep, self.folder / "sweep.yaml")
        self._journal.append("sweep", **facts_of(plan))
        return plan

    def claim(self, number: int, wanted: int) -> Trial:
        """Trial `number`, with the settings that it began with or, of `wanted` trials, is to have."""
        if number in self.trials:
            return self.trials[number]
        searcher = make_searcher(
            self.plan.searcher, self.parameters, self.plan.seed, wanted, list(self.trials.values())
        )
        settings = searcher.suggest(number) if number else {p.name: p.centre for p in self.parameters}
        self._journal.append("started", trial=number, settings=settings)
        return Trial(number=number, settings=settings)

    def record(self, trial: Trial) -> None:
        """Write down how a trial ended, and draw the results anew."""
        if trial.outcome:
            self._journal.append("finished", trial=trial.number, **facts_of(trial.outcome))
        else:
            self._journal.append("failed", trial=trial.number, reason=trial.reason)
        self.trials[trial.number] = trial
        trials = [self.trials[number] for number in sorted(self.trials)]
        write_csv(self.folder / "results.csv", trials, self.parameters, self.plan.objective)
        draw(self.folder, trials, self.parameters, self.plan.objective)
        best = best_trial(trials)
        if best is not None:
            write_best(self.folder, best)


@contextmanager
def held(folder: Path, wishes: Wishes) -> Iterator[SharedSweep]:
    """The sweep once no other job holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    turn = os.open(folder / ".turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)  # waits, which the journal's own lock does not
        with Journal(folder / FILE) as journal:
            yield SharedSweep(folder, journal, wishes)
    finally:
        os.close(turn)


def train_trial(folder: Path, trial: Trial, shared: SharedSweep) -> int:
    """Train in the trial's folder; the exit code."""
    overrides = {
        **trial.settings,
        "train.seed": shared.plan.seed + trial.number,
        "train.runs_dir": str(folder.parent),
        "train.run_name": folder.name,
    }
    config = load_config(shared.folder / "config.yaml", overrides)
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    lock(folder)
    return 0 if (folder / OUTCOME_FILE).is_file() else run_trial(folder)


def judge(folder: Path, trial: Trial, plan: Plan) -> Trial:
    """The trial with the outcome that its run folder holds."""
    steps, seconds = read_outcome(folder)
    value, episodes = measure(folder, plan.objective, plan.episodes)
    return replace(trial, outcome=Outcome(objective=value, cost=seconds, steps=steps, episodes=episodes))


def sweep_trial(
    folder: Annotated[Path, typer.Argument(help="the sweep's folder, shared by all its jobs")],
    number: Annotated[int, typer.Argument(min=0, help="of the trial; 0 has the configuration's own values")],
    trials: Annotated[int, typer.Option(min=1, help="training runs in all")] = 20,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings to search around")] = None,
    sweep: Annotated[Path, typer.Option(help="YAML file of what to search")] = Path("sweep.yaml"),
    steps: Annotated[int | None, typer.Option(min=1, help="environment steps of a trial")] = None,
    seed: Annotated[int | None, typer.Option(help="of the search; trial N trains with this + N")] = None,
    objective: Annotated[str, typer.Option(help="auto, return, badges or milestones")] = "auto",
    episodes: Annotated[int, typer.Option(min=1, help="the objective is the mean of the last so many")] = 20,
    searcher: Annotated[str, typer.Option(help="auto, carbs, optuna or random")] = "auto",
) -> None:
    """Run one trial of a shared sweep, or go on with it."""
    wishes = Wishes(
        config=config, sweep=sweep, steps=steps, seed=seed, objective=objective, episodes=episodes, searcher=searcher
    )
    with held(folder, wishes) as shared:
        trial = shared.claim(number, trials)
    if trial.ended:
        print(f"trial {number} has ended already", flush=True)
        return
    print(f"trial {number}: {trial.settings}", flush=True)
    where = trial_folder(folder, number)
    try:
        code = train_trial(where, trial, shared)
        if code:
            raise typer.Exit(code)
        ended = judge(where, trial, shared.plan)
    except (UserError, OSError) as error:
        if is_passing(error):  # nothing is written down: the trial goes on once that is cured
            raise UserError(f"trial {number} was stopped: {error}") from error
        ended = replace(trial, reason=str(error))
    with held(folder, wishes) as shared:
        shared.record(ended)
    if ended.reason:
        raise UserError(f"trial {number} failed: {ended.reason}")
    print(f"trial {number} ended: {ended.outcome}", flush=True)


if __name__ == "__main__":
    run_command(sweep_trial)
