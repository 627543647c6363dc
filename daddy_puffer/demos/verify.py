"""Plays a demonstration again and compares everything that its file says.

In: an `Episode`. Out: nothing, or what differs first. A game is built once for all episodes of one recipe.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from daddy_puffer.demos.episode import Episode
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.record import emulator_version, rom_sha256
from daddy_puffer.envs import ENV_ID
from daddy_puffer.errors import UserError


class Verifier:
    """Keeps the last game, for demonstrations of a folder mostly are of one."""

    def __init__(self, rom: str | None = None, trusted: str = ENV_ID) -> None:
        """`rom`: where the ROM lies here, if elsewhere than where it was recorded; `trusted`: see `make_game`."""
        self._rom, self._trusted = rom, trusted
        self._game: Game | None = None
        self._built = Recipe()  # what it was made of

    def verify(self, episode: Episode) -> str:
        """What to say when everything is the same.

        Raises:
            UserError: something differs, or the environment cannot be had.
        """
        game = self._game_of(episode.facts.recipe)
        for name, here, there in (
            ("ROM", rom_sha256(game), episode.rom_sha256),
            ("emulator", emulator_version(game), episode.facts.emulator),
        ):
            if here != there:
                raise UserError(f"recorded with another {name}: {there}, here {here}")
        compared = _play(game, episode)
        if game.milestones != episode.facts.milestones:
            raise UserError(f"other milestones at the end: {game.milestones}, recorded {episode.facts.milestones}")
        return f"same rewards, pictures and memory after {len(episode)} actions ({compared} hashes compared)"

    def close(self) -> None:
        """Switch the game off."""
        if self._game is not None:
            self._game.close()
            self._game = None

    def _game_of(self, recipe: Recipe) -> Game:
        recipe = recipe.with_rom(self._rom)
        if self._game is None or asdict(self._built) != asdict(recipe):
            self.close()
            self._game, self._built = make_game(recipe, self._trusted), recipe
        return self._game


def make_game(recipe: Recipe, trusted: str = ENV_ID) -> Game:
    """The game of a file's recipe. A recipe can name any code, so other games than ours must be `trusted` by name.

    Raises:
        UserError: it is not trusted, there is no such game here, or the recipe is nonsense.
    """
    if not recipe.ours and recipe.env_id != trusted:
        raise UserError(f"its environment is {recipe.env_id}: to run that here say --env-id {recipe.env_id}")
    try:
        return Game(recipe)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"its environment cannot be built: {' '.join(str(error).split())}") from error


def _play(game: Game, episode: Episode) -> int:
    """Play it again; returns the hashes compared.

    Raises:
        UserError: something differs.
    """
    hashes = dict(zip(episode.check_steps.tolist(), (bytes(row) for row in episode.check_hashes), strict=True))
    view = game.reset(episode.seed, episode.start_state, episode.start_visited)
    for step, action in enumerate(episode.actions.tolist()):
        _same("picture", step, view.picture, episode.observations[step])
        for name, array in episode.inputs.items():
            now = view.inputs[name]
            _same(name, step, now[-1] if name == "frames" else now, array[step])
        outcome = game.step(action)
        if np.float32(outcome.reward) != episode.rewards[step]:
            raise UserError(f"reward {outcome.reward:g} for action {step + 1}, recorded {episode.rewards[step]:g}")
        if step + 1 in hashes and game.fingerprint() != hashes[step + 1]:
            raise UserError(f"the memory differs after action {step + 1}")
        if outcome.done and step + 1 < len(episode):
            raise UserError(f"the episode ended after action {step + 1}, recorded are {len(episode)}")
        view = outcome.view
    return len(hashes)


def _same(name: str, step: int, now: Any, then: Any) -> None:
    if not np.array_equal(now, then):
        raise UserError(f"another {name} before action {step + 1} than recorded")
