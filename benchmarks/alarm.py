"""How early alarms notice a run that stalls: ours against three others, on simulated runs and on real logs.

Run: `python benchmarks/alarm.py [--runs-per-kind N] [--figure PATH]`; with `--runs FOLDER...` the alarms so calibrated
then look at real episodes.csv, for which `--episodes` should be their length.

Simulated runs have 1,000 episodes, or `--episodes`, to which all times are scaled. Healthy: the chance to reach the
milestone rises along a logistic curve with random midpoint, width and height. Stalled: one of three plants, in equal
parts: a gate that never opens (the chance stays near 0), a collapse (it falls to near 0 within 20 episodes), learning
that stops (it freezes where it is, below a fifth of its height). Returns are a ramp that does not depend on the
milestone, a part for reaching it, and noise.

Nothing is chosen on the test runs. On calibration runs of other seeds each detector gets thresholds that 5 % of
healthy runs exceed at any time, where it has two scores both equally often; and, out of a few settings, those with the
longest mean lead there. Lead = episodes between the alarm and the end of the run, which is when a person who
looks at the finished run notices; 0 without alarm, or when it came before the stall.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from daddy_puffer.errors import UserError
from daddy_puffer.numerics.stats import bootstrap_interval
from daddy_puffer.progress.alarms import Alarm, ChangePoint, FixedDeadline, MilestoneAlarm, RewardCusum
from daddy_puffer.types import Array

FALSE_ALARM_RATE = 0.05  # of healthy runs with any alarm
PLANTS = ("gate", "collapse", "freeze")
REFERENCE_RETURN, RETURN_DEVIATION = 14.0, 3.0  # of a healthy run near its end, see `returns_of`


@dataclass(frozen=True, slots=True)
class Run:
    """One run: outcome and return of each episode; `stall` is the episode of the plant, -1 = healthy."""

    reached: Array
    returns: Array
    stall: int
    plant: str


@dataclass(frozen=True, slots=True)
class Detector:
    """A kind of alarm and the settings to choose from."""

    name: str
    settings: tuple[Callable[..., Alarm], ...]


def rates_of(time: Array, rng: np.random.Generator) -> Array:
    """Chance to reach the milestone by episode in a healthy run, f64 `[episodes]`; `time` in thousandths of it."""
    midpoint, width, height = rng.uniform(50, 400), rng.uniform(10, 60), rng.uniform(0.6, 0.95)
    return height / (1.0 + np.exp((midpoint - time) / width))


def returns_of(time: Array, reached: Array, rng: np.random.Generator) -> Array:
    """Up to 6 for things that are learned beside it, 10 for the milestone, noise; f64 `[episodes]`."""
    beside = 6.0 * (1.0 - np.exp(-time / rng.uniform(50, 300)))
    return beside + 10.0 * reached + rng.normal(0.0, 2.0, len(time))


def simulate(plant: str, rng: np.random.Generator, episodes: int = 1000) -> Run:
    """One run; `plant` empty = healthy."""
    time = 1000.0 * np.arange(episodes) / episodes
    rates, stall = rates_of(time, rng), -1
    if plant == "gate":
        stall, rates = 0, np.full(episodes, rng.uniform(0.0, 0.01))
    elif plant == "collapse":
        risen = int(np.argmax(rates > 0.5 * rates.max()))
        stall = int(rng.integers(risen, int(0.8 * episodes)))
        rates = rates * np.clip(1.0 - (time - time[stall]) / 20.0, rng.uniform(0.0, 0.05), 1.0)
    elif plant == "freeze":
        stall = int(np.argmax(rates > rng.uniform(0.02, 0.2) * rates.max()))
        rates = np.minimum(rates, rates[stall])
    reached = rng.random(episodes) < rates
    return Run(reached, returns_of(time, reached, rng), stall, plant)


def simulated(count: int, plants: Sequence[str], seed: int, episodes: int) -> list[Run]:
    """`count` runs, the plants in turn."""
    seeds = np.random.SeedSequence(seed).spawn(count)
    return [simulate(plants[i % len(plants)], np.random.default_rng(s), episodes) for i, s in enumerate(seeds)]


def detectors() -> list[Detector]:
    """The four, ours last; a handful of settings each."""
    cusum = [
        partial(RewardCusum, scale=RETURN_DEVIATION, allowance=allowance, reference=reference)
        for allowance, reference in itertools.product((0.25, 0.5, 1.0), (None, REFERENCE_RETURN))
    ]
    change = [partial(ChangePoint, hazard=hazard, target=target) for hazard in (0.002, 0.01) for target in (0.2, 0.4)]
    ours = [
        partial(MilestoneAlarm, target=target, forgetting=forgetting)
        for target, forgetting in itertools.product((0.2, 0.4), (0.9, 0.95, 0.98))
    ]
    return [
        Detector("fixed deadline", (FixedDeadline,)),
        Detector("reward CUSUM", tuple(cusum)),
        Detector("BOCPD", tuple(change)),
        Detector("ours", tuple(ours)),
    ]


def scores_of(make: Callable[..., Alarm], run: Run) -> Array:
    """The scores by episode, f64 `[episodes, scores]`."""
    alarm = make()
    rows = []
    for reached, total in zip(run.reached, run.returns, strict=True):
        alarm.update(bool(reached), float(total))
        rows.append(alarm.scores)
    return np.array(rows)


def thresholds_for(highest: Array, rate: float) -> Array:
    """Thresholds with which `rate` of healthy runs alarm; `highest` f64 `[runs, scores]` of each run.

    Every score is exceeded by the same share of runs, the largest one that keeps them together at `rate`.
    """
    best = highest.max(axis=0)
    for share in np.linspace(rate, 0.0, 101):
        level = np.quantile(highest, 1.0 - share, axis=0, method="higher")
        if (highest > level).any(axis=1).mean() <= rate:
            best = level
            break
    return best


def first_alarm(scores: Array, thresholds: Array) -> int:
    """Episode of the first alarm, -1 = none."""
    over = (scores > thresholds).any(axis=1)
    return int(np.argmax(over)) if over.any() else -1


def lead(run: Run, alarm: int) -> int:
    """Episodes won; 0 without an alarm at or after the stall."""
    return len(run.reached) - 1 - alarm if alarm >= max(run.stall, 0) else 0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A detector with its chosen setting and thresholds."""

    name: str
    make: Callable[..., Alarm]
    thresholds: Array

    def alarms(self, runs: Sequence[Run]) -> list[int]:
        """First alarm of each run."""
        return [first_alarm(scores_of(self.make, run), self.thresholds) for run in runs]

    @property
    def settings(self) -> str:
        """What was chosen."""
        chosen = getattr(self.make, "keywords", {})
        levels = ", ".join(f"{level:.3g}" for level in self.thresholds)
        return ", ".join([*(f"{k} {v}" for k, v in chosen.items()), f"threshold {levels}"])


def calibrate(detector: Detector, healthy: Sequence[Run], stalled: Sequence[Run]) -> Calibrated:
    """The setting with the longest mean lead at the fixed rate of false alarms."""
    best: tuple[float, Calibrated] | None = None
    for make in detector.settings:
        highest = np.array([scores_of(make, run).max(axis=0) for run in healthy])
        found = Calibrated(detector.name, make, thresholds_for(highest, FALSE_ALARM_RATE))
        value = float(np.mean([lead(r, a) for r, a in zip(stalled, found.alarms(stalled), strict=True)]))
        if best is None or value > best[0]:
            best = value, found
    assert best is not None
    return best[1]


def interval(values: Sequence[float] | Array, digits: int = 0) -> str:
    """Mean and 95 % bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def report(found: Sequence[Calibrated], healthy: Sequence[Run], stalled: Sequence[Run]) -> dict[str, Array]:
    """Print the tables; returns the leads by detector, f64 `[runs]`."""
    leads: dict[str, Array] = {}
    print("| detector | false alarms, % of healthy runs | detected, % of stalled runs | lead, episodes |", end="")
    print(" " + " | ".join(f"lead, {plant}" for plant in PLANTS) + " |")
    print("|---" * (4 + len(PLANTS)) + "|")
    for one in found:
        false = [100.0 * (alarm >= 0) for alarm in one.alarms(healthy)]
        leads[one.name] = np.array([lead(r, a) for r, a in zip(stalled, one.alarms(stalled), strict=True)], float)
        by_plant = [np.mean(leads[one.name][[run.plant == plant for run in stalled]]) for plant in PLANTS]
        cells = [interval(false, 1), interval(100.0 * (leads[one.name] > 0), 1), interval(leads[one.name])]
        print(f"| {one.name} | " + " | ".join([*cells, *(f"{value:.0f}" for value in by_plant)]) + " |")
    print("\n| ours minus | lead, episodes, paired |\n|---|---|")
    for one in found[:-1]:
        print(f"| {one.name} | {interval(leads[found[-1].name] - leads[one.name])} |")
    print("\nChosen on the calibration runs: " + "; ".join(f"{one.name}: {one.settings}" for one in found) + ".")
    return leads


def draw(path: Path, stalled: Sequence[Run], leads: dict[str, Array]) -> None:
    """One panel a plant: share of runs in which the stall was noticed, by episodes since it began."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PLANTS), figsize=(11, 3.4), sharey=True, layout="constrained")
    episodes = len(stalled[0].reached)
    grid = np.arange(0, int(0.7 * episodes) + 1)
    titles = {"gate": "gate that never opens", "collapse": "collapse", "freeze": "learning that stops"}
    for axis, plant in zip(axes, PLANTS, strict=True):
        members = np.array([run.plant == plant for run in stalled])
        stall = np.array([max(run.stall, 0) for run in stalled])[members]
        for name, lead_of in leads.items():
            won = lead_of[members]
            delay = np.where(won > 0, episodes - 1 - won - stall, np.inf)
            axis.plot(grid, 100.0 * (delay[:, None] <= grid).mean(axis=0), label=name, lw=2 if name == "ours" else 1.2)
        axis.set(title=titles[plant], xlabel="episodes since the stall", xlim=(0, grid[-1]), ylim=(0, 102))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("stalls noticed, %")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def logged(folder: Path, milestone: str) -> Run:
    """A real run's episodes.csv, every episode from the true start."""
    path = folder / "episodes.csv"
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a run")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["savestate_tag"]]
    reached = np.array([milestone in row["milestones_reached"].split(";") for row in rows], bool)
    return Run(reached, np.array([float(row["return_total"]) for row in rows]), -1, "")


def report_logs(found: Sequence[Calibrated], folders: Sequence[Path], milestone: str) -> None:
    """What the calibrated alarms say of real runs."""
    print(f"\nFirst alarm by episode, {milestone}; the CUSUM's reference is that of the simulated returns:\n")
    print("| run | episodes | reached | " + " | ".join(one.name for one in found) + " |")
    print("|---" * (3 + len(found)) + "|")
    for folder in folders:
        run = logged(folder, milestone)
        if not len(run.reached):
            continue
        alarms = [one.alarms([run])[0] for one in found]
        cells = [str(alarm) if alarm >= 0 else "none" for alarm in alarms]
        print(f"| {folder.name} | {len(run.reached)} | {run.reached.sum()} | " + " | ".join(cells) + " |")


def parts(count: int, episodes: int) -> Iterator[list[Run]]:
    """Healthy and stalled runs to calibrate with, healthy and stalled ones to test with."""
    for seed, (share, plants) in enumerate(((3, ("",)), (1, PLANTS), (1, ("",)), (1, PLANTS)), start=200):
        yield simulated(
            share * count, plants, seed, episodes
        )  # a rate of 5 % needs more runs to be set than to be measured


def main() -> None:
    """Calibrate, test, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-per-kind", type=int, default=300, metavar="N")
    parser.add_argument("--episodes", type=int, default=1000, metavar="N", help="of a simulated run")
    parser.add_argument("--figure", type=Path, help="write the figure there")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], metavar="FOLDER", help="real runs to look at")
    parser.add_argument("--milestone", default="Boulder", help="of the real runs")
    options = parser.parse_args()
    if options.runs_per_kind < 20:
        parser.error(f"--runs-per-kind must be at least 20, got {options.runs_per_kind}")
    if options.episodes < 100:
        parser.error(f"--episodes must be at least 100, got {options.episodes}")
    healthy, stalled, test_healthy, test_stalled = parts(options.runs_per_kind, options.episodes)
    found = [calibrate(detector, healthy, stalled) for detector in detectors()]
    try:
        leads = report(found, test_healthy, test_stalled)
        if options.figure:
            draw(options.figure, test_stalled, leads)
        if options.runs:
            report_logs(found, options.runs, options.milestone)
    except UserError as error:
        raise SystemExit(f"alarm.py: {error}") from error


if __name__ == "__main__":
    main()
