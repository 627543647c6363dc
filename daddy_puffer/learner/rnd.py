"""`Rnd`: the curiosity of the trainer, for all environments at once, on the learner's device.

In: `StepBatch`es. Out: the same with `ledger[:, 1]` = r_rnd and `weight * r_rnd` more reward. No gradient of it reaches
the policy. Source: Burda et al. 2018, see `numerics/curiosity.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import to_arrays, to_tensors
from daddy_puffer.learner.networks import Shaped, observation_spec
from daddy_puffer.numerics.curiosity import Curiosity, Embedding
from daddy_puffer.types import Array, StepBatch

HIDDEN = 128
OUTPUTS = 64
LEARNING_RATE = 5e-4
ROWS_PER_UPDATE = 64
LEDGER_FIELD = 1


class Networks(nn.Module):
    """Target with one hidden layer, and a predictor with one more, since it has to find out what the other is."""

    def __init__(self, inputs: int, seed: int, device: torch.device) -> None:
        """Orthogonal random weights, as in the source; the global random generator is left alone."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.target = _layers(inputs, HIDDEN, OUTPUTS).requires_grad_(False)
            self.predictor = _layers(inputs, HIDDEN, HIDDEN, OUTPUTS)
        self.to(device)
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), lr=LEARNING_RATE, fused=True)
        self._device = device

    @torch.inference_mode()
    def errors(self, inputs: Array) -> Array:
        """Mean squared error f32 `[N]`; inputs f32 `[N, D]`."""
        return self._errors(inputs).cpu().numpy()

    def learn(self, inputs: Array) -> None:
        """One step of Adam on the mean error."""
        self.optimizer.zero_grad(set_to_none=True)
        self._errors(inputs).mean().backward()
        self.optimizer.step()

    def _errors(self, inputs: Array) -> Tensor:
        seen = torch.from_numpy(inputs).to(self._device, non_blocking=True)
        return (self.predictor(seen) - self.target(seen)).square().mean(-1)


class Rnd:
    """See the module's text."""

    def __init__(self, space: Mapping[str, Shaped], num_envs: int, weight: float, seed: int, device: torch.device):
        """For observations of `space`; `weight` of r_rnd in the reward."""
        spec = observation_spec(space)
        embedding = Embedding(spec.structured, spec.id_fields, seed)
        self._weight = np.float32(weight)
        self._networks = Networks(embedding.size, seed, device)
        self._curiosity = Curiosity(embedding, self._networks, num_envs=num_envs, rows_per_update=ROWS_PER_UPDATE)

    def add_to(self, batch: StepBatch) -> StepBatch:
        """The batch with its bonuses; a first row follows no action and gets none."""
        seen = batch.observation
        bonus = self._curiosity.bonus(seen["frames"], seen["structured"], batch.env_ids)
        bonus = np.where(batch.first, np.float32(0), bonus)
        ledger = seen["ledger"].copy()
        ledger[:, LEDGER_FIELD] = bonus
        return replace(batch, observation={**seen, "ledger": ledger}, reward=batch.reward + self._weight * bonus)

    def state_dict(self) -> dict[str, Any]:
        """What the next bonuses depend on, as a tree of tensors and numbers."""
        networks = self._networks
        kept = {"weights": networks.state_dict(), "optimizer": networks.optimizer.state_dict()}
        return {**kept, "curiosity": to_tensors(self._curiosity.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned.

        Raises:
            UserError: it is of another observation.
        """
        try:
            self._networks.load_state_dict(state["weights"])
            self._networks.optimizer.load_state_dict(state["optimizer"])
            self._curiosity.load_state_dict(to_arrays(state["curiosity"]))
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                "the checkpoint's RND is of another shape: resume with the observations of before, or with "
                "intrinsic.rnd_weight 0"
            ) from error


def _layers(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
