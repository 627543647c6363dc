"""`python -m daddy_puffer.sweep.trial FOLDER PARENT`: the process of one trial.

In: FOLDER/config.yaml, perhaps what an earlier attempt left. Out: the run folder, at its end with `outcome.json`.
When the sweep dies, so does the trial: it sees that its parent is another, and ends as on SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from daddy_puffer.config import load_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import checkpoint_step, find_checkpoint
from daddy_puffer.report.clock import Clock
from daddy_puffer.report.runs import read_metrics
from daddy_puffer.sweep.measure import write_outcome
from daddy_puffer.sweep.pool import LOG_FILE, PASSING_CODES
from daddy_puffer.train import train

LOCK_FILE = ".lock"
KEPT = ("config.yaml", LOG_FILE, LOCK_FILE)
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES)
LOCKED = errno.EWOULDBLOCK
LOCK_SECONDS = 90.0  # that an earlier attempt, left alone by its sweep, gets to write its checkpoint


def run_trial(folder: Path) -> int:
    """Train in `folder`, from its newest checkpoint if there is one, unless that has all steps; the exit code.

    Raises:
        UserError: as training; where `is_passing` says so, the trial may go on later.
        OSError: the disk is full or gone.
    """
    config = load_config(folder / "config.yaml")
    checkpoint = find_checkpoint(folder) if any(folder.glob("checkpoints/step_*")) else None
    if checkpoint is None:
        _clear(folder)
    if checkpoint is None or checkpoint_step(checkpoint) < config.train.total_steps:
        result = train(config, checkpoint, film_steps=0)
        if result.exit_code:
            return result.exit_code
        checkpoint = result.checkpoint
    steps = checkpoint_step(checkpoint)
    clock = Clock.of(read_metrics(folder / "metrics.csv"))  # of all sessions, as if it had never been cut off
    if clock is None:
        raise UserError(f"{folder}/metrics.csv does not say how long its training took")
    write_outcome(folder, steps, float(clock.seconds_at(steps)))
    return 0


def is_passing(error: UserError | OSError) -> bool:
    """Whether the disk or another process stopped a trial, and not its settings: it may go on once that is cured."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in (*DISK_FAULTS, LOCKED)


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
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(f"another process still trains in {folder}") from error
            time.sleep(0.2)


def main() -> None:
    """Run the trial that the arguments name."""
    folder = Path(sys.argv[1])
    end_with(int(sys.argv[2]))
    try:
        lock(folder)
        code = run_trial(folder)
    except (UserError, OSError) as error:
        code = PASSING_CODES[0] if is_passing(error) else 1
        with suppress(OSError):  # the log may lie on the disk that is full
            print(f"error: {error}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
