"""HierQ on a tokenizer's encoder: frozen or trained along, in checkpoints without the tokenizer, in both trainers."""

from __future__ import annotations

import copy
import io
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import FakeRed
from upstream_stand_in.runs import HOST_REWARD, OURS, SMALL, STAND_IN, Host

from daddy_puffer import plugin
from daddy_puffer.config import Config, EnvConfig, PolicyConfig, ReplayConfig, TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.evaluate.comparison import compare
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint, load_checkpoint_config
from daddy_puffer.learner.learner import Learner
from daddy_puffer.policies.hierq import HierQState
from daddy_puffer.policies.pretrained import PretrainedScreen
from daddy_puffer.pretraining.autoencode import AutoencodeSettings, TokenizerTrainer
from daddy_puffer.pretraining.collect import Collecting, collect
from daddy_puffer.pretraining.frames import load_frames
from daddy_puffer.train import train
from daddy_puffer.types import Action, SequenceBatch
from daddy_puffer.vision.saved import save
from daddy_puffer.vision.tokenizer import TokenizerSettings, encoder_settings, load_tokenizer, network_state

STACK, ROWS, ENVS = 4, 7, 3  # STACK is that of the fake environment
SHAPE = TokenizerSettings(kind="vq", tile_channels=8, cell_channels=12, block_channels=6, latent_size=5, codes=16)
SPACE = FakeRed().observation_space
assert isinstance(SPACE, gymnasium.spaces.Dict)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer after a few updates on frames of the cartridge; not of the default shape."""
    frames, folder = tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("tokenizer")
    list(collect(frames, Collecting(frames=60, most_steps=30, test_every=2, random_start_steps=5), pytest.fail))
    learning = AutoencodeSettings(batch_size=8, learning_rate=3e-3, perceptual="none")
    trainer = TokenizerTrainer(load_frames(frames, pytest.fail), SHAPE, learning, torch.device("cpu"))
    for step in range(5):
        trainer.update(step / 5)
    save(folder / "tokenizer.pt", "tokenizer", network_state(trainer.tokenizer))
    return folder


def configured(path: Path, *, finetune: bool = False, **policy: Any) -> Config:
    return Config(
        policy=PolicyConfig(pretrained=str(path), finetune_encoder=finetune, **policy),
        replay=ReplayConfig(burn_in=2, sequence_length=ROWS - 3, batch_size=ENVS),
        train=TrainConfig(device="cpu", seed=3),
    )


def make_learner(config: Config) -> Learner:
    torch.manual_seed(0)
    return Learner(config, SPACE.spaces, len(Action))


def screen_of(learner: Learner) -> PretrainedScreen:
    return next(part for part in learner.networks.online.modules() if isinstance(part, PretrainedScreen))


def random_batch(learner: Learner, seed: int = 0) -> SequenceBatch:
    rng = np.random.default_rng(seed)
    mask = np.ones((ROWS, ENVS), bool)
    mask[-1] = False
    nothing = np.zeros((ROWS, ENVS), bool)
    return SequenceBatch(
        frames=rng.integers(0, 256, (ROWS, ENVS, STACK, 72, 20), dtype=np.uint8),
        visited=rng.integers(0, 3, (ROWS, ENVS, 9, 10), dtype=np.uint8),
        structured=rng.normal(size=(ROWS, ENVS, 12)).astype(np.float32),
        milestones=rng.integers(0, 256, (ROWS, ENVS, 4), dtype=np.uint8),
        action=rng.integers(0, len(Action), (ROWS, ENVS)),
        reward=rng.normal(size=(ROWS, ENVS)).astype(np.float32),
        terminated=nothing, truncated=nothing, first=nothing, mask=mask,
        state=np.zeros((ENVS, learner.state_size), np.float32),
        weights=np.ones(ENVS, np.float32), indices=np.arange(ENVS), age=np.zeros(ENVS, np.int64),
    )  # fmt: skip


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_every_frame_of_the_stack_goes_through_the_tokenizers_encoder(trained: Path) -> None:
    learner, tokenizer = make_learner(configured(trained)), load_tokenizer(trained)
    frames = torch.from_numpy(random_batch(learner).frames[0])
    latents = screen_of(learner).encode(frames)
    assert latents.shape == (ENVS, STACK * 5, 9, 10)
    for place in range(STACK):
        raw = tokenizer.encode(frames[:, place]).raw
        torch.testing.assert_close(latents[:, 5 * place : 5 * place + 5], raw)
    assert latents.std() > 0.5


def test_a_frozen_encoder_is_nothing_to_train(trained: Path) -> None:
    learner = make_learner(configured(trained))
    online, screen = learner.networks.online, screen_of(learner)
    assert not list(screen.encoder.parameters()) and not screen.encoder.training
    names = [name for name, _ in online.named_parameters() if name.startswith("encoder.screen")]
    assert sorted({name.split(".")[2] for name in names}) == ["block", "enter", "merge", "norm"]
    given = [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]
    assert sum(map(torch.numel, given)) == learner.parameter_count
    before, all_before = weights(screen.encoder), weights(online)
    for seed in range(3):
        learner.update(random_batch(learner, seed))
    assert same(weights(screen.encoder), before)
    assert same(before, weights(load_tokenizer(trained).encoder))
    for name in ("enter.weight", "block.weight", "merge.weight"):
        assert not torch.equal(weights(online)[f"encoder.screen.{name}"], all_before[f"encoder.screen.{name}"])
    online.train()
    assert not screen.encoder.training and screen.enter.training


def test_fine_tuning_begins_with_the_tokenizer_and_goes_on_from_it(trained: Path) -> None:
    learner = make_learner(configured(trained, finetune=True))
    screen, pretrained = screen_of(learner), weights(load_tokenizer(trained).encoder)
    assert same(weights(screen.encoder), pretrained)
    learner.separate_actor()
    for seed in range(2):
        learner.update(random_batch(learner, seed))
    assert not any(torch.equal(value, pretrained[name]) for name, value in weights(screen.encoder).items())
    learner.publish()
    assert same(weights(learner.networks.actor), weights(learner.networks.online))


@pytest.mark.parametrize("bf16", [False, True])
def test_prepared_frames_give_what_frames_give(trained: Path, bf16: bool) -> None:
    learner = make_learner(configured(trained, bf16=bf16))
    online, batch = learner.networks.online, random_batch(learner)
    frames, *others = (torch.from_numpy(part) for part in (batch.frames, batch.structured, batch.visited, batch.first))
    prepared = online.prepare(frames)
    assert prepared.shape == (ROWS, ENVS, STACK * 5, 9, 10) and not prepared.requires_grad
    with torch.no_grad():
        whole = online.unroll(frames, *others, online.initial_state(ENVS))[0]
        again = online.unroll(prepared, *others, online.initial_state(ENVS))[0]
        state: HierQState = online.initial_state(ENVS)
        for t in range(ROWS):
            stepped, state, _ = online(frames[t], others[0][t], state, others[2][t], others[1][t])
            torch.testing.assert_close(stepped, whole[t], atol=0.05 if bf16 else 1e-5, rtol=1e-4)
    assert torch.equal(whole, again)
    tuned = make_learner(configured(trained, finetune=True)).networks.online
    assert tuned.prepare(frames) is frames


@pytest.mark.parametrize("finetune", [False, True])
def test_a_state_needs_no_tokenizer_and_goes_on_bit_for_bit(trained: Path, finetune: bool, tmp_path: Path) -> None:
    """The tokenizer is gone, and was not of the default shape."""
    moved = shutil.copytree(trained, tmp_path / "moved")
    config = configured(moved, finetune=finetune)
    one = make_learner(config)
    one.update(random_batch(one))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    shutil.rmtree(moved)
    other = make_learner(config)
    other.separate_actor()
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert encoder_settings(screen_of(other).encoder.state_dict()) == replace(SHAPE, kind="continuous", codes=512)
    assert same(weights(other.networks.actor), weights(one.networks.online))
    for seed in range(1, 4):
        assert one.update(random_batch(one, seed)).scalars == other.update(random_batch(other, seed)).scalars
    assert same(weights(other.networks.online), weights(one.networks.online))
    assert same(weights(other.networks.target), weights(one.networks.target))
    begun = make_learner(config)  # --init-from
    begun.load_networks(one.state_dict())
    assert same(weights(begun.networks.target), weights(one.networks.online))
    assert not any(parameter.requires_grad for parameter in begun.networks.target.parameters())
    begun.update(random_batch(begun))


def failing(call: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    return str(error.value)


def failing_act(learner: Learner) -> str:
    observation = {name: np.zeros((1, *(space.shape or ())), space.dtype) for name, space in SPACE.spaces.items()}
    nothing = np.zeros(1, np.float32)
    return failing(learner.act, observation, nothing > 0, learner.initial_state(1), nothing)


def test_what_is_no_tokenizer_is_named_in_one_line(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"no network")
    save(tmp_path / "model.pt", "dynamics", {})
    said = {"gone": "no tokenizer.pt at", "other.pt": "is damaged", "model.pt": "is no tokenizer of format"}
    for name, words in said.items():
        learner = make_learner(configured(tmp_path / name))
        for error in (
            failing_act(learner),
            failing(learner.update, random_batch(learner)),
            failing(learner.state_dict),
        ):
            assert error.startswith("policy.pretrained: ") and words in error and name in error and "\n" not in error
    with pytest.raises(UserError, match="finetune_encoder needs policy.pretrained"):
        PolicyConfig(finetune_encoder=True)
    plain = make_learner(Config(train=TrainConfig(device="cpu")))
    with pytest.raises((UserError, RuntimeError)):
        make_learner(configured(trained)).load_networks(plain.state_dict())


def test_a_run_with_its_tokenizer_gone_is_resumed_begun_with_judged_and_filmed(trained: Path, tmp_path: Path) -> None:
    tokenizer = shutil.copytree(trained, tmp_path / "tokenizer")
    config = Config(
        env=EnvConfig(max_steps=30),
        policy=PolicyConfig(pretrained=str(tokenizer)),
        replay=ReplayConfig(capacity=2000, burn_in=2, sequence_length=6, batch_size=2, learning_starts=60),
        train=TrainConfig(
            num_envs=2, vectorization="serial", total_steps=120, run_name="run", device="cpu",
            runs_dir=str(tmp_path / "runs"), live_interval=0, record_episodes="none",
        ),
    )  # fmt: skip
    first = train(config, film_steps=2)
    frozen = {name: value for name, value in saved_networks(first.checkpoint).items() if ".screen.encoder." in name}
    expected = {f"encoder.screen.encoder.{name}": v for name, v in weights(load_tokenizer(tokenizer).encoder).items()}
    assert same(frozen, expected)
    shutil.rmtree(tokenizer)
    longer = replace(load_checkpoint_config(first.checkpoint), train=replace(config.train, total_steps=180))
    second = train(longer, resume=find_checkpoint(first.folder), film_steps=2)
    assert second.films and all(film.stat().st_size for film in second.films)
    assert same(frozen, {name: value for name, value in saved_networks(second.checkpoint).items() if name in frozen})
    third = train(
        replace(longer, train=replace(longer.train, run_name="new")), film_steps=2, init_from=second.checkpoint
    )
    assert third.steps >= 180
    assert compare(third_config := load_checkpoint_config(third.checkpoint), third.checkpoint, 2).scores["trained"]
    assert third_config.policy.pretrained == str(tokenizer)
    with pytest.raises(UserError, match="^policy.pretrained: no tokenizer.pt at"):
        train(replace(longer, train=replace(longer.train, run_name="none")), film_steps=2)


def saved_networks(checkpoint: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(checkpoint)["learner"]["online"]
    return found


def test_the_hosts_ppo_trains_what_is_to_be_trained(trained: Path, tmp_path: Path) -> None:
    """Its optimiser gets all parameters there are, and it pickles the policy as it is."""
    host = Host(STAND_IN, tmp_path)
    policies = f"policies:\n  daddy_puffer.HierQ:\n    policy:\n      pretrained: {trained}\n"
    (host.folder / "config.yaml").write_text(SMALL + policies)
    ended = host.train(*OURS, "--reward", HOST_REWARD, "--vectorization", "serial")
    assert ended.returncode == 0, ended.stderr
    (checkpoint,) = host.folder.glob("runs/*/model_000002.pt")
    policy = torch.load(checkpoint, weights_only=False)
    encoder = policy.policy.network.encoder.screen.encoder
    assert not list(encoder.parameters()) and same(weights(encoder), weights(load_tokenizer(trained).encoder))


def test_a_copy_of_a_network_has_weights_of_its_own(trained: Path) -> None:
    learner = make_learner(configured(trained))
    other = copy.deepcopy(learner.networks.online)
    assert same(weights(other), weights(learner.networks.online))
    screen = next(part for part in other.modules() if isinstance(part, PretrainedScreen))
    assert screen.encoder[0].weight.data_ptr() != screen_of(learner).encoder[0].weight.data_ptr()


def test_the_plugin_makes_the_same_network(trained: Path) -> None:
    keys = ("frames", "visited", "structured", "milestones", "episode")
    layout = np.dtype([(key, SPACE[key].dtype, SPACE[key].shape) for key in keys])
    env = SimpleNamespace(
        env=SimpleNamespace(observation_space=SPACE),
        single_action_space=SimpleNamespace(n=7),
        emulated=SimpleNamespace(emulated_observation_dtype=layout),
    )
    policy = plugin.make_policy(env, pretrained=str(trained), finetune_encoder=True)
    screen = policy.network.encoder.screen
    assert same(weights(screen.encoder), weights(load_tokenizer(trained).encoder))
    assert all(parameter.requires_grad for parameter in screen.encoder.parameters())
    with pytest.raises(UserError, match=r"policy\.pretrained: no tokenizer\.pt at nowhere"):
        plugin.make_policy(env, pretrained="nowhere")
