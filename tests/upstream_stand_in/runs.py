"""Starts `python -m pokemonred_puffer.train` as a user would, beside the stand-in or the real package.

The start-up file is taken in as an installation does it: a folder with `daddy_puffer.pth` is added as a site folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).resolve().parent
HOST_REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"
OURS = ("--policy", "daddy_puffer.HierQ")
SMALL = """
train:
  algorithm: ppo
  device: cpu
  num_envs: 4
  num_workers: 2
  total_timesteps: 400
  batch_size: 256
  minibatch_size: 64
"""


@dataclass(frozen=True)
class Host:
    """A folder with the package, and where runs are started."""

    package_folder: Path
    folder: Path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`python ARGUMENTS` in the folder."""
        site = self.folder / ".site"
        (site / "pth").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "daddy_puffer.pth", site / "pth")
        (site / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(site / 'pth')!r})\n")
        path = os.pathsep.join(map(str, (site, self.package_folder, ROOT)))
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TERM": "dumb"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, seconds: float = 150, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, *arguments: str, seconds: float = 150, **environment: str) -> subprocess.CompletedProcess[str]:
        """`python -m pokemonred_puffer.train ARGUMENTS`."""
        return self.run("-m", "pokemonred_puffer.train", *arguments, seconds=seconds, **environment)
