"""The law of axes and time, and the records that travel between layers.

In: nothing. Out: dataclasses of numpy arrays. Knows no torch, no emulator, no config.

Axes. Acting uses batches `[B, ...]`; learning uses sequences `[T, B, ...]`, time first.

Time. Row t holds what was seen (`observation[t]`), what was done (`action[t]`) and what followed the action:
`reward[t]`, `terminated[t]`, `truncated[t]`. The observation that followed it is `observation[t + 1]`.

Ends. Termination, truncation and reset are three facts. An environment that ended returns its final observation
once; the next step ignores its action and returns the first observation of the new episode (`first` is set,
reward 0). The row of a final observation is therefore no transition: its `mask` is False, it only serves to
bootstrap a truncated episode. Only `terminated` makes the discount zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from numpy.typing import NDArray

SCREEN_HEIGHT = 72  # pixels, every second line of the Game Boy's 144
SCREEN_WIDTH = 80  # pixels, every second column of 160
PACKED_WIDTH = SCREEN_WIDTH // 4  # bytes, four 2-bit pixels each, leftmost in bits 7-6
VISITED_SHAPE = (9, 10)  # 16-px cells on the screen, rows by columns
MOST_VISITED = 15  # the highest level a cell can have: it fills four bits

Array = NDArray[Any]


class Action(IntEnum):
    """The seven actions of pokemonred_puffer, in its order."""

    DOWN = 0
    LEFT = 1
    RIGHT = 2
    UP = 3
    A = 4
    B = 5
    START = 6


SPAWN_FIELD, FLAGS_FIELD = 2, 3  # of observation["episode"]: the state that it began from, 0 = the true start; flags


class EpisodeFlag(IntFlag):
    """Bits of `observation["episode"][3]`."""

    FIRST = 1  # first observation of an episode: recurrent state must be zeroed before this row
    TERMINATED = 2  # this observation ends its episode, nothing follows
    TRUNCATED = 4  # this observation was cut off, its value must be bootstrapped


@dataclass(frozen=True)
class StepBatch:
    """What the vectorized environment says at one time for B environments.

    `observation`: each `[B, ...]`; `reward` f32 `[B]` of the previous action; `terminated`, `truncated` bool `[B]`:
    this observation ended its episode; `first` bool `[B]`: it began one; `env_ids` i64 `[B]`.
    """

    observation: dict[str, Array]
    reward: Array
    terminated: Array
    truncated: Array
    first: Array
    env_ids: Array
    infos: list[dict[str, Any]]


@dataclass(frozen=True)
class SequenceBatch:
    """B sequences of L rows out of replay, time first. `mask[L - 1]` is always False (no next row).

    frames     u8  [L, B, stack, 72, 20]  packed 2-bit, oldest first
    visited    u8  [L, B, 9, 10]
    structured f32 [L, B, F]
    milestones u8  [L, B, M]              packed bits
    action     i64 [L, B]
    reward     f32 [L, B]
    terminated, truncated, first, mask  bool [L, B]
    state      f32 [B, S]                 recurrent state BEFORE row 0, as the actor had it
    weights    f32 [B]                    importance weights, 1 under uniform sampling
    indices    i64 [B]                    to be handed back with new priorities
    age        i64 [B]                    environment steps since row 0 was stored
    demonstrated bool [L, B]              whose action is to be imitated; None = none is
    """

    frames: Array
    visited: Array
    structured: Array
    milestones: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    first: Array
    mask: Array
    state: Array
    weights: Array
    indices: Array
    age: Array
    demonstrated: Array | None = None


@dataclass(frozen=True)
class Scalar:
    """One measured number on its way to the logs; `step` counts environment steps."""

    name: str
    value: float
    step: int
