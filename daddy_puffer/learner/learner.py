"""Deep Q-learning on sequences: acting, and one update.

In: observations `[B]` with recurrent states, `SequenceBatch`es out of replay. Out: actions and new states; losses,
diagnostics and new priorities. Knows no environment, no replay and no schedule.

An update: both networks start from the state that the actor had before row 0, each unrolls its own from there, and
resets it where an episode begins. The online network's burn-in rows carry no gradient. Row t is trained towards
`reward[t] + discount[t] * value(observation[t + 1])`; where an episode was truncated, row t + 1 is its final
observation, which is what the value is taken of. Sources: Kapturowski 2019 (R2D2), van Hasselt 2016 (double Q).

Rows of a demonstrator are trained to their targets as all others; losses that make the demonstrated action the best one
are added to theirs (Hester 2018, DQfD). They are summed over the demonstrated rows and divided by all rows, as the TD
loss is: what a demonstrated row counts does not depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from daddy_puffer.config import Config
from daddy_puffer.learner.networks import NetworkPair, Shaped, choose_device, make_network, make_optimizer
from daddy_puffer.numerics.imitation import cloning_loss, large_margin_loss
from daddy_puffer.numerics.loss import masked_sequence_loss
from daddy_puffer.numerics.priorities import sequence_priority
from daddy_puffer.numerics.rescaling import rescale, unrescale
from daddy_puffer.numerics.returns import (
    double_q_bootstrap,
    expected_bootstrap,
    lambda_returns,
    munchausen_bonus,
    n_step_targets,
    soft_value,
    watkins_trace,
    window_cuts,
)
from daddy_puffer.policies.exploration import epsilon_greedy_probabilities, sample
from daddy_puffer.policies.hierq import Aux, HierQ, HierQState
from daddy_puffer.types import Array, SequenceBatch

MUNCHAUSEN_TEMPERATURE = 0.03  # Vieillard 2020
MUNCHAUSEN_FLOOR = -1.0
CHURN_PERIOD = 50  # updates between two measurements of policy churn, each of which costs a forward pass


class NotFiniteError(ArithmeticError):
    """The loss or its gradient is no finite number; the parameters have not been touched."""


class ActResult(NamedTuple):
    """What came of one step of B environments."""

    actions: Array  # i64 [B]
    state: Array  # f32 [B, S], after this observation
    q_values: Array  # f32 [B, A]


class UpdateResult(NamedTuple):
    """What came of one update."""

    scalars: dict[str, float]
    priorities: Array  # f64 [B]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A `SequenceBatch` on the device: what the networks see, `[L, B, ...]`."""

    frames: Tensor
    structured: Tensor
    visited: Tensor
    first: Tensor

    def part(self, rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those rows, in the order of `HierQ.unroll`."""
        return (self.frames[rows], self.structured[rows], self.visited[rows], self.first[rows])


class Learner:
    """Online and target network, optimiser, and the generator that exploration draws from."""

    def __init__(
        self, config: Config, space: Mapping[str, Shaped], num_actions: int, network: HierQ | None = None
    ) -> None:
        """For observations of `space`; `network` replaces the one that `config.policy` describes."""
        self.config = config
        self.device = choose_device(config.train.device)
        self.networks = NetworkPair(network or make_network(config, space, num_actions), self.device)
        self.optimizer = make_optimizer(self.networks.online, config.learner)
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.generator = torch.Generator().manual_seed(config.train.seed)
        self.updates = 0
        self.imitation = 1.0  # what the losses of imitation count, beside their weights
        online = self.networks.online
        self._unroll_trained = torch.compile(online.unroll, dynamic=False) if config.train.compile else online.unroll

    @property
    def state_size(self) -> int:
        """Numbers in the recurrent state of one environment."""
        return self.networks.online.layout.total

    @property
    def parameter_count(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.networks.online.parameters())

    def initial_state(self, batch: int) -> Array:
        """The recurrent state before an episode, f32 `[batch, S]`."""
        return np.zeros((batch, self.state_size), np.float32)

    @torch.inference_mode()
    def act(self, observation: dict[str, Array], first: Array, state: Array, epsilon: Array) -> ActResult:
        """One step: observations `[B, ...]`, `first` bool `[B]`, `state` f32 `[B, S]`, `epsilon` f32 `[B]`."""
        actor = self.networks.actor
        q_values, after, _ = actor(
            self._tensor(observation["frames"]),
            self._tensor(observation["structured"]),
            HierQState.from_flat(self._tensor(state), actor.layout),
            self._tensor(first),
            self._tensor(observation["visited"]),
        )
        q_values = q_values.float().cpu()
        temperature = self.config.exploration.temperature
        actions = sample(epsilon_greedy_probabilities(q_values, torch.as_tensor(epsilon), temperature), self.generator)
        return ActResult(actions.numpy(), after.to_flat().float().cpu().numpy(), q_values.numpy())

    def update(self, batch: SequenceBatch) -> UpdateResult:
        """One gradient step; every `target_period_updates`-th copies the online network to the target.

        Raises:
            NotFiniteError: before anything is changed.
        """
        settings = self.config.learner
        loss, td_error, q_before, scalars = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.networks.online.parameters(), settings.max_grad_norm)
        scalars |= {"loss": loss.detach(), "grad_norm": norm}
        numbers = torch.stack(list(scalars.values())).tolist()  # one transfer from the device
        named = dict(zip(scalars, numbers, strict=True))
        for name in ("loss", "grad_norm"):
            if not math.isfinite(named[name]):
                raise NotFiniteError(f"{name} is {named[name]} in update {self.updates}")
        self.optimizer.step()
        self.updates += 1
        if self.updates % CHURN_PERIOD == 1:
            named["policy_churn"] = self._churn(batch, q_before)
        if self.updates % settings.target_period_updates == 0:
            self.networks.copy_to_target()
        mask = batch.mask[self.config.replay.burn_in : -1]
        share = self.config.replay.max_priority_weight
        return UpdateResult(named, sequence_priority(td_error.cpu().numpy(), mask, share))

    @torch.inference_mode()
    def states_after(self, frames: Array, structured: Array, visited: Array, first: Array, state: Array) -> Array:
        """Recurrent states f32 `[B, S]` after rows `[T, B, ...]` that began with `state`, as the actor has them."""
        actor = self.networks.actor
        rows = _Rows(*(self._tensor(part) for part in (frames, structured, visited, first)))
        before = HierQState.from_flat(self._tensor(state), actor.layout)
        after = actor.unroll(*rows.part(slice(None)), before)[1]
        return after.to_flat().float().cpu().numpy()

    def anneal(self, share_done: float) -> None:
        """Set the learning rate for updates at this share of the training, 0 to 1.

        It is set where nothing is annealed yet, too: a run that had ended may go on with more steps.
        """
        begin = self.config.learner.anneal_from
        left = max(0.0, 1.0 - share_done) / (1.0 - begin) if begin < 1.0 and share_done > begin else 1.0
        self._set_rates([begun * left for begun in self._learning_rates])

    @property
    def dials(self) -> tuple[float, list[float]]:
        """What is turned between updates: how much imitation counts, and the learning rates."""
        return self.imitation, [group["lr"] for group in self.optimizer.param_groups]

    def turn(self, dials: tuple[float, list[float]]) -> None:
        """Set `dials`, as another learner of the same networks has them."""
        self.imitation, rates = dials
        self._set_rates(rates)

    def separate_actor(self) -> None:
        """From now on `act` uses a copy of the weights, which only `publish` renews: `update` may run beside it."""
        self.networks.separate_actor()

    def publish(self) -> None:
        """Let `act` use the newest weights."""
        self.networks.copy_to_actor()

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(parameter.isfinite().all()) for parameter in self.networks.online.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update and the next action depend on.

        Raises:
            UserError: a pretrained encoder has no weights yet.
        """
        self.networks.online.check_pretrained()
        return {
            "online": self.networks.online.state_dict(),
            "target": self.networks.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; the learning rates are those of our own settings."""
        self._load_networks(state["online"], state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._set_rates(self._learning_rates)
        self.updates = int(state["updates"])
        self.generator.set_state(state["generator"].cpu())

    def load_networks(self, state: dict[str, Any]) -> None:
        """Begin with the networks of another learner's `state_dict`, but with an optimiser of our own."""
        self._load_networks(state["online"], state["online"])

    def forget_level(self) -> None:
        """Make the level of the action values 0; what it prefers, and its policy, stay the same.

        For a network that was trained to imitate: the policy does not depend on the level, so that its gradient was
        nothing but rounding errors, which Adam makes whole steps of; 1,500 updates left values near -300.
        """
        self.networks.online.head.forget_level()
        self.networks.copy_to_target()
        self.publish()

    def _set_rates(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = float(rate)  # a host counts in numpy's numbers, which would need unpickling

    def _load_networks(self, online: dict[str, Any], target: dict[str, Any]) -> None:
        """Into all of them; a pretrained encoder may come out of it in another shape, which is another parameter."""
        before = [id(parameter) for parameter in self.networks.online.parameters()]
        self.networks.load(online, target)
        if before != [id(parameter) for parameter in self.networks.online.parameters()]:
            self.optimizer = make_optimizer(self.networks.online, self.config.learner)

    def _loss(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Loss, TD errors `[T, B]` of the trained rows, action values `[T + 1, B, A]`, diagnostics."""
        trained = slice(self.config.replay.burn_in, None)
        q_online, q_target, aux = self._unroll(batch)
        action = self._tensor(batch.action[trained][:-1])
        mask = self._tensor(batch.mask[trained][:-1])
        with torch.no_grad():
            targets = self._targets(batch, q_online.detach(), q_target)
        taken = q_online[:-1].gather(-1, action.unsqueeze(-1)).squeeze(-1)
        td_error = targets - taken
        loss = masked_sequence_loss(td_error, mask, self._tensor(batch.weights))
        milestone_loss = self._milestone_loss(batch, aux, mask)
        total = loss + self.config.learner.milestone_loss_weight * milestone_loss
        shown: dict[str, Tensor] = {}
        if batch.demonstrated is not None:
            demonstrated = self._tensor(batch.demonstrated[trained][:-1])
            imitation, shown = self._imitation_loss(q_online[:-1], action, mask & demonstrated, mask)
            total = total + imitation
        td_error, taken, rows = (td_error.detach(), taken.detach(), mask.sum().clamp(min=1))
        gap = taken - q_target[:-1].gather(-1, action.unsqueeze(-1)).squeeze(-1)
        nowhere = torch.full_like(taken, -math.inf)
        scalars = {
            "td_loss": loss.detach(),
            "milestone_loss": milestone_loss.detach(),
            "td_error_mean": torch.where(mask, td_error.abs(), 0.0).sum() / rows,
            "q_mean": torch.where(mask, taken, 0.0).sum() / rows,
            "q_max": torch.where(mask, q_online.detach()[:-1].amax(-1), nowhere).amax(),
            "target_gap": torch.where(mask, gap.abs(), 0.0).sum() / rows,
        }
        return total, td_error, q_online.detach(), scalars | shown

    def _imitation_loss(
        self, q_values: Tensor, action: Tensor, rows: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is added to the loss for the `rows` to imitate, out of `mask`, and means over them; `[T, B]` each."""
        settings, temperature = self.config.demos, self.config.exploration.temperature
        count = rows.sum().clamp(min=1)
        margin = torch.where(rows, large_margin_loss(q_values, action, settings.margin), 0.0).sum()
        total = settings.margin_weight * margin
        right = (q_values.argmax(-1) == action) & rows
        said = {"demo/margin_loss": margin.detach() / count, "demo/accuracy": right.sum() / count}
        if temperature:
            cloning = torch.where(rows, cloning_loss(q_values, action, temperature), 0.0).sum()
            total = total + settings.bc_weight * cloning
            said["demo/bc_loss"] = cloning.detach() / (count * temperature)
        return self.imitation * total / mask.sum().clamp(min=1), said

    def _unroll(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, Aux]:
        """Action values of online and target network for the rows after burn-in, `[T + 1, B, A]`; online's `Aux`."""
        rows, stored = self._rows(batch)
        q_online, aux = self._unroll_online(rows, stored)
        if not self.config.learner.target_network:
            return q_online, q_online.detach(), aux
        with torch.no_grad():
            q_target = self.networks.target.unroll(*rows.part(slice(None)), stored)[0]
        return q_online, q_target[self.config.replay.burn_in :], aux

    def _unroll_online(self, rows: _Rows, state: HierQState) -> tuple[Tensor, Aux]:
        """The online network's action values of the rows after burn-in, and its `Aux`; `state` before all rows."""
        online, burn_in = self.networks.online, self.config.replay.burn_in
        if burn_in:
            with torch.no_grad():
                state = online.unroll(*rows.part(slice(burn_in)), state)[1]
        q_values, _, aux = self._unroll_trained(*rows.part(slice(burn_in, None)), state)
        return q_values, aux

    def _rows(self, batch: SequenceBatch) -> tuple[_Rows, HierQState]:
        """What the networks see of a batch, and the state before it."""
        frames = self.networks.online.prepare(self._tensor(batch.frames))
        rows = _Rows(frames, *(self._tensor(part) for part in (batch.structured, batch.visited, batch.first)))
        return rows, HierQState.from_flat(self._tensor(batch.state), self.networks.online.layout)

    @torch.no_grad()
    def _churn(self, batch: SequenceBatch, before: Tensor) -> float:
        """Share of the trained rows whose best action the update changed (Schaul 2022), all rows alike."""
        after = self._unroll_online(*self._rows(batch))[0]
        mask = self._tensor(batch.mask[self.config.replay.burn_in :])
        changed = (after.argmax(-1) != before.argmax(-1)) & mask
        return float(changed.sum() / mask.sum().clamp(min=1))

    def _targets(self, batch: SequenceBatch, q_online: Tensor, q_target: Tensor) -> Tensor:
        """What the trained rows should be worth, `[T, B]`; action values `[T + 1, B, A]`."""
        settings = self.config.learner
        trained = slice(self.config.replay.burn_in, None)
        reward = self._tensor(batch.reward[trained][:-1])
        discount = settings.gamma * (~self._tensor(batch.terminated[trained][:-1])).to(reward.dtype)
        action = self._tensor(batch.action[trained][:-1])
        cut = window_cuts(self._tensor(batch.mask[trained]))[:-1]
        values = unrescale(q_target) if settings.value_rescaling else q_target
        if settings.munchausen_scale:
            reward = reward + munchausen_bonus(
                values[:-1], action, MUNCHAUSEN_TEMPERATURE, settings.munchausen_scale, MUNCHAUSEN_FLOOR
            )
            bootstrap = soft_value(values[1:], MUNCHAUSEN_TEMPERATURE)
        elif settings.expected_bootstrap:
            bootstrap = expected_bootstrap(q_online[1:], values[1:], self.config.exploration.temperature)
        else:
            bootstrap = double_q_bootstrap(q_online[1:] if settings.double_q else q_target[1:], values[1:])
        if settings.trace_decay:
            greedy = action == q_online[:-1].argmax(-1)
            trace = watkins_trace(greedy, settings.trace_decay) if settings.cut_traces else settings.trace_decay
            targets = lambda_returns(reward, discount, bootstrap, cut, trace)
        else:
            targets = n_step_targets(reward, discount, bootstrap, cut, settings.n_step)
        return rescale(targets) if settings.value_rescaling else targets

    def _milestone_loss(self, batch: SequenceBatch, aux: Aux, mask: Tensor) -> Tensor:
        """Cross-entropy of the milestones held at the end of the sequence or episode, mean over rows and flags."""
        trained = slice(self.config.replay.burn_in, None)
        flags = np.unpackbits(milestones_ahead(batch.milestones[trained], batch.first[trained]), axis=-1)
        wanted = self._tensor(flags[:-1]).to(aux.milestone_logits.dtype)
        each = functional.binary_cross_entropy_with_logits(aux.milestone_logits[:-1], wanted, reduction="none").mean(-1)
        return torch.where(mask, each, 0.0).sum() / mask.sum().clamp(min=1)

    def _tensor(self, array: Array) -> Tensor:
        """The one way from numpy to the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)


def milestones_ahead(milestones: Array, first: Array) -> Array:
    """For every row those of its episode's last row in the sequence; `[T, B, M]` and bool `[T, B]`, time first."""
    ahead = milestones.copy()
    for t in range(len(milestones) - 2, -1, -1):
        ahead[t] = np.where(first[t + 1, :, None], milestones[t], ahead[t + 1])
    return ahead
