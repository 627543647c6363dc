"""Which save state came from which, as a forest laid out on paper. In: `StateNode`s. Out: a place for each.

Columns are actions since the true start, rows come from walking the tree. A state whose parent was evicted is a root.
Knows no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daddy_puffer.report.runs import StateNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A state on paper."""

    node: StateNode
    row: float
    parent: Placed | None  # None: the true start, or a state that is gone
    orphan: bool  # its parent is gone


def lay_out(nodes: Sequence[StateNode]) -> tuple[Placed, ...]:
    """Every state once, parents before children; leaves stand on rows of their own, a parent amid its children."""
    known = {node.tag: node for node in nodes}
    children: dict[str, list[StateNode]] = {}
    for node in sorted(nodes, key=lambda node: (node.total_steps, node.tag)):
        children.setdefault(node.parent if node.parent in known else "", []).append(node)
    rows: dict[str, float] = {}
    leaf = 0
    for tag in _children_first(children):
        below = [rows[child.tag] for child in children.get(tag, ()) if child.tag in rows]
        rows[tag] = (min(below) + max(below)) / 2 if below else leaf
        leaf += not below
    placed: dict[str, Placed] = {}
    for tag in reversed(_children_first(children)):
        node = known[tag]
        parent = placed.get(node.parent)
        placed[tag] = Placed(node=node, row=rows[tag], parent=parent, orphan=bool(node.parent) and parent is None)
    return tuple(placed.values())


def furthest_line(nodes: Sequence[StateNode]) -> tuple[StateNode, ...]:
    """From its oldest ancestor that is kept to the state with the most milestones, of equals the quickest."""
    known = {node.tag: node for node in nodes}
    if not nodes:
        return ()
    line = [min(nodes, key=lambda node: (-len(node.milestones), node.total_steps, node.tag))]
    while line[-1].parent in known and known[line[-1].parent] not in line:
        line.append(known[line[-1].parent])
    return tuple(reversed(line))


def _children_first(children: dict[str, list[StateNode]]) -> list[str]:
    """Tags reachable from the roots, each after all its children; no recursion: chains grow long."""
    order: list[str] = []
    waiting = [node.tag for node in children.get("", ())]
    while waiting:
        tag = waiting.pop()
        order.append(tag)
        waiting.extend(child.tag for child in children.get(tag, ()))
    return order[::-1]
