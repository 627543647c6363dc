"""The shell of the job files without Slurm: programs of its name stand in, and say what the test lets them say."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONTROLLER = """#!/bin/bash
# fails as often as `silent` says, then shows the job as `state`, or puts it back into the queue
left=$(cat silent)
if ((left > 0)); then echo $((left - 1)) >silent; echo "scontrol: error: connect failure" >&2; exit 1; fi
case $* in
  requeue*) echo requeued >>calls ;;
  *) echo "JobId=7 JobState=$(cat state) PreemptTime=$(cat preempted)" ;;
esac
"""
# saves step 2 and leaves with the code it is given once it is told to stop
PROGRAM = "trap 'mkdir -p run/checkpoints/step_2; exit {code}' TERM; touch ready; while :; do read -t 0.1 <>pause; done"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A project folder with a run at step 1, stand-ins for scontrol and sleep, and a script like the job files."""
    (tmp_path / "cluster").symlink_to(ROOT / "cluster")
    (tmp_path / "run/checkpoints/step_1").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "pause")
    for name, text in {"scontrol": CONTROLLER, "sleep": "#!/bin/bash\necho sleep >>calls\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "state").write_text("RUNNING")
    (tmp_path / "silent").write_text("0")
    (tmp_path / "preempted").write_text("None")
    (tmp_path / "calls").touch()
    return tmp_path


def start(folder: Path, script: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        environment.pop(name, None)
    (folder / "job").write_text(script)
    return subprocess.Popen(
        ["bash", "job"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(folder: Path, code: int, warning: signal.Signals) -> tuple[int, str]:
    """Exit code and log of a job that gets `warning`, and whose program leaves with `code` then."""
    (folder / "program").write_text(PROGRAM.format(code=code))
    job = start(folder, "source cluster/keep_going.sh && keep_going run bash program")
    wait_for(folder / "ready")
    job.send_signal(warning)
    log, _ = job.communicate(timeout=60)
    return job.returncode, log


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def calls(folder: Path) -> list[str]:
    """What was asked of the stand-ins that answered."""
    return (folder / "calls").read_text().split()


@pytest.mark.parametrize("warning", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("code", [143, 1])
def test_a_warned_job_with_a_new_checkpoint_goes_on(job: Path, warning: signal.Signals, code: int) -> None:
    """Also where the program fails over something when all is saved."""
    assert stop(job, code, warning)[0] == 0
    assert calls(job) == ["requeued"]


@pytest.mark.parametrize("warning", [signal.SIGUSR1, signal.SIGTERM])
def test_a_warned_job_that_fails_without_a_new_checkpoint_is_not_run_again(job: Path, warning: signal.Signals) -> None:
    (job / "run/checkpoints/step_2").mkdir()
    code, log = stop(job, 1, warning)
    assert code == 1 and "failed with exit code 1: not run again" in log and not calls(job)


def test_a_controller_that_restarts_is_waited_for(job: Path) -> None:
    (job / "silent").write_text("5")
    code, log = stop(job, 143, signal.SIGUSR1)
    assert code == 0 and "back in the queue" in log
    assert calls(job) == ["sleep"] * 5 + ["requeued"]


def test_whether_slurm_has_decided_is_asked_again(job: Path) -> None:
    (job / "silent").write_text("5")
    (job / "state").write_text("PREEMPTED")
    code, log = stop(job, 143, signal.SIGTERM)
    assert code == 143 and "is Slurm's decision" in log and calls(job) == ["sleep"] * 5
    (job / "silent").write_text("5")
    (job / "state").write_text("RUNNING")
    (job / "ready").unlink()
    assert stop(job, 143, signal.SIGTERM)[0] == 0 and calls(job)[-1] == "requeued"


def test_a_controller_that_stays_away_is_not_waited_for_beyond_the_warning(job: Path) -> None:
    (job / "silent").write_text("1000")
    code, log = stop(job, 143, signal.SIGUSR1)
    assert code == 143 and "scontrol requeue failed: go on with the same sbatch line and --resume" in log
    assert 12 <= len(calls(job)) <= 18 and set(calls(job)) == {"sleep"}  # of ten seconds each


FINDS = """#!/bin/bash
[[ $1 != - ]] || { touch ready; read -t 1 <>pause; echo run; exit; }
while :; do read -t 1 <>pause; done
"""


@pytest.mark.parametrize(
    "warning, everyone, log_line",
    [
        (signal.SIGUSR1, False, "stopped by SIGUSR1 at step_1: back in the queue"),
        (signal.SIGTERM, False, "stopped by SIGTERM at step_1: back in the queue"),
        (signal.SIGTERM, True, "stopped by SIGTERM at the beginning: back in the queue"),
    ],
)
def test_a_warning_before_the_program_runs_is_kept(
    job: Path, warning: signal.Signals, everyone: bool, log_line: str
) -> None:
    """While the run's folder is looked up, which takes Python seconds; SIGTERM to all processes ends that as well."""
    python = job / "bin" / "python"
    python.write_text(FINDS)
    python.chmod(0o755)
    (job / "preempted").write_text("2026-01-05T13:55:12")
    made = start(job, f"PYTHON={python}; source cluster/train.sh && train_here --device cpu")
    wait_for(job / "ready")
    if everyone:
        os.killpg(made.pid, warning)
    else:
        made.send_signal(warning)
    log, _ = made.communicate(timeout=60)
    assert made.returncode == 0 and log_line in log and calls(job) == ["requeued"], log


def test_options_that_are_wrong_are_a_failed_job(job: Path) -> None:
    python = job / "bin" / "python"
    python.write_text("#!/bin/bash\necho 'error: no such file' >&2; exit 1\n")
    python.chmod(0o755)
    made = start(job, f"PYTHON={python}; source cluster/train.sh && train_here --config none.yaml")
    log, _ = made.communicate(timeout=60)
    assert made.returncode == 1 and "error: no such file" in log and "not run again" in log
