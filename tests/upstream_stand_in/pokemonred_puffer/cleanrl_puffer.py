"""The trainer: rollouts, an update over minibatches of (rows, horizon), checkpoints of the whole pickled policy."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pufferlib.frameworks.cleanrl
import pufferlib.vector
import torch


def rollout(env_creator: Any, env_kwargs: Any, model_path: Any = None, device: str = "cuda") -> None:
    env = pufferlib.vector.make(env_creator, env_kwargs=env_kwargs)
    agent = torch.load(model_path, map_location=device)
    observation, _ = env.reset()
    state = None
    for _ in range(20):  # theirs has no end
        with torch.no_grad():
            action, _, _, _, state = agent(torch.from_numpy(observation).to(device), state)
        observation, reward = env.step(action.cpu().numpy().reshape(env.action_space.shape))[:2]
        print(f"Reward: {reward.mean():.4f}")


@dataclass
class Losses:
    policy_loss: float = 0.0
    value_loss: float = 0.0


@dataclass
class CleanPuffeRL:
    exp_name: str
    config: Any
    vecenv: Any
    policy: Any
    env_send_queues: list
    env_recv_queues: list
    sqlite_db: str | None
    wandb_client: Any = None
    losses: Losses = field(default_factory=Losses)
    global_step: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.seed)
        self.vecenv.async_reset(self.config.seed)
        lstm, agents = self.policy.lstm, self.vecenv.num_agents
        self.h, self.c = (torch.zeros(lstm.num_layers, agents, lstm.hidden_size) for _ in range(2))
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.config.learning_rate, eps=1e-5)
        self.rows: list[list[Any]] = []

    def evaluate(self) -> None:
        self.rows = [[] for _ in range(self.vecenv.num_agents)]
        while sum(map(len, self.rows)) < self.config.batch_size:
            observation, reward, _, _, _, ids, mask = self.vecenv.recv()
            seen = torch.as_tensor(observation)
            with torch.no_grad():
                action, logprob, _, _, (h, c) = self.policy(seen, (self.h[:, ids], self.c[:, ids]))
            self.h[:, ids], self.c[:, ids] = h, c
            for i, env in enumerate(ids):
                self.rows[env].append((seen[i].clone(), action[i], logprob[i], float(reward[i])))
            self.global_step += int(sum(mask))
            self.vecenv.send(action.cpu().numpy())

    def train(self) -> None:
        horizon, state = self.config.bptt_horizon, None
        for start in range(0, len(self.rows[0]) - horizon + 1, horizon):
            window = [rows[start : start + horizon] for rows in self.rows]
            seen, action, logprob = (torch.stack([torch.stack([r[k] for r in w]) for w in window]) for k in range(3))
            returns = torch.tensor([[r[3] for r in w] for w in window]).flatten()
            _, new, entropy, value, state = self.policy(seen, state=state, action=action)
            state = (state[0].detach(), state[1].detach())
            policy_loss = -((new - logprob.flatten()).exp() * returns).mean() - self.config.ent_coef * entropy.mean()
            value_loss = (value.flatten() - returns).square().mean()
            self.optimizer.zero_grad()
            (policy_loss + self.config.vf_coef * value_loss).backward()
            self.optimizer.step()
            self.losses = Losses(float(policy_loss), float(value_loss))
        self.epoch += 1
        print(f"step {self.global_step} losses {self.losses}")

    def done_training(self) -> bool:
        return self.global_step >= self.config.total_timesteps

    def save_checkpoint(self) -> None:
        folder = os.path.join(self.config.data_dir, self.config.exp_id)
        os.makedirs(folder, exist_ok=True)
        torch.save(self.policy, os.path.join(folder, f"model_{self.epoch:06d}.pt"))

    def __enter__(self) -> CleanPuffeRL:
        return self

    def __exit__(self, *args: Any) -> None:
        self.vecenv.close()
        self.save_checkpoint()
        print("Run complete")
