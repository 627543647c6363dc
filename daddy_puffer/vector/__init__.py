"""Environments side by side, by PufferLib: `VectorEnv`. The only folder that imports pufferlib."""

from daddy_puffer.vector.env import VectorEnv
from daddy_puffer.vector.game_boys import GameBoys
from daddy_puffer.vector.packed import AnyEnv, EnvFactory, PackedEnv, WorkerError, box_spaces
from daddy_puffer.vector.red import RedFactory, make_vector
from daddy_puffer.vector.threads import Threads

__all__ = [
    "AnyEnv",
    "EnvFactory",
    "GameBoys",
    "PackedEnv",
    "RedFactory",
    "Threads",
    "VectorEnv",
    "WorkerError",
    "box_spaces",
    "make_vector",
]
