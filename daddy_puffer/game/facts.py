"""Reads the fact tables of the package: story events, maps, milestones (tab-separated, one row a fact)."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources


@cache
def rows(table: str) -> tuple[dict[str, str], ...]:
    """All rows of `data/<table>.tsv` as dictionaries by column."""
    text = resources.files("daddy_puffer").joinpath(f"data/{table}.tsv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), delimiter="\t"))


@cache
def event_index() -> dict[str, int]:
    """Story event name to bit index in wEventFlags (504 named of 2,560)."""
    return {row["name"]: int(row["index"]) for row in rows("events")}
