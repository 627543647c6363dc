"""Which save state an episode starts from: probabilities over candidates, as pure functions of arrays.

In: `Candidates`, what is known of N states. Out: f64 `[N]` that adds up to 1. Knows no files and no game.

Weights belong to cells: the states of one cell share its weight. Sources: `go_explore` is Ecoffet 2021 (Methods,
"cell selection": 1 / sqrt(seen + 1)), for maps and within them for cells; Thompson draws are those of Thompson 1933 on
Beta posteriors; p (1 - p) as a measure of what can be learned from a start is that of Tzannetos 2023 and Rutherford
2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MODES = ("mixture", "go_explore", "frontier", "rubinstein", "progress")
_STAGES = 3  # early, mid, late
_LEAST_LEARNABLE = 0.02  # so that a start that was mastered, or looks hopeless, is tried now and then


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """N states. All `[N]`."""

    cell: NDArray[np.int64]  # number of the cell that a state belongs to
    region: NDArray[np.int64]  # number of the map it is on
    region_visits: Floats  # episodes that have been to that map
    place: NDArray[np.int64]  # number of where it is, whatever was reached: that of one or more cells
    distance: Floats  # actions that led to it from the true start
    progress: Floats  # milestones reached in it
    made: Floats  # seconds since the epoch
    visits: Floats  # episodes that have been to its cell
    tried: Floats  # episodes that started from it and ended
    gained: Floats  # those of them that reached a milestone more, discounted: the newest counts 1, older ones ever less
    missed: Floats  # those that did not, discounted
    found: Floats  # those of all that were tried that came to where no episode had been
    holes: Floats  # of the four blocks beside it those that nobody has been to, between others of the map

    def __len__(self) -> int:
        """N."""
        return len(self.cell)


def probabilities(mode: str, states: Candidates, rng: np.random.Generator) -> Floats:
    """How likely each of the N >= 1 states is to be drawn, f64 `[N]`; `rng` only serves Thompson draws.

    Raises:
        ValueError: no such mode.
    """
    if mode == "mixture":
        return mixture(states, rng)
    if mode == "go_explore":
        return rare_places(states)
    if mode == "frontier":
        return frontier(states, rng)
    if mode == "rubinstein":
        return newest_best(states)
    if mode == "progress":
        return by_progress(states)
    raise ValueError(f"mode {mode!r} is none of {MODES}")


def rarity(visits: Floats) -> Floats:
    """1 / sqrt(visits + 1), f64 `[N]` (Ecoffet 2021)."""
    return 1.0 / np.sqrt(visits + 1.0)


def rare_places(states: Candidates) -> Floats:
    """Rare maps first, then rare cells of the map, f64 `[N]`.

    Known maps have many cells that are rare, one for every set of milestones, which would outweigh the frontier's few.
    """
    within = _over_cells(rarity(states.visits), states.cell)
    _, region = np.unique(states.region, return_inverse=True)
    weight = rarity(states.region_visits) * within / np.bincount(region, within)[region]
    return weight / weight.sum()


def frontier(states: Candidates, rng: np.random.Generator) -> Floats:
    """1 for one state, f64 `[N]`: of the place with the highest score the one with the shortest way there.

    The score of a place is its rarity times a Thompson draw of the chance that an episode from there comes to where
    nobody has been: what is new is tried first, what is rare but has led nowhere ever less. It counts once more for
    each hole beside it (Ecoffet 2021 has weights of all three kinds: seen, "chosen since new", missing neighbours).
    """
    places, inverse = np.unique(states.place, return_inverse=True)
    found, tried = (np.bincount(inverse, values, len(places)) for values in (states.found, states.tried))
    _, one_of_each_cell = np.unique(states.cell, return_index=True)
    visits = np.bincount(inverse[one_of_each_cell], states.visits[one_of_each_cell], len(places))
    score = rarity(visits.astype(np.float64)) * rng.beta(1.0 + found, 1.0 + np.maximum(tried - found, 0.0))
    holes = np.zeros(len(places))
    holes[inverse] = states.holes
    score *= 1.0 + holes
    way = np.where(inverse == score.argmax(), states.distance, np.inf)
    result = np.zeros(len(states))
    result[way.argmin()] = 1.0
    return result


def mixture(states: Candidates, rng: np.random.Generator) -> Floats:
    """Early, mid and late states alike; within a third, learnable (a Thompson draw) times rare."""
    weight = learnability(states.gained, states.missed, rng) * rarity(states.visits)
    result = np.zeros(len(states))
    thirds = stages(states.progress)
    for stage in np.unique(thirds):
        members = thirds == stage
        result[members] = _over_cells(weight[members], states.cell[members])
    return result / result.sum()


def stages(progress: Floats) -> NDArray[np.int64]:
    """0 early, 1 mid, 2 late: thirds of the range of progress, i64 `[N]`; all early where all are alike."""
    reach = progress.max() - progress.min()
    if reach == 0:
        return np.zeros(len(progress), np.int64)
    return np.minimum((progress - progress.min()) / reach * _STAGES, _STAGES - 1).astype(np.int64)


def learnability(gained: Floats, missed: Floats, rng: np.random.Generator) -> Floats:
    """4 p (1 - p) with p drawn from Beta(1 + gained, 1 + missed), f64 `[N]` in (0, 1].

    Highest for starts that succeed half of the time of late, and now and then for those hardly tried yet.
    """
    p = rng.beta(1.0 + gained, 1.0 + missed)
    return np.maximum(4.0 * p * (1.0 - p), _LEAST_LEARNABLE)


def newest_best(states: Candidates) -> Floats:
    """1 for the newest of those with the most progress (the swarm moves as one, after Rubinstein's pokerl)."""
    best = np.lexsort((states.made, states.progress))[-1]
    result = np.zeros(len(states))
    result[best] = 1.0
    return result


def by_progress(states: Candidates) -> Floats:
    """In proportion to 1 + progress above the least."""
    return _over_cells(1.0 + states.progress - states.progress.min(), states.cell)


def _over_cells(weight: Floats, cell: NDArray[np.int64]) -> Floats:
    """Share each cell's weight among its states and normalise."""
    _, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
    shared = weight / count[inverse]
    return shared / shared.sum()
