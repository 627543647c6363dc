"""What is learned from: sequences of the whole past (`SequenceReplay`), or the newest rows only (`Rollouts`).

`MixedReplay` adds demonstrations (`DemoReplay`) to either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gymnasium
import numpy as np

from daddy_puffer.config import Config
from daddy_puffer.replay.demonstrations import DemoReplay, DemoRows
from daddy_puffer.replay.mixed import MixedReplay
from daddy_puffer.replay.rollouts import Rollouts
from daddy_puffer.replay.sequence_store import SequenceReplay

__all__ = ["DemoReplay", "DemoRows", "MixedReplay", "Rollouts", "SequenceReplay", "make_demo_replay", "make_replay"]


def make_replay(
    config: Config, spaces: Mapping[str, gymnasium.spaces.Space], state_size: int, num_envs: int
) -> SequenceReplay | Rollouts:
    """The kind that `config.replay.kind` asks for, for observations of `spaces` and recurrent states `[state_size]`."""
    structured, milestones = (spaces[name].shape or (0,) for name in ("structured", "milestones"))
    kind: Callable[..., SequenceReplay | Rollouts] = Rollouts
    if config.replay.kind == "sequences":
        kind = functools.partial(SequenceReplay, path=Path(config.replay.file) if config.replay.file else None)
    return kind(
        config.replay,
        num_envs=num_envs,
        frame_stack=config.env.frame_stack,
        structured_size=structured[0],
        milestone_size=milestones[0],
        state_size=state_size,
        seed=config.train.seed,
    )


def make_demo_replay(
    config: Config, spaces: Mapping[str, gymnasium.spaces.Space], state_size: int, lengths: Sequence[int]
) -> DemoReplay:
    """For demonstrations of so many actions each, of observations like those of `make_replay`."""
    structured, milestones = (spaces[name].shape or (0,) for name in ("structured", "milestones"))
    return DemoReplay(
        config.replay,
        lengths=np.array(lengths, np.int64),
        frame_stack=config.env.frame_stack,
        structured_size=structured[0],
        milestone_size=milestones[0],
        state_size=state_size,
        seed=config.train.seed,
    )
