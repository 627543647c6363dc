"""What is learned from: sequences of the whole past (`SequenceReplay`), or the newest rows only (`Rollouts`)."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium

from daddy_puffer.config import Config
from daddy_puffer.replay.rollouts import Rollouts
from daddy_puffer.replay.sequence_store import SequenceReplay

__all__ = ["Rollouts", "SequenceReplay", "make_replay"]


def make_replay(
    config: Config, spaces: Mapping[str, gymnasium.spaces.Space], state_size: int, num_envs: int
) -> SequenceReplay | Rollouts:
    """The kind that `config.replay.kind` asks for, for observations of `spaces` and recurrent states `[state_size]`."""
    structured, milestones = (spaces[name].shape or (0,) for name in ("structured", "milestones"))
    kind = Rollouts if config.replay.kind == "rollouts" else SequenceReplay
    return kind(
        config.replay,
        num_envs=num_envs,
        frame_stack=config.env.frame_stack,
        structured_size=structured[0],
        milestone_size=milestones[0],
        state_size=state_size,
        seed=config.train.seed,
    )
