"""Training steps per second, paired: ours, pokemonred_puffer's PPO with its default policy, and games without learner.

Run: `PYTHONPATH=<checkout of pokemonred_puffer> python benchmarks/training_speed.py --upstream-python PYTHON` (and
`--rounds N`, `--seconds S`, `--config FILE`), where PYTHON is the interpreter of an environment that pokemonred_puffer
runs in. The runners take turns on the same cores, 8 games in 2 worker processes each, the practice cartridge from its
start: (1) our vectorized environment with random buttons and no learner; (2) a training run of ours with
`configs/explore.yaml`, what learns most, everything on, measured after learning has begun; (3) upstream's train.py as
shipped but for the device, the number of environments and the size of an epoch, measured after its first epoch; (4) the
same with its games in the trainer's own process and one thread, for processes that wait take time where cores are few.
Prints a Markdown table: medians over rounds, and of the ratios within each round.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from daddy_puffer.config import load_config
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.vector import make_vector

ENVS, WORKERS = 8, 2
WARM_UP_STEPS = 12_000  # of ours: learning begins after 3,000
OURS = "import json, sys; from pathlib import Path; from daddy_puffer.config import load_config; \
from daddy_puffer.train import train; train(load_config(Path(sys.argv[2]), json.loads(sys.argv[1])), film_steps=10)"
THEIRS = """
import json, sys, time
from pathlib import Path
import pokemonred_puffer
from omegaconf import OmegaConf
from pokemonred_puffer import cleanrl_puffer, train
rom, state, folder, seconds, vectorization = sys.argv[1:6]
config = OmegaConf.load(Path(pokemonred_puffer.__file__).parents[1] / "config.yaml")
config.env.state_dir, config.env.init_state = str(Path(state).parent), Path(state).stem
config.train = OmegaConf.merge(config.train, {
    "device": "cpu", "compile": False, "num_envs": ENVS, "num_workers": WORKERS, "env_batch_size": ENVS,
    "batch_size": 2048, "minibatch_size": 2048, "total_timesteps": 10**9, "verbose": False, "save_overlay": False,
    "data_dir": folder, "archive_states": False, "swarm": False, "env_pool": False,
})
config.wrappers.none = []
path = Path(folder) / "config.yaml"
OmegaConf.save(config, path)
marks = []
learn = cleanrl_puffer.CleanPuffeRL.train
def timed(self):
    learn(self)
    marks.append((time.perf_counter(), int(self.global_step)))
    if len(marks) > 1 and marks[-1][0] - marks[0][0] > float(seconds):
        (began, first), (ended, last) = marks[0], marks[-1]
        print(json.dumps((last - first) / (ended - began)), flush=True)
        self.config.total_timesteps = 0
cleanrl_puffer.CleanPuffeRL.train = timed
sys.argv = ["train", "train", "--config", str(path), "--rom-path", rom, "-w", "none", "--vectorization", vectorization]
train.app()
"""


def without_learner(seconds: float) -> float:
    """Random buttons in the vectorized environment."""
    config = load_config(None, {"train.num_envs": ENVS, "train.num_workers": WORKERS})
    rng = np.random.default_rng(0)
    with make_vector(config) as env:
        env.reset(0)
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            env.step(rng.integers(0, env.num_actions, ENVS))
            steps += ENVS
        return steps / (time.perf_counter() - began)


def ours(config: Path, seconds: float) -> float:
    """A training run, after it has begun to learn."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "train.runs_dir": folder,
            "train.run_name": "speed",
            "train.total_steps": WARM_UP_STEPS + int(400 * seconds),
        }
        settings |= {"train.log_interval": 2000, "train.num_envs": ENVS, "train.num_workers": WORKERS}
        subprocess.run(
            [sys.executable, "-c", OURS, json.dumps(settings), str(config)], check=True, stdout=subprocess.DEVNULL
        )
        with (Path(folder) / "speed" / "metrics.csv").open() as file:
            rows = [(float(row["step"]), float(row["speed/steps_per_second"])) for row in csv.DictReader(file)]
    late = [(step, speed) for step, speed in rows if step > WARM_UP_STEPS]
    return len(late) / sum(1 / speed for _, speed in late)  # intervals are of equal steps


def theirs(python: str, seconds: float, vectorization: str = "multiprocessing", **environment: str) -> float:
    """pokemonred_puffer's own training."""
    rom, state = packaged(PRACTICE_ROM), packaged(PRACTICE_START)
    with tempfile.TemporaryDirectory() as folder:
        source = THEIRS.replace("ENVS", str(ENVS)).replace("WORKERS", str(WORKERS))
        command = [python, "-c", source, str(rom), str(state), folder, str(seconds), vectorization]
        # in a folder of its own: pokemonred_puffer leaves files where it is started
        known = {**os.environ, **environment}
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=known)
    return float(next(line for line in reversed(done.stdout.splitlines()) if line.replace(".", "").isdigit()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream-python", help="leave it out to measure ours alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--config", type=Path, default=Path("configs/explore.yaml"), help="of our training run")
    options = parser.parse_args()
    runners = {"no learner": without_learner, "train_big": lambda seconds: ours(options.config, seconds)}
    if options.upstream_python:
        python = options.upstream_python
        runners["upstream's PPO"] = lambda seconds: theirs(python, seconds)
        runners["the same, one process"] = lambda seconds: theirs(python, seconds, "serial", OMP_NUM_THREADS="1")
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(options.rounds):
        for name, measure in runners.items():
            speeds[name].append(measure(options.seconds))
            print(f"round {number + 1}: {name} {speeds[name][-1]:.0f} steps/s", file=sys.stderr, flush=True)
    print("| runner | steps/s | of no learner | times upstream's PPO |\n|---|---|---|---|")
    for name, measured in speeds.items():
        cells = [name, f"{statistics.median(measured):.0f}"]
        for other in ("no learner", "upstream's PPO"):
            pairs = zip(measured, speeds.get(other, []), strict=False)
            ratios = [mine / other_speed for mine, other_speed in pairs]
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "-")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
