"""One environment as a demonstrator and a student see it: a picture, our own inputs where the game is known, an info.

In: a `Recipe`, which a file can hold, so that whoever reads a demonstration can build the environment it was played in.
Out: `View`s. The environment's image observation is the picture; where it has none (ours gives packed frames) what it
draws is. The same recipe, start state, seed and actions give the same views; `fingerprint` is there to compare. A game
is known where it is played by our own environment, or by another project's behind a `HostedGame`: then there are its
memory, milestones and save states, and our inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.config import Config, EnvConfig
from daddy_puffer.demos.images import Array8, ImageFormat
from daddy_puffer.envs import ENV_ID, RedEnv, make_red_env
from daddy_puffer.envs.hosted import HostedGame
from daddy_puffer.errors import UserError
from daddy_puffer.game.milestones import MILESTONES, milestones_reached
from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS
from daddy_puffer.wrappers import EpsilonEnv
from daddy_puffer.wrappers.action_recorder import ram_hash
from daddy_puffer.wrappers.epsilon import owner

AnyEnv = gymnasium.Env[Any, Any]
INPUTS = ("frames", "visited", "structured", "milestones")  # of `EpsilonEnv`, what HierQ reads
PYTHON = "python:"  # begins the name of something to import
LONGEST_DETOUR = 8  # steps that one button of a random start is held


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything an environment is made of, as numbers and text."""

    env_id: str = ENV_ID  # for gymnasium.make, or python:module:function
    settings: dict[str, Any] = field(default_factory=dict)  # `config.EnvConfig` of ours, keywords of any other
    rewards: dict[str, float] = field(default_factory=dict)  # weight by term, of ours
    max_steps: int = 0  # actions until an episode is cut off; 0 = as the environment does
    random_start_steps: int = 0  # random actions before an episode at most, drawn by its seed
    until: str = ""  # an episode is cut off at this milestone; empty = none
    picture: ImageFormat = field(default_factory=ImageFormat)

    @property
    def ours(self) -> bool:
        """Whether it is this package's own environment."""
        return self.env_id == ENV_ID

    def with_rom(self, rom: str | None) -> Recipe:
        """The same with the ROM at another path; None = where it was."""
        name = "gb_path" if self.ours else "rom"
        return self if rom is None else replace(self, settings={**self.settings, name: rom})

    @classmethod
    def of_config(cls, config: Config, **others: Any) -> Recipe:
        """Our game as `config` describes it, without what is for training only."""
        env = config.for_evaluation().env
        return cls(settings=asdict(env), rewards={**DEFAULT_WEIGHTS, **config.rewards}, **others)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Recipe:
        """The inverse of `asdict`.

        Raises:
            TypeError, ValueError: something is missing, or there that does not belong there.
        """
        return cls(**{**facts, "picture": ImageFormat(**facts["picture"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is seen before an action."""

    picture: Array8  # [H, W, C]
    inputs: dict[str, NDArray[Any]]  # of `INPUTS`, where the game is known; else none
    info: dict[str, Any]  # of the environment
    first: bool = False  # an episode begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What followed an action."""

    view: View
    reward: float
    terminated: bool
    truncated: bool

    @property
    def done(self) -> bool:
        """The episode is over."""
        return self.terminated or self.truncated


class RandomStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins episodes up to `steps` random actions after the environment's own beginning; the seed says which.

    Buttons are held for up to `LONGEST_DETOUR` steps each, so that a walk leads somewhere.
    """

    def __init__(self, env: AnyEnv, steps: int) -> None:
        super().__init__(env)
        self._steps = steps
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin somewhere near the beginning; if the episode ends on the way there, at the beginning."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        observation, info = self.env.reset(seed=seed, options=options)
        left = int(self._rng.integers(self._steps + 1))
        while left > 0:
            action = int(self._rng.integers(_action_count(self.env)))
            for _ in range(min(left, int(self._rng.integers(1, LONGEST_DETOUR + 1)))):
                observation, _, terminated, truncated, info = self.env.step(action)
                left -= 1
                if terminated or truncated:
                    return self.env.reset(options=options)
        return observation, info


class Game:
    """See the module's text."""

    def __init__(self, recipe: Recipe) -> None:
        """Build it.

        Raises:
            UserError: no such environment, or one without pictures or with other than numbered actions.
        """
        self.recipe = recipe  # with all settings that the environment itself has found
        self._red: RedEnv | HostedGame | None = None  # a game that is known
        self.env = self._build()
        self.num_actions = _action_count(self.env)
        # the very first state of a known game; another one has none that we know how to keep
        self.start_state = self._red.save_state() if self._red is not None else b""
        space = self.env.observation_space
        self._shows_itself = isinstance(space, gymnasium.spaces.Box) and _is_picture_shape(space)
        self._milestone_bits = b""
        self._last: Any = None

    def _build(self) -> AnyEnv:
        recipe = self.recipe
        env: AnyEnv
        if recipe.ours:
            env = self._red = make_red_env(EnvConfig(**recipe.settings), recipe.rewards)
        else:
            env = _foreign(recipe.env_id, recipe.settings)
            self._red = _hosted(env)
            if self._red is not None and self._red.keywords:
                self.recipe = replace(recipe, settings=self._red.keywords)
            if recipe.until and self._red is None:
                raise UserError(f"{recipe.env_id} has no milestones that are known here: leave out --until")
        if recipe.max_steps and not recipe.ours:
            env = gymnasium.wrappers.TimeLimit(env, recipe.max_steps)
        if recipe.until:
            check_milestone(recipe.until)
        if recipe.random_start_steps:
            env = RandomStart(env, recipe.random_start_steps)
        if self._red is None:
            return env
        # outside of the random start, of which no frame of a stack may be
        return EpsilonEnv(env, EnvConfig(**recipe.settings if recipe.ours else {}).frame_stack)

    @property
    def inputs(self) -> dict[str, gymnasium.spaces.Box]:
        """Shapes of what HierQ reads; none where the game is not known."""
        space = self.env.observation_space
        if self._red is None or not isinstance(space, gymnasium.spaces.Dict):
            return {}
        return {name: box for name, box in space.items() if isinstance(box, gymnasium.spaces.Box)}

    @property
    def rom_path(self) -> Path | None:
        """The ROM of a known game."""
        return self._red.rom_path if self._red is not None else None

    @property
    def host(self) -> str:
        """`Machine.host` of a known game's save states: empty where it is ours."""
        return self._red.host if isinstance(self._red, HostedGame) else ""

    @property
    def memory(self) -> Any:
        """The game's memory by address, None where it is not known."""
        return self._red.memory if self._red is not None else None

    @property
    def facts(self) -> dict[str, Any]:
        """What a player may look at beside the picture, where the game is known."""
        return {} if self._red is None else {"game_state": self._red.game_state, "memory": self._red.memory}

    @property
    def milestones(self) -> list[str]:
        """Those reached so far."""
        return milestones_reached(self._milestone_bits) if self._red is not None else []

    def reset(self, seed: int, start_state: bytes = b"", visited: NDArray[np.uint8] | None = None) -> View:
        """Begin an episode.

        `start_state` is another game's of the same kind, empty = this one's own; `visited` u8 `[V, 3]`: cells that
        count as visited from the beginning, as in `RedEnv.reset`.
        """
        options: dict[str, Any] | None = None
        if self._red is not None:
            options = {"state": start_state or self.start_state}
            options |= {"visited": visited} if visited is not None else {}
        observation, info = self.env.reset(seed=seed, options=options)
        return self._view(observation, info, first=True)

    def step(self, action: int) -> Outcome:
        """Do something."""
        if not 0 <= action < self.num_actions:
            raise UserError(f"action {action}: {self.recipe.env_id} has 0..{self.num_actions - 1}")
        reward: SupportsFloat
        observation, reward, terminated, truncated, info = self.env.step(action)
        view = self._view(observation, info)
        truncated = bool(truncated) or (bool(self.recipe.until) and self.recipe.until in self.milestones)
        return Outcome(view=view, reward=float(reward), terminated=bool(terminated), truncated=truncated)

    def frame(self) -> Array8:
        """What a person would look at, u8 `[h, w]` or `[h, w, c]`."""
        drawn = self._last if self._shows_itself else self.env.render()
        if not isinstance(drawn, np.ndarray) or drawn.dtype != np.uint8 or drawn.ndim not in (2, 3):
            raise UserError(
                f"{self.recipe.env_id} neither observes nor draws pictures of bytes (render_mode rgb_array)"
            )
        return drawn

    def fingerprint(self) -> bytes:
        """Sha256 of the work RAM; of the picture where the game is not known."""
        if self._red is not None:
            return ram_hash(self._red.memory)
        return hashlib.sha256(np.ascontiguousarray(self.frame()).tobytes()).digest()

    def close(self) -> None:
        """Switch it off."""
        self.env.close()

    def _view(self, observation: Any, info: dict[str, Any], first: bool = False) -> View:
        self._last = observation
        inputs = {name: observation[name] for name in INPUTS} if self._red is not None else {}
        if inputs:
            self._milestone_bits = inputs["milestones"].tobytes()
        return View(picture=self.recipe.picture.apply(self.frame()), inputs=inputs, info=info, first=first)


def import_named(name: str) -> Any:
    """What `python:module:function` means; modules of the working folder are found too.

    Raises:
        UserError: it cannot be imported, or cannot be called.
    """
    import sys

    module, _, attribute = name.removeprefix(PYTHON).partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name}: {error}; write {PYTHON}module:function") from error
    if not callable(found):
        raise UserError(f"{name} is no function")
    return found


def check_milestone(name: str) -> None:
    """Refuse what no episode can reach.

    Raises:
        UserError: there is no such milestone.
    """
    if name not in {milestone.name for milestone in MILESTONES}:
        raise UserError(f"no milestone {name!r}: it is one of data/milestones.tsv, as Boulder")


def _foreign(env_id: str, keywords: Mapping[str, Any]) -> AnyEnv:
    try:
        if env_id.startswith(PYTHON):
            return import_named(env_id)(**keywords)
        return gymnasium.make(env_id, **keywords)
    except (gymnasium.error.Error, TypeError, ModuleNotFoundError) as error:
        raise UserError(f"environment {env_id}: {' '.join(str(error).split())}") from error


def _hosted(env: AnyEnv) -> HostedGame | None:
    """The known game inside another project's environment."""
    found = owner(env, "play_episodes")
    return found if isinstance(found, HostedGame) else None


def _action_count(env: AnyEnv) -> int:
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0:
        raise UserError(f"demonstrations need actions numbered from 0 (Discrete), this environment has {space}")
    return int(space.n)


def _is_picture_shape(space: gymnasium.spaces.Box) -> bool:
    """Of one picture: four channels are a stack of frames more often than one with transparency."""
    return space.dtype == np.uint8 and (len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] in (1, 3)))
