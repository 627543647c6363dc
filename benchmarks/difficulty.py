"""How hard the practice cartridge is: random buttons, and the scripted player from disturbed starts.

Run: `python benchmarks/difficulty.py [--episodes N] [--starts N]`. Random buttons play whole 2,048-step episodes from
the start; the scripted player starts after 300 random buttons, another seed each. Prints a Markdown table; the upper
bound is the exact (Clopper-Pearson) 95 % one-sided bound, 1 - 0.05^(1/n) when none of n succeeded.
"""

from __future__ import annotations

import argparse

import numpy as np

from daddy_puffer.config import load_config
from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.rollout import RandomAgent, play_episodes
from daddy_puffer.vector import make_vector

DISTURBANCE = 300  # random buttons before the scripted player takes over
PATIENCE = 3000  # its steps at most


def random_badges(episodes: int) -> int:
    """Episodes of random buttons with a badge at the end."""
    config = load_config(None, {"env.max_steps": 2048})
    with make_vector(config, num_envs=20) as env:
        return sum(record.badges > 0 for record in play_episodes(env, RandomAgent(), episodes, seed=0))


def scripted_steps(seed: int) -> list[int]:
    """Steps to the first and the second badge after the disturbance."""
    env = RedEnv(max_steps=DISTURBANCE + PATIENCE, random_wait=30)
    env.reset(seed=seed)
    for action in np.random.default_rng(seed).integers(0, 7, DISTURBANCE):
        env.step(action)
    player, reached = ScriptedPlayer(), []
    for step in range(1, PATIENCE + 1):
        env.step(player.act(env.memory))
        if env.game_state.badges > len(reached):
            reached.append(step)
        if len(reached) == 2:
            break
    env.close()
    return reached


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=320)
    parser.add_argument("--starts", type=int, default=20)
    options = parser.parse_args()
    wins = random_badges(options.episodes)
    bound = f", at most {100 * (1 - 0.05 ** (1 / options.episodes)):.2f} % (95 %)" if wins == 0 else ""
    print("| measured | value |\n|---|---|")
    print(f"| random buttons, badge 1 within 2,048 steps | {wins} of {options.episodes} episodes{bound} |")
    runs = [scripted_steps(seed) for seed in range(options.starts)]
    for badge in (0, 1):
        steps = [run[badge] for run in runs if len(run) > badge]
        spread = f"median {np.median(steps):.0f}, {min(steps)} to {max(steps)}"
        print(f"| scripted player, steps to badge {badge + 1} | {spread} ({len(steps)} of {len(runs)} starts) |")


if __name__ == "__main__":
    main()
