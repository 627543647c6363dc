"""Demonstrations as rows for Q-learning: played again in the game that a run plays, for this run's rewards.

In: a folder of `Episode`s, the run's settings. Out: `DemoRows`. Knows no network and no replay but its rows.

A file holds the rewards and inputs of the settings that it was recorded with, and not what was seen after the last
action, which a truncated episode's value is taken of. Both come out of the game, which is made of start state, seed and
actions; the hashes in the file say whether it really is the same one. Rewards for curiosity are not in them: those are
of what a run has seen.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.config import Config
from daddy_puffer.demos.episode import Episode, read_folder
from daddy_puffer.demos.game import Game, Recipe, View
from daddy_puffer.demos.record import rom_sha256
from daddy_puffer.errors import UserError
from daddy_puffer.replay import DemoRows

_log = logging.getLogger(__name__)


def read_demonstrations(config: Config) -> list[Episode]:
    """The files of `config.demos.folder` that can be read; the others are named in a warning.

    Raises:
        UserError: there is none, or they are of another game than the run's.
    """
    folder = Path(config.demos.folder)
    try:
        episodes, damaged = read_folder(folder)
    except UserError as error:
        raise UserError(f"demos.folder: {error}, or say where they are with --demos") from error
    for line in damaged:
        _log.warning("skipped %s", line)
    for name, episode in episodes.items():
        recipe = episode.facts.recipe
        if not recipe.ours:
            raise UserError(f"{folder / name} is of {recipe.env_id}: train_big learns our own game only")
        if episode.labels is not None:
            raise UserError(
                f"{folder / name} is of a round of DAgger: half of its actions are the student's, and none of those to "
                "imitate; learn from its labels with daddy-puffer imitate bc, then train_big --init-from"
            )
        there, here = recipe.settings.get("action_freq"), config.env.action_freq
        if there != here:
            raise UserError(
                f"{folder / name} was recorded with env.action_freq {there}, this run has {here}: its actions mean "
                "something else here; record anew, or set it"
            )
    return list(episodes.values())


def play_again(config: Config, episodes: list[Episode]) -> Iterator[DemoRows]:
    """Each as rows with the run's rewards and observation.

    One that is not the same here is named in a warning and left out.

    Raises:
        UserError: none is the same, or the ROM is another one.
    """
    failed: list[str] = []
    with contextlib.ExitStack() as stack:
        game: Game | None = None
        for number, episode in enumerate(episodes):
            recipe = _recipe(config, episode)
            if game is None or asdict(game.recipe) != asdict(recipe):
                stack.close()
                game = stack.enter_context(contextlib.closing(Game(recipe)))
                if (here := rom_sha256(game)) != episode.rom_sha256:
                    raise UserError(f"the demonstrations are of ROM {episode.rom_sha256}, this run plays {here}")
            try:
                rows = _play(game, episode)
            except UserError as error:
                failed.append(f"demonstration {number + 1}: {error}")
                _log.warning("skipped %s", failed[-1])
                continue
            yield rows
    if failed and len(failed) == len(episodes):
        raise UserError(f"none of the demonstrations is the same when played again: {failed[0]}")


def _recipe(config: Config, episode: Episode) -> Recipe:
    """The run's game, begun and ended as the episode was."""
    then, ours = episode.facts.recipe, Recipe.of_config(config)
    settings: dict[str, Any] = {**ours.settings, "random_wait": then.settings["random_wait"]}
    return replace(then, settings=settings, rewards=ours.rewards)


def _play(game: Game, episode: Episode) -> DemoRows:
    """Play it; it ends earlier where the run's `env.max_steps` says so.

    Raises:
        UserError: the memory differs from what was recorded.
    """
    hashes = dict(zip(episode.check_steps.tolist(), (bytes(row) for row in episode.check_hashes), strict=True))
    seen: dict[str, list[Any]] = {}
    rewards: list[float] = []
    terminated = False

    view = game.reset(episode.seed, episode.start_state, episode.start_visited)
    _look(seen, view)
    for step, action in enumerate(episode.actions.tolist(), start=1):
        outcome = game.step(action)
        _look(seen, outcome.view)
        rewards.append(outcome.reward)
        terminated = outcome.terminated
        if step in hashes and game.fingerprint() != hashes[step]:
            raise UserError(f"the memory differs after action {step}")
        if outcome.done:
            break
    return DemoRows(
        seen={name: np.stack(rows) for name, rows in seen.items()},
        action=episode.actions[: len(rewards)].astype(np.int64),
        reward=np.array(rewards, np.float32),
        terminated=terminated,
    )


def _look(seen: dict[str, list[Any]], view: View) -> None:
    for name, array in view.inputs.items():
        seen.setdefault(name, []).append(array[-1] if name == "frames" else array)
