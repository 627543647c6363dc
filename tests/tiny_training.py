"""Training on tiny tasks with the real learner and replay: the loop of the trainer without its bookkeeping."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from daddy_puffer.config import Config
from daddy_puffer.envs.tiny import TinyTask, TinyVector
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.networks import observation_spec
from daddy_puffer.policies.encoder import VectorEncoder
from daddy_puffer.policies.hierq import HierQ
from daddy_puffer.replay import make_replay
from daddy_puffer.types import Array


def make_tiny(task: Callable[[], TinyTask], config: Config, width: int = 32) -> tuple[TinyVector, Learner]:
    """Environments, and a learner whose network sees the vector only."""
    torch.manual_seed(config.train.seed)
    torch.set_num_threads(1)
    env = TinyVector([task() for _ in range(config.train.num_envs)])
    space = env.observation_space
    spec = observation_spec(space)
    network = HierQ(spec, env.num_actions, config.policy, encoder=VectorEncoder(spec.structured, width))
    return env, Learner(config, space, env.num_actions, network)


def train_tiny(
    env: TinyVector, learner: Learner, steps: int, steps_per_update: int, epsilon: Callable[[int], float]
) -> None:
    """`steps` steps of all copies; `epsilon` by step."""
    config = learner.config
    replay = make_replay(config, env.observation_space.spaces, learner.state_size, env.num_envs)
    batch, state = env.reset(config.train.seed), learner.initial_state(env.num_envs)
    for step in range(steps):
        everyone = np.full(env.num_envs, epsilon(step), np.float32)
        result = learner.act(batch.observation, batch.first, state, everyone)
        replay.add(batch, result.actions, state)
        batch, state = env.step(result.actions), result.state
        if replay.ready and step % steps_per_update == 0:
            sampled = replay.sample(config.replay.batch_size)
            replay.update_priorities(sampled.indices, learner.update(sampled).priorities)


def greedy_return(env: TinyVector, learner: Learner, episodes: int) -> float:
    """Mean return of greedy play over the first `episodes` whole episodes."""
    batch, state = env.reset(12345), learner.initial_state(env.num_envs)
    running, returns = np.zeros(env.num_envs), []
    nothing = np.zeros(env.num_envs, np.float32)
    while len(returns) < episodes:
        result = learner.act(batch.observation, batch.first, state, nothing)
        batch, state = env.step(result.actions), result.state
        running += batch.reward
        ended: Array = batch.terminated | batch.truncated
        returns += running[ended].tolist()
        running[ended] = 0.0
    return float(np.mean(returns))
