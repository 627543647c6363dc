"""The environment that reward classes derive from: PyBoy, a few observation keys, endless episodes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pyboy import PyBoy
from pyboy.utils import WindowEvent

PRESS = ("PRESS_ARROW_DOWN", "PRESS_ARROW_LEFT", "PRESS_ARROW_RIGHT", "PRESS_ARROW_UP", "PRESS_BUTTON_A")
BUTTONS = (*PRESS, "PRESS_BUTTON_B", "PRESS_BUTTON_START")
EVENTS, EVENT_BYTES, MAP = 0xD747, 320, 0xD35E


class RedGymEnv(gymnasium.Env):
    def __init__(self, env_config: Any) -> None:
        self.max_steps, self.log_frequency = env_config.max_steps, env_config.log_frequency
        self.init_state_path = Path(env_config.state_dir) / f"{env_config.init_state}.state"
        self.gb_path, self.action_freq = env_config.gb_path, 24
        self.pyboy = PyBoy(str(env_config.gb_path), window="null", sound_emulated=False, log_level="CRITICAL")
        width = 20 if env_config.two_bit else 80
        self.observation_space = spaces.Dict(
            {
                "screen": spaces.Box(0, 255, (72, width, 1), np.uint8),
                "map_id": spaces.Box(0, 0xF7, (1,), np.uint8),
                "events": spaces.Box(0, 1, (EVENT_BYTES,), np.uint8),
            }
        )
        self.action_space = spaces.Discrete(len(BUTTONS))
        self.first, self.step_count, self.total = True, 0, 0.0
        self.init_mem()

    def init_mem(self) -> None:
        self.seen: set[int] = set()  # maps, over all episodes

    def update_state(self, state: bytes) -> None:
        self.reset(options={"state": state})

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        given = (options or {}).get("state")
        if given is not None:
            self.pyboy.load_state(io.BytesIO(given))
        elif self.first:
            with open(self.init_state_path, "rb") as file:
                self.pyboy.load_state(file)
            self.base_event_flags = self.event_bits()
        self.first, self.step_count = False, 0
        self.total = sum(self.get_game_state_reward().values())
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        press = getattr(WindowEvent, BUTTONS[action])
        self.pyboy.send_input(press)
        self.pyboy.send_input(getattr(WindowEvent, BUTTONS[action].replace("PRESS", "RELEASE")), delay=8)
        self.pyboy.tick(24, True, False)
        self.step_count += 1
        self.seen.add(self.pyboy.memory[MAP])
        before, self.total = self.total, sum(self.get_game_state_reward().values())
        info = {"stats": {"step": self.step_count}} if self.step_count % self.log_frequency == 0 else {}
        return self._observe(), self.total - before, False, False, info

    def event_bits(self) -> int:
        return sum(byte.bit_count() for byte in self.pyboy.memory[EVENTS : EVENTS + EVENT_BYTES])

    def render(self) -> Any:
        return self.pyboy.screen.ndarray[:, :, 1]

    def _observe(self) -> dict[str, Any]:
        grey = self.pyboy.screen.ndarray[::2, ::2, 1]
        if self.observation_space["screen"].shape[1] == 20:
            level = grey >> 6
            grey = level[:, 0::4] << 6 | level[:, 1::4] << 4 | level[:, 2::4] << 2 | level[:, 3::4]
        return {
            "screen": grey[:, :, None].copy(),
            "map_id": np.array(self.pyboy.memory[MAP], np.uint8),
            "events": np.array(self.pyboy.memory[EVENTS : EVENTS + EVENT_BYTES], np.uint8),
        }

    def get_game_state_reward(self) -> dict[str, float]:
        raise NotImplementedError  # as in the real one: its reward classes are the subclasses that have it
