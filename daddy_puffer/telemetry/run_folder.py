"""The folder of a run: its name, its `config.yaml`, its `meta.json` and its logs.

In: the configuration, facts. Out: `runs/<name>/`. A folder that holds checkpoints is never begun anew.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from daddy_puffer import __version__
from daddy_puffer.config import Config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.files import put_aside, replacing
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, ProgressCsv, Sink, TensorBoard
from daddy_puffer.telemetry.step_rows import StepShards

_log = logging.getLogger(__name__)

ABANDONED_SECONDS = 60.0  # a file under a temporary name for so long was left by a killed process
PARTS = ("checkpoints", "videos")
PACKAGES = ("torch", "pufferlib", "pyboy", "numpy", "gymnasium")


def choose_run_folder(config: Config, resume: Path | None) -> Path:
    """The folder that the settings name, or the one that checkpoint folder `resume` lies in; nothing is made yet.

    Raises:
        UserError: a new run would write into an old one.
    """
    if resume is not None and resume.parent.name == "checkpoints":
        return resume.parent.parent
    name = config.train.run_name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(config.train.runs_dir) / name
    if any(folder.glob("checkpoints/step_*")):
        raise UserError(f"{folder} holds a run already: give --resume {folder}, or another --run-name")
    return folder


def open_run_folder(folder: Path, config: Config, parts: Sequence[str] = PARTS, **facts: Any) -> None:
    """Make the folder with its `parts`, write `config.yaml` and, with `facts`, `meta.json`.

    A killed session's temporary files go.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    try:
        for part in ("", *parts):
            (folder / part).mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        save_config(config, folder / "config.yaml")
        write_meta(folder, **facts)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror or error}") from error


def open_logs(folder: Path, watched: list[str], step: int | None = None) -> list[Sink]:
    """The files that the records of a run go to, with what they hold up to `step`; None begins them anew."""
    return [
        EpisodeCsv(folder / "episodes.csv", step),
        MetricsCsv(folder / "metrics.csv", step),
        JsonLines(folder / "events.jsonl", step),
        ProgressCsv(folder / "progress.csv", step),
        StepShards(folder / "steps", watched, step),
        TensorBoard(folder / "tb", step),
    ]


def _remove_leftovers(folder: Path) -> None:
    for path in folder.rglob("*.tmp"):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()
        except FileNotFoundError:
            pass  # a process of the session before is still ending


def write_meta(folder: Path, **facts: Any) -> None:
    """Add facts to `meta.json`; the first call writes command line, versions and machine as well."""
    path = folder / "meta.json"
    meta = _read_meta(path) if path.exists() else {}
    if not meta:
        meta = {
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": sys.argv,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "versions": {"daddy_puffer": __version__, **{name: _version(name) for name in PACKAGES}},
        }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**meta, **facts}, indent=2) + "\n", encoding="utf-8")


def _read_meta(path: Path) -> dict[str, Any]:
    """What it says; nothing, and it is put aside, where it is damaged."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(meta, dict):
            return meta
    except (ValueError, RecursionError):
        pass
    _log.warning("%s is damaged: it is put aside as %s and begun anew", path, put_aside(path).name)
    return {}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
