"""The online network, its slow copy, and their optimiser.

In: settings and the shapes of an observation. Out: a network, `NetworkPair`, Adam. Knows no replay and no loss.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from daddy_puffer.config import Config, LearnerConfig
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import FEATURE_COUNT, ID_FIELDS
from daddy_puffer.learner.mkl import use_wide_kernels
from daddy_puffer.policies.hierq import HierQ, ObservationSpec

ADAM_EPSILON = 1e-8  # larger ones (1.5e-4 in Hessel 2018) drown the gradients of rewards as small as 0.02


class Shaped(Protocol):
    """An array space: only its shape is looked at."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one observation."""


def choose_device(name: str) -> torch.device:
    """The device meant by `auto`, `cpu` or `cuda`; what runs on the CPU then has the whole of it (`mkl.py`).

    Raises:
        UserError: cuda is asked for and not there.
    """
    use_wide_kernels()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees no GPU: use --device cpu, or install torch for CUDA")
    return torch.device(name)


def observation_spec(space: Mapping[str, Shaped]) -> ObservationSpec:
    """Sizes out of the observation space; ids are known in the layout of `game/features.py` only."""
    stack, structured, packed = ((space[name].shape or (0,))[0] for name in ("frames", "structured", "milestones"))
    return ObservationSpec(
        stack=stack,
        structured=structured,
        milestones=8 * packed,
        id_fields=ID_FIELDS if structured == FEATURE_COUNT else (),
    )


def make_network(config: Config, space: Mapping[str, Shaped], num_actions: int) -> HierQ:
    """HierQ for these observations, on the CPU."""
    return HierQ(observation_spec(space), num_actions, config.policy)


class NetworkPair:
    """An online network and a target network that is copied from it now and then, and never trained itself.

    `actor` is what chooses actions: the online network, until `separate_actor` makes it a copy.
    """

    def __init__(self, online: HierQ, device: torch.device):
        """Move `online` to `device`; the target starts equal."""
        self.online = online.to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.actor = self.online

    def copy_to_target(self) -> None:
        """Make the target equal to the online network."""
        copy_weights(self.online.parameters(), self.target)

    def separate_actor(self) -> None:
        """Let the actor keep its weights while the online network is trained."""
        self.actor = copy.deepcopy(self.online).requires_grad_(False)

    def copy_to_actor(self) -> None:
        """Make the actor equal to the online network."""
        if self.actor is not self.online:
            copy_weights(self.online.parameters(), self.actor)

    def load(self, online: dict[str, Any], target: dict[str, Any]) -> None:
        """Take over two `state_dict`s, with what in them is never trained, and the actor the first."""
        self.online.load_state_dict(online)
        self.target.load_state_dict(target)
        self.target.requires_grad_(False)
        if self.actor is not self.online:
            self.actor.load_state_dict(online)
            self.actor.requires_grad_(False)


@torch.no_grad()
def copy_weights(source: Iterable[torch.Tensor], to: HierQ) -> None:
    """Give `to` these parameters, in its own order."""
    for mine, other in zip(to.parameters(), source, strict=True):
        mine.copy_(other)


def make_optimizer(network: HierQ, config: LearnerConfig) -> torch.optim.Adam:
    """Adam over every parameter; the memories are a group of their own with a scaled learning rate."""
    recurrent = network.recurrent_parameters()
    inside = {id(parameter) for parameter in recurrent}
    others = [parameter for parameter in network.parameters() if id(parameter) not in inside]
    slower = config.learning_rate * config.recurrent_learning_rate_scale
    groups: list[dict[str, Any]] = [{"params": others}, {"params": recurrent, "lr": slower}]
    return torch.optim.Adam(groups, lr=config.learning_rate, eps=ADAM_EPSILON, fused=True)
