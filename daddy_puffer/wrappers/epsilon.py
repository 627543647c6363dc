"""`EpsilonEnv`: the observation that HierQ reads, and the marks of an episode's beginning and end.

In: an environment with the keys `screen` (packed) and `visited`, and the attribute `game_state`. Out, each step:

frames     u8  (stack, 72, 20)  the last frames, packed, oldest first; the first one repeated at an episode's start
visited    u8  (9, 10)          cells on the screen: how often the player came there in this episode, as a level
structured f32 (F,)             `game/features.py`
milestones u8  (M,)             packed bits, `game/milestones.py`
ledger     f32 (4,)             r_env, r_rnd, r_novel, r_bayes of this step, unweighted
episode    i32 (4,)             episode id, step in the episode, spawn state id, `EpisodeFlag` bits

Arrays may be kept; only `ledger` and `episode`, which are new every step, may be written to, by the wrappers around it.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays
from daddy_puffer.game.features import FEATURE_COUNT, FeatureWriter
from daddy_puffer.game.milestones import MILESTONE_BYTES, milestone_bits, milestone_key
from daddy_puffer.game.state import GameState
from daddy_puffer.types import MOST_VISITED, PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, EpisodeFlag

Observation = dict[str, NDArray[np.generic]]
_LEDGER, _EPISODE = np.zeros(4, np.float32), np.zeros(4, np.int32)
_FIRST, _TERMINATED, _TRUNCATED = map(int, (EpisodeFlag.FIRST, EpisodeFlag.TERMINATED, EpisodeFlag.TRUNCATED))


def owner(env: gymnasium.Env[Any, Any], name: str) -> Any:
    """The outermost wrapper or environment that has attribute `name`, else the innermost.

    To be asked once: `get_wrapper_attr` lists every attribute of every wrapper in between, 14 us each time.
    """
    while isinstance(env, gymnasium.Wrapper) and name not in vars(env) and not hasattr(type(env), name):
        env = env.env
    return env


class EpsilonEnv(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], frame_stack: int = 4) -> None:
        """`frame_stack`: frames the policy sees at once."""
        super().__init__(env)
        self._frames: NDArray[np.uint8] = np.zeros((frame_stack, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8)
        self._game = owner(env, "game_state")
        self._features = FeatureWriter(env.get_wrapper_attr("max_steps"))
        self._milestone_key = b""
        self._milestones = np.zeros(MILESTONE_BYTES, np.uint8)
        self._episode, self._step = -1, 0
        self.observation_space = spaces.Dict(
            {
                "frames": spaces.Box(0, 255, self._frames.shape, np.uint8),
                "visited": spaces.Box(0, MOST_VISITED, VISITED_SHAPE, np.uint8),
                "structured": spaces.Box(-np.inf, np.inf, (FEATURE_COUNT,), np.float32),
                "milestones": spaces.Box(0, 255, (MILESTONE_BYTES,), np.uint8),
                "ledger": spaces.Box(-np.inf, np.inf, (4,), np.float32),
                "episode": spaces.Box(0, np.iinfo(np.int32).max, (4,), np.int32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; `options` reaches the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._episode += 1
        self._step = 0
        self._frames = np.empty_like(self._frames)  # whoever was given the last ones may keep them
        self._frames[:] = observation["screen"][:, :, 0]
        return self._observe(observation, None, 0.0, _FIRST), info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; ends are marked in `episode` as well."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._step += 1
        before, self._frames = self._frames, np.empty_like(self._frames)
        if len(before) > 1:
            self._frames[:-1] = before[1:]
        self._frames[-1] = observation["screen"][:, :, 0]
        flags = _TERMINATED if terminated else _TRUNCATED if truncated else 0
        return self._observe(observation, int(action), float(reward), flags), reward, terminated, truncated, info

    def get_state(self) -> Arrays:
        """What the next step depends on; the rest is made anew of the game's state."""
        return {"frames": self._frames, "count": np.array([self._episode, self._step])}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        self._frames = state["frames"]
        self._episode, self._step = state["count"].tolist()

    def _observe(self, observation: Observation, action: int | None, reward: float, flags: int) -> Observation:
        state: GameState = self._game.game_state
        key = milestone_key(state.ram)
        if key != self._milestone_key:
            self._milestone_key = key
            self._milestones = np.frombuffer(bytearray(milestone_bits(state)), np.uint8)
        # copies of empty ones: making an array out of a list takes three times as long
        ledger, episode = _LEDGER.copy(), _EPISODE.copy()
        ledger[0] = reward
        episode[0], episode[1], episode[3] = self._episode, self._step, flags
        return {
            "frames": self._frames,
            "visited": observation["visited"],
            "structured": self._features.write(state, action),
            "milestones": self._milestones,
            "ledger": ledger,
            "episode": episode,
        }
