"""A real Slurm on this machine: munge, controller and node daemon of its own, in one folder, on free ports.

In: an empty folder. Out: a running cluster of one node that believes it has 8 CPUs, 64 GB and a GPU; `sbatch` and
friends for it. Needs Debian's slurm-wlm and munge, no root, and nothing of a Slurm that is configured here already.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
REQUEUE_SECONDS = 20  # a requeued job waits so long: Slurm's default is 120, the life of a credential

START_SECONDS = 60.0

CONFIG = """\
ClusterName=practice
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_seconds}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed.txt
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=30
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES PriorityTier=1 State=UP
PartitionName=patient Nodes={host} PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 PreemptMode=OFF State=UP
"""


def missing_programs() -> list[str]:
    """What of Slurm and munge is not installed here."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


def wait_for(what: str, condition: Callable[[], object], seconds: float) -> None:
    """Return once `condition` holds.

    Raises:
        TimeoutError: it never did.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.5)


class Slurm:
    """The cluster, as a context; at its end all jobs are cancelled and all daemons ended."""

    def __init__(self, folder: Path) -> None:
        """`folder`: short enough for a socket's name (107 bytes)."""
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
            "PATH": PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._daemons) > 1:
            self.call("scancel", "--user", str(os.getuid()), check=False)
            self.call("scancel", "--signal=KILL", "--full", "--user", str(os.getuid()), check=False)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def call(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """Output of a Slurm command."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, cwd: Path, *arguments: str) -> str:
        """The number of a new job: `arguments` are sbatch's, the job file and what it is handed."""
        return self.call("sbatch", "--parsable", *arguments, cwd=cwd).strip()

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, FAILED, ..."""
        return self.facts(job)["JobState"]

    def facts(self, job: str) -> dict[str, str]:
        """What the controller knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "--oneliner", "show", "job", job)))

    def _start(self) -> None:
        folder, host = self.folder, socket.gethostname().split(".")[0]
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host, folder=folder, user=_user(), requeue_seconds=REQUEUE_SECONDS,
                controller_port=_free_port(), node_port=_free_port(),
            )
        )  # fmt: skip
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge)
        self._up((folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D", "-c", "-i")
        self._up(lambda: "is UP" in self.call("scontrol", "ping", check=False))
        self._daemon("slurmd", "-D")
        self._up(lambda: "idle" in self.call("sinfo", "--noheader", "--format=%T", check=False))

    def _up(self, answers: Callable[[], object]) -> None:
        """Wait for the daemon started last.

        Raises:
            RuntimeError: it has ended, with what it said last.
        """
        daemon = self._daemons[-1]
        wait_for(str(daemon.args), lambda: daemon.poll() is not None or answers(), START_SECONDS)
        if daemon.poll() is not None:
            name = daemon.args[0] if isinstance(daemon.args, tuple) else str(daemon.args)
            raise RuntimeError(f"{name}: {(self.folder / f'{name}.out').read_text().splitlines()[-3:]}")

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            daemon = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder
            )
        self._daemons.append(daemon)


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
