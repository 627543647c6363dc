"""HierQ behind the calls of PufferLib 1.0's `cleanrl` policies, for a host that trains it with its own PPO.

In: packed observations u8 `[B, bytes]`, or `[rows, T, bytes]` when learning, and PufferLib's state `(h, c)` or None.
Out: logits Q / temperature `[N, A]`, the state's value `[N, 1]` and the new state; N = B, or rows * T with time running
fastest. The host never resets a recurrent state; the observation's first-step flag does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daddy_puffer.errors import UserError
from daddy_puffer.policies.hierq import HierQ, HierQState
from daddy_puffer.types import EpisodeFlag

State = tuple[Tensor, Tensor]
KEYS = ("frames", "visited", "structured", "milestones", "episode")  # what `wrappers.EpsilonEnv` adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where one key of the observation lies in its bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    size: int  # bytes


def unpack(rows: Tensor, fields: Mapping[str, Field]) -> dict[str, Tensor]:
    """u8 `[N, bytes]` to each key `[N, ...]`."""
    found = {}
    for name, field in fields.items():
        # a copy: a slice of a row may not be aligned for its type
        part = rows[:, field.offset : field.offset + field.size].clone(memory_format=torch.contiguous_format)
        found[name] = part.view(field.dtype).view(-1, *field.shape)
    return found


class HostedHierQ(nn.Module):
    """The network with the layout of its observation; what the host calls the policy, and PufferLib the agent."""

    def __init__(self, network: HierQ, fields: Mapping[str, Field]):
        """`fields`: at least `KEYS`."""
        super().__init__()
        self.network = network
        self.fields = dict(fields)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """One step without recurrent state: logits at temperature 1 and value.

        Raises:
            UserError: the network has memories.
        """
        if self.network.layout.total:
            raise UserError("daddy_puffer.HierQ remembers: set train.use_rnn: true, or switch its memories off")
        logits, value, _ = HostedRecurrentHierQ(self).forward(observation, None)
        return logits, value


class HostedRecurrentHierQ(nn.Module):
    """What the host wraps in PufferLib's `RecurrentPolicy`."""

    def __init__(self, policy: HostedHierQ, temperature: float = 1.0):
        """`temperature` > 0, in units of action value.

        Raises:
            UserError: it is not above 0.
        """
        super().__init__()
        if not temperature > 0.0:
            raise UserError(f"rnn.args.temperature of daddy_puffer.HierQ must be above 0, got {temperature}")
        self.policy = policy
        self.temperature = temperature

    @property
    def network(self) -> HierQ:
        """The network itself."""
        return self.policy.network

    @property
    def recurrent(self) -> HierQ:
        """What PufferLib asks for the size of the state: `num_layers` and `hidden_size`."""
        return self.policy.network

    @torch.compiler.disable  # the memories' loops and their backward passes are written by hand
    def forward(self, observation: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        """See the module's text."""
        rows = observation if observation.dim() == 3 else observation.unsqueeze(1)
        batch, steps = rows.shape[:2]
        parts = {
            name: part.unflatten(0, (batch, steps)).transpose(0, 1)
            for name, part in unpack(rows.flatten(0, 1), self.policy.fields).items()
        }
        network = self.network
        before = network.initial_state(batch) if state is None else HierQState.from_puffer(state, network.layout)
        first = (parts["episode"][..., 3] & EpisodeFlag.FIRST).bool()
        q_values, after, aux = network.unroll(parts["frames"], parts["structured"], parts["visited"], first, before)
        logits = q_values.transpose(0, 1).flatten(0, 1) / self.temperature
        return logits, aux.value.transpose(0, 1).reshape(-1, 1), after.to_puffer()
