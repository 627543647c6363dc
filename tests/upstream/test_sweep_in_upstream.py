"""The script of docs/SWEEP.md with pokemonred_puffer's own sweep, as far as that goes without a wandb server."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from upstream_stand_in.runs import ROOT, Host

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytest.importorskip("sweeps", reason="pokemonred_puffer's sweep needs the package sweeps")
pytest.importorskip("carbs.carbs", reason="pokemonred_puffer's sweep needs imbue's CARBS")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

RATE, STEPS = 0.00123, 77
ONE_TRIAL = """
import os, sys, types
import yaml

sys.argv = ["own_sweep.py", "launch-agent", "x"]
from own_sweep import sweep

# what wandb's agent leaves for a trial, and its one call
suggestion = {"wandb_version": 1, "train-learner-learning_rate": {"value": RATE}, "env-max_steps": {"value": STEPS}}
os.environ["WANDB_SWEEP_PARAM_PATH"] = "suggestion.yaml"
with open("suggestion.yaml", "w") as file:
    yaml.safe_dump(suggestion, file)


class Agent:
    def __init__(self, target, kwargs):
        self.start = kwargs["function"]

    def join(self):
        raise SystemExit


sweep.mp = types.SimpleNamespace(Process=Agent)
sweep.app()
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with the script, the shipped settings and ranges, made small, and no ROM."""
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "SWEEP.md").read_text(), re.DOTALL)
    (tmp_path / "own_sweep.py").write_text(script)
    base = yaml.safe_load((ROOT / "config.yaml").read_text())
    base["wandb"]["entity"] = "nobody"
    small = {"total_steps": 600, "batch_size": 256, "num_envs": 2, "device": "cpu", "verbose": False}
    base["train"].update(small, replay=base["train"]["replay"] | {"learning_starts": 200, "capacity": 4000})
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "sweep.yaml").write_text((ROOT / "sweep.yaml").read_text())
    return Host(Path(str(upstream.__path__[0])).parent, tmp_path)


def run(host: Host, *arguments: str) -> str:
    path = os.pathsep.join([str(host.folder / ".site"), *filter(None, sys.path)])  # with CARBS, wherever it lies
    ended = host.run(*arguments, seconds=400, PYTHONPATH=path, WANDB_MODE="offline")
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_its_controller_takes_the_shipped_ranges_and_asks_carbs(host: Host) -> None:
    (host.folder / "carbs" / "checkpoints" / "x" / "PokeSweep").mkdir(parents=True)
    options = ("--sweep-config", "sweep.yaml", "--sweep-id", "x", "--dry-run")
    printed = run(host, "own_sweep.py", "launch-sweep", *options)
    assert printed.count("Checking param") == 17 and "name='train-learner-gamma'" in printed


def test_its_agent_trains_our_policy_with_what_is_suggested(host: Host) -> None:
    (host.folder / "agent.py").write_text(ONE_TRIAL.replace("RATE", str(RATE)).replace("STEPS", str(STEPS)))
    printed = run(host, "agent.py")
    assert "Done training" in printed and "Exception" not in printed
    (config,) = host.folder.glob("runs/*/config.yaml")
    trained = yaml.safe_load(config.read_text())
    assert trained["train"]["learner"]["learning_rate"] == RATE and trained["env"]["max_steps"] == STEPS
    assert "daddy_puffer.HierQ" in trained["policies"]
