"""How many whole episodes win a badge, over training: the checkpoints of the runs of `benchmarks/learning.py`.

Run: `python benchmarks/whole_episodes.py NAME [NAME ...] [--episodes 20] [--from-step 0] [--jobs 2] [--png FILE]` after
`python benchmarks/learning.py NAME ... train.save_interval=50000 train.keep_checkpoints=10`.

Where training has a curriculum or little patience, few of its episodes are whole ones from the true start. So every
checkpoint plays them here: 2,048 steps each, exploring as in training at its end (epsilon and temperature), without
intrinsic rewards. Results are kept in `whole_episodes.json` of each run folder and not played again. A figure is the
median over seeds with the quartiles; the last columns are the first checkpoint from which on at least 80 % won badge 1,
and of each seed the step at which a training episode first won it, from wherever it began.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from learning import FOLDER, WANTED_RATE, middle

from daddy_puffer.config import Config
from daddy_puffer.learner.checkpoint import checkpoint_step, load_checkpoint_config
from daddy_puffer.rollout import load_agent, play_episodes
from daddy_puffer.vector import make_vector

SEED = 1000
RESULTS = "whole_episodes.json"


def play(checkpoint: Path, episodes: int, config: Config | None = None) -> dict[str, float]:
    """Shares of whole episodes with a badge and two, and the mean return; `config` if not the checkpoint's own."""
    torch.set_num_threads(1)
    config = (config or load_checkpoint_config(checkpoint)).for_evaluation()
    config = replace(config, train=replace(config.train, vectorization="serial"))
    with make_vector(config, num_envs=episodes) as env:
        agent = load_agent(checkpoint, env.spaces, config.exploration.epsilon_end, "cpu", SEED)
        records = play_episodes(env, agent, episodes, SEED)
    badges = np.array([record.badges for record in records])
    returns = float(np.mean([record.return_env for record in records]))
    return {"badge 1": float((badges >= 1).mean()), "badge 2": float((badges >= 2).mean()), "return": returns}


def results(folder: Path, episodes: int, from_step: int) -> dict[int, dict[str, float]]:
    """Of every checkpoint of a run, by step."""
    path = folder / RESULTS
    known = {int(step): found for step, found in json.loads(path.read_text()).items()} if path.is_file() else {}
    for checkpoint in sorted((folder / "checkpoints").glob("step_*"), key=checkpoint_step):
        step = checkpoint_step(checkpoint)
        if step < from_step or step in known:
            continue
        known[step] = play(checkpoint, episodes)
        print(f"{folder.name} {step:,}: {known[step]}", file=sys.stderr, flush=True)
        path.write_text(json.dumps(known))
    return dict(sorted(known.items()))


def steps_to_wanted(run: dict[int, dict[str, float]]) -> float:
    """The first checkpoint from which on enough episodes won badge 1; infinite if none."""
    late = np.inf
    for step, found in reversed(run.items()):
        if found["badge 1"] < WANTED_RATE:
            break
        late = float(step)
    return late


def first_badge(folder: Path) -> float:
    """Step at whose end a training episode first had a badge; infinite if none."""
    with (folder / "episodes.csv").open() as file:
        ends = [float(row["end_step_global"]) for row in csv.DictReader(file) if int(row["badges"]) >= 1]
    return min(ends, default=np.inf)


def table(runs: dict[str, list[dict[int, dict[str, float]]]], firsts: dict[str, list[float]]) -> str:
    """Markdown: badge-1 rate by step, then what they came to; `firsts`: of every seed, see `first_badge`."""
    steps = sorted({round(step, -4) for seeds in runs.values() for run in seeds for step in run})
    heads = ["run", "seeds", *(f"{step // 1000}k" for step in steps)]
    heads += ["badge 2 at the end, %", "return at the end", "steps to badge 1 in 80 %", "first badge, steps"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, seeds in runs.items():
        by_step = [{round(step, -4): found for step, found in run.items()} for run in seeds]
        cells = [name, str(len(seeds))]
        for step in steps:
            rates = [100 * run[step]["badge 1"] for run in by_step if step in run]
            cells.append(middle(rates, ".0f") if rates else "")
        last = [list(run.values())[-1] for run in seeds]
        cells.append(middle([100 * found["badge 2"] for found in last], ".0f"))
        cells.append(middle([found["return"] for found in last], ".1f"))
        cells.append(middle([steps_to_wanted(run) for run in seeds], ",.0f"))
        cells.append("; ".join(f"{step:,.0f}" if np.isfinite(step) else "none" for step in firsts[name]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(runs: dict[str, list[dict[int, dict[str, float]]]], firsts: dict[str, list[float]], png: Path) -> None:
    """Every seed a dot, medians as bars: badge-1 rate of the last checkpoint, and when training first had it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    never = 1.1 * max([step for steps in firsts.values() for step in steps if np.isfinite(step)], default=1.0)
    rates = {name: [100 * list(run.values())[-1]["badge 1"] for run in seeds] for name, seeds in runs.items()}
    steps = {name: list(np.nan_to_num(firsts[name], posinf=never)) for name in runs}
    titles = ("badge 1 at the end, % of whole episodes", "first badge in training, steps (above the line: none)")
    for panel, title, values in zip(panels, titles, (rates, steps), strict=True):
        for place, of in enumerate(values.values()):
            panel.bar(place, np.median(of), color="#88aacc")
            panel.plot(np.full(len(of), place), of, "k.", alpha=0.6)
        panel.set(xticks=range(len(values)), xticklabels=values, title=title)
    panels[0].set_ylim(-3, 103)
    panels[1].axhline(0.97 * never, color="grey", linestyle=":")
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=110)


def main() -> None:
    """Play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--from-step", type=int, default=0, help="leave earlier checkpoints out")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--png", type=Path, help="draw what the runs came to as well")
    options = parser.parse_args()
    folders = {name: sorted(FOLDER.glob(f"{name}_[0-9]*/")) for name in options.names}
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = {
            name: [pool.submit(results, folder, options.episodes, options.from_step) for folder in found]
            for name, found in folders.items()
        }
        runs = {name: [run.result() for run in seeds] for name, seeds in waiting.items() if seeds}
    firsts = {name: [first_badge(folder) for folder in folders[name]] for name in runs}
    print(table(runs, firsts))
    if options.png:
        plot(runs, firsts, options.png)


if __name__ == "__main__":
    main()
