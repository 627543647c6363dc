"""Reads the folder of a run, finished or not, old or new, whole or damaged.

In: `runs/<name>/`. Out: frozen dataclasses of numpy arrays; what is not there is an empty table. Nothing raises but
`load_run` on a folder that is no run: a last line without line feed is still being written and is left out, a damaged
row or file is skipped. Knows no figure, no page, no torch. Formats: docs/METRICS.md.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from daddy_puffer.config import YAML_PATHS
from daddy_puffer.errors import UserError
from daddy_puffer.files import read_archive
from daddy_puffer.swarm.outcomes import Outcomes
from daddy_puffer.types import Array

MARKS = ("config.yaml", "meta.json", "episodes.csv", "metrics.csv", "progress.csv", "events.jsonl", "steps", "live")
VIDEO_SUFFIXES = (".mp4", ".gif")
_UNREADABLE = (OSError, ValueError, TypeError, KeyError)
_LARGEST_SHARD = 1 << 26  # bytes that a file of steps/ may unpack to: 8,192 rows take 2 MB

_Table = TypeVar("_Table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """`episodes.csv`, E rows in the order they ended."""

    episode_id: Array  # i64 [E]
    env_id: Array  # i64 [E]
    length_steps: Array  # i64 [E]
    return_env: Array  # f64 [E] unweighted sums of the sources
    return_rnd: Array  # f64 [E]
    return_novel: Array  # f64 [E]
    return_bayes: Array  # f64 [E]
    return_total: Array  # f64 [E] weights included
    start_step_global: Array  # i64 [E]
    end_step_global: Array  # i64 [E]
    milestones_reached: Array  # str [E] names joined by ";"
    savestate_tag: Array  # str [E] empty: the true start
    badges: Array  # i64 [E]
    map: Array  # str [E]
    alarm_triggered: Array  # i64 [E]

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.end_step_global)

    def where(self, chosen: Array) -> Episodes:
        """Those that a mask or an index array chooses."""
        return Episodes(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def from_true_start(self) -> Array:
        """Bool [E]: it began at the start of the game."""
        return np.asarray(self.savestate_tag == "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`progress.csv`, P rows: a milestone at a step."""

    step: Array  # i64 [P]
    milestone: Array  # str [P]
    alpha: Array  # f64 [P]
    beta: Array  # f64 [P]
    mean: Array  # f64 [P]
    lower: Array  # f64 [P]
    upper: Array  # f64 [P]
    alarm_score: Array  # f64 [P]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.step)

    def of(self, milestone: str) -> Progress:
        """The rows of one milestone."""
        chosen = self.milestone == milestone
        return Progress(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def names(self) -> list[str]:
        """Milestones in the order of their first row."""
        return list(dict.fromkeys(self.milestone.tolist()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """`metrics.csv`, N rows, one an interval."""

    step: Array  # i64 [N]
    columns: dict[str, Array]  # f64 [N] by metric, NaN where nothing was measured

    def __len__(self) -> int:
        """Number of intervals."""
        return len(self.step)

    def get(self, name: str) -> Array | None:
        """A metric, None where the run never measured it."""
        column = self.columns.get(name)
        return None if column is None or not np.isfinite(column).any() else column


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """`steps/`, N sampled steps by time. `x`, `y` are -1 where the run did not note positions."""

    step_global: Array  # i64 [N]
    episode_id: Array  # i64 [N]
    env_id: Array  # i64 [N]
    map_id: Array  # i64 [N]
    x: Array  # i64 [N] column on the map
    y: Array  # i64 [N] row on the map

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.step_global)

    @property
    def has_positions(self) -> bool:
        """Whether it is known where on a map a sample was taken."""
        return bool(len(self)) and bool((self.x >= 0).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class StateNode:
    """One kept save state, as its sidecar and the tallies tell."""

    tag: str
    label: str
    parent: str  # tag of the state that its episode began from, empty: the true start
    map_id: int
    map_name: str
    milestones: tuple[str, ...]
    badges: int
    total_steps: int  # actions since the true start
    made: float  # seconds since the epoch
    drawn: int  # episodes that began here
    gained: int  # those of them that reached a milestone


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that a folder says."""

    folder: Path
    config: dict[str, Any]  # setting by dotted name ("train.seed")
    meta: dict[str, Any]
    episodes: Episodes
    progress: Progress
    metrics: Metrics
    steps: Steps
    events: tuple[dict[str, Any], ...]  # but episodes, intervals and progress, which have their own tables
    states: tuple[StateNode, ...]  # oldest first
    videos: tuple[Path, ...]  # newest first
    evaluation: dict[str, Any] = field(
        default_factory=dict
    )  # what `daddy-puffer evaluate` wrote of the newest checkpoint

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def last_step(self) -> int:
        """The latest environment step that any table knows."""
        tables = (self.metrics.step, self.episodes.end_step_global, self.progress.step, self.steps.step_global)
        return max((int(table.max()) for table in tables if len(table)), default=0)

    @property
    def is_practice(self) -> bool:
        """Whether it says that it was played on the cartridge in the package; without settings it says nothing."""
        return bool(self.config) and not self.config.get("env.gb_path")

    @property
    def has_stopped(self) -> bool:
        """Whether it said that it came to an end, and did not go on."""
        last = next((event["event"] for event in reversed(self.events) if event["event"] in ("stop", "resume")), "")
        return last == "stop"


def load_run(folder: Path) -> Run:
    """Read everything.

    Raises:
        UserError: there is no such folder, or it is no run.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the folder of a run, such as runs/NAME")
    if not any((folder / mark).exists() for mark in MARKS):
        raise UserError(f"{folder} is no run: it holds none of {', '.join(MARKS)}")
    return Run(
        folder=folder,
        config=read_config(folder / "config.yaml"),
        meta=read_json(folder / "meta.json"),
        episodes=read_episodes(folder / "episodes.csv"),
        progress=read_progress(folder / "progress.csv"),
        metrics=read_metrics(folder / "metrics.csv"),
        steps=read_steps(folder / "steps"),
        events=read_events(folder / "events.jsonl"),
        states=read_states(folder / "savestates"),
        videos=find_videos(folder / "videos"),
        evaluation=read_evaluation(folder / "checkpoints"),
    )


def read_episodes(path: Path) -> Episodes:
    """`episodes.csv`."""
    return _typed(Episodes, path, texts=("milestones_reached", "savestate_tag", "map"), needed="end_step_global")


def read_progress(path: Path) -> Progress:
    """`progress.csv`."""
    return _typed(Progress, path, texts=("milestone",), needed="step")


def read_metrics(path: Path) -> Metrics:
    """`metrics.csv`."""
    header, rows = _read_csv(path)
    table = {name: _numbers([row[index] for row in rows]) for index, name in enumerate(header)}
    step = table.pop("step", np.zeros(0))
    good = np.isfinite(step)
    return Metrics(step=step[good].astype(np.int64), columns={name: column[good] for name, column in table.items()})


def read_steps(folder: Path, newest: int | None = None) -> Steps:
    """The files in `steps/`; `newest` reads only so many of the latest."""
    names = [f.name for f in fields(Steps)]
    shards: list[dict[str, Array]] = []
    for path in sorted(folder.glob("*.npz"))[-newest if newest else 0 :]:
        try:
            file = read_archive(path.read_bytes(), largest_bytes=_LARGEST_SHARD)
            shard = {name: np.asarray(file[name], np.int64) for name in names if name in file}
            length = len(shard["step_global"])
            shard = {name: shard.get(name, np.full(length, -1)) for name in names}
            if all(column.shape == (length,) for column in shard.values()):
                shards.append(shard)
        except _UNREADABLE:
            continue  # a file that is damaged, or was replaced while it was read
    none = np.zeros(0, np.int64)
    columns = {name: np.concatenate([none, *(shard[name] for shard in shards)]) for name in names}
    order = np.argsort(columns["step_global"], kind="stable")
    return Steps(**{name: column[order] for name, column in columns.items()})


def read_events(path: Path) -> tuple[dict[str, Any], ...]:
    """Lines of `events.jsonl` that have no table of their own: start, resume, checkpoint, stop."""
    found = []
    for line in _whole_lines(path):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and str(event.get("event")) not in ("episode", "interval", "progress", "None"):
            found.append(event)
    return tuple(found)


def read_states(folder: Path) -> tuple[StateNode, ...]:
    """The save states that are kept, oldest first; evicted ones have left nothing."""
    tallies = Outcomes(folder / "outcomes").read()
    found = []
    for path in folder.glob("*.json"):
        sidecar = read_json(path)
        try:
            tag = str(sidecar["tag"])
            node = StateNode(
                tag=tag,
                label=str(sidecar["label"]),
                parent=str(sidecar["parent"]),
                map_id=int(sidecar["map_id"]),
                map_name=str(sidecar["map_name"]),
                milestones=tuple(map(str, sidecar["milestones"])),
                badges=int(sidecar["badges"]),
                total_steps=int(sidecar["total_steps"]),
                made=float(sidecar["made"]),
                drawn=tallies.drawn[tag],
                gained=tallies.gained[tag],
            )
        except (KeyError, TypeError, ValueError):
            continue
        found.append(node)
    return tuple(sorted(found, key=lambda node: (node.made, node.tag)))


def read_config(path: Path) -> dict[str, Any]:
    """`config.yaml` by dotted name, also with settings that this version does not know."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    flat: dict[str, Any] = {}
    for name, keys in YAML_PATHS.items():  # sub-sections of train stand before train: they are taken out first
        node = tree
        for key in keys[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        section = node.pop(keys[-1], None) if isinstance(node, dict) else None
        if isinstance(section, dict):
            flat.update({f"{name}.{key}": value for key, value in section.items()})
    return flat


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The `evaluation.json` of the newest checkpoint that has one, with its `checkpoint` by name; empty without."""
    found = sorted(folder.glob("step_*/evaluation.json"), key=lambda path: _step_in_name(path.parent))
    evaluation = read_json(found[-1]) if found else {}
    return {"checkpoint": found[-1].parent.name, **evaluation} if evaluation else {}


def find_videos(folder: Path) -> tuple[Path, ...]:
    """Films, newest first; of two of one name the MP4, which is smaller."""
    found: dict[str, Path] = {}
    for suffix in VIDEO_SUFFIXES:
        for path in folder.glob(f"*{suffix}"):
            found.setdefault(path.stem, path)
    return tuple(sorted(found.values(), key=_step_in_name, reverse=True))


def _step_in_name(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else 0, path.stem)


def _typed(kind: type[_Table], path: Path, texts: Sequence[str], needed: str) -> _Table:
    """A CSV file as a table of `kind`, whose field types are told by their names; a missing column is empty or 0."""
    header, rows = _read_csv(path)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    columns: dict[str, Array] = {}
    for name in names:
        cells = [row[header.index(name)] for row in rows] if name in header else [""] * len(rows)
        columns[name] = np.array(cells, dtype=np.str_) if name in texts else _numbers(cells)
    good = np.isfinite(columns[needed]) if needed in header else np.zeros(len(rows), bool)
    floats = ("return_", "alpha", "beta", "mean", "lower", "upper", "alarm_score")
    for name in names:
        columns[name] = columns[name][good]
        if name not in texts and not name.startswith(floats):
            columns[name] = np.nan_to_num(columns[name]).astype(np.int64)
    return kind(**columns)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and whole rows."""
    reader = csv.reader(_whole_lines(path))
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if len(row) == len(header):
                rows.append(row)
    except csv.Error:
        pass  # binary rubbish: what stands before it counts
    return (header, rows) if rows else (header, [])


def _whole_lines(path: Path) -> Iterable[str]:
    """Lines that end with a line feed; none where there is no file."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return []
    return text[: text.rfind("\n") + 1].replace("\0", "").splitlines()


def _numbers(cells: Sequence[str]) -> Array:
    """F64 of texts, NaN where a text is none."""
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
