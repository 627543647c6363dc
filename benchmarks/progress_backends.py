"""Three ways to infer how likely milestones are, on the same logs: conjugate updates, particle filter, Gibbs sampler.

Run: `python benchmarks/progress_backends.py [--runs FOLDER...] [--runs-simulated N]`. Without folders the logs are
simulated: five milestones of one run whose rates rise one after another, and fall back in a third of the runs.

Printed: mean log predictive score of the next trial, -log 2 = -0.693 for a coin, higher is better (the Gibbs sampler
sees the log up to each of a few cuts and foretells the next 20 trials of every milestone), paired differences to the
conjugate updates with 95 % bootstrap intervals over runs, and means and intervals at the end of the first log.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daddy_puffer.errors import UserError
from daddy_puffer.numerics.stats import bootstrap_interval
from daddy_puffer.progress import Posteriors
from daddy_puffer.progress.hierarchical import gibbs, particle_filter
from daddy_puffer.types import Array

EPISODES, MILESTONES = 300, 5
AHEAD = 20  # trials foretold after each cut
CUTS = (50, 100, 150, 200, 250)
FORGETTING = (0.95, 0.98, 0.99, 0.998)
DRIFTS = (0.05, 0.15, 0.4)
CHOSEN = 0.95
REFERENCE = f"conjugate, forgetting {CHOSEN}"
LEAST = 1e-6  # probabilities are kept away from 0 and 1


def simulate(rng: np.random.Generator) -> Array:
    """Outcomes of one run, bool `[EPISODES, MILESTONES]`."""
    time = np.arange(EPISODES)[:, None]
    midpoint = np.cumsum(rng.uniform(10, 90, MILESTONES))
    rates = rng.uniform(0.5, 0.98, MILESTONES) / (1.0 + np.exp((midpoint - time) / rng.uniform(5, 40, MILESTONES)))
    if rng.random() < 1.0 / 3.0:
        rates = np.where(time > rng.uniform(100, 250), 0.1 * rates, rates)
    return rng.random(rates.shape) < rates


def logged(folder: Path) -> tuple[list[str], Array]:
    """Names and outcomes by episode of the milestones that a real run reached, bool `[episodes, M]`."""
    path = folder / "episodes.csv"
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a run")
    with path.open(newline="", encoding="utf-8") as file:
        reached = [row["milestones_reached"].split(";") for row in csv.DictReader(file) if not row["savestate_tag"]]
    names = sorted({name for episode in reached for name in episode if name})
    if not names:
        raise UserError(f"{path}: no episode reached a milestone")
    return names, np.array([[name in episode for name in names] for episode in reached])


def score(probability: Array, outcome: Array) -> Array:
    """Log of the probability given to what happened."""
    clipped = np.clip(probability, LEAST, 1.0 - LEAST)
    return np.where(outcome, np.log(clipped), np.log1p(-clipped))


def conjugate_history(outcomes: Array, forgetting: float) -> tuple[Array, Posteriors]:
    """P(success) before each trial, f64 `[T, M]`, and the posteriors at the end."""
    posteriors = Posteriors(outcomes.shape[1], forgetting)
    everything = np.ones(outcomes.shape[1], bool)
    means = []
    for row in outcomes:
        means.append(posteriors.mean)
        posteriors.update(everything, row)
    return np.array(means), posteriors


def discounted(outcomes: Array, forgetting: float) -> tuple[Array, Array]:
    """Discounted successes and failures at the end, f64 `[M]` each."""
    weight = forgetting ** np.arange(len(outcomes))[::-1, None]
    return (weight * outcomes).sum(axis=0), (weight * ~outcomes).sum(axis=0)


def one_step_scores(outcomes: Array, rng: np.random.Generator) -> dict[str, float]:
    """Mean log score of the next trial by back end."""
    found = {
        f"conjugate, forgetting {keep}": float(score(conjugate_history(outcomes, keep)[0], outcomes).mean())
        for keep in FORGETTING
    }
    for drift in DRIFTS:
        columns = [particle_filter(column, rng, particles=500, drift=drift).predicted for column in outcomes.T]
        found[f"particle filter, drift {drift}"] = float(score(np.array(columns).T, outcomes).mean())
    return found


def ahead_scores(outcomes: Array, rng: np.random.Generator) -> dict[str, float]:
    """Mean log score of the trials after each cut by back end, from what was known at the cut."""
    rows: dict[str, list[float]] = {}
    for cut in (cut for cut in CUTS if cut + AHEAD <= len(outcomes)):
        past, future = outcomes[:cut], outcomes[cut : cut + AHEAD]
        for keep in (0.95, 0.99):
            counts = discounted(past, keep)
            conjugate = (1.0 + counts[0]) / (2.0 + counts[0] + counts[1])
            hierarchical = gibbs(*counts, rng, draws=400, warmup=150).theta.mean(axis=0)
            for name, rate in (("conjugate", conjugate), ("Gibbs", hierarchical)):
                rows.setdefault(f"{name}, forgetting {keep}", []).append(float(score(rate, future).mean()))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def table(title: str, runs: Sequence[dict[str, float]], reference: str) -> None:
    """Scores over runs and paired differences to `reference`."""
    if not runs or not runs[0]:
        print(f"\n{title}: the logs are too short\n")
        return
    print(f"\n| {title} | log score | minus {reference} |\n|---|---|---|")
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        difference = values - [run[reference] for run in runs]
        low, high = bootstrap_interval(difference)
        print(f"| {name} | {values.mean():.3f} | {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}] |")


def end_table(names: Sequence[str], outcomes: Array, rng: np.random.Generator) -> None:
    """Means and 95 % intervals of every back end after the last trial."""
    conjugate = conjugate_history(outcomes, CHOSEN)[1]
    lower, upper = conjugate.interval()
    draws = gibbs(*discounted(outcomes, CHOSEN), rng).theta
    gibbs_low, gibbs_high = np.quantile(draws, (0.025, 0.975), axis=0)
    print("\n| milestone | successes of trials | conjugate 0.95 | particle filter 0.15 | Gibbs 0.95 |")
    print("|---|---|---|---|---|")
    for i, name in enumerate(names):
        followed = particle_filter(outcomes[:, i], rng)
        cells = (
            (conjugate.mean[i], lower[i], upper[i]),
            (followed.mean[-1], followed.lower[-1], followed.upper[-1]),
            (draws[:, i].mean(), gibbs_low[i], gibbs_high[i]),
        )
        shown = " | ".join(f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in cells)
        print(f"| {name} | {outcomes[:, i].sum()} of {len(outcomes)} | {shown} |")


def main() -> None:
    """Read or simulate, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", default=[], metavar="FOLDER", help="real runs")
    parser.add_argument("--runs-simulated", type=int, default=40, metavar="N")
    options = parser.parse_args()
    if options.runs_simulated < 1:
        parser.error(f"--runs-simulated must be at least 1, got {options.runs_simulated}")
    rng = np.random.default_rng(0)
    try:
        logs = [logged(folder) for folder in options.runs]
    except UserError as error:
        raise SystemExit(f"progress_backends.py: {error}") from error
    if not logs:
        names = [f"milestone {number}" for number in range(1, MILESTONES + 1)]
        logs = [(names, simulate(rng)) for _ in range(options.runs_simulated)]
    table("next trial", [one_step_scores(outcomes, rng) for _, outcomes in logs], REFERENCE)
    ahead = [scores for _, outcomes in logs if (scores := ahead_scores(outcomes, rng))]
    table(f"next {AHEAD} trials", ahead, REFERENCE)
    end_table(*logs[0], rng)


if __name__ == "__main__":
    main()
