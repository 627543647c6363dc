"""What something is at a moment, as arrays by name: `np.savez` writes it, and nothing of it needs pickling.

In: numbers, texts and lists, named parts. Out: `Arrays`. Knows no content. Whoever has a `get_state` gives them, its
`set_state` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from daddy_puffer.errors import UserError
from daddy_puffer.types import Array

Arrays = dict[str, Array]


class Stateful(Protocol):
    """Something that goes on as if nothing had been in between: `b.set_state(a.get_state())` makes b what a is."""

    def get_state(self) -> Arrays:
        """Everything that what comes next depends on; views, to be written out before anything is changed."""

    def set_state(self, state: Arrays) -> None:
        """Take it over."""


def as_json(value: Any) -> Array:
    """Whatever JSON can say, numbers exactly, u8 `[N]`."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def from_json(array: Array) -> Any:
    """The inverse of `as_json`; tuples have become lists."""
    return json.loads(bytes(array))


def as_bytes(data: bytes | bytearray) -> Array:
    """U8 `[N]`."""
    return np.frombuffer(bytes(data), np.uint8)


def under(name: str, arrays: Mapping[str, Array]) -> Arrays:
    """`arrays` as the part `name` of something larger."""
    return {f"{name}/{key}": array for key, array in arrays.items()}


def check_like(arrays: Mapping[str, Array], like: Mapping[str, Array], what: str) -> None:
    """Whether `arrays` have the names, types and shapes of `like`; `what` they are, for the message.

    Raises:
        UserError: not all of them.
    """
    for name in sorted(arrays.keys() | like.keys()):
        found, wanted = (_describe(those.get(name)) for those in (arrays, like))
        if found != wanted:
            raise UserError(f"{what}: {name} is {found}, this run has {wanted}: resume with the same settings")


def _describe(array: Array | None) -> str:
    return "missing" if array is None else f"{array.dtype} {list(array.shape)}"


def part(arrays: Mapping[str, Array], name: str) -> Arrays:
    """The inverse of `under`; empty where there is no such part."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
