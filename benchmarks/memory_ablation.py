"""Which memory is worth what: T-mazes of growing length, with none, one, two and all three memories in series.

Run: `python benchmarks/memory_ablation.py [--lengths 5 10 20] [--seeds N] [--steps N]`. A learner with uniform settings
trains `steps` steps of 8 copies; a figure is the mean return of 200 greedy episodes (1: always the right turn; 0: a
guess), median over seeds with the quartiles, and the seeds that solved it (over 0.9). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny_training import greedy_return, make_tiny, train_tiny

from daddy_puffer.config import Config, ExplorationConfig, LearnerConfig, PolicyConfig, ReplayConfig, TrainConfig
from daddy_puffer.envs.tiny import TMaze

MEMORIES = {
    "none": PolicyConfig(use_gru=False, use_lstm=False, use_ssm=False),
    "GRU": PolicyConfig(use_lstm=False, use_ssm=False),
    "GRU + LSTM": PolicyConfig(use_ssm=False),
    "GRU + LSTM + SSM": PolicyConfig(),
    "LSTM alone": PolicyConfig(use_gru=False, use_ssm=False),
    "SSM alone": PolicyConfig(use_gru=False, use_lstm=False),
}
SOLVED = 0.9


def settings(policy: PolicyConfig, length: int, seed: int) -> Config:
    return Config(
        policy=policy,
        replay=ReplayConfig(
            capacity=20_000,
            burn_in=0,
            sequence_length=length + 4,
            sequence_period=4,
            batch_size=16,
            learning_starts=500,
        ),
        learner=LearnerConfig(learning_rate=2e-3, gamma=0.97, target_period_updates=20, expected_bootstrap=False),
        exploration=ExplorationConfig(temperature=0.0),  # greedy but for epsilon: the right turns are counted
        train=TrainConfig(num_envs=8, seed=seed, device="cpu"),
    )


def trained_return(policy: PolicyConfig, length: int, seed: int, steps: int) -> float:
    """Mean return of greedy episodes."""
    env, learner = make_tiny(lambda: TMaze(length), settings(policy, length, seed))
    train_tiny(env, learner, steps, steps_per_update=2, epsilon=lambda step: max(0.1, 1 - 2 * step / steps))
    return greedy_return(env, learner, episodes=200)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    print(f"return after {options.steps * 8:,} steps, median [quartiles] of {options.seeds} seeds; solved\n")
    print("| memories | " + " | ".join(f"corridor {length}" for length in options.lengths) + " |")
    print("|---|" + "---|" * len(options.lengths))
    for name, policy in MEMORIES.items():
        cells = []
        for length in options.lengths:
            returns = [trained_return(policy, length, seed, options.steps) for seed in range(options.seeds)]
            low, middle, high = np.percentile(returns, [25, 50, 75])
            solved = sum(value > SOLVED for value in returns)
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]; {solved} of {options.seeds}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
