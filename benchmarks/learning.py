"""Learning on the practice cartridge over several seeds: a table, and learning curves as PNG.

Run: `python benchmarks/learning.py NAME [--seeds 5] [--steps 300000] [--jobs 2] [--config FILE] [section.key=value …]`
trains one run a seed into `runs/learning/NAME_<seed>/` (a finished one is not repeated) and prints its row;
`python benchmarks/learning.py --plot NAME [NAME ...] --png FILE` compares what is there: one row a name, and the curves
of return, badge-1 rate and badge-2 rate against steps and against hours.

Training episodes of 2,048 steps at most count as they were played, exploration included; those that a curriculum began
further on do not count, but their steps do. "Steps to badge 1" is the first time at which it was won in at least 80 %
of the last 20 episodes. Figures are medians over seeds with the quartiles; the return of the last 20 episodes is the
interquartile mean with its bootstrap interval over seeds (Agarwal 2021, rliable).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

FOLDER = Path("runs/learning")
WINDOW = 20  # episodes
WANTED_RATE = 0.8
TRAIN = "import json, sys; from pathlib import Path; from daddy_puffer.config import load_config; \
from daddy_puffer.train import train; path = lambda text: Path(text) if text else None; \
train(load_config(path(sys.argv[2]), json.loads(sys.argv[1])), film_steps=10, init_from=path(sys.argv[3]))"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One seed's episodes in order of their ends."""

    steps: Floats  # environment steps at each end
    hours: Floats
    returns: Floats  # of the game's rewards
    badges: Floats
    steps_per_second: float


def load(folder: Path) -> Run:
    """Read a run folder."""
    with (folder / "episodes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not row["savestate_tag"]]
    with (folder / "metrics.csv").open() as file:
        intervals = [(float(row["step"]), float(row["speed/steps_per_second"])) for row in csv.DictReader(file)]
    assert rows and intervals, f"{folder} has no episodes from the true start"
    ends, speeds = np.array(intervals).T
    seconds = np.cumsum(np.diff(ends, prepend=0.0) / speeds)
    steps = np.array([float(row["end_step_global"]) for row in rows])
    return Run(
        steps=steps,
        hours=np.interp(steps, [0.0, *ends], [0.0, *seconds]) / 3600,
        returns=np.array([float(row["return_env"]) for row in rows]),
        badges=np.array([float(row["badges"]) for row in rows]),
        steps_per_second=ends[-1] / seconds[-1],
    )


def runs_of(name: str) -> list[Run]:
    """Every finished seed of `name`."""
    folders = sorted(FOLDER.glob(f"{name}_[0-9]*"))
    return [load(folder) for folder in folders if finished(folder)]


def finished(folder: Path) -> bool:
    """Whether a run has come to its end; what was interrupted is not counted."""
    meta = folder / "meta.json"
    steps = json.loads(meta.read_text()).get("steps", 0) if meta.is_file() else 0
    return steps > 0 and steps >= OmegaConf.load(folder / "config.yaml").train.total_steps  # also of other versions


def rolling(values: Floats) -> Floats:
    """Mean of the last `WINDOW` values at each, of fewer at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    index = np.arange(1, len(values) + 1)
    start = np.maximum(0, index - WINDOW)
    return (sums[index] - sums[start]) / (index - start)


def steps_to(run: Run, badges: int) -> float:
    """Environment steps until `badges` were won in enough of a full window of episodes; infinite if never."""
    rate = rolling((run.badges >= badges).astype(float))
    reached = np.flatnonzero((rate >= WANTED_RATE) & (np.arange(len(rate)) >= WINDOW - 1))
    return float(run.steps[reached[0]]) if reached.size else np.inf


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half, ends weighted by their share."""
    ordered = np.sort(values)
    edges = np.linspace(0, 1, len(ordered) + 1)
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
    return float(np.average(ordered, weights=weights))


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap of the interquartile mean."""
    rng = np.random.default_rng(0)
    means = [interquartile_mean(rng.choice(values, len(values))) for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def middle(values: Iterable[float], form: str) -> str:
    """Median and quartiles as text; a quartile may be infinite."""
    ordered = np.sort(list(values))
    quartiles = [ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.25, 0.75)]
    median, low, high = (format(value, form) if np.isfinite(value) else "never" for value in quartiles)
    return f"{median} [{low}, {high}]"


def row(name: str, runs: list[Run]) -> str:
    """One line of the table."""
    tails = [float(run.returns[-WINDOW:].mean()) for run in runs]
    low, high = interval(tails)
    rates = [100 * float((run.badges[-WINDOW:] >= 1).mean()) for run in runs]
    second = [100 * float((run.badges[-WINDOW:] >= 2).mean()) for run in runs]
    cells = [
        name,
        str(len(runs)),
        f"{max(run.steps[-1] for run in runs):,.0f}",
        f"{interquartile_mean(tails):.1f} [{low:.1f}, {high:.1f}]",
        middle(rates, ".0f"),
        middle(second, ".0f"),
        middle([steps_to(run, 1) for run in runs], ",.0f"),
        middle([run.steps_per_second for run in runs], ".0f"),
    ]
    return "| " + " | ".join(cells) + " |"


def table(names: Sequence[str]) -> str:
    """Markdown."""
    heads = ["run", "seeds", "steps", "return", "badge 1, %", "badge 2, %", "steps to badge 1 in 80 %", "steps/s"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join(lines + [row(name, runs) for name in names if (runs := runs_of(name))])


def plot(names: Sequence[str], png: Path) -> None:
    """Return and badge rates against steps and hours: median over seeds, shaded between the quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7), constrained_layout=True)
    measures = [("return", lambda run: run.returns), ("badge 1", lambda run: run.badges >= 1.0)]
    measures.append(("badge 2", lambda run: run.badges >= 2.0))
    for line, (axis_name, get_x) in enumerate((("steps", lambda r: r.steps), ("hours", lambda r: r.hours))):
        for column, (measure, get_y) in enumerate(measures):
            axis = axes[line][column]
            for name in names:
                runs = runs_of(name)
                if not runs:
                    continue
                grid = np.linspace(0, min(get_x(run)[-1] for run in runs), 200)
                curves = [np.interp(grid, get_x(run), rolling(np.asarray(get_y(run), float))) for run in runs]
                low, median, high = np.percentile(curves, [25, 50, 75], axis=0)
                axis.plot(grid, median, label=f"{name} ({len(runs)})")
                axis.fill_between(grid, low, high, alpha=0.2)
            axis.set_xlabel(axis_name)
            axis.set_ylabel(f"{measure}, last {WINDOW} episodes")
            axis.grid(alpha=0.3)
            if column:
                axis.set_ylim(-0.02, 1.02)
    axes[0][0].legend(fontsize=8)
    figure.suptitle("Training on the practice cartridge: median over seeds, quartiles shaded")
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=110)


def train_seed(name: str, seed: int, settings: dict[str, object], config: str, init_from: str = "") -> None:
    """Train in a process of its own, from a checkpoint's networks if given; its console goes to a file beside it."""
    folder = FOLDER / f"{name}_{seed}"
    if finished(folder):
        return
    own = {"train.run_name": folder.name, "train.runs_dir": str(FOLDER), "train.seed": seed}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{folder.name}.log").open("w") as log:
        command = [sys.executable, "-c", TRAIN, json.dumps({**settings, **own}), config, init_from]
        subprocess.run(command, stdout=log, stderr=log, check=True)


def parse(text: str) -> tuple[str, object]:
    """`section.key=value`, the value as JSON where it is."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def main() -> None:
    """Train or plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?")
    parser.add_argument("settings", nargs="*", help="section.key=value")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--config", default="", help="YAML that the settings are laid over")
    parser.add_argument("--plot", nargs="+", metavar="NAME")
    parser.add_argument("--png", type=Path, default=FOLDER / "curves.png")
    options = parser.parse_intermixed_args()  # settings may follow options
    if options.name:
        settings: dict[str, object] = {"train.total_steps": options.steps, "env.max_steps": 2048}
        settings |= {"train.vectorization": "serial", "train.log_interval": 10_000}
        settings |= dict(parse(text) for text in options.settings)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda seed: train_seed(options.name, seed, settings, options.config), seeds))
    names = options.plot or [options.name]
    print(table(names))
    if options.plot:
        plot(names, options.png)
        print(f"\nwritten to {options.png}")


if __name__ == "__main__":
    main()
