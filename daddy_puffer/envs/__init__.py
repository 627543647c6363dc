"""The game as a Gymnasium environment, and the player that knows it. The only folder that knows PyBoy."""

from gymnasium.envs.registration import register, registry

from daddy_puffer.envs.red import RedEnv, make_red_env

ENV_ID = "daddy_puffer/Red-v0"


def register_envs() -> None:
    """Make `gymnasium.make("daddy_puffer/Red-v0")` work; called once on import, and by Gymnasium's plugin hook."""
    if ENV_ID not in registry:
        register(id=ENV_ID, entry_point="daddy_puffer.envs.red:RedEnv")


register_envs()

__all__ = ["ENV_ID", "RedEnv", "make_red_env", "register_envs"]
