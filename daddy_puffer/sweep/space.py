"""What a sweep searches: settings with ranges, read from YAML in upstream's format as data.

In: `sweep.yaml` (sections of config.yaml, `carbs.utils.LinearSpace: {min, max, scale, ...}` at the ends), the
configuration to search around. Out: `Parameter`s. Knows no searcher; nothing named in the file is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from daddy_puffer.config import YAML_PATHS, Config, check_yaml
from daddy_puffer.errors import UserError
from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS

PREFIX = "carbs.utils."
KINDS = ("LinearSpace", "LogSpace", "LogitSpace")
EDGE = 1e-6  # a LogitSpace reaches so far towards 0 and 1
LEAST_STEP = 0.2  # of the range: smaller scales of a LogSpace or LogitSpace would not leave the spot (docs/SWEEP.md)
Number = int | float
Settings = dict[str, Number]  # value by dotted name, as `load_config` takes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A range and how distances in it are measured. Fields and meaning as in CARBS' `carbs/utils.py`."""

    kind: str  # LinearSpace, LogSpace or LogitSpace
    min: float
    max: float
    scale: float = 1.0  # a unit of the search, where `warped` measures
    is_integer: bool = False
    rounding_factor: int = 1  # integers are multiples of it
    base: int = 10  # of a LogSpace's logarithm

    def warped(self, value: float) -> float:
        """Where a value lies on the axis that is searched evenly: itself, its logarithm or its log-odds."""
        if self.kind == "LinearSpace":
            return value
        if self.kind == "LogSpace":
            return math.log(value) / math.log(self.base)
        odds = min(max(value, EDGE), 1.0 - EDGE)
        return math.log10(odds / (1.0 - odds))

    def unwarped(self, place: float) -> float:
        """The inverse of `warped`."""
        if self.kind == "LinearSpace":
            return place
        if self.kind == "LogSpace":
            return float(self.base) ** place
        return 1.0 / (1.0 + 10.0**-place)

    def to_unit(self, value: float) -> float:
        """0 at `min`, 1 at `max`, even along `warped`."""
        low, high = self.warped(self.min), self.warped(self.max)
        return (self.warped(value) - low) / (high - low)

    def from_unit(self, share: float) -> Number:
        """The value at a share in [0, 1] of the range, rounded as the space wants it."""
        low, high = self.warped(self.min), self.warped(self.max)
        return self.nearest(self.unwarped(low + min(max(share, 0.0), 1.0) * (high - low)))

    def nearest(self, value: float) -> Number:
        """The value of this space nearest to another."""
        if not self.is_integer:
            return min(max(float(value), self.min), self.max)
        lowest, highest = _multiples(self)
        return min(max(round(value / self.rounding_factor), lowest), highest) * self.rounding_factor

    def has(self, value: float) -> bool:
        """Whether its axis has a place for a value, also beyond its ends."""
        return self.kind == "LinearSpace" or (value > 0.0 and (self.kind == "LogSpace" or value < 1.0))

    @property
    def step(self) -> float:
        """`scale`, or for a LogSpace or LogitSpace what a search needs to leave the spot, along `warped`."""
        if self.kind == "LinearSpace":
            return self.scale
        return max(self.scale, LEAST_STEP * (self.warped(self.max) - self.warped(self.min)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A setting that is searched."""

    name: str  # dotted, as `load_config` takes it
    space: Space
    centre: Number  # its value in the configuration


def read_space(path: Path, config: Config) -> tuple[Parameter, ...]:
    """The parameters of a file, in its order.

    Raises:
        UserError: no such file, no YAML, an unknown key, a range that holds nothing, no parameter at all.
    """
    tree = _read_yaml(path)
    found = [_parameter(keys, node, config, str(path)) for keys, node in _spaces(tree, (), str(path))]
    if not found:
        raise UserError(f"{path} names nothing to search: see sweep.yaml of daddy_puffer for an example")
    return tuple(found)


def short_names(parameters: Sequence[Parameter]) -> list[str]:
    """The parameters' names without their section where that leaves them apart."""
    short = [p.name.rpartition(".")[2] for p in parameters]
    return [name if short.count(name) == 1 else p.name for name, p in zip(short, parameters, strict=True)]


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"sweep file {path} does not exist: give another --sweep")
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict | None):
        raise UserError(f"{path} must hold a mapping of sections, found {type(tree).__name__}")
    return tree or {}


def _spaces(tree: dict[Any, Any], keys: tuple[str, ...], origin: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where spaces stand: the keys above, and {kind: its values}. An alias cannot make this endless (depth)."""
    spaces = [key for key in tree if str(key).startswith(PREFIX)]
    if spaces and len(tree) > 1:
        raise UserError(f"{origin}: {'.'.join(keys)} needs one space and nothing beside it")
    for key, node in tree.items():
        here = (*keys, str(key))
        if spaces:
            yield keys, tree
        elif not isinstance(node, dict):
            raise UserError(f"{origin}: {'.'.join(here)} must be a space such as {PREFIX}LinearSpace, found {node!r}")
        elif len(here) > 8:
            raise UserError(f"{origin}: {'.'.join(here[:4])}... goes too deep")
        else:
            yield from _spaces(node, here, origin)


def _parameter(keys: tuple[str, ...], node: dict[str, Any], config: Config, origin: str) -> Parameter:
    where = f"{origin}: {'.'.join(keys)}"
    name, centre = _setting(keys, config, origin)
    ((kind, values),) = node.items()
    space = _space(kind, values, where)
    if isinstance(centre, bool) or not isinstance(centre, (int, float)):
        raise UserError(f"{where} is no number, so it has no range: its value is {centre!r}")
    if isinstance(centre, int) and not space.is_integer:
        raise UserError(f"{where} is a whole number: its space needs is_integer: True")
    if not space.min <= centre <= space.max:
        raise UserError(
            f"{where}: the configuration's value {centre} lies outside {space.min:g}..{space.max:g}, and the search "
            "begins there"
        )
    return Parameter(name=name, space=space, centre=centre)


def _setting(keys: tuple[str, ...], config: Config, origin: str) -> tuple[str, Any]:
    """Dotted name and value of the setting that stands at `keys` in a configuration file."""
    known: dict[tuple[str, ...], tuple[str, Any]] = {}
    for part, section in YAML_PATHS.items():
        node = getattr(config, part)
        values = DEFAULT_WEIGHTS | node if part == "rewards" else {f.name: getattr(node, f.name) for f in fields(node)}
        known.update({(*section, key): (f"{part}.{key}", value) for key, value in values.items()})
    if keys not in known:
        close = get_close_matches(".".join(keys), [".".join(path) for path in known], n=1)
        hint = f" (did you mean {close[0]}?)" if close else f" (sections: {', '.join({path[0]: 0 for path in known})})"
        raise UserError(f"{origin}: unknown key {'.'.join(keys)!r}{hint}")
    return known[keys]


def _space(kind: str, values: Any, where: str) -> Space:
    name = kind.removeprefix(PREFIX)
    if name not in KINDS:
        close = get_close_matches(name, KINDS, n=1)
        hint = f" (did you mean {PREFIX}{close[0]}?)" if close else f" (known: {', '.join(KINDS)})"
        raise UserError(f"{where}: unknown space {kind!r}{hint}")
    if not isinstance(values, dict):
        raise UserError(f"{where}: {kind} must be a mapping with min and max, found {values!r}")
    known = [f.name for f in fields(Space) if f.name != "kind" and (f.name != "base" or name == "LogSpace")]
    for key in values:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"
            raise UserError(f"{where}: unknown key {key!r}{hint}")
    given: dict[str, Any] = {"min": 0.0, "max": 1.0} if name == "LogitSpace" else {}
    given.update({key: _checked(key, value, where) for key, value in values.items()})
    missing = [key for key in ("min", "max") if key not in given]
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing; the search needs both ends")
    space = Space(kind=name, **given)
    _check_range(space, where)
    return space


def _checked(key: str, value: Any, where: str) -> Any:
    """A value of the type its key has."""
    if key == "is_integer":
        if not isinstance(value, bool):
            raise UserError(f"{where}: is_integer must be True or False, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        raise UserError(f"{where}: {key} must be a finite number, got {value!r} (YAML reads 1e-5 as text: 1.0e-5)")
    if key in ("rounding_factor", "base"):
        if value != int(value) or value < (2 if key == "base" else 1):
            raise UserError(f"{where}: {key} must be a whole number of at least {2 if key == 'base' else 1}")
        return int(value)
    return float(value)


def _check_range(space: Space, where: str) -> None:
    if not space.min < space.max:
        raise UserError(f"{where}: min {space.min:g} must be below max {space.max:g}")
    if space.scale <= 0.0:
        raise UserError(f"{where}: scale must be above 0, got {space.scale:g}")
    if space.kind == "LogSpace" and space.min <= 0.0:
        raise UserError(f"{where}: a LogSpace needs a min above 0, got {space.min:g}")
    if space.kind == "LogitSpace" and not 0.0 <= space.min < space.max <= 1.0:
        raise UserError(f"{where}: a LogitSpace lies within 0..1, got {space.min:g}..{space.max:g}")
    if space.kind == "LogitSpace" and space.is_integer:
        raise UserError(f"{where}: a LogitSpace holds no whole numbers")
    if space.is_integer and _multiples(space)[0] > _multiples(space)[1]:
        raise UserError(
            f"{where}: no multiple of {space.rounding_factor} lies in {space.min:g}..{space.max:g} (rounding_factor)"
        )


def _multiples(space: Space) -> tuple[int, int]:
    """The least and the greatest multiple of rounding_factor within the range, as multipliers."""
    return math.ceil(space.min / space.rounding_factor), math.floor(space.max / space.rounding_factor)
