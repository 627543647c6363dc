"""Our wrappers in runs of the real pokemonred_puffer: what is reached is kept, and episodes begin there."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from upstream_stand_in.runs import HOST_REWARD, OURS, ROOT, Host

from daddy_puffer.envs.rom import PRACTICE_ROM, packaged

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

STEPS = 1600
CONFIG = f"""
env:
  log_frequency: 50
  max_steps: 120
train:
  device: cpu
  num_envs: 4
  num_workers: 2
  total_timesteps: {STEPS}
  batch_size: 400
  minibatch_size: 80
  bptt_horizon: 8
  replay: {{learning_starts: 400, capacity: 4000}}
policies:
  multi_convolutional.MultiConvolutionalPolicy:
    policy:
      hidden_size: 32
    rnn:
      name: MultiConvolutionalRNN
      args: {{input_size: 32, hidden_size: 32, num_layers: 1}}
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
        if self.step_count == 40 and self.env_id == 1 and not self.required_events:
            index = event_index()[min(REQUIRED_EVENTS - set(self.required_events))]
            self.pyboy.memory[0xD747 + index // 8] |= 1 << index % 8
        return super().step(action)

    def reset(self, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        if self.required_events:
            print("begins ahead", self.env_id)
        return result


sys.modules["pokemonred_puffer.rewards.ahead"] = module = ModuleType("ahead")
module.Ahead = Ahead
train.app(complete(sys.argv[1:], Path.cwd()))
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a small configuration and no ROM."""
    config = OmegaConf.create(CONFIG)
    explore = OmegaConf.load(packaged("upstream.yaml")).wrappers["daddy_puffer.explore"]
    explore[1]["daddy_puffer.Curriculum"].update({"cell_size": 2, "episode_steps": 30, "true_start_share": 0.3})
    config.wrappers = {"daddy_puffer.explore": explore}
    OmegaConf.save(config, tmp_path / "config.yaml")
    return Host(Path(str(upstream.__path__[0])).parent, tmp_path)


def done(ended: subprocess.CompletedProcess[str]) -> str:
    """What a run that ended well printed, without colours."""
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Run complete" in ended.stdout
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", ended.stdout)


def kept(folder: Path) -> tuple[set[str], Counter[str]]:
    """Names of the save states of the only run, and how often each was drawn."""
    (run,) = (folder / "savestates").iterdir()
    drawn: Counter[str] = Counter()
    for path in (run / "outcomes").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            drawn.update(json.loads(line).get("drawn", {}))
    assert not (run / "quarantine").exists() or not list((run / "quarantine").iterdir())
    return {path.stem for path in run.glob("*.state")}, drawn


@pytest.mark.parametrize("vectorization", ["serial", "multiprocessing"])
@pytest.mark.parametrize(
    ("policy", "algorithm"),
    [("daddy_puffer.HierQ", "q"), ("multi_convolutional.MultiConvolutionalPolicy", "ppo")],
)
def test_states_are_kept_and_drawn_with_any_policy(host: Host, policy: str, algorithm: str, vectorization: str) -> None:
    config = OmegaConf.load(host.folder / "config.yaml")
    config.train.algorithm, config.train.rnd_weight = algorithm, 0.1 if algorithm == "q" else 0.0
    OmegaConf.save(config, host.folder / "config.yaml")
    rom = ("--rom-path", str(packaged(PRACTICE_ROM)), "--vectorization", vectorization)
    arguments = ("-p", policy, "-w", "daddy_puffer.explore", "-r", HOST_REWARD, *rom)
    printed = done(host.train(*arguments, seconds=400))
    assert "Agent Steps" in printed
    states, drawn = kept(host.folder)
    assert len(states) >= 2 and sum(drawn.values()) >= 3 and len(drawn) >= 2


def test_the_hosts_swarm_goes_on_beside_the_curriculum(host: Host) -> None:
    config = OmegaConf.load(host.folder / "config.yaml")
    shipped = OmegaConf.load(packaged("upstream.yaml"))
    config.rewards = {"ahead.Ahead": shipped.rewards[HOST_REWARD]}
    OmegaConf.save(config, host.folder / "config.yaml")
    arguments = (*OURS, "-w", "daddy_puffer.explore", "-r", "ahead.Ahead", "--vectorization", "serial")
    printed = done(host.run("-c", SWARM, *arguments, seconds=400))
    assert {int(number) for number in re.findall(r"begins ahead (\d+)", printed)} == {0, 1, 2, 3}
    assert re.search(r"State migration to .* complete", printed)
    assert kept(host.folder)[0]


ANEW = """
import sys
from pathlib import Path
import numpy as np
from omegaconf import OmegaConf
from daddy_puffer.plugin_command import complete
from pokemonred_puffer import train

config = OmegaConf.load(complete(["--policy", "daddy_puffer.HierQ"], Path.cwd())[-3])
config.env.max_steps, config.env.gb_path = 60, sys.argv[1]
settings = {"folder": "shared", "cell_size": 2, "episode_steps": 30, "true_start_share": 1.0}


def make(reward):
    wrappers = [{"daddy_puffer.EpsilonEnv": {}}, {"daddy_puffer.Curriculum": settings}]
    env = train.setup_agent(wrappers, reward)(config.env, wrappers, config.rewards[reward].reward)
    return env, env.env.unwrapped


def play(env, game, bits):
    # events happen: what all paid
    _, info = env.reset(seed=1)
    paid = []
    while not env.done:
        if len(paid) == 20:
            game.pyboy.memory[0xD747] |= bits
        paid.append(env.step(np.array([np.random.default_rng(len(paid)).integers(4)]))[1])
    return sum(paid), len(paid), info


for reward in ("baseline.ObjectRewardRequiredEventsMapIdsFieldMoves", "daddy_puffer.FastRequiredEvents"):
    settings["true_start_share"] = 1.0
    env, game = make(reward)
    first, none = (play(env, game, bits) for bits in (0b11111000, 0))
    second = play(env, game, 0b11111000)
    assert first[1] == 60 and "env_id" in first[2]
    assert abs(first[0] - second[0]) < 1e-6 and first[0] > none[0] + 1.0, (first[0], none[0], second[0])
    settings["true_start_share"] = 0.0
    env, game = make(reward)  # as in another run, which finds the states of this one
    seen, info = env.reset(seed=1)
    assert seen.view(env.obs_dtype)[0]["episode"][2] != 0, "the very first episode begins at a state"
    assert {"state", "required_count", "env_id"} <= set(info), "what the host's swarming goes by"
    assert play(env, game, 0)[1] == 30
print("anew")
"""


def test_episodes_pay_alike_and_the_first_may_begin_at_a_state(host: Host) -> None:
    ended = host.run("-c", ANEW, str(packaged(PRACTICE_ROM)), seconds=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.endswith("anew\n")


def test_a_second_run_goes_on_with_the_states_of_the_first(host: Host) -> None:
    config = OmegaConf.load(host.folder / "config.yaml")
    shared = {"folder": "savestates/shared", "true_start_share": 0.0}
    config.wrappers["daddy_puffer.explore"][1]["daddy_puffer.Curriculum"].update(shared)
    config.train.total_timesteps = 800
    OmegaConf.save(config, host.folder / "config.yaml")
    for _ in range(2):
        done(host.train(*OURS, "-w", "daddy_puffer.explore", "--vectorization", "multiprocessing", seconds=400))
    states, drawn = kept(host.folder)
    assert states and sum(drawn.values()) >= 8, "more than the first reset of each environment"


@pytest.mark.parametrize("wrappers", ["daddy_puffer", "daddy_puffer.explore"])
def test_swarming_by_messages_begins_episodes_too(host: Host, wrappers: str) -> None:
    config = OmegaConf.load(host.folder / "config.yaml")
    shipped = OmegaConf.load(packaged("upstream.yaml"))
    config.rewards = {"ahead.Ahead": shipped.rewards[HOST_REWARD]}
    config.train.update({"async_wrapper": True, "sqlite_wrapper": False, "required_rate": True})
    OmegaConf.save(config, host.folder / "config.yaml")
    arguments = (*OURS, "-w", wrappers, "-r", "ahead.Ahead", "--vectorization", "multiprocessing")
    printed = done(host.run("-c", SWARM, *arguments, seconds=400))
    assert {int(number) for number in re.findall(r"begins ahead (\d+)", printed)} >= {1, 2, 3, 4}
    assert re.search(r"State migration to .* complete", printed)


def test_our_own_configuration_explores_there(host: Host) -> None:
    small = {"total_timesteps": 1200, "num_envs": 4, "batch_size": 400, "device": "cpu"}
    config = OmegaConf.merge(OmegaConf.load(ROOT / "configs" / "explore.yaml"), {"train": small})
    config.train.replay = {"learning_starts": 400, "capacity": 4000}
    OmegaConf.save(config, host.folder / "explore.yaml")
    ended = host.train(*OURS, "--config", "explore.yaml", "--vectorization", "serial", seconds=400)
    done(ended)
    assert "no effect under pokemonred_puffer" in ended.stderr
    assert kept(host.folder)[0]
