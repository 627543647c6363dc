"""Who labels: says what should be done in a state that somebody else got into.

In: a `View`. Out: an action, or None where the expert knows nothing. It acts on nothing and remembers no action, since
most of those taken are not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from daddy_puffer.demos.game import PYTHON, Game, View, import_named
from daddy_puffer.demos.players import Scripted
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError

EXPERTS = ("scripted", f"{PYTHON}module:function")


class Expert(Protocol):
    """Labels the states of one game."""

    def label(self, view: View) -> int | None:
        """What it would do now; None where it knows nothing."""


class ScriptedExpert:
    """The player that knows the practice cartridge, asked for its plan.

    Without detours: who walks on past a healer in spite of one is told to turn back here and to go on there, wherever
    the detour happens to be short, and a student that learns half of that walks to and fro.
    """

    def __init__(self, game: Game) -> None:
        Scripted(game)  # says in one line where it knows nothing at all
        self._player, self._memory = ScriptedPlayer(detours=False), game.memory

    def label(self, view: View) -> int | None:
        """See `Expert`."""
        try:
            action = self._player.plan(self._memory)
        except (LookupError, ValueError):  # a map, a person, a move or a thing in the bag that its tables lack
            return None
        return None if action is None else int(action)


class CalledExpert:
    """Any function (picture u8 `[H, W, C]`, info) -> action or None; the info is that of `demos.players.Called`."""

    def __init__(self, function: Callable[[Any, dict[str, Any]], Any], name: str, game: Game) -> None:
        self._function, self._name, self._game = function, name, game

    def label(self, view: View) -> int | None:
        """See `Expert`.

        Raises:
            UserError: it gave something that is no action.
        """
        found = self._function(view.picture, {**view.info, **self._game.facts})
        if found is None:
            return None
        try:
            action = int(found)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self._name} gave {found!r}, which is no action") from error
        if not 0 <= action < self._game.num_actions:
            raise UserError(f"{self._name} gave action {action}, there are 0..{self._game.num_actions - 1}")
        return action


def make_expert(name: str, game: Game) -> Expert:
    """The expert that a command line names, for one game.

    Raises:
        UserError: there is none of this name, or it does not know this game.
    """
    if name == "scripted":
        return ScriptedExpert(game)
    if name.startswith(PYTHON):
        return CalledExpert(import_named(name), name, game)
    raise UserError(f"no expert {name!r}: known are {', '.join(EXPERTS)}")
