"""`Bayes`: pays for progress where it is not yet sure, without changing which policy is best.

In: an `EpsilonEnv`. Out: the same observation with `ledger[3]` = r_bayes, and `weight * r_bayes` more reward.

r_bayes = gamma Phi(s') - Phi(s), Phi(s) = the sum of the curiosity scales of the milestones reached in s (see
`progress/shaping.py`). A milestone's scale is 1 - the lower 95 % bound of the chance theta to reach it within its
budget of steps (`progress/posteriors.py`): near 1 while it is seldom reached or little is known, near 0 once it is
reliable. Scales stay as they are during an episode.

Every episode from the true start that ends is a trial for the posteriors, which all environments of a run share: what
they believe of a milestone is what `progress.csv` shows of it. An episode from a state of a curriculum is none, as in
`progress/tracker.py`. It begins near some milestones and is cut before the budgets of most: as failures such cuts hide
what the agent can do, and to count its successes alone would make each milestone reliable that some state is near to.
Of the true start an episode that was cut before is a failure (`progress/posteriors.py`), whatever cut it.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_bytes
from daddy_puffer.game.milestones import MILESTONE_BYTES, MILESTONES
from daddy_puffer.progress.posteriors import COLUMNS, Posteriors, budgets_by_name, trials
from daddy_puffer.progress.shaping import potential, shaping_reward
from daddy_puffer.types import SPAWN_FIELD
from daddy_puffer.wrappers.epsilon import Observation

LEDGER_FIELD = 3
NAMES = tuple(milestone.name for milestone in MILESTONES)
_LOCK_SECONDS = 1.0


class SharedPosteriors(Posteriors):
    """Posteriors of all milestones in memory that processes forked or spawned with it share."""

    def __init__(self, forgetting: float = 0.95) -> None:
        """Nothing has been tried yet."""
        self._shared = multiprocessing.RawArray("d", len(MILESTONES) * COLUMNS)
        self._lock = multiprocessing.Lock()
        super().__init__(len(MILESTONES), forgetting, _table(self._shared))

    def update(self, counted: NDArray[np.bool_], outcome: NDArray[np.bool_]) -> None:
        """Take one trial of the milestones that are `counted`; one process at a time."""
        # a process that was killed may hold the lock for ever: better a lost trial than a run that stands still
        held = self._lock.acquire(timeout=_LOCK_SECONDS)
        try:
            super().update(counted, outcome)
        finally:
            if held:
                self._lock.release()

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned process gets: the shared memory, not a copy of what is in it."""
        return {name: value for name, value in self.__dict__.items() if name != "table"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Look at the shared memory."""
        self.__dict__.update(state)
        self.table = _table(self._shared)


class Bayes(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self,
        env: gymnasium.Env[Observation, np.int64],
        weight: float = 1.0,
        posteriors: Posteriors | None = None,
        *,
        gamma: float = 0.97,
        step_budget: int = 512,
        step_budgets: Mapping[str, int] | None = None,
    ) -> None:
        """Take the learner's discount, and the budgets of steps (`step_budgets`: of some milestones by name).

        `posteriors` are shared among environments, by default those of this process and its children.

        Raises:
            UserError: `step_budgets` names an unknown milestone.
        """
        super().__init__(env)
        self.weight, self._gamma = weight, gamma
        self.posteriors = run_wide_posteriors() if posteriors is None else posteriors
        self._budgets = budgets_by_name(NAMES, step_budget, step_budgets or {})
        self._scales = np.zeros(len(MILESTONES))  # these hold for one episode
        self._from_state = False
        self._spawned_with = np.zeros(len(MILESTONES), bool)
        self._reached_at = np.zeros(len(MILESTONES), np.int64)
        self._bits = b""
        self._step, self._potential = 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, and take the scales that hold during it."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin(observation)
        return observation, info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and pay the change of the potential."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._step += 1
        before = self._potential
        bits = observation["milestones"].tobytes()
        if bits != self._bits:
            self._bits = bits
            reached = _flags(bits)
            self._reached_at[reached & (self._reached_at < 0)] = self._step
            self._potential = potential(reached, self._scales)
        shaping = shaping_reward(before, self._potential, self._gamma, terminated)
        observation["ledger"][LEDGER_FIELD] = shaping
        if terminated or truncated:
            if not self._from_state:
                self.posteriors.update(*trials(self._spawned_with, self._reached_at, self._budgets))
            self._begin(observation)  # pokemonred_puffer steps on after a truncation
        return observation, float(reward) + self.weight * shaping, terminated, truncated, info

    def get_state(self) -> Arrays:
        """The episode under way; the posteriors, which all environments share, are not part of it."""
        return {
            "scales": self._scales,
            "spawned_with": self._spawned_with,
            "reached_at": self._reached_at,
            "bits": as_bytes(self._bits),
            "rest": np.array([self._from_state, self._step, self._potential], np.float64),
        }

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        self._scales, self._spawned_with = state["scales"], state["spawned_with"]
        self._reached_at[:] = state["reached_at"]
        self._bits = state["bits"].tobytes()
        from_state, step, self._potential = state["rest"].tolist()
        self._from_state, self._step = bool(from_state), int(step)

    def _begin(self, observation: Observation) -> None:
        self._scales = self.posteriors.curiosity()
        self._step = 0
        self._from_state = bool(observation["episode"][SPAWN_FIELD])
        self._bits = observation["milestones"].tobytes()
        self._spawned_with = _flags(self._bits)
        self._reached_at[:] = -1
        self._potential = potential(self._spawned_with, self._scales)


@functools.cache
def run_wide_posteriors() -> SharedPosteriors:
    """One for this process and those it forks after the first call."""
    return SharedPosteriors()


def _table(shared: Any) -> NDArray[np.float64]:
    return np.frombuffer(shared, np.float64).reshape(len(MILESTONES), COLUMNS)


def _flags(bits: bytes) -> NDArray[np.bool_]:
    """Packed bits to bool `[M]`."""
    assert len(bits) == MILESTONE_BYTES
    return np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: len(MILESTONES)].astype(bool)
