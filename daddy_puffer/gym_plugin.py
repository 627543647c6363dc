"""Gymnasium's plugin hook: `gymnasium.make("daddy_puffer/Red-v0")` works without importing this package first.

So does `pokemonred_puffer/Red-v0`: that project's environment, which registers none, with episodes (`plugin.make_env`).

Called at every `import gymnasium`, so it registers by name and imports nothing else.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

ENV_ID = "daddy_puffer/Red-v0"
HOSTED_ENV_ID = "pokemonred_puffer/Red-v0"


def register_envs() -> None:
    """Register once."""
    if ENV_ID not in registry:
        register(id=ENV_ID, entry_point="daddy_puffer.envs.red:RedEnv")
    if HOSTED_ENV_ID not in registry:
        # Gymnasium's checker complains about that project's observations, which have other shapes than its space says
        entry = "daddy_puffer.plugin:make_env"
        register(id=HOSTED_ENV_ID, entry_point=entry, disable_env_checker=True, order_enforce=False)
