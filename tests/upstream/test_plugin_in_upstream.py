"""The plug-in beside the real pokemonred_puffer, on the practice cartridge."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from upstream_stand_in.runs import HOST_REWARD, OURS, Host

from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.learner.hosted_ppo import bootstrap_truncations
from daddy_puffer.types import EpisodeFlag

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

DEAD_WORKER_SECONDS = 10.0
STEPS = 2000
CONFIG = f"""
env:
  log_frequency: 100
train:
  algorithm: ppo
  device: cpu
  num_envs: 4
  num_workers: 2
  total_timesteps: {STEPS}
  batch_size: 512
  minibatch_size: 128
policies:
  multi_convolutional.MultiConvolutionalPolicy:
    policy:
      hidden_size: 32
    rnn:
      name: MultiConvolutionalRNN
      args: {{input_size: 32, hidden_size: 32, num_layers: 1}}
wrappers:
  both:
    - exploration.OnResetExplorationWrapper: {{full_reset_frequency: 1, jitter: 1}}
    - daddy_puffer.EpsilonEnv: {{frame_stack: 2}}
    - coords_writer.CoordinatesWriter: {{output_dir: runs, write_frequency: 100}}
"""
SWARM = """
import sys
from pathlib import Path
from types import ModuleType
from daddy_puffer.game.facts import event_index
from daddy_puffer.plugin_command import complete
from pokemonred_puffer import train
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


sys.modules["pokemonred_puffer.rewards.ahead"] = module = ModuleType("ahead")
module.Ahead = Ahead
train.app(complete(sys.argv[1:], Path.cwd()))
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a small configuration and no ROM."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    return Host(Path(str(upstream.__path__[0])).parent, tmp_path)


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def done(ended: subprocess.CompletedProcess[str]) -> str:
    """What a run that ended well printed."""
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Run complete" in ended.stdout
    return plain(ended.stdout)


def losses(printed: str) -> list[float]:
    """All losses on all dashboards."""
    names = "policy_loss|value_loss|entropy|approx_kl|clipfrac"
    return [float(value) for value in re.findall(rf"(?:{names})\s+(-?[\d.]+|nan|inf)", printed)]


def test_serial_training_and_evaluation_of_its_checkpoint(host: Host) -> None:
    printed = done(host.train(*OURS, "-r", HOST_REWARD, "--vectorization", "serial", seconds=300))
    found = losses(printed)
    assert len(found) > 20 and all(map(math.isfinite, found)) and any(found)
    assert "Agent Steps" in printed and "2.0k" in printed
    (checkpoint,) = host.folder.glob("runs/*/model_000004.pt")
    arguments = (*OURS, "-r", HOST_REWARD, "--checkpoint-path", str(checkpoint))
    process = host.start("-u", "-m", "pokemonred_puffer.train", "evaluate", *arguments)
    assert process.stdout is not None
    lines = []
    while len(lines) < 50:  # it has no end
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1][-3000:])
        lines += [line] if line.startswith("Reward:") else []
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("policy", "wrappers"),
    [
        ("daddy_puffer.HierQ", "daddy_puffer"),
        ("daddy_puffer.HierQ", "both"),
        ("multi_convolutional.MultiConvolutionalPolicy", "daddy_puffer"),
    ],
)
def test_worker_processes_and_wrappers_mixed(host: Host, policy: str, wrappers: str) -> None:
    rom = ("--rom-path", str(packaged(PRACTICE_ROM)))
    printed = done(host.train("-p", policy, "-w", wrappers, "-r", HOST_REWARD, *rom, seconds=400))
    assert all(map(math.isfinite, losses(printed))) and losses(printed)


def test_their_own_run_is_unchanged_by_us(host: Host) -> None:
    start = packaged(PRACTICE_START)
    config = OmegaConf.merge(OmegaConf.load(packaged("upstream.yaml")), OmegaConf.create(CONFIG))
    config.env.state_dir, config.env.init_state = str(start.parent), start.stem
    config.train.device, config.train.env_batch_size, config.train.total_timesteps = "cpu", 4, 512
    config.wrappers.plain = []
    OmegaConf.save(config, host.folder / "config.yaml")
    code = (
        "import sys; from pokemonred_puffer import cleanrl_puffer, train\n"
        "stock = cleanrl_puffer.CleanPuffeRL\n"
        "train.app(sys.argv[1:], standalone_mode=False)\n"
        "assert train.CleanPuffeRL is stock is cleanrl_puffer.CleanPuffeRL and isinstance(stock, type)\n"
        "assert not [m for m in sys.modules if 'daddy_puffer' in m and m != 'daddy_puffer_bootstrap']\n"
    )
    arguments = ("train", "-w", "plain", "--rom-path", str(packaged(PRACTICE_ROM)), "--vectorization", "serial")
    done(host.run("-c", code, *arguments, seconds=300))


def test_swarming_moves_every_environment(host: Host) -> None:
    config = OmegaConf.merge(OmegaConf.create(CONFIG), {"train": {"total_timesteps": 600}})
    shipped = OmegaConf.load(packaged("upstream.yaml"))
    config.rewards = {"ahead.Ahead": shipped.rewards[HOST_REWARD]}
    OmegaConf.save(config, host.folder / "config.yaml")
    printed = done(host.run("-c", SWARM, *OURS, "-r", "ahead.Ahead", "--vectorization", "serial", seconds=300))
    assert {int(number) for number in re.findall(r"moved (\d+)", printed)} == {0, 1, 2, 3}
    assert re.search(r"State migration to .* complete", printed), "no archive is kept, and none is needed"


def test_a_killed_worker_ends_the_run(host: Host) -> None:
    process = host.start("-u", "-m", "pokemonred_puffer.train", *OURS, "-r", HOST_REWARD)
    assert process.stdout is not None
    while "Agent Steps" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(2.0)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(workers[-1]), signal.SIGKILL)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < DEAD_WORKER_SECONDS
    assert process.returncode == 1
    assert re.search(r"^error: environment worker \S+ died \(signal 9\)", err, re.MULTILINE)


def test_a_bad_size_ends_the_run_although_the_meter_runs(host: Host) -> None:
    (host.folder / "config.yaml").write_text(CONFIG.replace("minibatch_size: 128", "minibatch_size: 100"))
    ended = host.train(*OURS, "-r", HOST_REWARD, seconds=120)
    assert ended.returncode == 1
    assert "error: train.batch_size 512 must be a multiple of train.minibatch_size 100" in ended.stderr


def test_autotune(host: Host) -> None:
    ended = host.train("autotune", *OURS, "-r", HOST_REWARD, seconds=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "SPS" in ended.stdout


def test_debug_plays(host: Host) -> None:
    process = host.start("-m", "pokemonred_puffer.train", "debug", *OURS, "-r", HOST_REWARD)
    with pytest.raises(subprocess.TimeoutExpired):  # it has no end
        process.communicate(timeout=30)
    process.kill()
    _, err = process.communicate()
    assert "Traceback" not in err and "error:" not in err


def test_its_advantages_bootstrap_a_truncation_and_end_at_a_terminal() -> None:
    """Two environments; both end at row 3: one is truncated, the other terminated; row 4 begins another episode."""
    from pokemonred_puffer import cleanrl_puffer as host

    rows, gamma = 6, 0.9
    row_type = np.dtype([("episode", "<i4", (4,))])
    experience = host.Experience(2 * rows, 2, 3, rows, (row_type.itemsize,), np.dtype(np.uint8), (), device="cpu")
    trainer = SimpleNamespace(
        experience=experience, config=SimpleNamespace(gamma=gamma), vecenv=SimpleNamespace(num_agents=2)
    )
    bootstrap_truncations(trainer, row_type)
    for row in range(rows):
        seen = np.zeros(2, row_type)
        if row == 3:
            seen["episode"][:, 3] = EpisodeFlag.TRUNCATED, EpisodeFlag.TERMINATED
        if row in (0, 4):
            seen["episode"][:, 3] = EpisodeFlag.FIRST
        experience.store(
            torch.from_numpy(seen.view(np.uint8).reshape(2, -1)),
            torch.full((2,), 5.0 if row == 3 else 2.0),
            torch.zeros(2, dtype=torch.long),
            torch.zeros(2),
            torch.full((2,), 0.0 if row in (0, 4) else 1.0),
            torch.full((2,), row == 3),
            [0, 1],
            torch.ones(2, dtype=torch.bool),
        )
    order = experience.sort_training_data()
    parts = (experience.dones_np[order], experience.values_np[order], experience.rewards_np[order])
    advantages = host.compute_gae(*parts, gamma, 1.0)
    returns = (advantages + parts[1]).reshape(2, rows)
    cut, ended = 1 + gamma * 5.0, 1.0  # after row 2
    np.testing.assert_allclose(returns[0, :3], [1 + gamma * (1 + gamma * cut), 1 + gamma * cut, cut], rtol=1e-6)
    np.testing.assert_allclose(returns[1, :3], [1 + gamma * (1 + gamma * ended), 1 + gamma * ended, ended], rtol=1e-6)
    np.testing.assert_allclose(advantages.reshape(2, rows)[:, 3], 0.0, atol=1e-6)  # no transition
    experience.flatten_batch(advantages)
    paid = experience.rewards_np[order].reshape(2, rows)
    np.testing.assert_allclose(paid, [[0, 1, 1, 1, 0, 1]] * 2, atol=1e-6)  # what the game paid
