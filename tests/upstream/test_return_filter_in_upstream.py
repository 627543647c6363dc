"""The worst segments left out of the real pokemonred_puffer's PPO, and a pretrained encoder in it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from upstream_stand_in.runs import HOST_REWARD, OURS, Host

from daddy_puffer.learner.hosted_ppo import keep_best_segments
from daddy_puffer.vision.saved import save
from daddy_puffer.vision.tokenizer import Tokenizer, TokenizerSettings, network_state

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

MINIBATCHES, HORIZON = 3, 4
STEPS = MINIBATCHES * HORIZON  # of a segment, one of each environment
CONFIG: dict[str, Any] = {
    "gamma": 0.9, "gae_lambda": 0.95, "update_epochs": 4, "device": "cpu", "norm_adv": True, "clip_coef": 0.1,
    "clip_vloss": False, "vf_clip_coef": 0.1, "ent_coef": 0.01, "vf_coef": 0.5, "max_grad_norm": 0.5, "target_kl": None,
    "anneal_lr": False, "total_timesteps": 10**9, "verbose": False, "checkpoint_interval": 10**9,
}  # fmt: skip


class Bandit(nn.Module):
    """A recurrent policy of two arms; what PufferLib's `RecurrentPolicy` gives back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = nn.LSTM(2, 8), nn.Linear(8, 3)

    def forward(self, seen: Tensor, state: Any = None, action: Tensor | None = None) -> tuple[Any, ...]:
        hidden, state = self.cell(seen.float().transpose(0, 1), state)
        out = self.head(hidden.transpose(0, 1)).flatten(0, 1)
        distribution = torch.distributions.Categorical(logits=out[:, :2])
        assert action is not None
        return None, distribution.log_prob(action.flatten()), distribution.entropy(), out[:, 2:], state


def updated(good: list[bool], share: float) -> Bandit:
    """The policy after an epoch of the host's PPO on one segment of each environment, good ones pay 1 a step."""
    from pokemonred_puffer import cleanrl_puffer as host

    policy, envs = Bandit(), len(good)
    experience = host.Experience(
        envs * STEPS, envs, HORIZON, envs * HORIZON, (2,), np.dtype(np.float32), (), device="cpu"
    )
    experience.lstm_h = torch.zeros(1)  # it is a recurrent one
    rng = np.random.default_rng(0)
    kinds = np.array(good)
    for step in range(STEPS):
        # two rows of numbers: what a good environment shows does not depend on how many bad ones there are
        drawn = rng.normal(size=(2, 4, 2)).astype(np.float32)
        action = np.where(kinds, 1, 0)
        seen = np.empty((envs, 2), np.float32)
        seen[kinds], seen[~kinds] = drawn[0, : kinds.sum()], drawn[1, : (~kinds).sum()]
        experience.store(
            obs=torch.from_numpy(seen),
            value=torch.from_numpy(seen.sum(1)),
            action=action,
            logprob=torch.full((envs,), -0.7),
            reward=torch.from_numpy(np.where(kinds & (step > 0), 1.0, 0.0).astype(np.float32)),
            done=torch.full((envs,), float(step == 0)),
            env_id=list(range(envs)),
            mask=torch.ones(envs, dtype=torch.bool),
        )
    trainer = object.__new__(host.CleanPuffeRL)
    trainer.config = SimpleNamespace(**CONFIG)
    trainer.policy, trainer.experience, trainer.profile = policy, experience, host.Profile()
    trainer.optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    trainer.epoch = trainer.global_step = 0
    trainer.wandb_client = None
    if share < 1.0:
        keep_best_segments(trainer, share)
    trainer.train()
    return policy


def test_an_update_without_the_worst_is_that_of_a_batch_without_them() -> None:
    """Known answer: half of the environments pull the arm that pays nothing."""
    mixed = [False, True, False, True, False, True, False, True]
    filtered, unfiltered, alone = updated(mixed, 0.5), updated(mixed, 1.0), updated([True] * 4, 1.0)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(filtered.state_dict()[name], value, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(unfiltered.head.weight, alone.head.weight, atol=1e-3)
    all_of_them, nothing_left_out = updated([True] * 4, 0.5), alone  # equal returns: nothing tells them apart
    for name, value in nothing_left_out.state_dict().items():
        assert torch.equal(all_of_them.state_dict()[name], value)


@pytest.mark.parametrize("algorithm", ["ppo", "q"])
def test_a_pretrained_encoder_and_the_filter_in_a_run(algorithm: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerSettings(kind="continuous", tile_channels=8, cell_channels=12, latent_size=4))
    save(tmp_path / "tokenizer.pt", "tokenizer", network_state(tokenizer))
    host = Host(Path(str(upstream.__path__[0])).parent, tmp_path)
    config = {
        "train": {
            "algorithm": algorithm, "device": "cpu", "num_envs": 4, "num_workers": 2, "total_timesteps": 768,
            "batch_size": 256, "minibatch_size": 64, "bptt_horizon": 8, "swarm": False,
            "replay": {"return_filter": 0.5, "capacity": 4000, "learning_starts": 200, "batch_size": 4},
        },
        "policies": {"daddy_puffer.HierQ": {"policy": {"pretrained": str(tmp_path / "tokenizer.pt")}}},
    }  # fmt: skip
    OmegaConf.save(OmegaConf.create(config), host.folder / "config.yaml")
    ended = host.train(*OURS, "-r", HOST_REWARD, "--vectorization", "serial", seconds=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    printed = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", ended.stdout)
    name = "policy_loss" if algorithm == "ppo" else "td_loss"
    assert re.search(rf"{name}\s+-?\d", printed)
    checkpoint = sorted(host.folder.glob("runs/*/model_*.pt"))[-1]
    policy = torch.load(checkpoint, weights_only=False)
    screen = copy.deepcopy(policy.policy.network.encoder.screen)
    for key, value in tokenizer.encoder.state_dict().items():
        assert torch.equal(screen.encoder.state_dict()[key], value)
