"""The game as a Gymnasium environment, and the player that knows it. The only folder that knows PyBoy."""

from daddy_puffer.envs.batched import VecGameBoy
from daddy_puffer.envs.red import RedEnv, make_red_env
from daddy_puffer.gym_plugin import ENV_ID, register_envs

register_envs()

__all__ = ["ENV_ID", "RedEnv", "VecGameBoy", "make_red_env"]
