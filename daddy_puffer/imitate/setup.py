"""What the command lines of imitation have in common: students for a game, games to play in.

In: demonstrations, a `Recipe`, settings. Out: students, games.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from daddy_puffer.config import Config, EnvConfig
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.verify import make_game
from daddy_puffer.imitate.data import Demonstrations, Goal
from daddy_puffer.imitate.students import HierQStudent, ImpalaStudent

MOST_GAMES = 8  # side by side


def make_impala(demos: Demonstrations, hidden_dim: int, device: str, seed: int) -> ImpalaStudent:
    """ImpalaCNN for these pictures."""
    height, width, channels = demos.pictures.shape[1:]
    return ImpalaStudent(
        demos.recipe, demos.goal, (height, width, channels), demos.num_actions, hidden_dim, device, seed
    )


def make_hierq(
    about: Demonstrations | Goal, recipe: Recipe, game: Game, config: Config, sequence_length: int
) -> HierQStudent:
    """HierQ of `config`, in the game of the recipe whatever `config` says of that.

    Where that is in another project's environment, the checkpoints name our own one with the same ROM.
    """
    goal = about if isinstance(about, Goal) else about.goal
    if recipe.ours:
        config = replace(config, env=EnvConfig(**recipe.settings), rewards=dict(recipe.rewards))
    else:
        (stack, *_), rom = game.inputs["frames"].shape, str(game.rom_path)
        config = replace(config, env=replace(config.env, gb_path=rom, frame_stack=stack))
    return HierQStudent(recipe, goal, config, game.inputs, game.num_actions, sequence_length)


def changed(
    recipe: Recipe,
    rom: str | None = None,
    random_start_steps: int | None = None,
    until: str | None = None,
    max_steps: int | None = None,
) -> Recipe:
    """The same game with what a command line says of it; None changes nothing."""
    recipe = recipe.with_rom(rom)
    if max_steps is not None and recipe.ours:
        recipe = replace(recipe, settings={**recipe.settings, "max_steps": max_steps})
    elif max_steps is not None:
        recipe = replace(recipe, max_steps=max_steps)
    others: dict[str, Any] = {"random_start_steps": random_start_steps, "until": until}
    return replace(recipe, **{name: value for name, value in others.items() if value is not None})


def open_games(
    stack: contextlib.ExitStack, recipe: Recipe, episodes: int, trusted: str, most: int = MOST_GAMES
) -> list[Game]:
    """Games to play in, closed by `stack`; one at least, to ask what it is like."""
    games = [make_game(recipe, trusted) for _ in range(min(most, max(1, episodes)))]
    for game in games:
        stack.callback(game.close)
    return games
