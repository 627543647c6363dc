"""`python -m daddy_puffer.sweep.trial FOLDER PARENT`: the process of one trial.

In: FOLDER/config.yaml, perhaps what an earlier attempt left. Out: the run folder, at its end with `outcome.json`.
When the sweep dies, so does the trial: it sees that its parent is another, and ends as on SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from daddy_puffer.config import load_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import checkpoint_step, find_checkpoint
from daddy_puffer.sweep.measure import write_outcome
from daddy_puffer.sweep.pool import LOG_FILE
from daddy_puffer.train import train

LOCK_FILE = ".lock"
KEPT = ("config.yaml", LOG_FILE, LOCK_FILE)
LOCK_SECONDS = 90.0  # that an earlier attempt, left alone by its sweep, gets to write its checkpoint


def run_trial(folder: Path) -> int:
    """Train in `folder`, from the newest checkpoint that has steps left if there is one; the exit code."""
    config = load_config(folder / "config.yaml")
    checkpoint = find_checkpoint(folder) if any(folder.glob("checkpoints/step_*")) else None
    if checkpoint is None or checkpoint_step(checkpoint) >= config.train.total_steps:  # its seconds are lost: anew
        checkpoint = None
        _clear(folder)
    result = train(config, checkpoint, film_steps=0)
    if result.exit_code:
        return result.exit_code
    steps = checkpoint_step(result.checkpoint)
    seconds = result.seconds * steps / max(result.steps, 1)  # as if it had never been cut off
    write_outcome(folder, steps, seconds)
    return 0


def _clear(folder: Path) -> None:
    """Remove what an earlier attempt left, so that no episode of it is counted."""
    for path in folder.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def end_with(parent: int) -> None:
    """End this process as SIGTERM would once `parent` is not its parent any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def lock(folder: Path) -> int:
    """Wait until no other process trains in `folder`; the file descriptor that keeps others waiting."""
    file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if time.monotonic() > until:
                raise UserError(f"another process still trains in {folder}") from None
            time.sleep(0.2)


def main() -> None:
    """Run the trial that the arguments name."""
    folder = Path(sys.argv[1])
    end_with(int(sys.argv[2]))
    try:
        lock(folder)
        code = run_trial(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise SystemExit(code)


if __name__ == "__main__":
    main()
