"""The tree shows the data flow: a file imports only from its own folder and from layers below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "daddy_puffer"
FILES = sorted(PACKAGE.rglob("*.py"))

# A folder's or module's layer. What is missing here fails the test: a new file must be given its place.
LAYERS = {
    **dict.fromkeys(("__init__", "child", "errors", "files", "types", "gym_plugin"), 0),
    "arrays": 1,
    "config": 1,
    **dict.fromkeys(("game", "numerics", "telemetry", "swarm", "vision"), 2),
    **dict.fromkeys(("rewards", "policies", "replay", "progress"), 3),
    **dict.fromkeys(("envs", "wrappers"), 4),
    **dict.fromkeys(("vector", "learner"), 5),
    **dict.fromkeys(("rollout", "command_line", "options"), 6),
    "demos": 7,
    **dict.fromkeys(("train", "debug_rollout", "report", "imitate", "pretraining"), 8),
    **dict.fromkeys(("train_big", "train_slim", "evaluate", "plugin_command", "watch", "sweep"), 9),
    **dict.fromkeys(("cli", "demo", "plugin"), 10),
    **dict.fromkeys(("__main__", "doctor", "plugin_replay"), 11),
    "replay_run": 12,
}

# Libraries that only some parts may know.
TORCH_FREE = ("game", "swarm", "progress", "rewards", "envs", "replay", "wrappers", "config", "types", "errors", "cli")
ONLY_IN = {"pyboy": ("envs",), "pufferlib": ("vector",)}
# Policies do not know what they see or where it is kept; sinks may use torch for its TensorBoard writer.
FORBIDDEN = {
    "policies": ("envs", "replay", "wrappers", "game", "rewards"),
    "replay": ("game", "policies"),
    "envs": ("replay", "policies"),
    "swarm": ("config", "game"),
}


def part_of(path: Path) -> str:
    """The folder or module directly under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(source: str) -> set[str]:
    """Dotted names of all imports of a file, wherever they stand; `from a import b` gives `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a file stands: write daddy_puffer...."
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def own_parts(names: set[str]) -> set[str]:
    """Which of our folders and modules these names lie in."""
    inner = {name.split(".")[1] for name in names if name.startswith("daddy_puffer.")}
    return {part for part in inner if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}


def violations(part: str, names: set[str]) -> list[str]:
    """What a file of `part` imports and must not."""
    found = [f"unknown layer of {p}: add it to LAYERS" for p in {part, *own_parts(names)} if p not in LAYERS]
    if found:
        return found
    layer = LAYERS[part]
    found += [f"{p} (layer {LAYERS[p]} from {layer})" for p in own_parts(names) - {part} if LAYERS[p] >= layer]
    found += [f"{p} is none of its business" for p in FORBIDDEN.get(part, ()) if p in own_parts(names)]
    libraries = {name.split(".")[0] for name in names}
    if part in TORCH_FREE and "torch" in libraries:
        found.append("torch")
    found += [f"{name} outside {homes}" for name, homes in ONLY_IN.items() if name in libraries and part not in homes]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    assert violations(part_of(path), imported_names(path.read_text(encoding="utf-8"))) == []


def test_every_layer_entry_exists() -> None:
    assert sorted(LAYERS) == sorted({part_of(path) for path in FILES})


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("game", "from daddy_puffer.envs.red import RedEnv"),
        ("replay", "import torch"),
        ("rewards", "from torch import nn"),
        ("policies", "from daddy_puffer.game import state"),
        ("wrappers", "def f():\n    import pyboy"),
        ("learner", "import pufferlib.vector"),
        ("learner", "from daddy_puffer import vector"),
        ("train", "import daddy_puffer.evaluate"),
    ],
)
def test_a_wrong_import_is_found(part: str, line: str) -> None:
    assert violations(part, imported_names(line))
