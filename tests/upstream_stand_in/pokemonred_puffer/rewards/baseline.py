"""The default reward: story events."""

from __future__ import annotations

import os
from typing import Any

from pokemonred_puffer.environment import RedGymEnv


class ObjectRewardRequiredEventsMapIdsFieldMoves(RedGymEnv):
    def __init__(self, env_config: Any, reward_config: Any) -> None:
        super().__init__(env_config)
        self.weight = reward_config["event"]
        self.max_event_rew = 0

    def get_game_state_reward(self) -> dict[str, float]:
        self.max_event_rew = max(self.max_event_rew, self.event_bits() - self.base_event_flags)
        return {"event": self.weight * self.max_event_rew}


class Failing(ObjectRewardRequiredEventsMapIdsFieldMoves):
    """Raises, or is killed, on the tenth step of a worker."""

    def step(self, action: int) -> Any:
        if self.step_count == 10:
            if os.environ.get("STAND_IN_FAILURE") == "killed":
                os.kill(os.getpid(), 9)
            raise RuntimeError("the tenth step went wrong")
        return super().step(action)
