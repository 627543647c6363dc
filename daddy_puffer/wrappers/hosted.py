"""Wrappers as a host needs them.

`HostedEpsilonEnv`: for a host whose own policies and wrappers read other keys: it adds its own, and takes none away. A
reward that is no finite number would poison the host's running totals and its network: it counts as 0 here.

`HostedActionRecorder`: for a host whose reset goes on with the same game, that moves games from one environment to
another, and whose workers are killed at the end of a run.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from daddy_puffer.files import replacing
from daddy_puffer.swarm import Chain, Machine
from daddy_puffer.wrappers.action_recorder import ActionRecorder, ram_hash
from daddy_puffer.wrappers.epsilon import EpsilonEnv, Observation

MOST_WAYS = 64  # of an environment, to states that the host may give to others: it takes the newest
_log = logging.getLogger(__name__)


class HostedEpsilonEnv(EpsilonEnv):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], frame_stack: int = 1) -> None:
        """`frame_stack`: frames the policy sees at once."""
        super().__init__(env, frame_stack)
        assert isinstance(env.observation_space, spaces.Dict) and isinstance(self.observation_space, spaces.Dict)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, **self.observation_space.spaces})

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; a reward that is no finite number becomes 0."""
        observation, reward, terminated, truncated, info = super().step(action)
        if not math.isfinite(float(reward)):
            warnings.warn(f"the reward is {reward}: counted as 0", RuntimeWarning, stacklevel=2)
            reward = 0.0
            ledger = observation["ledger"].copy()
            ledger[0] = 0.0
            observation["ledger"] = ledger
        return observation, reward, terminated, truncated, info

    def _observe(self, observation: Observation, action: int | None, reward: float, flags: int) -> Observation:
        return {**observation, **super()._observe(observation, action, reward, flags)}


class HostedActionRecorder(ActionRecorder):
    """Adds to `ActionRecorder`: recordings at each new milestone, and the ways to states that the host takes along.

    Such a state, out of one environment's info, may be given to any other: how to get there is kept in
    `<folder>/ways/<sha256 of the state>.npz`.
    """

    def __init__(
        self,
        env: gymnasium.Env[Observation, np.int64],
        folder: Path,
        machine: Machine,
        states_in: Callable[[dict[str, Any]], Iterable[bytes]],
        *,
        best_only: bool = True,
    ) -> None:
        """As `ActionRecorder`, over a game at its initial state; `states_in`: the save states in a host's info."""
        super().__init__(env, folder, machine, best_only=best_only)
        self._states_in = states_in
        self._start_ram = self._last_ram = ram_hash(self._memory)
        self._flags, self._most = b"", 0  # milestones as they are, and the most of them in this episode
        self._ways: deque[Path] = deque()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Keep the last episode, start the next one."""
        self._last_ram = ram_hash(self._memory)
        observation, info = super().reset(seed=seed, options=options)
        self._flags = self._milestones.tobytes()
        self._most = _count(self._flags)
        self._keep_ways(info)
        return observation, info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and take note of the button; a new milestone is written at once."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._keep_ways(info)
        flags = self._milestones.tobytes()
        if flags != self._flags:
            self._flags = flags
            if _count(flags) > self._most and (whole := self._whole()) is not None:
                self._keep(whole)
            self._most = max(self._most, _count(flags))
        return observation, reward, terminated, truncated, info

    def _way_to_start(self, options: dict[str, Any], ended: Chain | None) -> Chain | None:
        """As in `ActionRecorder`; without a state the memory tells whether the host went on with the game."""
        state = options.get("state")
        if state is not None:
            return super()._way_to_start(options, ended) if "way" in options else self._read_way(state)
        ram = ram_hash(self._memory)
        if ram == self._start_ram:
            return Chain.empty()
        return ended if ram == self._last_ram else None

    def _keep_ways(self, info: dict[str, Any]) -> None:
        for state in self._states_in(info):
            whole = self._whole()
            if whole is None:
                return
            path = self._way_file(state)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    temporary.write_bytes(whole.to_bytes())
                self._ways.append(path)
                if len(self._ways) > MOST_WAYS:
                    self._ways.popleft().unlink(missing_ok=True)
            except OSError as error:  # a disk that is full does not stop the training
                _log.warning("the way to a state cannot be kept: %s", error)

    def _read_way(self, state: bytes) -> Chain | None:
        try:
            return Chain.from_bytes(self._way_file(state).read_bytes())
        except (OSError, ValueError):  # a state that no recorder has seen
            return None

    def _way_file(self, state: bytes) -> Path:
        return self._folder / "ways" / f"{hashlib.sha256(state).hexdigest()}.npz"


def _count(flags: bytes) -> int:
    return int.from_bytes(flags, "little").bit_count()
