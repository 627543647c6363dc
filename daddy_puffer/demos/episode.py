"""`Episode`: one demonstration as an npz file without pickles.

In: what a player saw and did. Out: `episode_0001.npz`, ... Knows no environment. Row t of T holds what was seen before
action t and what followed it; what was seen after the last action is not kept. The arrays of a file:

observations u8 [T, H, W, C] · actions i32 [T] · rewards f32 [T] · dones bool [T] · infos: JSON text, a list of T
frames u8 [T, 72, 20] (packed, the newest; `stacked_rows` gives the ones before), visited u8 [T, 9, 10], structured
f32 [T, F], milestones u8 [T, M] (packed bits): where the game is known
check_steps i64 [K], check_hashes u8 [K, 32]: sha256 of the work RAM after so many actions, the last after all T
labels i32 [T], by_expert bool [T]: of a round of DAgger only; what the expert says, `UNLABELLED` where it knows
nothing, and whether it was the expert's action that was taken
start_visited u8 [V, 3]: map, x and y of cells that count as visited from the beginning, if it began at a kept state
start_state u8: the save state it began from · seed i64 · rom_sha256, episode_return f64, episode_length i64
facts: JSON text, the recipe of the environment, the player, the milestones reached and how it ended
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.demos.game import INPUTS, Recipe
from daddy_puffer.errors import UserError
from daddy_puffer.files import read_archive, replacing
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE

FORMAT = 1
UNLABELLED = -1  # in place of an expert's action
NOTHING_VISITED = np.zeros((0, 3), np.uint8)
LARGEST_INFO_ARRAY = 1000  # numbers
TEXT_BYTES = 4  # of a character in an array
LARGEST_EPISODE = 1 << 31  # bytes unpacked: 90,000 steps of 160x144 pixels in grey
_NAME = re.compile(r"episode_(\d{4,})\.npz")
_ROWS: dict[str, tuple[Any, int]] = {  # type and axes of what has a row a step
    "observations": (np.uint8, 4),
    "actions": (np.int32, 1),
    "rewards": (np.float32, 1),
    "dones": (np.bool_, 1),
}
_LABEL_ROWS: dict[str, tuple[Any, int]] = {"labels": (np.int32, 1), "by_expert": (np.bool_, 1)}
_INPUT_ROWS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "frames": (np.uint8, (SCREEN_HEIGHT, PACKED_WIDTH)),
    "visited": (np.uint8, VISITED_SHAPE),
    "structured": (np.float32, ()),
    "milestones": (np.uint8, ()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFacts:
    """What is said of an episode in words and numbers."""

    recipe: Recipe
    player: str
    num_actions: int
    milestones: list[str]  # reached by its end
    terminated: bool  # it ended by itself; else it was cut off
    emulator: str  # name and version, empty where the game is not known
    format: int = FORMAT

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EpisodeFacts:
        """Read `to_json`.

        Raises:
            ValueError, TypeError, KeyError, UserError: it is something else.
        """
        facts = json.loads(text)
        if facts.get("format") != FORMAT:
            raise ValueError(f"format {facts.get('format')!r}, known is {FORMAT}")
        return cls(**{**facts, "recipe": Recipe.from_facts(facts["recipe"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """See the module's text."""

    observations: NDArray[np.uint8]
    actions: NDArray[np.int32]
    rewards: NDArray[np.float32]
    dones: NDArray[np.bool_]
    infos: list[dict[str, Any]]
    inputs: dict[str, NDArray[Any]]  # of `INPUTS`, or none
    check_steps: NDArray[np.int64]
    check_hashes: NDArray[np.uint8]
    start_state: bytes
    seed: int
    rom_sha256: str  # empty where the game is not known
    facts: EpisodeFacts
    labels: NDArray[np.int32] | None = None
    by_expert: NDArray[np.bool_] | None = None
    start_visited: NDArray[np.uint8] = field(default_factory=NOTHING_VISITED.copy)

    def __len__(self) -> int:
        """Actions."""
        return len(self.actions)

    @property
    def total(self) -> float:
        """Its return, undiscounted."""
        return float(self.rewards.sum(dtype=np.float64))

    def to_bytes(self) -> bytes:
        """As a compressed npz."""
        arrays = {name: getattr(self, name) for name in _ROWS} | self.inputs
        arrays |= {"check_steps": self.check_steps, "check_hashes": self.check_hashes}
        arrays |= {"start_state": np.frombuffer(self.start_state, np.uint8), "seed": np.array(self.seed, np.int64)}
        arrays |= {"episode_return": np.array(self.total), "episode_length": np.array(len(self), np.int64)}
        arrays |= {name: rows for name in _LABEL_ROWS if (rows := getattr(self, name)) is not None}
        arrays |= {"start_visited": self.start_visited} if len(self.start_visited) else {}
        texts = {"rom_sha256": self.rom_sha256, "facts": self.facts.to_json()}
        texts["infos"] = info_text(self.infos)
        size = sum(array.nbytes for array in arrays.values()) + TEXT_BYTES * sum(map(len, texts.values()))
        if size > LARGEST_EPISODE:
            raise UserError(
                f"an episode of {size} bytes is too large to be read again: take a smaller --size or --grey"
            )
        target = io.BytesIO()
        np.savez_compressed(target, **arrays, **{name: np.array(text) for name, text in texts.items()})
        return target.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Episode:
        """Read `to_bytes`.

        Raises:
            UserError: it is something else, or damaged.
        """
        try:
            arrays = read_archive(data, LARGEST_EPISODE)
            episode = cls(
                **{name: arrays[name] for name in (*_ROWS, "check_steps", "check_hashes")},
                inputs={name: arrays[name] for name in INPUTS if name in arrays},
                infos=json.loads(str(arrays["infos"])),
                start_state=arrays["start_state"].tobytes(),
                seed=int(arrays["seed"]),
                rom_sha256=str(arrays["rom_sha256"]),
                facts=EpisodeFacts.from_json(str(arrays["facts"])),
                labels=arrays.get("labels"),
                by_expert=arrays.get("by_expert"),
                start_visited=arrays.get("start_visited", NOTHING_VISITED),
            )
            episode._check(int(arrays["episode_length"]), float(arrays["episode_return"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
            raise UserError(f"no demonstration, or a damaged one: {' '.join(str(error).split())}") from error
        return episode

    def _check(self, length: int, total: float) -> None:
        """Compare the arrays with each other.

        Raises:
            ValueError: they do not agree.
        """
        self._check_rows(length)
        if not length or len(self.infos) != length or not np.isclose(total, self.total, rtol=1e-4, atol=1e-6):
            raise ValueError(f"{length} steps and return {total} do not agree with its rows")
        if not self.dones[-1] or self.dones[:-1].any():
            raise ValueError("it ends elsewhere than at its end")
        for name, rows, least in (("an action", self.actions, 0), ("a label", self.labels, UNLABELLED)):
            if rows is not None and (rows.min() < least or rows.max() >= self.facts.num_actions):
                raise ValueError(f"{name} is out of {least}..{self.facts.num_actions - 1}")
        if self.start_visited.dtype != np.uint8 or self.start_visited.shape[1:] != (3,):
            raise ValueError(f"start_visited is {self.start_visited.dtype} {self.start_visited.shape}")
        steps, hashes = self.check_steps, self.check_hashes
        if hashes.shape != (len(steps), 32) or hashes.dtype != np.uint8 or not len(steps) or steps[-1] != length:
            raise ValueError("hashes and actions do not agree")

    def _check_rows(self, length: int) -> None:
        """What has a row a step.

        Raises:
            ValueError: it has not.
        """
        labelled = self.labels is not None or self.by_expert is not None
        for name, (kind, axes) in (_ROWS | (_LABEL_ROWS if labelled else {})).items():
            array = getattr(self, name)
            if array is None:
                raise ValueError(f"{name} is missing")
            if array.dtype != kind or array.ndim != axes or len(array) != length:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, the episode has {length} steps")
        for name, array in self.inputs.items():
            kind, shape = _INPUT_ROWS[name]
            if array.dtype != kind or len(array) != length or (shape and array.shape[1:] != shape):
                raise ValueError(f"{name} is {array.dtype} {array.shape}, the episode has {length} steps")
        if (self.facts.recipe.ours or self.inputs) and len(self.inputs) != len(INPUTS):
            raise ValueError(f"of {', '.join(INPUTS)} there are only {', '.join(self.inputs) or 'none'}")


def stacked_rows(starts: NDArray[np.int64], rows: NDArray[np.int64], stack: int) -> NDArray[np.int64]:
    """Rows of the last `stack` frames, oldest first, `[..., stack]`: an episode's first one repeated, as on the screen.

    `starts` `[N]`: for every row the row that its episode begins at; `rows` `[...]`.
    """
    before = np.arange(stack - 1, -1, -1)
    return np.maximum(rows[..., None] - before, starts[rows][..., None])


def episode_files(folder: Path) -> list[Path]:
    """The demonstrations in a folder, by number.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    found = [path for path in folder.glob("episode_*.npz") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    if not found:
        raise UserError(f"no episode_0001.npz or the like in {folder}: record some with `daddy-puffer demos record`")
    return sorted(found, key=_number)


def next_number(folder: Path) -> int:
    """The first number that no file of the folder has, nor one after it."""
    return 1 + max((_number(path) for path in folder.glob("episode_*.npz") if _NAME.fullmatch(path.name)), default=0)


def read_episode(path: Path) -> Episode:
    """Read one file.

    Raises:
        UserError: it cannot be read; the message begins with its name.
    """
    try:
        return Episode.from_bytes(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error


def write_episode(folder: Path, number: int, episode: Episode) -> Path:
    """Write one file; returns its path.

    Raises:
        UserError: the disk is full, or the folder cannot be made.
    """
    path = folder / f"episode_{number:04d}.npz"
    data = episode.to_bytes()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def read_folder(folder: Path) -> tuple[dict[str, Episode], list[str]]:
    """All demonstrations that can be read, by file name, and a line about each that cannot.

    Raises:
        UserError: there is none to read.
    """
    episodes: dict[str, Episode] = {}
    damaged: list[str] = []
    for path in episode_files(folder):
        try:
            episodes[path.name] = read_episode(path)
        except UserError as error:
            damaged.append(str(error))
    if not episodes:
        raise UserError(f"no demonstration in {folder} can be read: {damaged[0]}")
    return episodes, damaged


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def plain_info(value: Any) -> Any:
    """What JSON knows, for whatever an environment may put into an info; nothing of it is shared with `value`.

    Keys become text. Of bytes there is only how many they are, of an array of more than `LARGEST_INFO_ARRAY` numbers
    only its type and shape: a save state or a map in the info of every step would outgrow the pictures.

    Raises:
        UserError: it contains itself.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise UserError("the environment's info contains itself, which a demonstration cannot hold") from error


def info_text(infos: list[dict[str, Any]]) -> str:
    """Infos as JSON.

    Raises:
        UserError: that cannot be done.
    """
    try:
        return json.dumps(plain_info(infos))
    except (TypeError, ValueError) as error:
        raise UserError(f"the environment's info cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        small = value.size <= LARGEST_INFO_ARRAY
        return _plain(value.tolist()) if small else f"{value.dtype} {list(value.shape)}"
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(part) for part in value), key=_rank)
    return str(value)


def _rank(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    number = isinstance(value, (int, float))
    return not number, value if number else 0, "" if number else str(value)
