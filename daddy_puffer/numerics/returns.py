"""Targets of value learning over sequences.

In: float32 tensors `[T, B]`, time first, laid out as in `types.py`. Out: targets `[T, B]`. Nothing is changed in place.
Knows no network, no settings. Sources: van Hasselt 2016 (double Q), Peng & Williams 1996 and Watkins 1989 (traces, as
in Gallici 2025, PQN), Vieillard 2020 (Munchausen).

Row t of every argument belongs to `action[t]`: `discount[t]` is gamma, or 0 where the action terminated the episode;
`bootstrap[t]` is the value of the observation that followed the action, so a truncated row takes it from the final
observation; `cut[t]` is True where a return must not look beyond that observation. Rows that are no transitions give
numbers without meaning: mask them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window_cuts(mask: Tensor) -> Tensor:
    """Where returns end, bool `[T, B]`: the next row is no transition, or there is none.

    `mask` bool `[T, B]` is `SequenceBatch.mask`. It covers both kinds of ends: the row after a last transition holds
    the final observation, which is no transition.
    """
    return ~torch.cat([mask[1:], torch.zeros_like(mask[:1])])


def double_q_bootstrap(q_online: Tensor, q_target: Tensor) -> Tensor:
    """Target network's value of the online network's best action; both `[..., A]`, result `[...]`."""
    best = q_online.argmax(dim=-1, keepdim=True)
    return q_target.gather(-1, best).squeeze(-1)


def expected_bootstrap(q_online: Tensor, q_target: Tensor, temperature: float) -> Tensor:
    """Target network's value of the online network's softmax policy; both `[..., A]`, result `[...]`.

    The best of several noisy values is too high, at every step anew; their mean is not (van Seijen 2009, Expected
    Sarsa; Song 2019, the softmax Bellman operator).
    """
    return ((q_online / temperature).softmax(dim=-1) * q_target).sum(dim=-1)


def n_step_targets(reward: Tensor, discount: Tensor, bootstrap: Tensor, cut: Tensor, n_step: int) -> Tensor:
    """Sum of up to `n_step` discounted rewards, then the bootstrap value.

    A window that meets a cut is shorter and bootstraps there; `n_step` 1 is TD(0).
    """
    targets = reward + discount * bootstrap
    for _ in range(n_step - 1):
        targets = reward + discount * torch.where(cut, bootstrap, _following(targets))
    return targets


def lambda_returns(
    reward: Tensor, discount: Tensor, bootstrap: Tensor, cut: Tensor, trace_decay: Tensor | float
) -> Tensor:
    """Mixture of all n-step targets: `G[t] = r[t] + d[t] * ((1 - c[t]) * bootstrap[t] + c[t] * G[t + 1])`.

    `trace_decay` c is a number (Peng's Q(lambda), PQN) or `[T, B]` (Watkins' Q(lambda), by `watkins_trace`); it counts
    as 0 where a return is cut. 0 gives TD(0), 1 the longest n-step target.
    """
    decay = torch.where(cut, 0.0, torch.as_tensor(trace_decay, dtype=reward.dtype, device=reward.device))
    targets = torch.empty_like(reward)
    following = bootstrap[-1]
    for t in range(len(reward) - 1, -1, -1):
        # where, not only times 0: what follows a cut may be anything, even no number
        looked_ahead = torch.where(cut[t], bootstrap[t], following)
        following = reward[t] + discount[t] * torch.lerp(bootstrap[t], looked_ahead, decay[t])
        targets[t] = following
    return targets


def watkins_trace(greedy: Tensor, trace_decay: float) -> Tensor:
    """Trace that ends before an action that was not greedy; `greedy` bool `[T, B]` says whether `action[t]` was."""
    return trace_decay * _following(greedy).to(torch.float32)


def soft_value(q_values: Tensor, temperature: float) -> Tensor:
    """Value of the softmax policy plus its entropy bonus: `temperature * logsumexp(q / temperature)`, `[...]`."""
    return temperature * torch.logsumexp(q_values / temperature, dim=-1)


def munchausen_bonus(q_values: Tensor, action: Tensor, temperature: float, scale: float, floor: float) -> Tensor:
    """What M-DQN adds to the reward: scaled, clipped log-probability of the action taken.

    `q_values` `[..., A]` of the target network, `action` i64 `[...]`; `scale * max(temperature * log pi(a), floor)`.
    Source: Vieillard 2020 with scale 0.9, temperature 0.03, floor -1; the bootstrap is then `soft_value`.
    """
    log_policy = torch.log_softmax(q_values / temperature, dim=-1)
    taken = log_policy.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return scale * (temperature * taken).clamp(floor, 0.0)


def _following(values: Tensor) -> Tensor:
    """Row t + 1 at t; the last row is repeated."""
    return torch.cat([values[1:], values[-1:]])
