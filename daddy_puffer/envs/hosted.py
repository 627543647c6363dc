"""`HostedGame`: what our wrappers build on, out of another project's environment of the same game.

In: an environment with the key `screen` (packed), and its emulator. Out: the same environment with the key `visited`
added, the attribute `game_state`, and what `RedEnv` offers besides: `save_state`, `summary`, `rom_path`, ...

It only reads, and leaves it to the host when an episode begins, until somebody calls `play_episodes`. The host's own
episodes have no end, and its reset goes on with the same game; after that call they are those of `RedEnv`: they begin
at the initial state or at `options["state"]`, with everything forgotten, and are truncated after `max_steps`. Who wants
a state loaded amid an episode says `load_soon`: the next step truncates it, and `take_state` is for the reset.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from daddy_puffer.envs.emulator import LOAD_ERRORS, release_buttons, save_machine
from daddy_puffer.envs.observation import VisitedCells, screen_shape
from daddy_puffer.errors import UserError
from daddy_puffer.game.milestones import milestone_bits, milestones_reached
from daddy_puffer.game.state import GameState, RamReader
from daddy_puffer.types import MOST_VISITED, VISITED_SHAPE, Action

Observation = dict[str, NDArray[np.generic]]


class HostedGame(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    last_wait = 0  # frames waited before an episode; `RedEnv` waits some

    def __init__(
        self,
        env: gymnasium.Env[Observation, np.int64],
        pyboy: Any,
        max_steps: int,
        *,
        rom_path: Path | None = None,
        action_freq: int = 24,
    ) -> None:
        """`pyboy` inside `env` plays `rom_path`; `max_steps`: after so many steps time counts from 0 again.

        Raises:
            UserError: the screen is not packed.
        """
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        shape = env.observation_space["screen"].shape
        if shape != screen_shape(reduce_res=True, two_bit=True):
            raise UserError(f"daddy_puffer needs env.reduce_res and env.two_bit: true, the screen has shape {shape}")
        self.max_steps, self.rom_path, self.action_freq = max_steps, rom_path, action_freq
        self.host = ""  # of its save states, see `swarm.Machine`
        self.keywords: dict[str, Any] = {}  # of whoever made it, to make the same one again; as JSON has it
        self._pyboy = pyboy
        self._reader = RamReader(pyboy.memory)
        self._visited = VisitedCells()
        self._steps = 0
        self._start = b""  # where episodes begin; empty = the host's matter
        self._has_begun = False
        self._awaited: bytes | None = None  # a state that the next episode is to begin at
        self._forget: Callable[[], None] | None = None
        self.game_state = GameState(self._reader.read())
        visited = spaces.Box(0, MOST_VISITED, VISITED_SHAPE, np.uint8)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "visited": visited})

    def play_episodes(self, start: Path, forget: Callable[[], None] | None = None) -> None:
        """From now on episodes begin at the save state in file `start`, and end; `forget` what the host remembers.

        Raises:
            UserError: the state does not fit, or a wrapper inside cannot be told which state to begin at.
        """
        if self._start:
            return
        _check_options(self.env)
        self._load(start.read_bytes())
        self._start, self._forget = self.save_state(), forget
        self.game_state = GameState(self._reader.read())

    def load_soon(self, state: bytes) -> None:
        """End this episode at its next step, for one at `state`; from any thread."""
        self._awaited = state

    def take_state(self) -> bytes | None:
        """What `load_soon` was told, once."""
        state, self._awaited = self._awaited, None
        return state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Raises:
            UserError: while episodes are played here, the state does not fit; the game has to be reset again.
        """
        options = dict(options or {})
        known = self._prepare(options) if self._start else {}
        # a wrapper below may know no options; without any it need not
        observation, info = self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)
        self._visited.clear()
        self._steps = 0
        return self._look(observation, None), {**known, **info}

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if self._steps > self.max_steps:  # the host goes on with the same game; so does the map of what was visited
            self._steps = 0
        observation = self._look(observation, self.game_state, int(action))
        at_end = bool(self._start) and self._steps == self.max_steps
        if (at_end or self._awaited is not None) and not terminated:
            truncated = True
            info = {**info, **self.summary()}
        return observation, reward, terminated, truncated, info

    def summary(self) -> dict[str, Any]:
        """What the info says at an episode's end: numbers, of which the host shows means."""
        state = self.game_state
        found = {
            "badges": state.badges,
            "milestones": len(milestones_reached(milestone_bits(state))),
            "cells_visited": state.cells_visited,
            "maps_visited": state.maps_visited,
            "talks": state.talks,
            "length": self._steps,
        }
        return {"episode": found}

    def save_state(self) -> bytes:
        """The machine as it is now, for `reset(options={"state": ...})`."""
        return save_machine(self._pyboy)

    def visited_cells(self) -> NDArray[np.uint8]:
        """Map, x and y of the cells visited in this episode, u8 `[V, 3]`."""
        return self._visited.cells()

    @property
    def memory(self) -> Any:
        """The live memory: one byte by address, a list of bytes by slice."""
        return self._pyboy.memory

    def _prepare(self, options: dict[str, Any]) -> dict[str, Any]:
        """Begin anew, in the emulator and in what the host remembers; returns the info of a reset that this took."""
        options.pop("visited", None)  # the host forgets what it has paid for, so it is to be found again
        info: dict[str, Any] = {}
        state = options.get("state")
        if state is not None:
            self._load(state)  # the host will load it once more, and would raise errors of its own
            if not self._has_begun:  # what has happened at the initial state the host only notes where it loads it
                _, info = self.env.reset()
        elif self._has_begun:
            options["state"] = self._start
        self._has_begun = True
        release_buttons(self._pyboy)
        if self._forget is not None:
            self._forget()
        return info

    def _load(self, state: bytes) -> None:
        try:
            self._pyboy.load_state(io.BytesIO(state))
        except LOAD_ERRORS as error:
            said = f"save state of {len(state)} bytes does not fit ({type(error).__name__})"
            raise UserError(f"{said}: make it anew with this version of the emulator") from error

    def _look(self, observation: Observation, before: GameState | None, action: int = Action.B) -> Observation:
        state = self.game_state = self._visited.look(before, action, self._reader, self._steps)
        shown = np.zeros(VISITED_SHAPE, np.uint8) if state.battle_kind else self._visited.around().copy()
        return {**observation, "visited": shown}


def _check_options(env: gymnasium.Env[Any, Any]) -> None:
    while isinstance(env, gymnasium.Wrapper):
        if "options" not in inspect.signature(env.reset).parameters:
            raise UserError(
                f"wrapper {type(env).__name__} cannot be told where to begin (its reset takes no options): put it "
                "after daddy_puffer's wrappers"
            )
        env = env.env
