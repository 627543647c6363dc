"""How many whole episodes win a badge, over training: the checkpoints of the runs of `benchmarks/learning.py`.

Run: `python benchmarks/whole_episodes.py NAME [NAME ...] [--episodes 20] [--from-step 0] [--jobs 2]` after
`python benchmarks/learning.py NAME ... train.save_interval=50000 train.keep_checkpoints=10`.

Where training has a curriculum or little patience, few of its episodes are whole ones from the true start. So every
checkpoint plays them here: 2,048 steps each, exploring as in training at its end (epsilon and temperature), without
intrinsic rewards. Results are kept in `whole_episodes.json` of each run folder and not played again. A figure is the
median over seeds with the quartiles; the last column is the first checkpoint from which on at least 80 % won badge 1.
"""

from __future__ import annotations

import argparse
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


def table(runs: dict[str, list[dict[int, dict[str, float]]]]) -> str:
    """Markdown: badge-1 rate by step, then what they came to."""
    steps = sorted({round(step, -4) for seeds in runs.values() for run in seeds for step in run})
    heads = ["run", "seeds", *(f"{step // 1000}k" for step in steps)]
    heads += ["badge 2 at the end, %", "return at the end", "steps to badge 1 in 80 %"]
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
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--from-step", type=int, default=0, help="leave earlier checkpoints out")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    folders = {name: sorted(FOLDER.glob(f"{name}_[0-9]*/")) for name in options.names}
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = {
            name: [pool.submit(results, folder, options.episodes, options.from_step) for folder in found]
            for name, found in folders.items()
        }
        print(table({name: [run.result() for run in seeds] for name, seeds in waiting.items() if seeds}))


if __name__ == "__main__":
    main()
