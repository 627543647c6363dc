"""`python -m daddy_puffer.sweep`: the options, and the loop that keeps trials running.

In: a configuration, a sweep file; or the folder of a sweep to go on with. Out: RUNS/NAME/ with a run folder for each
trial under trials/, `trials.jsonl`, `results.csv`, `best.yaml`, `pareto.png`, `parameters.png`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daddy_puffer.command_line import run_command
from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.sweep.journal import FILE, Journal, read_facts
from daddy_puffer.sweep.measure import OBJECTIVES, OUTCOME_FILE, measure, read_outcome
from daddy_puffer.sweep.plots import draw
from daddy_puffer.sweep.pool import LOG_FILE, PASSING_CODES, Pool, why
from daddy_puffer.sweep.results import check_folder, show, write_best, write_csv
from daddy_puffer.sweep.searchers import NAMES, TITLES, Searcher, choose_searcher, make_searcher
from daddy_puffer.sweep.space import Parameter, Settings, read_space, short_names
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

GIVE_UP = 5  # failures without a success: the settings searched around are at fault, or the machine
MOST_NAMED = 4  # settings in a line about a trial
POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class Sweep:
    """A sweep under way: what it searches, who searches, what it has."""

    folder: Path
    config: Config
    parameters: tuple[Parameter, ...]
    plan: Plan
    wanted: int  # trials in all
    jobs: int
    journal: Journal
    searcher: Searcher
    trials: dict[int, Trial]

    def run(self, stop: StopSignals) -> None:
        """Keep `jobs` trials running until all have ended or a signal comes; those cut off earlier go first.

        Raises:
            UserError: trial after trial fails.
        """
        waiting = [trial for trial in self.trials.values() if not trial.ended]
        threads = max(1, min(self.config.train.threads, (os.cpu_count() or 1) // self.jobs))
        with Pool(threads) as pool:
            while not stop.received:
                for number, code in pool.ended():
                    self._end(number, code)
                room = len(pool.running) < self.jobs
                if room and (waiting or len(self.trials) < self.wanted):
                    trial = waiting.pop(0) if waiting else self._next_trial()
                    self._start(trial, pool, threads)
                elif not pool.running:
                    break
                else:
                    time.sleep(POLL_SECONDS)
            if pool.running:
                print(f"stopping {len(pool.running)} trials: each writes its checkpoint", flush=True)

    def _next_trial(self) -> Trial:
        number = next(n for n in count() if n not in self.trials)  # jobs of an array can have left holes
        settings = self.searcher.suggest(number) if number else {p.name: p.centre for p in self.parameters}
        self.journal.append("started", trial=number, settings=settings)
        self.trials[number] = trial = Trial(number=number, settings=settings)
        return trial

    def _start(self, trial: Trial, pool: Pool, threads: int) -> None:
        folder = trial_folder(self.folder, trial.number)
        if (folder / OUTCOME_FILE).is_file():  # the sweep was cut off between its end and the journal
            self._end(trial.number, 0)
            return
        verb = "goes on" if folder.is_dir() else "begins"
        print(f"trial {trial.number} {verb}: {_brief(trial.settings, self.parameters)}", flush=True)
        overrides = {
            **trial.settings,
            "train.seed": self.plan.seed + trial.number,
            "train.threads": threads,
            "train.runs_dir": str(folder.parent),
            "train.run_name": folder.name,
        }
        try:
            config = load_config(self.folder / "config.yaml", overrides)
        except UserError as error:  # settings that are good one by one, but not together
            self._record(replace(trial, reason=str(error)))
            return
        folder.mkdir(parents=True, exist_ok=True)
        save_config(config, folder / "config.yaml")
        pool.start(trial.number, folder)

    def _end(self, number: int, code: int) -> None:
        """Judge a trial whose process has ended.

        Raises:
            UserError: something stopped it that would stop the others, too; it goes on with --resume.
        """
        folder, trial = trial_folder(self.folder, number), self.trials[number]
        if code in PASSING_CODES:
            raise UserError(f"trial {number}: {why(code, folder / LOG_FILE).removeprefix('error: ')}")
        if code:
            self._record(replace(trial, reason=why(code, folder / LOG_FILE)))
            return
        try:
            steps, seconds = read_outcome(folder)
            value, episodes = measure(folder, self.plan.objective, self.plan.episodes)
        except UserError as error:
            self._record(replace(trial, reason=str(error)))
            return
        self._record(replace(trial, outcome=Outcome(objective=value, cost=seconds, steps=steps, episodes=episodes)))

    def _record(self, trial: Trial) -> None:
        """Write down how a trial ended, and let the searcher learn from it."""
        if trial.outcome:
            self.journal.append("finished", trial=trial.number, **facts_of(trial.outcome))
            outcome = trial.outcome
            print(
                f"trial {trial.number} ended: {self.plan.objective} {outcome.objective:.4g} "
                f"in {outcome.cost:,.0f} s ({outcome.episodes} episodes)",
                flush=True,
            )
        else:
            self.journal.append("failed", trial=trial.number, reason=trial.reason)
            print(f"trial {trial.number} failed: {trial.reason}", flush=True)
        self.trials[trial.number] = trial
        self.searcher.observe(trial)
        trials = list(self.trials.values())
        write_csv(self.folder / "results.csv", trials, self.parameters, self.plan.objective)
        failed = [trial.reason for trial in trials if trial.reason]
        if len(failed) >= GIVE_UP and best_trial(trials) is None:
            raise UserError(f"all of the first {len(failed)} trials failed, the last one with: {failed[-1]}")


def sweep(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings to search around")] = None,
    sweep: Annotated[Path, typer.Option(help="YAML file of what to search, in upstream's format")] = Path("sweep.yaml"),
    trials: Annotated[int, typer.Option(min=1, help="training runs in all")] = 20,
    jobs: Annotated[int, typer.Option(min=1, help="training runs at a time")] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, help="environment steps of a trial; default: as configured")
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option(help="folder of the sweep's folder; default: as configured")] = None,
    name: Annotated[str, typer.Option(help="the sweep's folder; default: sweep_ and date and time")] = "",
    seed: Annotated[int | None, typer.Option(help="of the search; trial N trains with this + N")] = None,
    objective: Annotated[str, typer.Option(help=f"auto, {', '.join(OBJECTIVES)}; auto: see docs/SWEEP.md")] = "auto",
    episodes: Annotated[int, typer.Option(min=1, help="the objective is the mean of the last so many")] = 20,
    searcher: Annotated[str, typer.Option(help=f"auto, {', '.join(NAMES)}; auto: the first installed")] = "auto",
    resume: Annotated[Path | None, typer.Option(help="folder of a sweep to go on with, to --trials in all")] = None,
) -> None:
    """Search for hyperparameters with training runs on this machine; killed or stopped, it goes on with --resume."""
    if resume is None:
        plan = None
        folder = _new_folder(config, sweep, steps, runs_dir, name)
    else:
        check_folder(resume)
        folder, plan = resume, plan_of(read_facts(resume / FILE))
    base = load_config(folder / "config.yaml")
    parameters = read_space(folder / "sweep.yaml", base)
    if plan is None:
        chosen = choose_objective(objective, parameters)
        plan = Plan(
            searcher=choose_searcher(_known("searcher", searcher, ("auto", *NAMES))),
            objective=chosen,
            episodes=episodes,
            seed=base.train.seed if seed is None else seed,
        )
    elif choose_searcher(plan.searcher) != plan.searcher:
        raise UserError(f"{folder} was searched with {plan.searcher}")
    with StopSignals() as stop:
        try:
            _search(folder, base, parameters, plan, trials, jobs, stop)
        except OSError as error:
            raise UserError(f"{folder} cannot be used: {error}; cure that, then --resume {folder}") from error
    raise typer.Exit(stop.exit_code)


def _search(
    folder: Path, base: Config, parameters: tuple[Parameter, ...], plan: Plan, wanted: int, jobs: int, stop: StopSignals
) -> None:
    """Run a sweep and show what it found, also where it is stopped."""
    with Journal(folder / FILE) as journal:
        facts = journal.read()
        if not facts:
            journal.append("sweep", **facts_of(plan))
        known = trials_of(facts)
        check_settings(known, parameters, folder)
        task = Sweep(
            folder=folder, config=base, parameters=parameters, plan=plan, wanted=wanted, jobs=jobs, journal=journal,
            searcher=make_searcher(plan.searcher, parameters, plan.seed, wanted, known),
            trials={trial.number: trial for trial in known},
        )  # fmt: skip
        _announce(task)
        try:
            task.run(stop)
        finally:
            found = list(task.trials.values())
            write_csv(folder / "results.csv", found, parameters, plan.objective)
            _show(folder, found, parameters, plan.objective)
            if any(not trial.ended for trial in found) or len(found) < wanted:
                print(f"go on with: daddy-puffer sweep --resume {folder} --trials {wanted} --jobs {jobs}", flush=True)
    if not stop.received and best_trial(list(task.trials.values())) is None:
        raise UserError(f"no trial of {folder} succeeded: see {folder}/trials/*/{LOG_FILE}")


def _announce(task: Sweep) -> None:
    known = f", {len(task.trials)} known already" if task.trials else ""
    print(f"{task.wanted} trials of {len(task.parameters)} settings in {task.folder}{known}", flush=True)
    print(f"searcher: {TITLES[task.plan.searcher]}", flush=True)
    if task.plan.searcher == "random":
        print("  (better: CARBS or Optuna, docs/SWEEP.md tells how to install them)", flush=True)
    print(f"objective: {task.plan.objective}, mean of the last {task.plan.episodes} episodes", flush=True)


def _show(folder: Path, trials: Sequence[Trial], parameters: Sequence[Parameter], objective: str) -> None:
    show(Console(highlight=False), trials, parameters, objective)
    written = [*draw(folder, trials, parameters, objective), folder / "results.csv"]
    best = best_trial(trials)
    if best is not None:
        written.append(write_best(folder, best))
    print(f"written to {folder}: {', '.join(path.name for path in written)}", flush=True)


def choose_objective(wanted: str, parameters: Sequence[Parameter]) -> str:
    """`wanted`; "auto" is the return, or milestones where weights of rewards are searched.

    Raises:
        UserError: no such objective, or returns that different weights make incomparable.
    """
    weights = [p.name for p in parameters if p.name.startswith("rewards.")]
    _known("objective", wanted, ("auto", *OBJECTIVES))
    if wanted == "return" and weights:
        raise UserError(f"{weights[0]} is searched, so returns are not comparable: --objective milestones or badges")
    if wanted == "auto":
        return "milestones" if weights else "return"
    return wanted


def _new_folder(config: Path | None, sweep: Path, steps: int | None, runs_dir: Path | None, name: str) -> Path:
    """Check the settings and write them into a folder of their own.

    Raises:
        UserError: bad settings, or a folder that holds a sweep already.
    """
    base = load_config(config, {"train.total_steps": steps, "train.runs_dir": runs_dir and str(runs_dir)})
    parameters = read_space(sweep, base)
    if steps is not None and any(p.name == "train.total_steps" for p in parameters):
        raise UserError(f"{sweep} searches train.total_steps: leave --steps out")
    folder = Path(base.train.runs_dir) / (name or f"sweep_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    if read_facts(folder / FILE):
        raise UserError(f"{folder} holds a sweep already: give --resume {folder}, or another --name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_config(base, folder / "config.yaml")
        shutil.copyfile(sweep, folder / "sweep.yaml")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def _known(option: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UserError(f"--{option} must be one of {', '.join(known)}, got {value!r}")
    return value


def _brief(settings: Settings, parameters: Sequence[Parameter]) -> str:
    """Settings as short as they can be told apart; of many only the first."""
    names = zip(short_names(parameters), parameters, strict=True)
    shown = [f"{name} {settings[p.name]:.4g}" for name, p in names][:MOST_NAMED]
    more = len(parameters) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def main() -> None:
    """Command line."""
    run_command(sweep)


if __name__ == "__main__":
    main()
