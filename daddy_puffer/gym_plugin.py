"""Gymnasium's plugin hook: `gymnasium.make("daddy_puffer/Red-v0")` works without importing this package first.

Called at every `import gymnasium`, so it registers by name and imports nothing else.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

ENV_ID = "daddy_puffer/Red-v0"


def register_envs() -> None:
    """Register once."""
    if ENV_ID not in registry:
        register(id=ENV_ID, entry_point="daddy_puffer.envs.red:RedEnv")
