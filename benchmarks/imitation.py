"""What imitation comes to on the practice cartridge over several seeds: a table, a CSV and a PNG.

Run: `python benchmarks/imitation.py [--seeds 5] [--jobs 2] [--targets Boulder Cascade] [--methods bc10 bc50 dagger
pixels] [--episodes 20] [--csv FILE] [--png FILE]`.

For every seed and target (the milestone that ends an episode): behavioural cloning of 10 and of 50 scripted episodes,
and DAgger, all with HierQ slim, the same number of updates and evaluations, and starts perturbed by up to 50 random
actions; batches of 128 rows, of DAgger 512. `pixels` is DAgger with the ImpalaCNN, which sees the screen and nothing
else, and batches of 64. What is judged is the best checkpoint of each, by whole episodes from other perturbed starts at
the true start of the game. A result that is in `runs/imitation/` is not measured again. Every process has one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

FOLDER = Path("runs/imitation")
BADGES = ("Boulder", "Cascade")  # the first and the second
ROUNDS, UPDATES = 8, 400  # of DAgger; cloning has as many updates in all
PERTURBED = 50  # random actions before an episode, at most
DEMONSTRATIONS = {"bc10": 10, "bc50": 50}
PIXELS = "pixels"
METHODS = (*DEMONSTRATIONS, "dagger", PIXELS)
FIRST_SEED = 3_000_000  # of the episodes that are judged
RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """One student."""

    method: str
    target: str
    seed: int
    episodes: int  # played to judge it
    badge_1: float  # share of them
    badge_2: float
    mean_length: float  # actions
    labels: int  # actions of the expert that it learnt from
    minutes: float  # wall time of recording and learning


def call(module: str, *arguments: object) -> str:
    """A command of the package in a process of its own; what it printed."""
    command = [sys.executable, "-m", f"daddy_puffer.{module}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def labels_in(folder: Path) -> int:
    """Rows of all episodes in a folder and below it."""
    count = 0
    for path in folder.rglob("episode_*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            count += int((arrays["labels"] >= 0).sum()) if "labels" in arrays else len(arrays["actions"])
    return count


def clone(folder: Path, method: str, target: str, seed: int) -> Path:
    """Record and clone; returns the demonstrations."""
    demos, count = folder / "demos", DEMONSTRATIONS[method]
    begin = ("--until", target, "--random-start-steps", PERTURBED, "--seed", 1000 * seed)
    call("demos", "record", "--player", "scripted", "--episodes", count, "--out", demos, *begin)
    updates = ("--total-training-steps", ROUNDS * UPDATES, "--eval-frequency", UPDATES, "--save-frequency", UPDATES)
    learning = ("--lr", 1e-3, "--batch-size", 128, "--held-out-share", 0, "--seed", seed)
    call("imitate", "bc", "--demos", demos, "--out", folder / "run", *updates, *learning)
    return demos


def correct(folder: Path, target: str, seed: int, method: str = "dagger") -> Path:
    """DAgger; returns the rounds."""
    rounds = ("--rounds", ROUNDS, "--updates", UPDATES, "--random-start-steps", PERTURBED)
    student = ("--student", "impala", "--batch-size", 64) if method == PIXELS else ()
    call("imitate", "dagger", "--out", folder / "run", "--until", target, "--seed", seed, *rounds, *student)
    return folder / "run" / "rounds"


def measure(method: str, target: str, seed: int, episodes: int) -> Result:
    """One student, if it has not been measured already."""
    folder = FOLDER / f"{method}_{target}_{seed}"
    known = folder / RESULT
    if known.is_file():
        return Result(**json.loads(known.read_text()))
    begun = time.monotonic()
    if method not in DEMONSTRATIONS:
        learnt_from = correct(folder, target, seed, method)  # one that was stopped goes on
    else:
        remove(folder)
        learnt_from = clone(folder, method, target, seed)
    minutes = (time.monotonic() - begun) / 60
    judged = ("--episodes", episodes, "--seed", FIRST_SEED + 1000 * seed, "--random-start-steps", PERTURBED)
    best = folder / "run" / ("best.pt" if method == PIXELS else "best")
    score = json.loads(call("imitate", "evaluate", best, *judged))
    rates = [float(score["milestones"].get(badge, 0.0)) for badge in BADGES]
    labels = labels_in(learnt_from)
    found = Result(method, target, seed, episodes, rates[0], rates[1], score["mean_length"], labels, minutes)
    known.write_text(json.dumps(asdict(found)) + "\n")
    print(f"{folder.name}: badge 1 {rates[0]:.2f}, badge 2 {rates[1]:.2f}, {minutes:.1f} minutes", flush=True)
    return found


def remove(folder: Path) -> None:
    """What an interrupted measurement of cloning left: its demonstrations are not all there."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def middle(values: Sequence[float], form: str) -> str:
    """Median and quartiles as text."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return f"{median:{form}} [{low:{form}}, {high:{form}}]"


def print_table(groups: dict[tuple[str, str], list[Result]]) -> None:
    """One row a method and target; medians over seeds with the quartiles."""
    print("| method | until | seeds | badge 1 | badge 2 | labels | minutes |\n|---|---|---|---|---|---|---|")
    for (method, target), found in groups.items():
        second = middle([r.badge_2 for r in found], ".2f") if target == BADGES[1] else ""
        cells = (middle([r.badge_1 for r in found], ".2f"), second, middle([r.labels for r in found], ".0f"))
        minutes = middle([r.minutes for r in found], ".1f")
        print(f"| {method} | {target} | {len(found)} | {' | '.join(cells)} | {minutes} |")


def plot(groups: dict[tuple[str, str], list[Result]], path: Path) -> None:
    """Rates by method, a panel a target: every seed a dot, median and quartiles a bar with its whiskers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    targets = list(dict.fromkeys(target for _, target in groups))
    figure, panels = pyplot.subplots(1, len(targets), figsize=(4.5 * len(targets), 3.5), squeeze=False)
    for panel, target in zip(panels[0], targets, strict=True):
        methods = [method for method, of in groups if of == target]
        for place, method in enumerate(methods):
            found = groups[method, target]
            rates = [r.badge_2 if target == BADGES[1] else r.badge_1 for r in found]
            low, median, high = np.percentile(rates, [25, 50, 75])
            panel.bar(place, median, yerr=[[median - low], [high - median]], color="#88aacc", capsize=4)
            panel.plot(np.full(len(rates), place), rates, "k.", alpha=0.6)
        panel.set(xticks=range(len(methods)), xticklabels=methods, ylim=(0, 1.05), title=f"{target}: share of episodes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--targets", nargs="+", choices=BADGES, default=list(BADGES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--csv", type=Path, default=FOLDER / "imitation.csv")
    parser.add_argument("--png", type=Path, default=FOLDER / "imitation.png")
    given = parser.parse_args()
    wanted = [(m, t, s) for t in given.targets for s in range(given.seeds) for m in given.methods]
    with ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(lambda what: measure(what[0], what[1], what[2], given.episodes), wanted))
    with given.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(results[0])))
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    keys = [(m, t) for t in given.targets for m in given.methods]
    groups = {key: [r for r in results if (r.method, r.target) == key] for key in keys}
    print_table(groups)
    plot(groups, given.png)
    print(f"written: {given.csv}, {given.png}")


if __name__ == "__main__":
    main()
