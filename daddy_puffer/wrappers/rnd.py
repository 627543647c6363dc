"""`RND`: pays for what one environment has seldom seen, for any policy and any trainer.

In: an `EpsilonEnv`. Out: the same observation with `ledger[1]` = r_rnd, and `weight * r_rnd` more reward.

Every environment has networks of its own, small enough to be neglected beside an emulator, and looks only at every
`stride`-th step of an episode; steps between are not paid. Our own trainer looks at every step of all environments at
once instead (`learner/rnd.py`); what the networks see and how the bonus is scaled is the same.
Source: Burda et al. 2018, see `numerics/curiosity.py`.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from daddy_puffer.errors import UserError
from daddy_puffer.game.features import FEATURE_COUNT, ID_FIELDS
from daddy_puffer.numerics.curiosity import Curiosity, Embedding, State
from daddy_puffer.types import Array
from daddy_puffer.wrappers.epsilon import Observation

HIDDEN = 64  # of each network
OUTPUTS = 32
ROWS_PER_UPDATE = 16
LEARNING_RATE = 1e-3
MOMENT_DECAYS = (0.9, 0.999)  # Adam, Kingma 2015
ADAM_EPSILON = 1e-8
LEDGER_FIELD = 1
_MEAN = np.array(1 / OUTPUTS, np.float32)


class SmallNetworks:
    """Target and predictor, each with one hidden layer, side by side in two matrices: one product serves both.

    The error is `h @ after` with hidden units `h = max(0, x @ before)`; the first half of each matrix is the target's,
    never changed, the second the predictor's, with the sign turned around.
    """

    def __init__(self, inputs: int, seed: int) -> None:
        """Random weights of about unit gain (He 2015)."""
        rng = np.random.default_rng(seed)
        before = rng.standard_normal((inputs, 2 * HIDDEN)) * np.sqrt(2 / inputs)
        after = rng.standard_normal((2 * HIDDEN, OUTPUTS)) * np.sqrt(1 / HIDDEN)
        self._before, self._after = before.astype(np.float32), after.astype(np.float32)
        self._learned = self._before[:, HIDDEN:], self._after[HIDDEN:]
        self._moments = [[np.zeros_like(part), np.zeros_like(part)] for part in self._learned]
        self._updates = 0

    def errors(self, inputs: Array) -> Array:
        """Mean squared error f32 `[N]`; inputs f32 `[N, D]`."""
        hidden = inputs @ self._before
        apart = np.maximum(hidden, 0.0, out=hidden) @ self._after
        apart *= apart
        error: Array = np.add.reduce(apart, axis=1)
        error *= _MEAN
        return error

    def learn(self, inputs: Array) -> None:
        """One step of Adam on the mean error."""
        hidden = np.maximum(inputs @ self._before, 0.0)
        apart = hidden @ self._after * np.float32(2 / (OUTPUTS * len(inputs)))
        mine = hidden[:, HIDDEN:]
        back = (apart @ self._after[HIDDEN:].T) * (mine > 0.0)
        self._updates += 1
        first, second = MOMENT_DECAYS
        # both corrections for the moments' beginning at 0 in one factor
        rate = LEARNING_RATE * np.sqrt(1 - second**self._updates) / (1 - first**self._updates)
        gradients = inputs.T @ back, mine.T @ apart
        for weights, moments, gradient in zip(self._learned, self._moments, gradients, strict=True):
            moments[0] += (1 - first) * (gradient - moments[0])
            moments[1] += (1 - second) * (gradient**2 - moments[1])
            weights -= np.float32(rate) * moments[0] / (np.sqrt(moments[1]) + ADAM_EPSILON)

    def state_dict(self) -> State:
        """Everything."""
        moments = [[part.copy() for part in pair] for pair in self._moments]
        weights = {"before": self._before.copy(), "after": self._after.copy()}
        return {**weights, "moments": moments, "updates": self._updates}

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned."""
        self._before[:], self._after[:] = state["before"], state["after"]
        for mine, saved in zip(self._moments, state["moments"], strict=True):
            mine[0][:], mine[1][:] = saved
        self._updates = int(state["updates"])


class RND(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self, env: gymnasium.Env[Observation, np.int64], weight: float = 0.1, *, stride: int = 8, seed: int = 0
    ) -> None:
        """`weight` of r_rnd in the reward; `stride` in steps; `seed` of the random networks.

        Raises:
            UserError: the stride is below 1.
        """
        super().__init__(env)
        if stride < 1:
            raise UserError(f"RND's stride must be at least 1 step, got {stride}")
        self._stride, self._steps = stride, 0
        assert isinstance(env.observation_space, spaces.Dict)
        (size,) = env.observation_space["structured"].shape or (0,)
        embedding = Embedding(size, ID_FIELDS if size == FEATURE_COUNT else (), seed)
        self.weight = weight
        self._networks = SmallNetworks(embedding.size, seed)
        self._curiosity = Curiosity(embedding, self._networks, num_envs=1, rows_per_update=ROWS_PER_UPDATE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; its first observation is not paid."""
        self._steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and pay for what is seen after it if it is its turn."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if self._steps % self._stride:
            return observation, reward, terminated, truncated, info
        bonus = float(self._curiosity.bonus(observation["frames"][None], observation["structured"][None])[0])
        observation["ledger"][LEDGER_FIELD] = bonus
        return observation, float(reward) + self.weight * bonus, terminated, truncated, info

    def state_dict(self) -> State:
        """What the bonuses of the next episode depend on, as a tree of numpy arrays and numbers."""
        return {"networks": self._networks.state_dict(), "curiosity": self._curiosity.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned."""
        self._networks.load_state_dict(state["networks"])
        self._curiosity.load_state_dict(state["curiosity"])
