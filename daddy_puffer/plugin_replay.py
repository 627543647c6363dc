"""The host's environment once more, as it was when somebody's actions were recorded in it.

In: `Machine.host` of a recording, and where ROM and initial state are, said as for a run of the host. Out: a
`HostedGame` that plays the recorded actions as they were played. The host is imported when it is needed.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.envs.hosted import HostedGame
from daddy_puffer.errors import UserError
from daddy_puffer.plugin import ACTS_ON_THE_GAME, HOST, HOST_REWARD, host_tag
from daddy_puffer.plugin_command import CONFIG, ROM, complete
from daddy_puffer.swarm import Machine
from daddy_puffer.wrappers import machine_of


class RecordedGame(HostedGame):
    """`HostedGame` in colour, at the initial state."""

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """The newest frame, RGB u8 (144, 160, 3); the host's is grey."""
        return self._pyboy.screen.ndarray[:, :, :3].copy()


def hosted_game(machine: Machine, config: Path | None, rom: str | None) -> RecordedGame:
    """The game that `machine` names; `config` and `rom` as the host's options, with its defaults.

    Raises:
        UserError: the host cannot be imported, or there is no such ROM, initial state or configuration.
    """
    acts = _settings_in(machine.host)
    reward_class = _import(HOST_REWARD, acts)
    from omegaconf import OmegaConf

    arguments = ["train", "--policy", "daddy_puffer.HierQ"]
    arguments += [CONFIG, str(config)] if config is not None else []
    arguments += [ROM, rom] if rom is not None else []
    completed = complete(arguments, Path.cwd())
    options = dict(zip(completed[1::2], completed[2::2], strict=True))
    found: Any = OmegaConf.load(options[CONFIG])
    found.env.merge_with({name: acts.get(name, False) for name in ACTS_ON_THE_GAME})
    found.env.merge_with({"gb_path": options[ROM], "action_freq": machine.action_freq, "log_frequency": 0})
    found.env.merge_with({"reduce_res": True, "two_bit": True, "headless": True})
    found.env.merge_with({"save_video": False, "save_state": False, "required_tolerance": None})
    env = reward_class(found.env, found.rewards[HOST_REWARD].reward)
    game = RecordedGame(env, env.pyboy, int(env.max_steps), rom_path=Path(options[ROM]), action_freq=env.action_freq)
    game.play_episodes(Path(env.init_state_path), env.init_mem)
    return game


def hosted_machine(game: HostedGame) -> Machine:
    """What a new game of `hosted_game` plays."""
    return machine_of(game, host_tag(game.unwrapped))


def _settings_in(tag: str) -> dict[str, Any]:
    """Settings of the host that act on the game, out of `host_tag`; those that are off are missing.

    Raises:
        UserError: it is of another host, or damaged.
    """
    name, _, text = str(tag).partition(" ")
    try:
        acts = json.loads(text)
    except ValueError:
        acts = None
    if name != HOST or not isinstance(acts, dict) or not all(v is True or _is_names(v) for v in acts.values()):
        raise UserError(f"recorded in {str(tag)[:100]!r}: only recordings of our own game and of {HOST} can be played")
    return acts


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _import(name: str, acts: dict[str, Any]) -> Any:
    module, _, attribute = name.partition(".")
    try:
        return getattr(importlib.import_module(f"{HOST}.rewards.{module}"), attribute)
    except (ImportError, AttributeError) as error:
        settings = ", ".join(f"{key}: {json.dumps(value)}" for key, value in acts.items()) or "none of note"
        raise UserError(f"recorded in {HOST} with these settings: {settings}; here: {error}") from error
