"""`StateRegistry`: save states in a folder, shared by processes and nodes through the file system alone.

In: save states as bytes, with what is known of them. Out: the same, checked. Knows no emulator and no game. A state is

    <label>_<time>_<unique>.state        the emulator's save state, as it is
    <label>_<time>_<unique>.actions.npz  `Chain`: how to get there from the true start
    <label>_<time>_<unique>.json         `SavedState`; written last: a state without it does not exist

Each is written aside, synced and renamed, so that a process killed at any moment leaves nothing half made. There is no
index: every process keeps its own, read from the folder again whenever that has changed. A state that fails a check
is moved to `quarantine/` beside a line of text that says why. Beyond the limits, states are evicted: duplicates of a
cell first, oldest first; then the best of cells that are visited often; those with the most milestones last.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import time
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays
from daddy_puffer.files import read_archive
from daddy_puffer.swarm.outcomes import Outcomes, Tallies

STATES_PER_CELL = 4  # beyond so many the oldest but the best go
LONGEST_WAIT = 3600  # frames before a segment: more is none of ours
_LARGEST_NUMBER = float(1 << 53)  # of a sidecar
_RESCAN_SECONDS = 5.0  # between two looks at the folder at least
_SETTLED_SECONDS = 2.0  # a folder changed so recently may change again without another time stamp
_ABANDONED_SECONDS = 3600.0  # files without a sidecar for so long were left by a killed process
_JSON_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "list[str]": list}
_STATE, _ACTIONS, _SIDECAR, _TEMPORARY = ".state", ".actions.npz", ".json", ".tmp"

_log = logging.getLogger(__name__)


class _Bad(Exception):
    """A state cannot be trusted; the message is the line for `quarantine/`."""


@dataclass(frozen=True, slots=True)
class Chain:
    """How to get to a state from the true start: S segments, N actions in all.

    For each segment: become the state reached so far with all buttons up (for the first: the initial state), let
    `waits[s]` frames pass, draw one more, then take the next `lengths[s]` of `actions`.
    """

    actions: NDArray[np.uint8]  # [N]
    waits: NDArray[np.int32]  # [S] frames
    lengths: NDArray[np.int32]  # [S] actions
    visited: NDArray[np.uint8]  # [V, 3] map, x, y of every cell stepped on along this way

    @classmethod
    def empty(cls) -> Chain:
        """That of the true start."""
        return cls(np.zeros(0, np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 3), np.uint8))

    def then(self, wait: int, actions: bytes, visited: NDArray[np.uint8]) -> Chain:
        """One more segment, after which all of `visited` `[V, 3]` were stepped on."""
        return Chain(
            np.concatenate([self.actions, np.frombuffer(actions, np.uint8)]),
            np.append(self.waits, np.int32(wait)),
            np.append(self.lengths, np.int32(len(actions))),
            visited,
        )

    def to_arrays(self) -> Arrays:
        """By the names of its fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to_bytes(self) -> bytes:
        """As a compressed npz."""
        target = io.BytesIO()
        np.savez_compressed(target, **self.to_arrays())
        return target.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Chain:
        """Read `to_bytes`.

        Raises:
            ValueError: it is something else, or damaged.
        """
        arrays = read_archive(data)
        types = {f.name: getattr(cls.empty(), f.name) for f in fields(cls)}
        for name, like in types.items():
            if name not in arrays:
                raise ValueError(f"no actions: {name} is missing")
            if arrays[name].dtype != like.dtype or arrays[name].shape[1:] != like.shape[1:] or not arrays[name].ndim:
                raise ValueError(f"no actions: {name} is {arrays[name].dtype} {arrays[name].shape}")
        chain = cls(**{name: arrays[name] for name in types})
        if chain.lengths.sum() != len(chain.actions) or len(chain.waits) != len(chain.lengths):
            raise ValueError("segments and actions do not agree")
        if (chain.lengths < 0).any() or (chain.waits < 0).any() or (chain.waits > LONGEST_WAIT).any():
            raise ValueError(f"a segment has a length below 0, or a wait out of 0..{LONGEST_WAIT} frames")
        return chain


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """What its maker says of a state."""

    label: str  # why it was kept: a milestone or a map
    cell: str  # states of one cell are alike
    map_id: int
    map_name: str
    milestones: list[str]
    badges: int
    episode_steps: int  # actions since its episode began
    total_steps: int  # actions since the true start, along the chain of parents
    parent: str  # tag of the state its episode began from, empty for the true start
    maker: str  # environment and episode


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState(StateFacts):
    """The sidecar."""

    tag: str  # name of its files
    made: float  # seconds since the epoch
    size: int  # bytes on disk but the sidecar's
    sha256: str  # of the state
    actions_sha256: str  # of the npz
    rom_sha256: str
    start_sha256: str  # of the initial state, as the emulator saves it
    action_freq: int  # frames an action lasts
    emulator: str  # name, version
    host: str = ""  # as in `Machine`
    format: int  # of the save state: its first byte

    @property
    def progress(self) -> int:
        """Milestones reached."""
        return len(self.milestones)

    @property
    def spawn_id(self) -> int:
        """A number for it in `observation["episode"]`, the same everywhere; above 0, which is the true start."""
        return zlib.crc32(self.tag.encode()) & 0x7FFFFFFF or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a save state and the way to it belong to: they are of no use elsewhere."""

    rom_sha256: str
    start_sha256: str
    action_freq: int
    emulator: str
    host: str = ""  # another project's environment and what of its settings acts on the game; empty = our own


class StateRegistry:
    """One process's view of the folder. It may be copied to forked processes, none of them needs the others."""

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        *,
        max_states: int,
        max_bytes: int,
        rescan_seconds: float = _RESCAN_SECONDS,
    ) -> None:
        """`folder` is made when there is something to write; nothing is read yet."""
        self.folder = folder
        self.machine = machine
        self.outcomes = Outcomes(folder / "outcomes")
        self.tallies = Tallies()
        self._max_states, self._max_bytes = max_states, max_bytes
        self._rescan_seconds = rescan_seconds
        self._index: dict[str, SavedState] = {}
        self._places: set[str] = set()  # noted by this process
        self._found: frozenset[str] | None = None  # tags at the first look
        self._rejected: set[str] = set()  # tags of bad states
        self._warned: set[str] = set()  # tags of states that could not be read for now
        self._next_scan = 0.0
        self._folder_time = -1

    def states(self) -> list[SavedState]:
        """All states known at the last `refresh`, oldest first."""
        return list(self._index.values())

    def in_cell(self, cell: str) -> list[SavedState]:
        """Those of one cell."""
        return [saved for saved in self._index.values() if saved.cell == cell]

    def is_new(self, saved: SavedState) -> bool:
        """Whether it was not there when this process first looked: what a sidecar says of its time is no proof."""
        return self._found is not None and saved.tag not in self._found

    def refresh(self, force: bool = False) -> None:
        """Take note of what other processes did; at most every `rescan_seconds`, unless forced."""
        now = time.monotonic()
        if not force and now < self._next_scan:
            return
        self._next_scan = now + self._rescan_seconds
        self.tallies = self.outcomes.read()
        try:
            folder_time = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            self._found = self._found or frozenset()
            return
        if force or folder_time != self._folder_time:
            settled = time.time() - folder_time / 1e9 > _SETTLED_SECONDS
            self._folder_time = folder_time if settled else -1
            self._scan()

    def note_places(self, places: set[str]) -> bool:
        """Take note of where an episode has been; whether nobody had been to one of these before."""
        new = {place for place in places - self._places if not self.tallies.seen[place]}
        self._places |= places
        return bool(new)

    def register(self, state: bytes, facts: StateFacts, chain: Chain) -> SavedState:
        """Keep a state; others are evicted when it is one too many.

        Raises:
            OSError: the disk is full, or the folder cannot be written to.
        """
        actions = chain.to_bytes()
        made = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(made))
        saved = SavedState(
            **asdict(facts),
            tag=f"{_file_name(facts.label)}_{stamp}_{os.urandom(4).hex()}",
            made=made,
            size=len(state) + len(actions),
            sha256=_sha256(state),
            actions_sha256=_sha256(actions),
            **asdict(self.machine),
            format=state[0] if state else -1,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(saved.tag + _STATE, state)
        self._write(saved.tag + _ACTIONS, actions)
        self._write(saved.tag + _SIDECAR, json.dumps(asdict(saved), indent=1).encode())
        self._index[saved.tag] = saved
        if self.outcomes.living is not None:
            self.outcomes.living.add(saved.tag)
        self._evict()
        return saved

    def load(self, saved: SavedState) -> tuple[bytes, Chain] | None:
        """The state and the way to it; None when it has been evicted, or was bad and is in quarantine now."""
        try:
            state = (self.folder / (saved.tag + _STATE)).read_bytes()
            actions = (self.folder / (saved.tag + _ACTIONS)).read_bytes()
        except FileNotFoundError:
            self._missing(saved.tag)
            return None
        except OSError as error:
            self._unreadable(saved.tag, error)
            return None
        try:
            self._check(saved, state, actions)
            return state, Chain.from_bytes(actions)
        except (_Bad, ValueError) as error:
            self.quarantine(saved.tag, str(error))
            return None

    def quarantine(self, tag: str, reason: str) -> None:
        """Move a bad state out of everybody's way."""
        _log.warning("save state %s is put into quarantine: %s", tag, reason)
        self._index.pop(tag, None)
        self._rejected.add(tag)  # here at least, should the disk refuse what follows
        aside = self.folder / "quarantine"
        try:
            aside.mkdir(parents=True, exist_ok=True)
            for suffix in (_SIDECAR, _STATE, _ACTIONS):
                _move(self.folder / (tag + suffix), aside / (tag + suffix))
            (aside / f"{tag}.txt").write_text(" ".join(reason.split()) + "\n", encoding="utf-8")
        except OSError as error:
            _log.warning("it cannot be moved: %s", error)

    def _check(self, saved: SavedState, state: bytes, actions: bytes) -> None:
        if _sha256(state) != saved.sha256 or _sha256(actions) != saved.actions_sha256:
            raise _Bad(f"damaged: {len(state)} and {len(actions)} bytes are not what the sidecar says")
        for name, ours in asdict(self.machine).items():
            if getattr(saved, name) != ours:
                raise _Bad(f"made with another {name}: {getattr(saved, name)}, here {ours}")

    def _missing(self, tag: str) -> None:
        """Files are gone: evicted, unless the sidecar is still there."""
        self._index.pop(tag, None)
        if (self.folder / (tag + _SIDECAR)).exists():
            self.quarantine(tag, "the state or its actions are missing")

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.folder / (name + _TEMPORARY)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)

    def _scan(self) -> None:
        names = {entry.name for entry in os.scandir(self.folder)}
        tags = {name.removesuffix(_SIDECAR) for name in names if name.endswith(_SIDECAR)} - self._rejected
        if self._found is None:
            self._found = frozenset(tags)
        self.outcomes.keep(set(tags))  # all that was read of them before this look at the folder was drawn from it
        for tag in self._index.keys() - tags:
            del self._index[tag]
        found = [self._read(tag) for tag in tags - self._index.keys()]
        known = [*self._index.values(), *(saved for saved in found if saved is not None)]
        self._index = {saved.tag: saved for saved in sorted(known, key=lambda saved: (saved.made, saved.tag))}
        for name in names:
            if name.endswith((_TEMPORARY, _STATE, _ACTIONS)) and name.split(".")[0] not in tags:
                self._remove_abandoned(self.folder / name)

    def _read(self, tag: str) -> SavedState | None:
        path = self.folder / (tag + _SIDECAR)
        try:
            saved = _parse(path.read_bytes())
            if saved.tag != tag:
                raise _Bad(f"the sidecar is that of {saved.tag}")
            size = sum((self.folder / (tag + suffix)).stat().st_size for suffix in (_STATE, _ACTIONS))
            if saved.size != size:  # a wrong one would make the limit of bytes evict others
                raise _Bad(f"damaged: {size} bytes are not the {saved.size} that the sidecar says")
            return saved
        except FileNotFoundError:
            self._missing(tag)
            return None
        except _Bad as error:
            self.quarantine(tag, str(error))
            return None
        except OSError as error:
            self._unreadable(tag, error)
            return None

    def _unreadable(self, tag: str, error: OSError) -> None:
        """The disk says no, as that of another machine may for a moment: the next look may find the state again."""
        self._index.pop(tag, None)
        self._folder_time = -1
        if tag not in self._warned:
            self._warned.add(tag)
            _log.warning("save state %s cannot be read: %s", tag, error)

    def _remove_abandoned(self, path: Path) -> None:
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
        except FileNotFoundError:
            pass

    def _evict(self) -> None:
        if self._is_full():  # what others have added since the last look counts, and what they evicted does not
            self._scan()
        order = eviction_order(self.states(), self.tallies)
        crowd = Counter(saved.cell for saved in order)
        count, size = len(order), sum(saved.size for saved in order)
        for saved in order:
            crowded = crowd[saved.cell] > STATES_PER_CELL
            if crowded or count > self._max_states or size > self._max_bytes:
                crowd[saved.cell] -= 1
                count, size = count - 1, size - saved.size
                self._delete(saved.tag)

    def _is_full(self) -> bool:
        size = sum(saved.size for saved in self._index.values())
        return len(self._index) > self._max_states or size > self._max_bytes

    def _delete(self, tag: str) -> None:
        self._index.pop(tag, None)
        for suffix in (_SIDECAR, _STATE, _ACTIONS):  # the sidecar first: without it nobody draws the state
            (self.folder / (tag + suffix)).unlink(missing_ok=True)


def eviction_order(states: list[SavedState], tallies: Tallies) -> list[SavedState]:
    """Who goes first: duplicates of a cell, oldest first; then cells often seen; those of the frontier last."""
    best: dict[str, SavedState] = {}
    for saved in states:
        if saved.cell not in best or saved.total_steps < best[saved.cell].total_steps:
            best[saved.cell] = saved
    most = max((saved.progress for saved in states), default=0)

    def worth(saved: SavedState) -> tuple[bool, bool, int, float, str]:
        is_best = best[saved.cell] is saved
        seen = tallies.seen[saved.cell] if is_best else 0  # duplicates go by age alone
        return is_best, is_best and saved.progress == most, -seen, saved.made, saved.tag

    return sorted(states, key=worth)


def _parse(data: bytes) -> SavedState:
    try:
        values = {"host": "", **json.loads(data)}  # older sidecars do not name it
        saved = SavedState(**{f.name: values[f.name] for f in fields(SavedState)})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Bad(f"the sidecar cannot be read ({type(error).__name__}: {error})") from error
    for f in fields(SavedState):
        if not _is_of(getattr(saved, f.name), str(f.type)):
            raise _Bad(f"the sidecar says {f.name} is {str(getattr(saved, f.name))[:100]!r}, no {f.type}")
    return saved


def _is_of(value: object, kind: str) -> bool:
    """Whether a value out of JSON is of a field's type, and a number one to reckon with."""
    if not isinstance(value, _JSON_TYPES[kind]) or isinstance(value, bool):
        return False
    if isinstance(value, list):
        return all(isinstance(entry, str) for entry in value)
    return not isinstance(value, (int, float)) or abs(value) < _LARGEST_NUMBER  # false for NaN


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except FileNotFoundError:
        pass  # another process was faster, or it was never there


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", label)[:60] or "state"
