"""From power-on: does an agent learn to leave title and intro, and what does it take?

Run: `python benchmarks/intro.py [--seeds 5] [--steps 40000] [--jobs 2] [--only NAME ...]` makes once, in `runs/intro/`,
frames of the script (`frames collect`), a tokenizer and a reward model of their order (`pretrain`), then trains one run
a variant and seed with `configs/progress.yaml` and settings on top; what is finished is not repeated. Each then plays
`--episodes` episodes of 2,000 steps from power-on, always the best button, and as many as it plays itself, which is by
drawing from softmax(Q / temperature). Random buttons and networks before training play, too.

Prints a Markdown table: share of the episodes that left title and intro, so that the player can walk (the cartridge's
own memory says so), with its 95 % interval over all seeds' episodes, each seed's, the median step at which, and the
same of having walked a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from learning import finished
from numpy.typing import NDArray
from scipy.stats import beta

from daddy_puffer.config import Config, load_config
from daddy_puffer.envs.scripted import UI_OVERWORLD, UI_STATE
from daddy_puffer.game import FEATURES
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint_config, restore_learner
from daddy_puffer.learner.learner import Learner
from daddy_puffer.rollout import Agent, RandomAgent, TrainedAgent
from daddy_puffer.train import train
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.vector import VectorEnv, make_vector

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("runs/intro")
CONFIG = ROOT / "configs" / "progress.yaml"
STEPS = 2000  # in which an episode must leave title and intro
CELL = [name for name, _ in FEATURES].index("cell")
Settings = dict[str, object]
NOVELTY: Settings = {"intrinsic.novelty_weight": 0.1, "intrinsic.novelty_scope": "episode"}
VARIANTS: dict[str, tuple[bool, bool, Settings]] = {  # frame-order reward, pretrained encoder, other settings
    "frame order": (True, False, {}),
    "frame order, encoder": (True, True, {}),
    "frame order, novelty": (True, False, NOVELTY),
    "frame order, RND": (True, False, {"intrinsic.rnd_weight": 0.3}),
    "frame order, looks every 64 steps": (True, False, {"progress_reward.reward_interval": 64}),
    "frame order, scale 20": (True, False, {"progress_reward.scale": 20.0}),
    "frame order, long episodes": (True, False, {"env.max_steps": STEPS}),
    "novelty": (True, False, {**NOVELTY, "progress_reward.scale": 0.0, "progress_reward.time_penalty": 0.0}),
    "the game's rewards": (False, False, {}),
}
Agents = Callable[[VectorEnv, Config], Agent]
Floats = NDArray[np.float64]


class GreedyAgent:
    """Always the button with the highest value: nothing is left to chance."""

    def __init__(self, learner: Learner, envs: int) -> None:
        self._learner, self._state = learner, learner.initial_state(envs)

    def act(self, batch: StepBatch) -> Array:
        nothing = np.zeros(len(batch.reward), np.float32)
        result = self._learner.act(batch.observation, batch.first, self._state, nothing)
        self._state = result.state
        best: Array = result.q_values.argmax(axis=1)
        return best


def call(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "daddy_puffer", *map(str, arguments)], check=True, stdout=sys.stderr)


def make_models(frames: int, updates: int) -> None:
    """Frames, tokenizer and reward model, unless they are there."""
    if not (FOLDER / "frames/manifest.json").is_file():
        call("frames", "collect", "--out", FOLDER / "frames", "--frames", frames)
    for name, command in (("order", "reward-model"), ("tokenizer", "tokenizer")):
        if not (FOLDER / name / "done").is_file():
            call("pretrain", command, "--frames", FOLDER / "frames", "--out", FOLDER / name, "--updates", updates)
            (FOLDER / name / "done").touch()


def settings_of(variant: str, seed: int, steps: int) -> Config:
    """The configuration of one run."""
    order, encoder, settings = VARIANTS[variant]
    config = load_config(CONFIG, {**settings, "train.seed": seed, "train.total_steps": steps})
    reward = replace(config.progress_reward, model=str(FOLDER / "order") if order else "")
    policy = replace(config.policy, pretrained=str(FOLDER / "tokenizer") if encoder else "")
    run = replace(config.train, runs_dir=str(FOLDER), run_name=folder_of(variant, seed).name, vectorization="serial",
                  save_interval=steps, log_interval=5000)  # fmt: skip
    exploration = replace(config.exploration, epsilon_decay_steps=2 * steps // 3)
    return replace(config, progress_reward=reward, policy=policy, exploration=exploration, train=run)


def folder_of(variant: str, seed: int) -> Path:
    return FOLDER / f"{variant.replace(', ', '_').replace(' ', '-')}_{seed}"


def steps_to_leave(config: Config, episodes: int, agents: Agents) -> Floats:
    """Steps to the game's beginning, and to the first step walked, f64 `[2, episodes]`; infinite if not in `STEPS`."""
    torch.set_num_threads(1)
    plain = config.for_evaluation()
    serial = replace(plain.train, vectorization="serial")
    plain = replace(plain, train=serial, env=replace(plain.env, max_steps=STEPS))
    with make_vector(plain, num_envs=episodes) as env:
        agent, batch = agents(env, plain), env.reset(1000)
        memories = [packed.env.unwrapped.memory for packed in env._backend.envs]
        left = np.full((2, episodes), np.inf)
        seen, begins = [set[int]() for _ in range(episodes)], [False] * episodes
        for step in range(1, STEPS + 1):
            batch = env.step(agent.act(batch))
            cells = batch.observation["structured"][:, CELL].astype(int).tolist()
            for number, (memory, cell) in enumerate(zip(memories, cells, strict=True)):
                walks = memory[UI_STATE] == UI_OVERWORLD  # so it is, too, before the title comes up
                begins[number] |= not walks
                if walks and begins[number]:
                    left[0, number] = min(left[0, number], step)
                    seen[number].add(cell)
                if len(seen[number]) > 1:
                    left[1, number] = min(left[1, number], step)
            if np.isfinite(left).all():
                break
    return left


def both_ways(config: Config, episodes: int, load: Callable[[VectorEnv, Config], Learner]) -> list[Floats]:
    """Of the best buttons, and of what the policy draws, see `steps_to_leave`."""
    ways: list[Agents] = [
        lambda env, plain: GreedyAgent(load(env, plain), env.num_envs),
        lambda env, plain: TrainedAgent(load(env, plain), 0.0),
    ]
    return [steps_to_leave(config, episodes, way) for way in ways]


def play(variant: str, seed: int, steps: int, episodes: int) -> list[Floats]:
    """Train unless that has been done, then play both ways."""
    folder = folder_of(variant, seed)
    if not finished(folder):
        train(settings_of(variant, seed, steps), film_steps=10)
    result = folder / "intro.json"
    if not result.is_file():
        checkpoint = find_checkpoint(folder)
        config = load_checkpoint_config(checkpoint)
        left = both_ways(config, episodes, lambda env, plain: load_learner(checkpoint, env, plain))
        result.write_text(json.dumps(np.where(np.isinf(left), None, left).tolist()))
    return list(np.nan_to_num(np.array(json.loads(result.read_text()), float), nan=np.inf))


def load_learner(checkpoint: Path, env: VectorEnv, config: Config) -> Learner:
    learner = Learner(config, env.spaces, env.num_actions)
    restore_learner(learner.load_state_dict, checkpoint)
    return learner


def row(name: str, how: str, seeds: list[Floats]) -> str:
    """A line of the table; of each seed what `steps_to_leave` gave."""
    left, walked = np.concatenate(seeds, axis=1)
    count, of = int(np.isfinite(left).sum()), len(left)
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    each = "; ".join(f"{np.isfinite(seed[0]).mean():.0%}" for seed in seeds)
    cells = [name, how, str(len(seeds)), f"{count / of:.0%} [{low:.0%}, {high:.0%}]", each, median_step(left)]
    return f"| {' | '.join(cells)} | {np.isfinite(walked).mean():.0%} | {median_step(walked)} |"


def median_step(steps: Floats) -> str:
    """Of the episodes that did it."""
    known = steps[np.isfinite(steps)]
    return f"{np.median(known):.0f}" if len(known) else "never"


def one_run(variant: str, seed: int, steps: int, episodes: int) -> None:
    """In a process of its own: several of these share the machine."""
    sizes = ["--steps", str(steps), "--episodes", str(episodes)]
    command = [sys.executable, __file__, "--run", variant, str(seed), *sizes]
    folder_of(variant, seed).parent.mkdir(parents=True, exist_ok=True)
    with folder_of(variant, seed).with_suffix(".log").open("w") as output:
        subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT)
    print(f"{variant}, seed {seed}: done", file=sys.stderr, flush=True)


def main() -> None:
    """Train, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=64_000)
    parser.add_argument("--updates", type=int, default=1500, help="of tokenizer and reward model")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--run", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        play(options.run[0], int(options.run[1]), options.steps, options.episodes)
        return
    make_models(options.frames, options.updates)
    seeds = range(1, options.seeds + 1)
    todo = [(variant, seed) for seed in seeds for variant in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda run: one_run(run[0], run[1], options.steps, options.episodes), todo))
    plain = settings_of("the game's rewards", 1, options.steps)
    untrained = [
        both_ways(
            replace(plain, train=replace(plain.train, seed=seed)), options.episodes,
            lambda env, config: Learner(config, env.spaces, env.num_actions),
        )
        for seed in seeds
    ]  # fmt: skip
    random = steps_to_leave(plain, options.episodes, lambda env, _: RandomAgent(env.num_actions, 1))
    rows = [row("random buttons", "drawn", [random])]
    trained = {name: [play(name, seed, options.steps, options.episodes) for seed in seeds] for name in options.only}
    for name, runs in {"nothing yet": untrained, **trained}.items():
        rows += [row(name, how, [run[way] for run in runs]) for way, how in enumerate(("best", "drawn"))]
    print("| trained for | buttons | seeds | left title and intro | each seed | median step | walked | median step |")
    print("|---|---|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
