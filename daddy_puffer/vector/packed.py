"""One environment as PufferLib packs it, one struct per row; what every backend steps.

In: an environment factory. Out: `PackedEnv`. Knows no process, no node. `pufferlib.vector.Serial` steps them, inside
each worker too. PyPI's 1.0.1 differs from what a trainer needs, hence `PackedEnv`:

* a truncated environment is not reset by it: `PackedEnv` ends on truncation as on termination;
* it swallows an exception of `reset(seed=...)` and tries again without seed: `PackedEnv` lets it through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from pufferlib.emulation import GymnasiumPufferEnv

from daddy_puffer.arrays import Arrays, part, under
from daddy_puffer.errors import UserError
from daddy_puffer.types import Array

AnyEnv = gymnasium.Env[Any, Any]
EnvFactory = Callable[[], AnyEnv]


class WorkerError(RuntimeError):
    """A worker raised, died or fell silent; the message carries its traceback where there is one."""


class _Seeded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Hands a seed to `reset` behind PufferLib's back, which would hide an exception of a seeded reset."""

    pending_seed: int | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        seed, self.pending_seed = self.pending_seed, None
        return self.env.reset(seed=seed, **kwargs)


class PackedEnv(GymnasiumPufferEnv):
    """One environment packed by PufferLib; ends on truncation too, passes on infos only at an episode's end.

    An info is pickled through a pipe each time, so that what is needed every step travels in the observation.
    """

    def __init__(self, env: AnyEnv, env_id: int):
        """Pack `env`; `env_id` is added to its infos."""
        super().__init__(env=_Seeded(env))
        self.env_id = env_id

    def reset(self, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode; the info is dropped."""
        self.env.pending_seed = seed
        observation, _ = super().reset()
        return observation, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Step; the info is empty unless the episode ends."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.done = bool(terminated or truncated)
        return observation, reward, terminated, truncated, {**info, "env_id": self.env_id} if self.done else {}

    def get_state(self) -> Arrays | None:
        """What the game and every wrapper around it go on from; None where one of them cannot say."""
        layers = _layers(self.env.env)
        if not all(hasattr(type(layer), "get_state") for layer in layers.values()):
            return None
        state = {"done": np.array(self.done)}
        for name, layer in layers.items():
            state |= under(name, layer.get_state())
        return state

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave, after a reset.

        Raises:
            UserError: it is that of other wrappers, another game or another version; another reset is needed then.
        """
        layers = _layers(self.env.env)
        saved = dict.fromkeys(name.split("/")[0] for name in state if "/" in name)
        if list(saved) != list(layers):
            raise UserError(f"the episodes were played with {', '.join(saved)}, this run has {', '.join(layers)}")
        try:
            for name, layer in layers.items():
                own = part(state, name)
                _check_kinds(name, own, layer.get_state())
                layer.set_state(own)
            self.done = bool(state["done"])
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise UserError(f"the episodes were written down by another version: {error!r}") from error


def _check_kinds(layer: str, state: Arrays, mine: Arrays) -> None:
    """What a layer wrote down is of the kinds that it has itself; how long an episode was may differ.

    Raises:
        UserError: it is not.
    """
    for name in state.keys() & mine.keys():
        found, wanted = (f"{array.dtype} of {array.ndim} dimensions" for array in (state[name], mine[name]))
        if found != wanted:
            raise UserError(f"the {name} of {layer.split('.')[-1]} is {found}, this run has {wanted}")


def _layers(env: AnyEnv) -> dict[str, Any]:
    """A game and all wrappers around it, outermost first, by their names."""
    stack: list[Any] = [env]
    while isinstance(stack[-1], gymnasium.Wrapper):
        stack.append(stack[-1].env)
    return {f"{number}.{type(layer).__name__}": layer for number, layer in enumerate(stack)}


def box_spaces(env: AnyEnv) -> dict[str, gymnasium.spaces.Box]:
    """The parts of a Dict observation space of arrays."""
    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    return {name: space for name, space in env.observation_space.items() if isinstance(space, gymnasium.spaces.Box)}


class PackedFactory:
    """Builds `PackedEnv` number `env_id`; a class because closures do not cross a spawned process."""

    def __init__(self, factory: EnvFactory, env_id: int):
        self.factory = factory
        self.env_id = env_id

    def __call__(self) -> PackedEnv:
        """Build it."""
        return PackedEnv(self.factory(), self.env_id)
