"""Demonstrations as rows to learn from.

In: a folder of `demos.Episode`s. Out: `Demonstrations`: all rows of all episodes one after the other, and where each
episode begins and ends. Knows no network. Of an episode the last ones in the folder may be held out: nobody learns
from them, accuracy on them says what was understood rather than remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.demos.episode import Episode, read_folder
from daddy_puffer.demos.game import INPUTS, Recipe
from daddy_puffer.demos.images import ImageFormat
from daddy_puffer.errors import UserError

Span = tuple[int, int]  # first row of an episode, and the one after its last

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What counts as success: what every demonstration achieved."""

    milestones: tuple[str, ...]  # reached by the end of each of them
    lowest_return: float  # decides where there are no milestones

    def reached(self, milestones: Sequence[str], total: float) -> bool:
        """Whether an episode with these milestones and this return is a success."""
        if self.milestones:
            return set(self.milestones) <= set(milestones)
        return total >= self.lowest_return


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrations:
    """N rows of E episodes."""

    recipe: Recipe
    num_actions: int
    goal: Goal
    actions: NDArray[np.int64]  # [N] to be learnt: an expert's where there is one; `UNLABELLED` = nothing
    starts: NDArray[np.int64]  # [N] the row that this one's episode begins at
    pictures: NDArray[np.uint8]  # [N, H, W, C], without rows where they are not wanted
    inputs: dict[str, NDArray[Any]]  # `[N, ...]` of `demos.game.INPUTS`, or none
    trained: tuple[Span, ...]
    held_out: tuple[Span, ...]


def load_demonstrations(folder: Path, size: tuple[int, int] | None, held_out_share: float = 0.0) -> Demonstrations:
    """Read a folder; files that are damaged are named in a warning and left out.

    `size`: height and width that pictures are made into, zeros for those recorded; None = no pictures but the inputs
    of HierQ.

    Raises:
        UserError: none can be read, they are of different games, or lack what is wanted.
    """
    episodes, damaged = read_folder(folder)
    for line in damaged:
        _log.warning("skipped %s", line)
    return as_demonstrations(episodes, size, held_out_share)


def as_demonstrations(
    episodes: dict[str, Episode], size: tuple[int, int] | None, held_out_share: float = 0.0
) -> Demonstrations:
    """Episodes by the names of their files as rows; see `load_demonstrations`."""
    found = list(episodes.values())
    recipe = _common_recipe(episodes)
    if size is None and not found[0].inputs:
        raise UserError(f"HierQ cannot read the game of {recipe.env_id}: use --student impala")
    picture = None if size is None else ImageFormat(height=size[0], width=size[1], grey=recipe.picture.grey)
    lengths = np.array([len(episode) for episode in found])
    ends = np.cumsum(lengths)
    spans = [(int(end - length), int(end)) for end, length in zip(ends, lengths, strict=True)]
    kept = len(spans) - int(held_out_share * len(spans))
    shared = set(found[0].facts.milestones).intersection(*(episode.facts.milestones for episode in found))
    goal = Goal(milestones=tuple(sorted(shared)), lowest_return=min(episode.total for episode in found))
    return Demonstrations(
        recipe=recipe,
        num_actions=found[0].facts.num_actions,
        goal=goal,
        actions=np.concatenate([e.actions if e.labels is None else e.labels for e in found]).astype(np.int64),
        starts=np.repeat(ends - lengths, lengths),
        pictures=np.zeros((0, 0, 0, 0), np.uint8) if picture is None else _pictures(found, picture),
        inputs={} if picture else {name: np.concatenate([e.inputs[name] for e in found]) for name in INPUTS},
        trained=tuple(spans[:kept]),
        held_out=tuple(spans[kept:]),
    )


def merged(parts: Sequence[Demonstrations]) -> Demonstrations:
    """The rows of all; recipe and goal are those of the first."""
    offsets = np.cumsum([0, *(len(part.actions) for part in parts)])[:-1].tolist()

    def moved(name: str) -> tuple[Span, ...]:
        pairs = zip(parts, offsets, strict=True)
        return tuple((a + offset, b + offset) for part, offset in pairs for a, b in getattr(part, name))

    return replace(
        parts[0],
        actions=np.concatenate([part.actions for part in parts]),
        starts=np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=True)]),
        pictures=np.concatenate([part.pictures for part in parts]),
        inputs={name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        trained=moved("trained"),
        held_out=moved("held_out"),
    )


def _common_recipe(episodes: dict[str, Episode]) -> Recipe:
    """The recipe of the first; others may differ in how they begin and end only.

    Raises:
        UserError: they are of different games or have different pictures.
    """
    first_name, first = next(iter(episodes.items()))
    recipe = first.facts.recipe
    for name, episode in episodes.items():
        other = replace(
            episode.facts.recipe,
            random_start_steps=recipe.random_start_steps,
            until=recipe.until,
            max_steps=recipe.max_steps,
            rewards=recipe.rewards,
        )
        if other != recipe or episode.facts.num_actions != first.facts.num_actions:
            raise UserError(f"{name} was recorded with other settings than {first_name}: keep them in two folders")
        if episode.observations.shape[1:] != first.observations.shape[1:]:
            sizes = (episode.observations.shape[1:], first.observations.shape[1:])
            raise UserError(f"{name} has pictures of {sizes[0]}, {first_name} of {sizes[1]}: keep them in two folders")
    return recipe


def _pictures(episodes: Sequence[Episode], picture: ImageFormat) -> NDArray[np.uint8]:
    """All pictures in the format wanted, `[N, H, W, C]`."""
    made = [np.stack([picture.apply(seen) for seen in episode.observations]) for episode in episodes]
    return np.concatenate(made)
