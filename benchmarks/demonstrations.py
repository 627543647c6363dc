"""What demonstrations are worth to Q-learning on the practice cartridge, over several seeds: a table and curves (PNG).

Run: `python benchmarks/demonstrations.py [--seeds 5] [--first-seed 1] [--jobs 2] [--arms shown tuned] [--png FILE]`;
nothing that is in `runs/learning/` is made twice.

* `shown`: HierQ from nothing with `configs/demos.yaml`: 20 scripted episodes to the second badge in a replay of their
  own, recorded for each seed with other starts. 60,000 steps.
* `tuned`: a clone of 50 such episodes, then 50,000 steps of Q-learning with the same 20 demonstrations, beginning with
  its networks (`train_big --init-from`): does it keep what it can do?

Each checkpoint (every 20,000 and 10,000 steps) plays 20 whole episodes of 2,048 steps, exploring as in training at its
end, as in `benchmarks/whole_episodes.py`; step 0 of `tuned` is the student itself. Figures are medians over seeds with
quartiles.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from imitation import BADGES, call
from imitation import FOLDER as STUDENTS
from imitation import measure as cloned
from learning import FOLDER, WANTED_RATE, middle, train_seed
from numpy.typing import NDArray
from whole_episodes import RESULTS, play, results

from daddy_puffer.config import load_config
from daddy_puffer.learner.checkpoint import find_checkpoint

CONFIG = "configs/demos.yaml"
STEPS = {"shown": 60_000, "tuned": 50_000}
INTERVALS = {"shown": 20_000, "tuned": 10_000}  # steps between checkpoints
EPISODES = 20
CLONE = "bc50"  # the student of `tuned`
Curve = dict[int, dict[str, float]]  # by step: what its whole episodes came to


def demonstrations(seed: int) -> Path:
    """Scripted episodes to the second badge, recorded unless they are there."""
    folder = FOLDER / f"demos_{seed}"
    done = folder / "recorded.json"
    if not done.is_file():
        begin = ("--until", BADGES[1], "--random-start-steps", 50, "--seed", 1000 * seed)
        call("demos", "record", "--player", "scripted", "--episodes", EPISODES, "--out", folder, *begin)
        done.write_text(json.dumps({"episodes": EPISODES}))
    return folder


def student(seed: int) -> Path:
    """The best checkpoint of a clone, as `benchmarks/imitation.py` has it."""
    cloned(CLONE, BADGES[1], seed, EPISODES)
    return find_checkpoint(STUDENTS / f"{CLONE}_{BADGES[1]}_{seed}" / "run" / "best")


def measure(arm: str, seed: int) -> Curve:
    """Train one seed, and play its checkpoints."""
    folder = FOLDER / f"{arm}_{seed}"
    interval = INTERVALS[arm]
    settings: dict[str, object] = {
        "train.total_steps": STEPS[arm],
        "train.vectorization": "serial",
        "train.log_interval": interval,
        "train.save_interval": interval,
        "train.keep_checkpoints": 1 + STEPS[arm] // interval,
        "demos.folder": str(demonstrations(seed)),
        "env.max_steps": 2048,
    }
    begin = student(seed) if arm == "tuned" else None
    train_seed(arm, seed, settings, CONFIG, init_from=str(begin or ""))
    if begin is not None and not (folder / RESULTS).is_file():
        config = load_config(Path(CONFIG), {**settings, "train.seed": seed})
        (folder / RESULTS).write_text(json.dumps({0: play(begin, EPISODES, config)}))
    curve = {interval * round(step / interval): found for step, found in results(folder, EPISODES, 0).items()}
    print(f"{folder.name}: badge 1 and 2 at the end in {100 * last(curve, 1):.0f} and {100 * last(curve, 2):.0f} %")
    return curve


def last(curve: Curve, badges: int) -> float:
    """Share of episodes with so many badges at the end."""
    return curve[max(curve)][f"badge {badges}"]


def steps_to(curve: Curve, badges: int, share: float) -> float:
    """The first checkpoint at which so many episodes won so many badges; infinite if none."""
    reached = [step for step, found in sorted(curve.items()) if found[f"badge {badges}"] >= share]
    return float(reached[0]) if reached else np.inf


def table(arms: dict[str, list[Curve]]) -> str:
    """Markdown: one row an arm."""
    heads = ["arm", "seeds", "badge 1 at the end, %", "badge 2 at the end, %", "lowest badge 1 on the way, %"]
    heads += [f"steps to badge {badges} in {share}" for badges in (1, 2) for share in ("one episode", "80 %")]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    columns: list[tuple[Callable[[Curve], float], str]] = [
        (lambda curve: 100 * last(curve, 1), ".0f"),
        (lambda curve: 100 * last(curve, 2), ".0f"),
        (lambda curve: 100 * min(found["badge 1"] for found in curve.values()), ".0f"),
    ]
    for badges in (1, 2):
        for share in (1 / EPISODES, WANTED_RATE):
            columns.append((lambda curve, b=badges, s=share: steps_to(curve, b, s), ",.0f"))  # type: ignore[misc]
    for arm, curves in arms.items():
        cells = [middle([figure(curve) for curve in curves], form) for figure, form in columns]
        lines.append("| " + " | ".join([arm, str(len(curves)), *cells]) + " |")
    return "\n".join(lines)


def plot(arms: dict[str, list[Curve]], png: Path) -> None:
    """Both badges against steps: every seed a thin line, the median a thick one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True, sharey=True)
    for badges, axis in enumerate(axes, start=1):
        for color, (arm, curves) in zip(("C0", "C1"), arms.items(), strict=False):
            steps: NDArray[np.float64] = np.array(sorted(curves[0]), float)
            rates = np.array([[curve[step][f"badge {badges}"] for step in sorted(curve)] for curve in curves])
            axis.plot(steps, rates.T, color=color, lw=0.7, alpha=0.4)
            axis.plot(steps, np.median(rates, axis=0), "o-", color=color, ms=3, label=f"{arm} ({len(curves)})")
        axis.set(xlabel="steps", ylim=(-0.02, 1.05), title=f"badge {badges}: share of whole episodes")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=120)


def main() -> None:
    """Measure what is missing, then print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--arms", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--png", type=Path, default=FOLDER / "demonstrations.png")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = {arm: [pool.submit(measure, arm, seed) for seed in seeds] for arm in given.arms}
        arms = {arm: [run.result() for run in runs] for arm, runs in waiting.items()}
    print(table(arms))
    plot(arms, given.png)
    print(f"written: {given.png}")


if __name__ == "__main__":
    main()
