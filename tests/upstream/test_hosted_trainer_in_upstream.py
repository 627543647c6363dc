"""Our trainer inside the real pokemonred_puffer's loop, on the practice cartridge."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from upstream_stand_in.runs import HOST_REWARD, OURS, ROOT, Host

from daddy_puffer.envs.rom import PRACTICE_ROM, packaged
from daddy_puffer.report.runs import load_run

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

STEPS, EPOCH, ENVS = 2000, 256, 4
DEAD_WORKER_SECONDS = 10.0
TRAIN: dict[str, Any] = {
    "device": "cpu",
    "num_envs": ENVS,
    "num_workers": 2,
    "total_timesteps": STEPS,
    "batch_size": EPOCH,
    "checkpoint_interval": 4,
    "replay": {"capacity": 4000, "learning_starts": 300, "batch_size": 4},
    "learner": {"replay_ratio": 2.0},
    "exploration": {"temperature": 0.01},
}
NUMBER = r"(-?[\d.]+|nan|inf)"
# Looks at the run from inside: a reward class of its own, and what there is of the trainer when it ends.
WATCHED = """
import json
import sys
from pathlib import Path
from types import ModuleType
import numpy as np
from daddy_puffer.game.facts import event_index
from daddy_puffer.plugin_command import complete
from pokemonred_puffer import cleanrl_puffer, train
from pokemonred_puffer.data.events import REQUIRED_EVENTS
from pokemonred_puffer.rewards.baseline import ObjectRewardRequiredEventsMapIdsFieldMoves as Base


class Ahead(Base):
    # one environment reaches a milestone; the others must be moved there

    def step(self, action):
        if self.step_count == 40 and self.env_id == 1:
            index = event_index()[min(REQUIRED_EVENTS - set(self.required_events))]
            self.pyboy.memory[0xD747 + index // 8] |= 1 << index % 8
        return super().step(action)

    def reset(self, seed=None, options=None):
        if (options or {}).get("state"):
            print("moved", self.env_id)
        return super().reset(seed=seed, options=options)


class Stock(cleanrl_puffer.CleanPuffeRL):
    # what ours is derived from

    def close(self):
        replay = self._trainer.replay
        valid, reason = replay.check_valid()
        first = replay._ring.arrays["flags"][:, : replay._ring.count] & 1
        found = {
            "kind": type(self).__name__,
            "losses": [float(value) for value in vars(self.losses).values()],
            "updates": self._trainer.counters.updates,
            "transitions": len(replay),
            "valid": bool(valid),
            "reason": reason,
            "starts": [np.flatnonzero(row).tolist() for row in first],
            "tracked": sorted(self.event_tracker),
            "global_step": int(self.global_step),
            "epoch": self.epoch,
        }
        Path("found.json").write_text(json.dumps(found))
        super().close()


cleanrl_puffer.CleanPuffeRL = train.CleanPuffeRL = Stock
sys.modules["pokemonred_puffer.rewards.ahead"] = module = ModuleType("ahead")
module.Ahead = Ahead
train.app(complete(sys.argv[1:], Path.cwd()))
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder where runs are started."""
    return Host(Path(str(upstream.__path__[0])).parent, tmp_path)


def configure(host: Host, **train: Any) -> None:
    """Write the configuration of the folder."""
    shipped = OmegaConf.load(ROOT / "daddy_puffer" / "data" / "upstream.yaml")
    config = {
        "env": {"log_frequency": 100},
        "train": {**TRAIN, **train},
        "rewards": {"ahead.Ahead": shipped.rewards[HOST_REWARD]},
    }
    OmegaConf.save(OmegaConf.create(config), host.folder / "config.yaml")


def done(ended: subprocess.CompletedProcess[str]) -> str:
    """What a run that ended well printed, without colours."""
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Run complete" in ended.stdout
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", ended.stdout)


def watched(host: Host, *arguments: str, vectorization: str, **environment: str) -> tuple[str, dict[str, Any]]:
    """A run with `WATCHED`: what it printed and what was found at its end."""
    options = (*OURS, "-r", "ahead.Ahead", "--vectorization", vectorization, *arguments)
    printed = done(host.run("-c", WATCHED, *options, seconds=400, **environment))
    return printed, json.loads((host.folder / "found.json").read_text())


@pytest.mark.parametrize("vectorization", ["serial", "multiprocessing"])
def test_training_with_dashboard_and_checkpoints(host: Host, vectorization: str) -> None:
    configure(host, swarm=False)
    printed = done(host.train(*OURS, "-r", HOST_REWARD, "--vectorization", vectorization, seconds=400))
    names = "td_loss|milestone_loss|td_error_mean|q_mean|target_gap|grad_norm"
    losses = [float(value) for value in re.findall(rf"(?:{names})\s+{NUMBER}", printed)]
    assert len(losses) >= 3 * 6 and all(map(math.isfinite, losses)) and any(losses)
    assert re.search(rf"epsilon\s+{NUMBER}", printed) and re.search(rf"updates\s+{NUMBER}", printed)
    assert "policy_loss" not in printed and "explained_variance" not in printed
    assert re.search(r"Agent Steps\s+2\.0k", printed) and "Model Size: 797.6k parameters" in printed
    files = sorted(path.name for path in host.folder.glob("runs/*/*"))
    logs = ["config.yaml", "episodes.csv", "events.jsonl", "live", "meta.json", "metrics.csv"]
    models = ["model_000004.pt", "model_000008.pt"]
    assert files == [*logs, *models, "progress.csv", "steps", "tb", "trainer_state.pt"]
    (state,) = host.folder.glob("runs/*/trainer_state.pt")
    saved = torch.load(state, weights_only=True)
    assert (saved["global_step"], saved["update"], saved["model_name"]) == (8 * EPOCH, 8, "model_000008.pt")
    updates = {float(each["step"]) for each in saved["optimizer_state_dict"]["state"].values()}
    assert len(updates) == 1 and 10 < updates.pop() < 100
    evaluates(host, state.parent / "model_000008.pt")


def evaluates(host: Host, checkpoint: Path) -> None:
    """The host's own evaluation loads the checkpoint and plays."""
    options = (*OURS, "-r", HOST_REWARD, "--checkpoint-path", str(checkpoint))
    process = host.start("-u", "-m", "pokemonred_puffer.train", "evaluate", *options)
    assert process.stdout is not None
    lines = 0
    while lines < 30:  # it has no end
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1][-3000:])
        lines += line.startswith("Reward:")
    process.kill()
    process.communicate()


@pytest.mark.parametrize("vectorization", ["serial", "multiprocessing"])
def test_swarming_moves_environments_and_begins_episodes(host: Host, vectorization: str) -> None:
    configure(host, swarm=True, archive_states=True)
    printed, found = watched(host, vectorization=vectorization)
    assert found["kind"] == "HostedTrainer"
    moved = {int(number) for number in re.findall(r"moved (\d+)", printed)}
    assert moved == set(found["tracked"]) and len(moved) == ENVS
    assert re.search(r"State migration to .* complete", printed)
    assert found["valid"], found["reason"]
    assert len(found["starts"]) == ENVS
    for starts in found["starts"]:
        assert starts[0] == 0 and EPOCH // ENVS in starts, "all were reset after an epoch"
    assert found["updates"] > 10 and all(map(math.isfinite, found["losses"]))
    assert found["transitions"] == found["global_step"] - sum(map(len, found["starts"]))
    (folder,) = host.folder.glob("runs/*")
    episodes = load_run(folder).episodes  # those that were cut off
    assert sorted(episodes.env_id[:ENVS].tolist()) == list(range(ENVS))
    assert episodes.from_true_start[:ENVS].all() and (episodes.length_steps[:ENVS] == EPOCH // ENVS - 1).all()


@pytest.mark.parametrize("vectorization", ["serial", "multiprocessing"])
def test_logs_of_episodes_that_end_and_the_report_of_them(host: Host, vectorization: str) -> None:
    configure(host, total_timesteps=1300, swarm=False, step_log_interval=10)
    config = OmegaConf.load(host.folder / "config.yaml")
    config.env.max_steps = 60
    OmegaConf.save(config, host.folder / "config.yaml")
    options = ("-w", "daddy_puffer.explore", "-r", HOST_REWARD, "--vectorization", vectorization)
    done(host.train(*OURS, *options, seconds=400))
    (folder,) = host.folder.glob("runs/*")
    run = load_run(folder)
    episodes, steps = run.episodes, run.last_step
    assert steps - 60 * ENVS < episodes.length_steps.sum() <= steps and (episodes.length_steps == 60).all()
    kept = {path.stem for path in host.folder.glob("savestates/*/*.json")}
    assert set(episodes.savestate_tag) - {""} <= kept and not episodes.from_true_start.all()
    assert run.metrics.columns["weight/novelty"].tolist() == [0.1] * len(run.metrics)
    assert episodes.return_novel.sum() > 0 and run.has_stopped and run.is_practice
    np.testing.assert_allclose(
        episodes.return_env + 0.1 * episodes.return_novel + 0.1 * episodes.return_rnd + episodes.return_bayes,
        episodes.return_total,
        atol=1e-3,
    )
    trials = run.progress.of("Boulder")
    assert trials.alpha[-1] == 1.0 and trials.beta[-1] > 1.0, "nobody wins it in so few steps"
    assert 0.5 < len(run.steps) / (steps / 10) < 1.5
    told = host.run("-m", "daddy_puffer", "report", str(folder))
    assert told.returncode == 0 and (folder / "report.html").stat().st_size > 1e5, told.stderr


@pytest.mark.parametrize("policy", [OURS, ()], ids=["ours", "theirs"])
def test_logs_of_the_hosts_own_ppo_whatever_the_policy(host: Host, policy: tuple[str, ...]) -> None:
    sizes = {"batch_size": 256, "minibatch_size": 64, "bptt_horizon": 8}
    configure(host, algorithm="ppo", total_timesteps=1024, swarm=False, step_log_interval=10, **sizes)
    config = OmegaConf.load(host.folder / "config.yaml")
    config.env.max_steps = 60
    config.policies = OmegaConf.load(host.package_folder / "config.yaml").policies
    OmegaConf.save(config, host.folder / "config.yaml")
    options = ("-w", "daddy_puffer.explore", "-r", HOST_REWARD, "--rom-path", str(packaged(PRACTICE_ROM)))
    done(host.train(*policy, *options, "--vectorization", "multiprocessing", seconds=400))
    (folder,) = host.folder.glob("runs/*")
    run = load_run(folder)
    episodes, steps = run.episodes, run.last_step
    assert steps - 60 * ENVS < episodes.length_steps.sum() <= steps <= 1024 and (episodes.length_steps == 60).all()
    kept = {path.stem for path in host.folder.glob("savestates/*/*.json")}
    assert set(episodes.savestate_tag) - {""} <= kept
    assert run.has_stopped and run.is_practice and run.progress.of("Boulder").beta[-1] > 1.0
    columns = run.metrics.columns
    assert len(run.metrics) == 4 and np.isfinite(columns["learner/policy_loss"]).all()
    assert columns["weight/novelty"].tolist() == [0.1] * 4 and (columns["novelty/reward_per_step"] > 0).all()
    np.testing.assert_allclose(columns["rollout/return_env_mean"][-1], episodes.return_env.mean(), rtol=1e-4)
    assert 0.5 < len(run.steps) / (steps / 10) < 1.5 and (folder / "live").is_dir()
    told = host.run("-m", "daddy_puffer", "report", str(folder))
    assert told.returncode == 0 and (folder / "report.html").stat().st_size > 1e5, told.stderr
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["trainer"] == "ppo" and meta["parameters"] > 100_000 and ("HierQ" in meta["policy"]) == bool(policy), (
        meta
    )


@pytest.mark.parametrize(
    ("settings", "vectorization"),
    [
        ({"num_envs": 1, "num_workers": 1, "env_batch_size": 1}, "serial"),
        ({"num_envs": 1, "num_workers": 1, "env_batch_size": 1}, "multiprocessing"),
        ({"num_envs": 6, "num_workers": 3, "env_batch_size": 4}, "multiprocessing"),
        ({"num_envs": 4, "num_workers": 2, "env_batch_size": 2, "zero_copy": True}, "multiprocessing"),
        ({"compile": True, "compile_mode": "default", "sqlite_wrapper": False, "use_rnn": False}, "serial"),
    ],
)
def test_other_ways_to_run(host: Host, settings: dict[str, Any], vectorization: str) -> None:
    configure(host, **settings | {"total_timesteps": 700, "minibatch_size": 77})
    _, found = watched(host, vectorization=vectorization)
    assert found["valid"], found["reason"]
    assert found["updates"] > 0 and all(map(math.isfinite, found["losses"]))
    assert found["global_step"] >= 700
    envs = settings.get("num_envs", ENVS)
    assert found["transitions"] > 700 - 64 * envs, "nearly all rows got into replay"


def test_wandb_offline(host: Host) -> None:
    configure(host, total_timesteps=300)
    config = OmegaConf.load(host.folder / "config.yaml")
    config.wandb = {"entity": "nobody", "project": "daddy_puffer", "group": None}
    OmegaConf.save(config, host.folder / "config.yaml")
    options = ("--track", "--exp-name", "tried")
    _, found = watched(host, *options, vectorization="serial", WANDB_MODE="offline", WANDB_SILENT="true")
    assert found["updates"] > 0
    assert list(host.folder.glob("wandb/offline-run-*-tried"))


@pytest.mark.parametrize(
    ("victim", "said"),
    [(0, r"environment worker \S+ died \(signal 9\)"), (-1, r"(the )?process of the updates died.*signal")],
)
def test_a_killed_process_ends_the_run_and_saves_what_was_learnt(host: Host, victim: int, said: str) -> None:
    """The first is a worker with environments; the last learns."""
    configure(host, total_timesteps=1_000_000)
    process = host.start("-u", "-m", "pokemonred_puffer.train", *OURS, "-r", HOST_REWARD)
    assert process.stdout is not None
    while not re.search(r"td_loss", process.stdout.readline()):
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(workers[victim]), signal.SIGKILL)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < DEAD_WORKER_SECONDS
    assert process.returncode == 1
    assert re.search(rf"^error: {said}", err, re.MULTILINE)
    assert list(host.folder.glob("runs/*/model_*.pt"))


def test_a_wrong_setting_ends_the_run_in_one_line(host: Host) -> None:
    configure(host, learner={"gama": 0.9})
    ended = host.train(*OURS, "-r", HOST_REWARD, seconds=120)
    assert ended.returncode == 1
    assert "error: train.learner: unknown key 'gama' (did you mean gamma?)" in ended.stderr.splitlines()
