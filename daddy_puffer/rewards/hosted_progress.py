"""`ProgressReward` inside another project's environment, whose reward classes *are* environments.

In: such a class. Out: one that pays for progress; see `rewards/progress.py`, and `rewards/hosted.py` for how the host
asks for rewards. The host's own totals stay in the dict, times `game_scale`: it looks for some of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from daddy_puffer.config import ProgressRewardConfig, load_section
from daddy_puffer.errors import UserError
from daddy_puffer.rewards.progress import TERM, make_progress_reward

if TYPE_CHECKING:

    class _Host:
        """What the class below is mixed into."""

        pyboy: Any

        def __init__(self, env_config: Any, reward_config: Any) -> None: ...
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...
        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]: ...
        def get_game_state_reward(self) -> dict[str, float]: ...
else:
    _Host = object

OPTIONS = tuple(field.name for field in fields(ProgressRewardConfig))


def progressive(base: type) -> type:
    """`base` paying for progress: `Cls(env_config, reward_config)`; what is no option of ours there is for `base`."""
    return type(f"Progress{base.__name__}", (_Progressive, base), {"__module__": __name__})


class _Progressive(_Host):
    """Adds `progress`, what was paid since the reset."""

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        """Signature of the host.

        Raises:
            UserError: no model, or an option out of range.
        """
        given: Mapping[str, Any] = reward_config or {}
        settings = load_section("progress_reward", {name: given[name] for name in OPTIONS if name in given})
        self._progress, self._game_scale = make_progress_reward(settings), settings.game_scale
        self._paid = 0.0
        self._owes = False  # a step has been made whose reward has not been asked for
        super().__init__(env_config, reward_config)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Reset; the score starts where the game is then, the host's own episodes go on with the same one."""
        self._paid, self._owes = 0.0, False
        result = super().reset(seed=seed, options=options)
        self._progress.begin(self.pyboy.screen.ndarray)
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        self._owes = True
        return super().step(action)

    def get_game_state_reward(self) -> dict[str, float]:
        """The host's totals, scaled, and what was paid for progress; asked again in a step, it says the same.

        Raises:
            UserError: the host's class misses a weight.
        """
        try:
            rewards = super().get_game_state_reward()
        except KeyError as error:
            raise UserError(f"the reward's configuration has no {error}: put it beside `model`") from error
        if self._owes:
            self._owes = False
            self._paid += self._progress.step(self.pyboy.screen.ndarray)
        return {**{name: self._game_scale * value for name, value in rewards.items()}, TERM: self._paid}
