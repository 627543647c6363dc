"""Ring of rows for each environment: what was seen, done and stored at each time, frames once and packed.

In: `StepBatch` rows of B environments, all at the same time. Out: windows of rows, time first, with their frame stacks
rebuilt. Knows no priorities and no policy.

A row is written as it arrives: its `reward` and `ended` flags are those of the action BEFORE it. Windows move them to
the row of the action, by the law of `types.py`. Rows of one environment lie together, so that a window is read from
consecutive memory, at most in two pieces. Rows are addressed by the time they were written, counted from 0; the ring
holds those from `oldest` to `count - 1`.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from daddy_puffer.errors import UserError
from daddy_puffer.types import MOST_VISITED, PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, Array, EpisodeFlag, StepBatch

_FRAME_BYTES = SCREEN_HEIGHT * PACKED_WIDTH
_VISITED_CELLS = VISITED_SHAPE[0] * VISITED_SHAPE[1]
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_MOST_ROWS = 1 << 48  # that anybody writes
_ALIGNMENT = 64  # bytes, a cache line

Fields = dict[str, tuple[tuple[int, ...], type[np.generic]]]  # shape and type of a row's fields


class RowRing:
    """The last `rows` rows of each of `num_envs` environments."""

    def __init__(self, *, num_envs: int, rows: int, frame_stack: int, structured_size: int, milestone_size: int):
        """Describe the rows; `allocate` gives them memory."""
        self.num_envs, self.rows, self.frame_stack = num_envs, rows, frame_stack
        self.count = 0  # rows written, of each environment
        self.fields: Fields = {
            "frames": ((_FRAME_BYTES,), np.uint8),
            "visited": ((_VISITED_CELLS // 2,), np.uint8),  # two levels a byte
            # float16: ids up to 2,048 are exact, scaled fields keep 3 digits
            "structured": ((structured_size,), np.float16),
            "milestones": ((milestone_size,), np.uint8),
            "reward": ((), np.float32),
            "action": ((), np.uint8),
            "flags": ((), np.uint8),  # EpisodeFlag
            "history": ((), np.uint8),  # earlier frames of the same episode, at most frame_stack - 1
        }
        self.arrays: dict[str, Array] = {}

    @property
    def oldest(self) -> int:
        """Time of the oldest row that is still held."""
        return max(0, self.count - self.rows)

    def allocate(self, path: Path | None) -> None:
        """Reserve the memory: pages that are only used as rows are written, or a new file where `path` lies."""
        offsets, size = {}, 0
        for name, (shape, dtype) in self.fields.items():
            offsets[name] = size
            nbytes = self.num_envs * self.rows * math.prod(shape) * np.dtype(dtype).itemsize
            size += math.ceil(nbytes / _ALIGNMENT) * _ALIGNMENT
        memory = np.zeros(size, np.uint8) if path is None else _map_file(path, size)
        for name, (shape, dtype) in self.fields.items():
            whole = (self.num_envs, self.rows, *shape)
            self.arrays[name] = np.ndarray(whole, dtype, buffer=memory, offset=offsets[name])

    def write(self, step: StepBatch, action: Array) -> None:
        """Append one row of each environment, over the oldest if the ring is full."""
        at = self.count % self.rows
        a = self.arrays
        seen = step.observation
        a["frames"][:, at] = seen["frames"][:, -1].reshape(self.num_envs, _FRAME_BYTES)
        pairs = seen["visited"].reshape(self.num_envs, -1, 2)
        a["visited"][:, at] = pairs[..., 0] << 4 | pairs[..., 1]
        a["structured"][:, at] = np.clip(seen["structured"], -_FLOAT16_MAX, _FLOAT16_MAX)  # no infinity
        a["milestones"][:, at] = seen["milestones"]
        a["reward"][:, at] = step.reward
        a["action"][:, at] = action
        flags = step.first * EpisodeFlag.FIRST.value
        flags += step.terminated * EpisodeFlag.TERMINATED.value + step.truncated * EpisodeFlag.TRUNCATED.value
        a["flags"][:, at] = flags
        earlier = a["history"][:, at - 1] if self.count else np.zeros(self.num_envs, np.uint8)
        a["history"][:, at] = np.where(step.first, 0, np.minimum(earlier + 1, self.frame_stack - 1))
        self.count += 1

    def windows(self, env: Array, start: Array, length: int) -> dict[str, Array]:
        """The rows `start` to `start + length - 1` of environments `env`, both i64 `[B]`, as `SequenceBatch` fields.

        The caller answers for `oldest <= start - (frame_stack - 1)` (or `start == 0`) and for the end being written.
        """
        time = start + np.arange(length)[:, None]  # [L, B]
        base = env * self.rows
        row = base + time % self.rows
        flags = self._take("flags", row)
        first = (flags & EpisodeFlag.FIRST.value) != 0
        mask = np.zeros_like(first)
        mask[:-1] = ~first[1:]  # what followed a row is its episode's next observation, or the row is no transition
        shape = row.shape
        pairs = self._take("visited", row)
        visited = np.stack((pairs >> 4, pairs & MOST_VISITED), axis=-1)
        return {
            "frames": self._stacks(base, time, row),
            "visited": visited.reshape(*shape, *VISITED_SHAPE),
            "structured": self._take("structured", row).astype(np.float32),
            "milestones": self._take("milestones", row),
            "action": self._take("action", row).astype(np.int64),
            "reward": _followed(self._take("reward", row)),
            "terminated": _followed((flags & EpisodeFlag.TERMINATED.value) != 0),
            "truncated": _followed((flags & EpisodeFlag.TRUNCATED.value) != 0),
            "first": first,
            "mask": mask,
        }

    def get_state(self) -> dict[str, Array]:
        """Number of rows written, and views of those that are held."""
        held = min(self.count, self.rows)
        return {"count": np.array(self.count)} | {name: array[:, :held] for name, array in self.arrays.items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Take over what `get_state` gave.

        Raises:
            UserError: it is of another size.
            ValueError: its number of rows cannot be.
        """
        count = int(state["count"])
        if not 0 <= count < _MOST_ROWS:
            raise ValueError(f"{count} rows")
        held = min(count, self.rows)
        for name, array in self.arrays.items():
            saved = state[name]
            if saved.shape != array[:, :held].shape or saved.dtype != array.dtype:
                raise UserError(
                    f"the saved replay's {name} are {saved.dtype} {list(saved.shape)}, this run has {array.dtype} "
                    f"{list(array[:, :held].shape)}: resume with the same environments, replay sizes and observations"
                )
        for name, array in self.arrays.items():
            array[:, :held] = state[name]
        self.count = count

    def check_valid(self) -> tuple[bool, str]:
        """Whether `history` follows from the first flags; the reason if not."""
        order = np.arange(self.oldest, self.count) % self.rows
        first = (self.arrays["flags"][:, order] & EpisodeFlag.FIRST.value) != 0
        history = self.arrays["history"][:, order].astype(np.int64)
        if self.oldest == 0 and self.count and not first[:, 0].all():
            return False, "the first row of an environment does not begin an episode"
        expected = np.where(first[:, 1:], 0, np.minimum(history[:, :-1] + 1, self.frame_stack - 1))
        wrong = np.argwhere(history[:, 1:] != expected)
        if len(wrong):
            return False, f"history of environment {wrong[0][0]} is wrong at row {self.oldest + wrong[0][1] + 1}"
        return True, ""

    def _stacks(self, base: Array, time: Array, row: Array) -> Array:
        """Frames `[L, B, stack, 72, 20]` as the environment showed them: an episode's first one repeated."""
        back = np.arange(self.frame_stack - 1, -1, -1)
        back = np.minimum(back, self._take("history", row)[..., None])
        frames = self._take("frames", base[:, None] + (time[..., None] - back) % self.rows)
        return frames.reshape(*back.shape, SCREEN_HEIGHT, PACKED_WIDTH)

    def _take(self, name: str, row: Array) -> Array:
        """A field's rows, `row` counting through all environments."""
        shape, _ = self.fields[name]
        return self.arrays[name].reshape(-1, *shape).take(row, axis=0)


def _followed(values: Array) -> Array:
    """What arrived with the next row, moved to the row it followed from; 0 for the last."""
    moved = np.zeros_like(values)
    moved[:-1] = values[1:]
    return moved


def _map_file(path: Path, size: int) -> Array:
    """A new file of zeros mapped into memory; it lies where `path` does, and has no name.

    So it is nobody else's, on whichever node a run with the same settings comes to `path`, and it goes with the
    process, however that ends.
    """
    folder = path if path.is_dir() else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise UserError(f"the replay file {path} needs {size / 1e9:.1f} GB, its disk has {free / 1e9:.1f} GB free")
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that fills later would show as a killed process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=(size,))
    except OSError as error:
        raise UserError(f"cannot make the replay file {path}: {error.strerror}") from error
