"""`daddy_puffer/Red-v0`: the game as a Gymnasium environment, embedded (one emulator, no server, no window).

Action space: `Discrete(7)`: 0 down, 1 left, 2 right, 3 up, 4 A, 5 B, 6 START.

Observation space: a Dict with upstream's keys (see `envs/observation.py`), or those that `keys` names.

Rewards: the weighted sum of `rewards/terms.py`, and what a `ProgressReward` adds to it.

Start: the initial state (`power_on`: the machine as it is switched on, before title and intro), or `options["state"]`;
with `random_wait` up to so many frames pass first, drawn from the episode's generator, which turns the game's dice. All
buttons are up.

End: truncated after `max_steps` actions; never terminated.

One action lasts `action_freq` frames: press, release after 8 frames, all frames but the last unrendered; while the game
ignores the joypad (a scripted walk), A is pressed through, as upstream does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_bytes, as_json, from_json, part, under
from daddy_puffer.config import EnvConfig, ProgressRewardConfig
from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.observation import UPSTREAM_KEYS, Observer, VisitedCells
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.errors import UserError
from daddy_puffer.files import file_sha256
from daddy_puffer.game import addresses as at
from daddy_puffer.game.milestones import milestone_bits, milestones_reached
from daddy_puffer.game.state import GameState, RamReader
from daddy_puffer.rewards import DEFAULT_WEIGHTS, RewardSet
from daddy_puffer.rewards.progress import TERM, ProgressReward, make_progress_reward
from daddy_puffer.types import Action

Observation = dict[str, NDArray[np.generic]]
NOTHING_VISITED = np.zeros((0, 3), np.uint8)
MAX_IGNORED_PRESSES = 1000  # upstream's bound on pressing through scripted walks


class RedEnv(gymnasium.Env[Observation, np.int64]):
    """One game; see the module's text for spaces, reward and ends."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(
        self,
        rom: str = "",
        init_state: str = "",
        *,
        action_freq: int = 24,
        max_steps: int = 2048,
        reduce_res: bool = True,
        two_bit: bool = True,
        random_wait: int = 0,
        rewards: Mapping[str, float] | None = None,
        keys: tuple[str, ...] = UPSTREAM_KEYS,
        render_mode: str | None = "rgb_array",
        progress: ProgressReward | None = None,
    ) -> None:
        """`rom`: empty = the practice cartridge; `init_state`: empty = its start, or power-on for another ROM.

        `progress`: pays for what the screen shows, beside `rewards`.

        Raises:
            UserError: ROM or state missing, damaged or of another version; unknown reward term.
        """
        found = find_rom(rom)
        self.rom_path = found.path
        self.render_mode = render_mode
        self.action_freq, self.max_steps, self.random_wait = action_freq, max_steps, random_wait
        self._reward_set, self._progress = RewardSet(rewards), progress
        self._terms = [*self._reward_set.names, *([TERM] if progress else [])]
        self._observer = Observer(keys, reduce_res, two_bit)
        self.observation_space = self._observer.space
        self.action_space = spaces.Discrete(len(Action))
        start = find_state(init_state, found)
        self._emulator = Emulator(found)
        if start is not None:
            self._emulator.load_state(start)
        self._start = self._emulator.save_state() if start is None else start
        self._reader = RamReader(self._emulator.memory)
        self._visited = VisitedCells()
        self._steps = 0
        self.last_wait = 0  # frames waited before this episode
        self._returns = [0.0] * len(self._terms)
        self.game_state = GameState(self._reader.read())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode from `options["state"]` (save state bytes) or the initial state.

        `options["visited"]` u8 `[V, 3]`: cells (map, x, y) that count as visited from the beginning.
        `options["wait"]`: frames that pass first, instead of a number that is drawn.
        `options["no_way_back"]` true saves 20 ms where the state is new here: an error leaves a game to be reset again.

        Raises:
            UserError: the state does not fit this emulator and ROM; the game is as before.
        """
        super().reset(seed=seed)
        options = options or {}
        state = options.get("state")
        self._emulator.load_state(self._start if state is None else state, not options.get("no_way_back", False))
        drawn = int(self.np_random.integers(self.random_wait + 1)) if self.random_wait else 0
        self.last_wait = options.get("wait", drawn)
        self.wait(self.last_wait)
        self._visited.restore(options.get("visited", NOTHING_VISITED))
        self._steps = 0
        self._returns = [0.0] * len(self._returns)
        if self._progress is not None:
            self._progress.begin(self._emulator.screen)
        self.game_state = self._look(None)
        return self._observe(), {}

    def wait(self, frames: int) -> None:
        """Let frames pass and draw one more, no button: what a reset does once a state is loaded."""
        if frames:
            self._emulator.wait(frames)
        self._emulator.render_frame()

    def step(self, action: np.int64 | int) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Press a button; the info is empty but at the end of an episode."""
        emulator = self._emulator
        emulator.tap(int(action), self.action_freq - 1)
        presses = 0
        while emulator.memory[at.JOY_IGNORE] and presses < MAX_IGNORED_PRESSES:
            emulator.tap(Action.A, self.action_freq)
            presses += 1
        emulator.render_frame()
        self._steps += 1
        before, self.game_state = self.game_state, self._look(self.game_state, int(action))
        terms = self._reward_set.by_term(before, self.game_state)
        if self._progress is not None:
            terms.append(self._progress.step(emulator.screen))
        self._returns = [total + term for total, term in zip(self._returns, terms, strict=True)]
        truncated = self._steps >= self.max_steps
        return self._observe(), sum(terms), False, truncated, self.summary() if truncated else {}

    def _look(self, before: GameState | None, action: int = Action.B) -> GameState:
        return self._visited.look(before, action, self._reader, self._steps)

    def _observe(self) -> Observation:
        return self._observer.observe(self._emulator.screen, self.game_state, self._visited)

    def summary(self) -> dict[str, Any]:
        """What the info says at an episode's end: badges, map, milestones, what was visited, return by term."""
        state = self.game_state
        return {
            "badges": state.badges,
            "map": state.map_name,
            "milestones": milestones_reached(milestone_bits(state)),
            "cells_visited": state.cells_visited,
            "maps_visited": state.maps_visited,
            "talks": state.talks,
            "returns": dict(zip(self._terms, self._returns, strict=True)),
        }

    def save_state(self) -> bytes:
        """The machine as it is now, for `reset(options={"state": ...})`."""
        return self._emulator.save_state()

    def get_state(self) -> Arrays:
        """Everything that the next step depends on, to go on in the midst of an episode."""
        state = {
            "machine": as_bytes(self.save_state()),
            "returns": np.array(self._returns, np.float64),
            "rest": as_json([self._steps, self.last_wait, self.np_random.bit_generator.state, self._rom_hash]),
        }
        state |= under("game", self.game_state.to_arrays()) | under("visited", self._visited.get_state())
        return state if self._progress is None else state | under("progress", self._progress.get_state())

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; the picture is drawn by the next step.

        Raises:
            UserError: the ROM or the reward's terms are others, or it does not run.
        """
        steps, last_wait, rng, rom = from_json(state["rest"])
        if rom != self._rom_hash:
            raise UserError(f"the episodes are of another ROM than {self.rom_path}")
        progress = part(state, "progress")
        if len(state["returns"]) != len(self._returns) or bool(progress) != (self._progress is not None):
            raise UserError("the episodes were played with other terms of the reward")
        self._emulator.load_state(state["machine"].tobytes())
        self._steps, self.last_wait, self.np_random.bit_generator.state = steps, last_wait, rng
        self._returns = state["returns"].tolist()
        self.game_state = GameState.from_arrays(part(state, "game"))
        self._visited.set_state(part(state, "visited"))
        if self._progress is not None:
            self._progress.set_state(progress)

    @cached_property
    def _rom_hash(self) -> str:
        return file_sha256(self.rom_path)

    def memory_image(self) -> bytes:
        """All 65,536 bytes of the address space."""
        return self._emulator.memory_image()

    def visited_cells(self) -> NDArray[np.uint8]:
        """Map, x and y of the cells visited in this episode, u8 `[V, 3]`: for `reset(options={"visited": ...})`."""
        return self._visited.cells()

    @property
    def memory(self) -> Any:
        """The live memory: one byte by address, a list of bytes by slice."""
        return self._emulator.memory

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """The newest frame, RGB u8 (144, 160, 3)."""
        return self._emulator.screen[:, :, :3].copy()

    def close(self) -> None:
        """Switch the emulator off."""
        self._emulator.close()


def make_red_env(
    config: EnvConfig,
    rewards: Mapping[str, float],
    keys: tuple[str, ...] = ("screen", "visited"),
    progress: ProgressRewardConfig | None = None,
) -> RedEnv:
    """The environment of the training pipeline: only what `wrappers.EpsilonEnv` builds on.

    Raises:
        UserError: as `RedEnv`, or the model of the `progress` reward cannot be read.
    """
    follows = None
    if progress is not None and progress.model:
        follows = make_progress_reward(progress)
        rewards = {term: progress.game_scale * weight for term, weight in {**DEFAULT_WEIGHTS, **rewards}.items()}
    return RedEnv(
        config.gb_path,
        config.init_state,
        action_freq=config.action_freq,
        max_steps=config.max_steps,
        random_wait=config.random_wait,
        rewards=rewards,
        keys=keys,
        progress=follows,
    )
