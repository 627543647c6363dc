"""A reward set: an ordered, weighted choice of terms; its reward is exactly the sum of the weighted terms."""

from __future__ import annotations

from collections.abc import Mapping

from daddy_puffer.errors import UserError
from daddy_puffer.game.state import GameState
from daddy_puffer.rewards.terms import TERMS

DEFAULT_WEIGHTS: dict[str, float] = {
    "event": 3.0,
    "badge": 10.0,
    "cell": 0.2,
    "new_map": 2.0,
    "talk": 1.0,
    "level": 0.5,
    "heal": 0.5,
    "damage": 0.5,
    "idle": 0.05,
    "key_item": 3.0,
    "party": 1.0,
    "seen": 0.3,
    "owned": 0.5,
}


class RewardSet:
    """Weighted terms by name."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """`weights` replaces the defaults term by term; 0 switches a term off.

        Raises:
            UserError: a term that does not exist.
        """
        chosen = {**DEFAULT_WEIGHTS, **(weights or {})}
        unknown = [name for name in chosen if name not in TERMS]
        if unknown:
            raise UserError(f"unknown reward term {unknown[0]!r}: known are {', '.join(TERMS)}")
        self._terms = [(name, TERMS[name], weight) for name, weight in chosen.items() if weight != 0.0]

    @property
    def names(self) -> list[str]:
        """The terms in use, in order."""
        return [name for name, _, _ in self._terms]

    def by_term(self, before: GameState, after: GameState) -> list[float]:
        """Weighted value of every term, in the order of `names`; the reward is their sum."""
        return [weight * term(before, after) for _, term, weight in self._terms]
