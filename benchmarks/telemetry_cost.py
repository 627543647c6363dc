"""What the logs cost a training run: share of its wall time spent in `Telemetry.emit`, and in the writing thread.

In: `--steps`, `--interval` (train.step_log_interval; 1 = every step, the dearest). Out: two shares, what was dropped.
The writing thread shares the interpreter with the training loop: its share is an upper bound of what it takes away.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from daddy_puffer.config import load_config
from daddy_puffer.train import train

METRICS = ("telemetry/emit", "telemetry/busy", "telemetry/dropped", "speed/steps_per_second")


def measure(steps: int, interval: int) -> dict[str, float]:
    """Means over the intervals of one run on the practice cartridge but the first, in which things are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "train.runs_dir": folder,
            "train.run_name": "run",
            "train.total_steps": steps,
            "train.log_interval": max(1, steps // 6),
            "train.step_log_interval": interval,
            "env.max_steps": 256,  # episodes end often
            "replay.learning_starts": steps // 6,
        }
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            train(load_config(None, settings), film_steps=1)
        with (Path(folder) / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[1:]
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in METRICS}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--interval", type=int, nargs="+", default=[100, 1])
    arguments = parser.parse_args()
    for interval in arguments.interval:
        found = measure(arguments.steps, interval)
        shares = f"emit {found['telemetry/emit']:.4%}  writing thread {found['telemetry/busy']:.2%}"
        speed = f"{found['speed/steps_per_second']:.0f} steps/s"
        print(f"step_log_interval {interval:>4}: {shares}  dropped {found['telemetry/dropped']:.0f}  {speed}")


if __name__ == "__main__":
    main()
