"""What the PPO of pokemonred_puffer learns from: truncations bootstrapped, and the worst segments of a batch left out.

In: the host's settings and its experience buffer. Out: nothing; the buffer hands other rows to the host's own `train`.

The host knows no truncation: to it that is a terminal, worth nothing. And the row that follows an end, the first one of
another episode, it takes for what came of the last action. So a truncated row's reward is raised by the discounted
value of what is seen there, and a first row's by the value of the row before it, whose advantage so is 0; both are
terminals.

Return filtering: the host sorts a batch by environment and time and cuts it into as many segments as a minibatch has
rows: segment i is row i of every minibatch, one after the other, `batch_size / (minibatch_size / bptt_horizon)` steps
with the recurrent state carried on. `flatten_batch` lays them out; after it the rows of some segments are taken away.
So the loss, its normalised advantages and the recurrent states are exactly those of a batch that has never held them.

A segment's return is the sum of what followed its actions; what followed the last one is not known yet. Advantages are
computed before, over all steps, as the host does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from daddy_puffer.config import load_config
from daddy_puffer.errors import UserError
from daddy_puffer.replay.return_filter import returns_above
from daddy_puffer.types import FLAGS_FIELD, EpisodeFlag

BY_ROW = ("b_obs", "b_actions", "b_logprobs", "b_dones")  # [minibatches, rows, horizon, ...]
FLAT = ("b_values", "b_advantages", "b_returns")  # [minibatches, rows * horizon]


def bootstrap_truncations(trainer: Any, row_type: np.dtype[Any]) -> None:
    """From now on the host's `trainer` bootstraps where an episode was truncated; `row_type` of a whole observation."""
    experience = trainer.experience
    store: Callable[..., None] = experience.store
    flatten: Callable[[Any], None] = experience.flatten_batch
    added = torch.zeros_like(experience.rewards)
    last_value = torch.zeros(int(trainer.vecenv.num_agents))

    def store_with_values(
        obs: Tensor,
        value: Tensor,
        action: Any,
        logprob: Tensor,
        reward: Tensor,
        done: Tensor,
        env_id: Any,
        mask: Tensor,
    ) -> None:
        flags = _flags(obs, row_type)
        first, cut = (torch.from_numpy(flags & flag != 0) for flag in (EpisodeFlag.FIRST, EpisodeFlag.TRUNCATED))
        values, ids = value.detach().float().cpu(), torch.as_tensor(env_id)
        extra = torch.where(cut, trainer.config.gamma * values, torch.where(first, last_value[ids], 0.0))
        last_value[ids] = values
        begin = experience.ptr
        store(obs, value, action, logprob, reward + extra, done.bool() | first, env_id, mask)
        added[begin : experience.ptr] = extra[mask][: experience.ptr - begin]

    def flatten_rewards_alone(advantages: Any) -> None:
        experience.rewards -= added  # advantages are computed; segments are compared by what the game paid
        flatten(advantages)

    experience.store, experience.flatten_batch = store_with_values, flatten_rewards_alone


def _flags(obs: Tensor, row_type: np.dtype[Any]) -> NDArray[np.int32]:
    """`EpisodeFlag` bits of packed observations, i32 `[B]`."""
    rows = np.ascontiguousarray(obs.cpu().numpy()).view(row_type).reshape(len(obs))
    return np.array(rows["episode"][:, FLAGS_FIELD], np.int32)


def share_of_segments(train: DictConfig) -> float:
    """`replay.return_filter` out of the host's `train` section; 1 where it is missing.

    Raises:
        UserError: it is out of range, or no number.
    """
    section = train.get("replay")
    value = section.get("return_filter") if isinstance(section, DictConfig) else None
    return load_config(None, {"replay.return_filter": value}).replay.return_filter


def keep_best_segments(trainer: Any, share: float) -> None:
    """From now on the host's `trainer` learns from this share of each batch's segments.

    Raises:
        UserError: it keeps its experience otherwise than the host that this was made for.
    """
    experience: Any = getattr(trainer, "experience", None)
    if not all(hasattr(experience, name) for name in ("flatten_batch", "sort_training_data", "rewards")):
        raise UserError("replay.return_filter with train.algorithm ppo: this pokemonred_puffer keeps no such batches")
    flatten: Callable[[Any], None] = experience.flatten_batch

    def flatten_best(advantages: Any) -> None:
        flatten(advantages)
        _select(experience, share)

    experience.flatten_batch = flatten_best


def _select(experience: Any, share: float) -> None:
    places: Tensor = experience.b_idxs_obs.cpu()  # of steps in the buffer, [minibatches, rows, horizon]
    rewards = experience.rewards.cpu()[places].transpose(0, 1).flatten(1)  # [rows, steps of a segment]
    best = torch.from_numpy(returns_above(rewards[:, 1:].double().sum(1).numpy(), share))
    kept = best.nonzero().squeeze(1)
    for name in BY_ROW:
        whole: Tensor = getattr(experience, name)
        setattr(experience, name, whole[:, kept.to(whole.device)])
    for name in FLAT:
        whole = getattr(experience, name).unflatten(1, tuple(places.shape[1:]))
        setattr(experience, name, whole[:, kept.to(whole.device)].flatten(1))
