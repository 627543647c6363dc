"""No dead knobs: every setting is read somewhere, stands in config.yaml with its default, and sweeps name real ones."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daddy_puffer.config import YAML_PATHS, Config, load_config
from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "daddy_puffer"
SPACES = ("LinearSpace", "LogSpace", "LogitSpace", "LogSpaceReverse", "Pow2Space")
PARTS = [name for name in YAML_PATHS if is_dataclass(getattr(Config(), name))]


def settings() -> list[tuple[str, str]]:
    """All fields as (part, field)."""
    return [(part, field.name) for part in PARTS for field in fields(getattr(Config(), part))]


def attributes_read() -> set[str]:
    """Names that the package reads as attributes outside config.py."""
    read: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "config.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            read |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    return read


def at(tree: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The mapping at these keys; a missing one is empty."""
    for key in keys:
        tree = tree.get(key, {})
    return tree


def defaults_at(part: str) -> dict[str, Any]:
    """Default by name of one part of the tree."""
    value = getattr(Config(), part)
    return {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else DEFAULT_WEIGHTS


def test_every_setting_is_read_outside_the_config() -> None:
    read = attributes_read()
    assert [f"{part}.{name}" for part, name in settings() if name not in read] == []


def test_config_file_says_what_the_defaults_are() -> None:
    config = load_config(ROOT / "config.yaml")
    assert config.rewards == DEFAULT_WEIGHTS
    assert all(getattr(config, part) == getattr(Config(), part) for part in PARTS)


def test_config_file_lists_every_setting() -> None:
    tree = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for part, name in settings():
        assert name in at(tree, YAML_PATHS[part]), f"{'.'.join(YAML_PATHS[part])}.{name} is missing in config.yaml"


def test_config_file_explains_every_setting() -> None:
    bare = [line.strip() for line in (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()]
    bare = [
        line for line in bare if line and not line.startswith("#") and not line.endswith(":") and "  # " not in line
    ]
    assert bare == []


def swept() -> list[tuple[str, str, str, dict[str, Any]]]:
    """The entries of sweep.yaml as (part, setting, space, bounds); fails on a section that the config has not."""
    tree = yaml.safe_load((ROOT / "sweep.yaml").read_text(encoding="utf-8"))
    found = []
    for part, keys in YAML_PATHS.items():
        node = at(tree, keys)
        for name in [n for n, value in node.items() if isinstance(value, dict) and is_space(value)]:
            ((space, bounds),) = node.pop(name).items()
            found.append((part, name, space, bounds))
    assert not list(leaves(tree)), f"sweep.yaml: no such section: {list(leaves(tree))}"
    return found


def is_space(value: dict[str, Any]) -> bool:
    """Whether this is `{some.module.LogSpace: {...}}`."""
    return len(value) == 1 and next(iter(value)).rsplit(".", 1)[-1] in SPACES


def leaves(tree: Any) -> list[Any]:
    """What is left at the ends of a tree."""
    return [leaf for value in tree.values() for leaf in leaves(value)] if isinstance(tree, dict) else [tree]


def test_sweep_has_something_to_sweep() -> None:
    assert len(swept()) >= 5


@pytest.mark.parametrize(("part", "name", "space", "bounds"), swept(), ids=lambda value: str(value)[:20])
def test_sweep_names_settings_and_holds_their_default(part: str, name: str, space: str, bounds: dict[str, Any]) -> None:
    defaults = defaults_at(part)
    assert name in defaults
    default = defaults[name]
    assert bounds["min"] <= default <= bounds["max"], f"{part}.{name}: {default} outside {bounds}"
    assert isinstance(default, bool) is False and bounds.get("is_integer", False) is isinstance(default, int)
    if not space.endswith("LinearSpace"):
        assert bounds["min"] > 0, "a logarithmic space needs positive bounds"
