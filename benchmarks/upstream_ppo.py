"""pokemonred_puffer's own PPO with its stock policy on the practice cartridge: how far it gets in how many steps.

Run: `PYTHONPATH=<checkout of pokemonred_puffer>:. python benchmarks/upstream_ppo.py --upstream-python PYTHON` (and
`--seeds N`, `--steps N`, `--hours H` for each seed, `--jobs N` at a time, `--runs-dir DIR`), where PYTHON is the
interpreter of an environment that pokemonred_puffer runs in. Upstream's train.py, policy and hyperparameters as
shipped but for the device, the number of environments (8) and the size of an epoch (2,048 rows in 4 minibatches). It
sees upstream's own observations; rewards and 2,048-step episodes from the start are those of `train_big`, so that the
rows compare: a wrapper beneath upstream's trainer plays our `EpsilonEnv` and hands on upstream's observation. Every
finished episode is a line of `<runs-dir>/ppo_<seed>/episodes_<process>.csv`; the table is made of those.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged

ENVS = 8
LAST = 20  # episodes that a figure is of, as in benchmarks/learning.py
TRAINING = """
import csv, os, sys, types
from pathlib import Path
import gymnasium, pokemonred_puffer
from omegaconf import OmegaConf
from daddy_puffer import plugin
from daddy_puffer.rewards import RewardSet
from daddy_puffer.wrappers.epsilon import owner
from pokemonred_puffer import cleanrl_puffer, train

rom, state, folder, seed, steps = sys.argv[1:6]
os.chdir(folder)

class Seen(gymnasium.Wrapper):
    def reset(self, **options):
        self.last, info = self.env.reset(**options)
        return self.last, info
    def step(self, action):
        self.last, *rest = self.env.step(action)
        return (self.last, *rest)

class Episodes(gymnasium.Wrapper):
    def __init__(self, env, options):
        self.seen = Seen(env)
        ours = plugin.wrap_epsilon(self.seen, {"frame_stack": 1})
        plugin._play_episodes(ours)
        super().__init__(ours)
        self.observation_space = env.observation_space
        self.game, self.rewards = owner(ours, "play_episodes"), RewardSet()
        self.steps, self.gained = 0, 0.0
    def reset(self, **options):
        _, info = self.env.reset(**options)
        return self.seen.last, info
    def step(self, action):
        before = self.game.game_state
        _, _, terminated, truncated, info = self.env.step(action)
        reward = sum(self.rewards.by_term(before, self.game.game_state))
        self.steps, self.gained = self.steps + 1, self.gained + reward
        if terminated or truncated:
            with open(f"episodes_{os.getpid()}.csv", "a") as file:
                csv.writer(file).writerow([self.steps * ENVS, round(self.gained, 3), info["episode"]["badges"]])
            self.gained = 0.0
        return self.seen.last, reward, terminated, truncated, {}

module = types.ModuleType("pokemonred_puffer.wrappers.benchmark")
module.Episodes = lambda env, options: Episodes(env, options)
sys.modules[module.__name__] = module
config = OmegaConf.load(Path(pokemonred_puffer.__file__).parents[1] / "config.yaml")
config.env.state_dir, config.env.init_state = str(Path(state).parent), Path(state).stem
config.env.max_steps = 2048
config.train = OmegaConf.merge(config.train, {
    "device": "cpu", "compile": False, "num_envs": ENVS, "num_workers": 1, "env_batch_size": ENVS, "seed": int(seed),
    "batch_size": 2048, "minibatch_size": 512, "total_timesteps": int(steps), "verbose": False, "save_overlay": False,
    "data_dir": folder, "archive_states": False, "swarm": False, "env_pool": False, "sqlite_wrapper": False,
})
config.early_stop, config.train.early_stop, config.train.one_epoch = {}, {}, []
config.wrappers.benchmark = [{"benchmark.Episodes": {}}]
path = Path(folder) / "config.yaml"
OmegaConf.save(config, path)
sys.argv = ["train", "train", "--config", str(path), "--rom-path", rom, "-w", "benchmark", "--vectorization", "serial"]
train.app()
"""


def train(python: str, folder: Path, seed: int, steps: int, hours: float) -> Path:
    """One seed, until it is done or its time is over."""
    place = folder / f"ppo_{seed}"
    place.mkdir(parents=True, exist_ok=True)
    source = TRAINING.replace("ENVS", str(ENVS))
    rom, state = packaged(PRACTICE_ROM), packaged(PRACTICE_START)
    command = [python, "-c", source, str(rom), str(state), str(place), str(seed), str(steps)]
    began = time.perf_counter()
    with (place / "output.txt").open("w") as output:
        try:
            subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, timeout=3600 * hours)
        except subprocess.TimeoutExpired:
            print(f"seed {seed}: stopped after {hours:g} hours", file=sys.stderr)
    minutes = (time.perf_counter() - began) / 60
    print(f"seed {seed}: {minutes:.0f} minutes", file=sys.stderr, flush=True)
    return place


def row(place: Path) -> str:
    """A line of the table."""
    lines = [line for path in place.glob("episodes_*.csv") for line in csv.reader(path.open())]
    if not lines:
        return f"| {place.name} | no episode ended | | | |"
    lines.sort(key=lambda line: int(line[0]))
    last = lines[-LAST:]
    reward = statistics.mean(float(line[1]) for line in last)
    badges = sum(int(line[2]) > 0 for line in last) / len(last)
    first = next((line[0] for line in lines if int(line[2]) > 0), "none")
    return f"| {place.name} | {int(lines[-1][0]):,} | {reward:.1f} | {badges:.0%} | {first} |"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream-python", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    folder = options.runs_dir.absolute()
    with ThreadPoolExecutor(options.jobs) as pool:
        places = pool.map(
            lambda seed: train(options.upstream_python, folder, seed, options.steps, options.hours),
            range(1, options.seeds + 1),
        )
        rows = [row(place) for place in places]
    print(f"| run | steps | return of the last {LAST} episodes | badge 1 of those | first badge at step |")
    print("|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
