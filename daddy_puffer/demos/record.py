"""Lets a player play and keeps what it saw and did. In: a game, a player. Out: `Episode`s."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.demos.episode import (
    LARGEST_EPISODE,
    NOTHING_VISITED,
    TEXT_BYTES,
    Episode,
    EpisodeFacts,
    next_number,
    plain_info,
    write_episode,
)
from daddy_puffer.demos.game import INPUTS, Game, Outcome, View
from daddy_puffer.demos.players import Player, Wish
from daddy_puffer.errors import UserError
from daddy_puffer.files import file_sha256
from daddy_puffer.wrappers.action_recorder import CHECK_STEPS

ROW_BYTES = 32  # of a step: action, reward, end, label
SPARE_BYTES = 1 << 20  # for a start state, hashes and facts

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Recording:
    """An episode that is being played; where an expert labels it, of every row."""

    game: Game
    player: str  # what the file says of who plays
    seed: int
    start_state: bytes = b""  # empty = the game's own
    start_visited: NDArray[np.uint8] = field(default_factory=NOTHING_VISITED.copy)
    _pictures: list[Any] = field(default_factory=list)
    _inputs: dict[str, list[Any]] = field(default_factory=dict)
    _actions: list[int] = field(default_factory=list)
    _rewards: list[float] = field(default_factory=list)
    _infos: list[dict[str, Any]] = field(default_factory=list)
    _checks: dict[int, bytes] = field(default_factory=dict)
    _labels: list[tuple[int, bool]] = field(default_factory=list)
    _terminated: bool = False
    _bytes: int = 0

    def __len__(self) -> int:
        """Actions so far."""
        return len(self._actions)

    @property
    def full(self) -> bool:
        """Whether one more step might make it too large to be read again."""
        return self._bytes + 2 * self._bytes // max(1, len(self)) > LARGEST_EPISODE - SPARE_BYTES

    def add(self, view: View, action: int, outcome: Outcome, label: tuple[int, bool] | None = None) -> None:
        """Take note of an action; `label`: the expert's, and whether it is the one that was taken."""
        self._pictures.append(view.picture)
        for name, array in view.inputs.items():
            self._inputs.setdefault(name, []).append(array[-1] if name == "frames" else array)
        self._actions.append(action)
        self._rewards.append(outcome.reward)
        self._infos.append(plain_info(outcome.view.info))  # now: an environment may go on writing into it
        self._bytes += step_bytes(view, self._infos[-1])
        self._labels += [] if label is None else [label]
        self._terminated = outcome.terminated
        if len(self) % CHECK_STEPS == 0:
            self._checks[len(self)] = self.game.fingerprint()

    def finish(self) -> Episode:
        """The episode ends here.

        Raises:
            UserError: the pictures are not of one size.
        """
        game = self.game
        self._checks[len(self)] = game.fingerprint()
        if len({picture.shape for picture in self._pictures}) != 1:
            raise UserError("the environment's pictures change their size: give one with --size")
        labels, by_expert = zip(*self._labels, strict=True) if self._labels else (None, None)
        return Episode(
            observations=np.stack(self._pictures),
            actions=np.array(self._actions, np.int32),
            rewards=np.array(self._rewards, np.float32),
            dones=np.arange(len(self)) == len(self) - 1,
            infos=self._infos,
            inputs={key: np.stack(self._inputs[key]) for key in INPUTS if key in self._inputs},
            check_steps=np.array(list(self._checks), np.int64),
            check_hashes=np.array([list(digest) for digest in self._checks.values()], np.uint8),
            start_state=self.start_state or game.start_state,
            seed=self.seed,
            rom_sha256=rom_sha256(game),
            facts=EpisodeFacts(
                recipe=game.recipe,
                player=self.player,
                num_actions=game.num_actions,
                milestones=game.milestones,
                terminated=self._terminated,
                emulator=emulator_version(game),
            ),
            labels=None if labels is None else np.array(labels, np.int32),
            by_expert=None if by_expert is None else np.array(by_expert, np.bool_),
            start_visited=self.start_visited,
        )


def record_episode(game: Game, player: Player, name: str, seed: int) -> Episode | Wish:
    """Play one episode; a `Wish` when a person does not want it.

    `name` of the player is what the file says of it.
    """
    view = game.reset(seed)
    player.begin(game)
    recording = Recording(game=game, player=name, seed=seed)
    done = False
    while not done:
        chosen = player.act(view)
        if chosen is Wish.SAVE and len(recording):
            break
        if chosen is Wish.SAVE:
            continue  # nothing has been done yet
        if isinstance(chosen, Wish):
            return chosen
        outcome = game.step(chosen)
        recording.add(view, chosen, outcome)
        view, done = outcome.view, outcome.done or recording.full
        if recording.full:
            _log.warning("the episode is cut off after %d steps: a file holds no more; see --size", len(recording))
    return recording.finish()


def step_bytes(view: View, info: dict[str, Any]) -> int:
    """What a step with this plain info is in a file that is unpacked, about: text has four bytes a character there."""
    arrays = view.picture.nbytes + sum(array.nbytes for array in view.inputs.values())
    return arrays + ROW_BYTES + TEXT_BYTES * len(json.dumps(info))


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
    """Of the ROM; empty where the game is not known."""
    return "" if game.rom_path is None else file_sha256(game.rom_path)


def emulator_version(game: Game) -> str:
    """Name and version of what runs the game; empty where it is not known."""
    return "" if game.rom_path is None else f"PyBoy {version('pyboy')}"
