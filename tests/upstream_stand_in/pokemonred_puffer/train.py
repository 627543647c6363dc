"""The command line: four commands, classes found by name, the configuration as one file."""

from __future__ import annotations

import importlib
import uuid
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pufferlib.emulation
import pufferlib.frameworks.cleanrl
import pufferlib.vector
import typer
from omegaconf import DictConfig, OmegaConf

from pokemonred_puffer import cleanrl_puffer
from pokemonred_puffer.cleanrl_puffer import CleanPuffeRL

app = typer.Typer(pretty_exceptions_enable=False)
POLICY = "multi_convolutional.MultiConvolutionalPolicy"
REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"


class Vectorization(Enum):
    multiprocessing = "multiprocessing"
    serial = "serial"
    ray = "ray"


Config = Annotated[DictConfig, typer.Option(parser=OmegaConf.load)]
Policy = Annotated[str, typer.Option("--policy-name", "-p")]
Reward = Annotated[str, typer.Option("--reward-name", "-r")]
Wrappers = Annotated[str, typer.Option("--wrappers-name", "-w")]


def load_from_config(config: DictConfig, debug: bool) -> DictConfig:
    kept = OmegaConf.create(
        {key: config.get(key, {}) for key in ("env", "train", "policies", "rewards", "wrappers", "wandb")}
    )
    kept.merge_with(config.get("debug", {}) if debug else {})
    return kept


def find(kind: str, name: str) -> Any:
    module, attribute = name.split(".")
    return getattr(importlib.import_module(f"pokemonred_puffer.{kind}.{module}"), attribute)


def setup(config: DictConfig, wrappers: str, reward: str, rom: Path, puffer: bool = True) -> Any:
    config.train.exp_id = f"pokemon-red-{uuid.uuid4().hex[:8]}"
    config.env.gb_path = rom
    classes = [find("wrappers", name) for entry in config.wrappers[wrappers] for name in entry]
    reward_class = find("rewards", reward)

    def create(env_config: Any, wrappers_config: Any, reward_config: Any) -> Any:
        env = reward_class(env_config, reward_config)
        for entry, wrapper in zip(wrappers_config, classes):  # noqa: B905
            env = wrapper(env, OmegaConf.create(list(entry.values())[0]))
        return pufferlib.emulation.GymnasiumPufferEnv(env=env) if puffer else env

    return create, {
        "env_config": config.env,
        "wrappers_config": config.wrappers[wrappers],
        "reward_config": config.rewards[reward]["reward"],
    }


def make_policy(env: Any, name: str, config: DictConfig) -> Any:
    policy = find("policies", name)(env, **config.policies[name].policy)
    if not config.train.use_rnn:
        return pufferlib.frameworks.cleanrl.Policy(policy).to(config.train.device)
    rnn = config.policies[name].rnn
    recurrent = find("policies", f"{name.split('.')[0]}.{rnn.name}")(env, policy, **rnn.args)
    return pufferlib.frameworks.cleanrl.RecurrentPolicy(recurrent).to(config.train.device)


@app.command()
def evaluate(
    config: Config = "config.yaml",
    checkpoint_path: Path | None = None,
    policy_name: Policy = POLICY,
    reward_name: Reward = REWARD,
    wrappers_name: Wrappers = "stream_only",
    rom_path: Path = "red.gb",
) -> None:
    creator, kwargs = setup(config, wrappers_name, reward_name, rom_path)
    cleanrl_puffer.rollout(creator, kwargs, model_path=checkpoint_path, device=config.train.device)


@app.command()
def autotune(
    config: Config = "config.yaml",
    policy_name: Policy = POLICY,
    reward_name: Reward = REWARD,
    wrappers_name: Wrappers = "empty",
    rom_path: Path = "red.gb",
) -> None:
    creator, kwargs = setup(load_from_config(config, False), wrappers_name, reward_name, rom_path)
    env = creator(**kwargs)
    env.reset()
    print("autotuned")


@app.command()
def debug(
    config: Config = "config.yaml",
    reward_name: Reward = REWARD,
    wrappers_name: Wrappers = "empty",
    rom_path: Path = "red.gb",
) -> None:
    creator, kwargs = setup(load_from_config(config, True), wrappers_name, reward_name, rom_path, puffer=False)
    env = creator(**kwargs)
    env.reset()
    env.step(5)
    print("debugged", sorted(env.observation_space.spaces))


@app.command()
def train(
    config: Config = "config.yaml",
    policy_name: Policy = POLICY,
    reward_name: Reward = REWARD,
    wrappers_name: Wrappers = "stream_only",
    exp_name: str | None = None,
    rom_path: Path = "red.gb",
    track: bool = False,
    debug: bool = False,
    vectorization: Vectorization = "multiprocessing",
) -> None:
    config = load_from_config(config, debug)
    creator, kwargs = setup(config, wrappers_name, reward_name, rom_path)
    serial = vectorization == Vectorization.serial
    vecenv = pufferlib.vector.make(
        creator,
        env_kwargs=kwargs,
        num_envs=config.train.num_envs,
        num_workers=config.train.num_workers,
        batch_size=config.train.env_batch_size,
        zero_copy=config.train.zero_copy,
        backend=pufferlib.vector.Serial if serial else pufferlib.vector.Multiprocessing,
    )
    policy = make_policy(vecenv.driver_env, policy_name, config)
    with CleanPuffeRL(
        exp_name=exp_name,
        config=config.train,
        vecenv=vecenv,
        policy=policy,
        env_recv_queues=[],
        env_send_queues=[],
        sqlite_db=None,
        wandb_client=None,
    ) as trainer:
        while not trainer.done_training():
            trainer.evaluate()
            trainer.train()
    print("Done training")


if __name__ == "__main__":
    app()
