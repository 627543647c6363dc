"""Runs of one setting and different seeds belong together. In: runs. Out: groups with names and colours, settings.

Two runs are of one setting when their configurations are equal but for `PERSONAL`. Knows no figure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daddy_puffer.config import YAML_PATHS, Config
from daddy_puffer.report.runs import Run

PERSONAL = ("train.seed", "train.run_name", "train.runs_dir", "replay.file")  # what differs among equals
# Okabe and Ito 2008: eight colours that stay apart under every kind of colour blindness; yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")  # once the colours are used up


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of one setting."""

    name: str
    colour: str
    line_style: str
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """Its name and, of several, the number of its runs."""
        return self.name if len(self.runs) == 1 else f"{self.name} (n = {len(self.runs)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that some group has otherwise than the defaults."""

    name: str
    default: str
    values: tuple[str, ...]  # by group
    differs: bool  # among the groups


def group_runs(runs: Sequence[Run]) -> tuple[Group, ...]:
    """Groups in the order of their first run; a run without `config.yaml` stands for itself."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        shared = {key: value for key, value in run.config.items() if key not in PERSONAL}
        key = json.dumps(shared, sort_keys=True, default=str) if shared else str(run.folder.resolve())
        members.setdefault(key, []).append(run)
    names = _distinct([_group_name(group) for group in members.values()])
    return tuple(
        Group(
            name=name,
            colour=COLOURS[index % len(COLOURS)],
            line_style=LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)],
            runs=tuple(group),
        )
        for index, (name, group) in enumerate(zip(names, members.values(), strict=True))
    )


def settings_of(groups: Sequence[Group]) -> tuple[Setting, ...]:
    """What any group has otherwise than the defaults; those in which groups differ first."""
    defaults = default_settings()
    configs = [group.runs[0].config for group in groups]
    names = [n for n in dict.fromkeys(key for config in configs for key in config) if n not in PERSONAL]
    found = []
    for name in names:
        values = tuple(_text(config[name]) if name in config else "" for config in configs)
        default = _text(defaults[name]) if name in defaults else "not known to this version"
        if any(value and value != default for value in values):
            found.append(Setting(name=name, default=default, values=values, differs=len(set(values)) > 1))
    return tuple(sorted(found, key=lambda setting: not setting.differs))


def default_settings() -> dict[str, Any]:
    """Every setting's default by dotted name."""
    tree = asdict(Config())
    return {f"{part}.{key}": value for part in YAML_PATHS for key, value in tree[part].items()}


def _group_name(runs: Sequence[Run]) -> str:
    """What the names of its runs begin with alike, without what stands for the seed."""
    if len(runs) == 1:
        return runs[0].name
    first, last = min(run.name for run in runs), max(run.name for run in runs)
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    shared = first[:alike].rstrip("_-. ").removesuffix("seed").rstrip("_-. ")
    return shared or runs[0].name


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names, numbered where several are equal."""
    return [f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items()) or "{}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "[]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else '""'
