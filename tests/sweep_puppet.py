"""Stands in for a trial's process: writes what a training run would, at once. `python sweep_puppet.py FOLDER PARENT`.

A learning rate above 0.002 ends it by SIGKILL, one below 0.00003 with an error; SWEEP_PUPPET_SECONDS makes it take
its time, SWEEP_PUPPET_FULL=1 ends trial 1 as a full disk does. `python sweep_puppet.py sweep OPTIONS` is `daddy-puffer
sweep` with trials of this kind.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

FAILS_ABOVE, FAILS_BELOW = 2e-3, 3e-5


def play(folder: Path) -> None:
    import yaml  # the name of what it would need most, and no more: a puppet starts in an instant

    from daddy_puffer.sweep.measure import write_outcome

    rate = yaml.safe_load((folder / "config.yaml").read_text())["train"]["learner"]["learning_rate"]
    with (folder / "attempts").open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ.get("SWEEP_PUPPET_SECONDS", "0")))
    if os.environ.get("SWEEP_PUPPET_FULL") and folder.name == "001":
        print("error: the checkpoint cannot be written: no space left; make room", flush=True)
        raise SystemExit(75)
    if rate > FAILS_ABOVE:
        os.kill(os.getpid(), signal.SIGKILL)
    if rate < FAILS_BELOW:
        raise SystemExit("error: so slow that nothing moves")
    rows = [f"{1000 * rate},0,,", f"{1000 * rate + 1},1,A;B,", "99,8,A;B;C,early"]
    text = "\n".join(["return_env,badges,milestones_reached,savestate_tag", *rows])
    (folder / "episodes.csv").write_text(text + "\n")
    write_outcome(folder, 300, 2.0 + 1000 * rate)


def main() -> None:
    if sys.argv[1] != "sweep":
        play(Path(sys.argv[1]))
        return
    from daddy_puffer.sweep import main as sweep
    from daddy_puffer.sweep import pool

    pool.PROGRAM = (sys.executable, __file__)
    sys.argv = sys.argv[1:]
    sweep()


if __name__ == "__main__":
    main()
