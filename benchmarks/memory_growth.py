"""What a long run holds in memory over time: `python benchmarks/memory_growth.py [--steps 1000000] [--png FILE]`.

Trains with `configs/explore.yaml` and worker processes, everything on, with few updates so that a million steps take
minutes, and looks every few seconds: resident memory of the trainer and of its workers together, and what the registry
of save states holds on disk. Kept in `runs/memory/memory.csv`; `--only-plot` draws it again.

Growth is that from 20 % of the steps on, when replay is full, to the end: the least-squares line over what was seen.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from daddy_puffer.config import load_config, save_config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("runs/memory")
SETTLED = 0.2  # share of the steps after which memory should be flat
COLUMNS = ("step", "trainer_mb", "workers_mb", "states_on_disk_mb")
SETTINGS: dict[str, object] = {
    "learner.replay_ratio": 0.5,  # what is learnt does not matter here; what is kept does
    "train.vectorization": "multiprocessing",
    "train.log_interval": 2_000,
    "train.save_interval": 100_000,
    "train.runs_dir": str(FOLDER),
}
Floats = NDArray[np.float64]


def megabytes(process: psutil.Process) -> float:
    """Resident memory."""
    return float(process.memory_info().rss) / 1e6


def look(process: psutil.Process, run: Path) -> tuple[float, float, float]:
    """Trainer, workers, states on disk; in MB."""
    workers = 0.0
    for child in process.children(recursive=True):
        try:
            workers += megabytes(child)
        except psutil.NoSuchProcess:  # a film that was done
            continue
    states = sum(path.stat().st_size for path in (run / "savestates").glob("*") if path.is_file())
    return megabytes(process), workers, states / 1e6


def steps_of(run: Path) -> int:
    """Of the last interval that was logged."""
    path = run / "metrics.csv"
    if not path.is_file():
        return 0
    rows = path.read_text(encoding="utf-8").splitlines()
    return int(rows[-1].split(",")[rows[0].split(",").index("step")]) if len(rows) > 1 else 0


def measure(steps: int, seconds: float) -> None:
    """Train and look; writes the CSV as it goes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"run_{int(time.time())}"
    run = FOLDER / name
    given = {**SETTINGS, "train.total_steps": steps, "train.run_name": name}
    save_config(load_config(ROOT / "configs" / "explore.yaml", given), FOLDER / "config.yaml")
    command = [sys.executable, "-m", "daddy_puffer.train_big", "--config", str(FOLDER / "config.yaml")]
    log = FOLDER / "log.txt"
    with log.open("w") as output, (FOLDER / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        trainer = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        watched = psutil.Process(trainer.pid)
        while trainer.poll() is None:
            try:
                found = look(watched, run)
            except (psutil.NoSuchProcess, FileNotFoundError):  # it ended, or a state was just replaced
                continue
            writer.writerow([steps_of(run), *(f"{number:.1f}" for number in found)])
            file.flush()
            time.sleep(seconds)
    if trainer.returncode:
        raise SystemExit(f"the run ended with code {trainer.returncode}: see {log}")


def load() -> dict[str, Floats]:
    """Columns of the CSV, from the first logged step to the last one: then the workers are gone, and a film is made."""
    with (FOLDER / "memory.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"])]
    rows = [row for row in rows if row["step"] != rows[-1]["step"]]
    return {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}


def growth(steps: Floats, values: Floats) -> float:
    """MB a million steps, once settled."""
    late = steps >= SETTLED * steps[-1]
    return float(np.polyfit(steps[late] / 1e6, values[late], 1)[0])


def table(columns: dict[str, Floats]) -> str:
    """Markdown."""
    steps = columns["step"]
    late = steps >= SETTLED * steps[-1]
    lines = ["| | after 20 % of the steps, MB | at the end, MB | growth, MB a million steps |", "|---|---|---|---|"]
    for name in COLUMNS[1:]:
        values = columns[name]
        first, last = np.median(values[late][:5]), np.median(values[-5:])
        lines.append(f"| {name.removesuffix('_mb')} | {first:.0f} | {last:.0f} | {growth(steps, values):+.1f} |")
    return "\n".join(lines)


def draw(columns: dict[str, Floats], path: Path) -> None:
    """Memory against steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name, label in zip(COLUMNS[1:], ("trainer", "workers together", "save states, on disk"), strict=True):
        axes.plot(columns["step"] / 1000, columns[name], label=label)
    axes.set(xlabel="thousand steps", ylabel="MB", title="Memory of a long run", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="between looks")
    parser.add_argument("--png", type=Path, default=FOLDER / "memory.png")
    parser.add_argument("--only-plot", action="store_true")
    options = parser.parse_args()
    if not options.only_plot:
        measure(options.steps, options.seconds)
    columns = load()
    print(f"{columns['step'][-1]:,.0f} steps, {len(columns['step'])} looks\n\n{table(columns)}")
    draw(columns, options.png)


if __name__ == "__main__":
    main()
