"""Lets a player play and keeps what it saw and did. In: a game, a player. Out: `Episode`s."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.demos.episode import Episode, EpisodeFacts, next_number, write_episode
from daddy_puffer.demos.game import INPUTS, Game, Outcome, View
from daddy_puffer.demos.players import Player, Wish
from daddy_puffer.errors import UserError
from daddy_puffer.wrappers.action_recorder import CHECK_STEPS


@dataclass(slots=True)
class _Rows:
    """An episode that is being played."""

    pictures: list[Any] = field(default_factory=list)
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[int, bytes] = field(default_factory=dict)

    def add(self, view: View, action: int, outcome: Outcome) -> None:
        self.pictures.append(view.picture)
        for name, array in view.inputs.items():
            self.inputs.setdefault(name, []).append(array[-1] if name == "frames" else array)
        self.actions.append(action)
        self.rewards.append(outcome.reward)
        self.infos.append(outcome.view.info)


def record_episode(game: Game, player: Player, name: str, seed: int) -> Episode | Wish:
    """Play one episode; a `Wish` when a person does not want it.

    `name` of the player is what the file says of it.
    """
    view = game.reset(seed)
    player.begin(game)
    rows, outcome = _Rows(), None
    while outcome is None or not outcome.done:
        chosen = player.act(view)
        if chosen is Wish.SAVE and outcome is not None:
            break
        if chosen is Wish.SAVE:
            continue  # nothing has been done yet
        if isinstance(chosen, Wish):
            return chosen
        outcome = game.step(chosen)
        rows.add(view, chosen, outcome)
        view = outcome.view
        if len(rows.actions) % CHECK_STEPS == 0:
            rows.checks[len(rows.actions)] = game.fingerprint()
    rows.checks[len(rows.actions)] = game.fingerprint()
    return _episode(game, rows, name, seed, outcome.terminated)


def record_episodes(game: Game, player: Player, name: str, episodes: int, folder: Path, seed: int) -> Iterator[Path]:
    """Play and write episodes; yields the files. Those already in the folder stay, the numbers go on.

    The seed of an episode is `seed` plus its number, so that every episode of a folder is another one.
    """
    number = next_number(folder)
    end = number + episodes
    while number < end:
        found = record_episode(game, player, name, seed + number)
        if found is Wish.QUIT:
            return
        if isinstance(found, Episode):
            yield write_episode(folder, number, found)
            number += 1


def rom_sha256(game: Game) -> str:
    """Of the ROM; empty where the game is not ours."""
    return "" if game.rom_path is None else hashlib.sha256(game.rom_path.read_bytes()).hexdigest()


def emulator_version(game: Game) -> str:
    """Name and version of what runs the game; empty where it is not ours."""
    return "" if game.rom_path is None else f"PyBoy {version('pyboy')}"


def _episode(game: Game, rows: _Rows, name: str, seed: int, terminated: bool) -> Episode:
    if len({picture.shape for picture in rows.pictures}) != 1:
        raise UserError("the environment's pictures change their size: give one with --size")
    dones = np.zeros(len(rows.actions), np.bool_)
    dones[-1] = True
    return Episode(
        observations=np.stack(rows.pictures),
        actions=np.array(rows.actions, np.int32),
        rewards=np.array(rows.rewards, np.float32),
        dones=dones,
        infos=rows.infos,
        inputs={key: np.stack(rows.inputs[key]) for key in INPUTS if key in rows.inputs},
        check_steps=np.array(list(rows.checks), np.int64),
        check_hashes=np.array([list(digest) for digest in rows.checks.values()], np.uint8),
        start_state=game.start_state,
        seed=seed,
        rom_sha256=rom_sha256(game),
        facts=EpisodeFacts(
            recipe=game.recipe,
            player=name,
            num_actions=game.num_actions,
            milestones=game.milestones,
            terminated=terminated,
            emulator=emulator_version(game),
        ),
    )
