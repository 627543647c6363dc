"""Who can play: the script, a checkpoint, a person (`human.py`), or any function of Python.

In: a `View`. Out: an action, or a `Wish` of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daddy_puffer.demos.game import PYTHON, Game, View, import_named
from daddy_puffer.envs.rom import PRACTICE_ROM, packaged
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.rollout import Agent, load_agent
from daddy_puffer.types import StepBatch

PLAYERS = ("scripted", "human", "checkpoint", f"{PYTHON}module:function")


class Wish(Enum):
    """What a person wants instead of an action."""

    SAVE = "save"  # the episode ends here and is kept
    DISCARD = "discard"  # the episode is played anew
    QUIT = "quit"  # no more episodes; this one is not kept


class Player(Protocol):
    """Plays episodes."""

    def begin(self, game: Game) -> None:
        """An episode begins."""

    def act(self, view: View) -> int | Wish:
        """What to do now."""


class Scripted:
    """The player that knows the practice cartridge."""

    def __init__(self, game: Game) -> None:
        if game.rom_path != packaged(PRACTICE_ROM):
            raise UserError("the scripted player knows the practice cartridge only: leave out --rom and --env-id")
        self.begin(game)

    def begin(self, game: Game) -> None:
        """Forget where it got stuck."""
        self._player, self._memory = ScriptedPlayer(), game.memory

    def act(self, view: View) -> int:
        """The button for this moment."""
        return int(self._player.act(self._memory))


class Trained:
    """A checkpoint of HierQ."""

    def __init__(self, game: Game, checkpoint: Path, epsilon: float, seed: int) -> None:
        if not game.inputs:
            raise UserError(f"a checkpoint of HierQ cannot read {game.recipe.env_id}: leave out --env-id")
        self._path, self._spaces, self._epsilon, self._seed = find_checkpoint(checkpoint), game.inputs, epsilon, seed
        self.begin(game)

    def begin(self, game: Game) -> None:
        """Take the checkpoint with a fresh memory and the next random numbers."""
        self._agent: Agent = load_agent(self._path, self._spaces, self._epsilon, "cpu", self._seed)
        self._seed += 1

    def act(self, view: View) -> int:
        """What the network says."""
        nothing = np.zeros(1, np.float32)
        batch = StepBatch(
            observation={name: array[None] for name, array in view.inputs.items()},
            reward=nothing,
            terminated=nothing > 0,
            truncated=nothing > 0,
            first=np.array([view.first]),
            env_ids=np.zeros(1, np.int64),
            infos=[],
        )
        return int(self._agent.act(batch)[0])


class Called:
    """Any function (picture u8 `[H, W, C]`, info) -> action.

    The info is the environment's; in a known game with `game_state` (`game.GameState`) and `memory` (bytes by address).
    """

    def __init__(self, function: Callable[[Any, dict[str, Any]], Any], name: str) -> None:
        self._function, self._name = function, name

    def begin(self, game: Game) -> None:
        """Play in this game."""
        self._game = game

    def act(self, view: View) -> int:
        """What the function says."""
        action = self._function(view.picture, {**view.info, **self._game.facts})
        try:
            return int(action)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self._name} gave {action!r}, which is no action") from error


def make_player(
    name: str, game: Game, checkpoint: Path | None = None, epsilon: float = 0.0, keys: str = "", seed: int = 0
) -> Player:
    """The player that a command line names.

    Raises:
        UserError: there is none of this name, or it cannot play this game.
    """
    if (checkpoint is None) != (name != "checkpoint"):
        raise UserError("--player checkpoint and --checkpoint RUN belong together")
    if keys and name != "human":
        raise UserError("--keys is for --player human")
    if name == "scripted":
        return Scripted(game)
    if name == "human":
        from daddy_puffer.demos.human import Human  # opens a window: only for who asks for it

        return Human(game.num_actions, keys, known=game.memory is not None)
    if checkpoint is not None:
        return Trained(game, checkpoint, epsilon, seed)
    if name.startswith(PYTHON):
        return Called(import_named(name), name)
    raise UserError(f"no player {name!r}: known are {', '.join(PLAYERS)}")
