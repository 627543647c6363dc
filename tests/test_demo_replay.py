"""Q-learning with demonstrations: what is drawn, what is learnt, and that files become rows of this run's game."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import greedy_return, make_tiny

from daddy_puffer import train_big
from daddy_puffer.config import (
    Config,
    DemosConfig,
    EnvConfig,
    ExplorationConfig,
    LearnerConfig,
    PolicyConfig,
    ReplayConfig,
    TrainConfig,
    load_config,
    save_config,
)
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.players import make_player
from daddy_puffer.demos.record import record_episodes
from daddy_puffer.demos.rerun import play_again, read_demonstrations
from daddy_puffer.envs.tiny import Chain, TinyTask
from daddy_puffer.errors import UserError
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.teaching import Teaching
from daddy_puffer.numerics.imitation import cloning_loss, large_margin_loss
from daddy_puffer.replay import DemoReplay, DemoRows, MixedReplay, SequenceReplay, make_demo_replay, make_replay
from daddy_puffer.train import train
from daddy_puffer.types import Array, SequenceBatch, StepBatch

NO_MEMORY = PolicyConfig(use_gru=False, use_lstm=False, use_ssm=False)
SHAPES = {"structured_size": 2, "milestone_size": 1, "state_size": 1}


def numbered(episode: int, steps: int, terminated: bool) -> DemoRows:
    """An episode whose rows say which they are: in `structured`, in the frames, in actions and rewards."""
    t = np.arange(steps + 1)
    return DemoRows(
        seen={
            "frames": np.broadcast_to((t % 256).astype(np.uint8)[:, None, None], (steps + 1, 72, 20)),
            "visited": np.zeros((steps + 1, 9, 10), np.uint8),
            "structured": np.stack([np.full(steps + 1, episode), t], axis=1).astype(np.float32),
            "milestones": np.zeros((steps + 1, 1), np.uint8),
        },
        action=t[:-1] % 7,
        reward=(100.0 * episode + t[:-1]).astype(np.float32),
        terminated=terminated,
    )


def assert_rows_are_right(batch: SequenceBatch, demo: Array, lengths: list[int], ends: list[bool]) -> set[Any]:
    """Every transition of the columns `demo` is one that was demonstrated, in order; returns (episode, row) of them."""
    found = set()
    for column in np.flatnonzero(demo):
        at = np.flatnonzero(batch.mask[:, column])
        assert len(at) and (np.diff(at) == 1).all()
        episode, row = batch.structured[at, column].astype(int).T
        assert (episode == episode[0]).all() and (np.diff(row) == 1).all()
        number = int(episode[0])
        assert (batch.action[at, column] == row % 7).all()
        assert (batch.reward[at, column] == 100.0 * episode + row).all()
        last = row == lengths[number] - 1
        assert (batch.terminated[at, column] == (last & ends[number])).all()
        assert (batch.truncated[at, column] == (last & (not ends[number]))).all()
        assert (batch.first[at, column] == (row == 0)).all()
        following = batch.structured[at + 1, column].astype(int)
        assert (following[:, 0] == number).all() and (following[:, 1] == row + 1).all(), "what an action led to is seen"
        back = np.arange(batch.frames.shape[2] - 1, -1, -1)
        assert (batch.frames[at, column, :, 0, 0] == np.maximum(row[:, None] - back, 0)).all()
        found |= set(zip(episode.tolist(), row.tolist(), strict=True))
    return found


def replay_of(config: ReplayConfig, episodes: list[DemoRows], stack: int = 1) -> DemoReplay:
    lengths = np.array([len(episode.action) for episode in episodes])
    demos = DemoReplay(config, lengths=lengths, frame_stack=stack, seed=0, **SHAPES)
    for episode in episodes:
        demos.add(episode)
    assert demos.check_valid() == (True, "")
    return demos


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    ends=st.lists(st.booleans(), min_size=4, max_size=4),
    sizes=st.tuples(st.integers(0, 5), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
)
@settings(max_examples=15, deadline=None)
def test_sequences_stay_in_their_episode_and_cover_it(
    lengths: list[int], ends: list[bool], sizes: tuple[int, int, int, int]
) -> None:
    burn_in, trained, period, stack = sizes
    period = min(period, trained)
    config = ReplayConfig(burn_in=burn_in, sequence_length=trained, sequence_period=period)
    episodes = [numbered(number, steps, ends[number]) for number, steps in enumerate(lengths)]
    demos = replay_of(config, episodes, stack)
    assert len(demos) == sum(lengths)
    batch = demos.sample(20 * demos.sequences)  # all of them, but for one chance in many millions
    assert_rows_are_right(batch, np.ones(batch.mask.shape[1], bool), lengths, ends)
    # the same without burn-in, which is not trained on: every transition is there
    trained_rows = replace(batch, mask=batch.mask & (np.arange(len(batch.mask))[:, None] >= burn_in))
    found = assert_rows_are_right(trained_rows, np.ones(batch.mask.shape[1], bool), lengths, ends)
    assert found == {(number, row) for number, steps in enumerate(lengths) for row in range(steps)}


def own_step(number: int, envs: int) -> StepBatch:
    """A row of the run's own: no demonstrated row looks like it."""
    nothing = np.zeros(envs, bool)
    seen = {
        "frames": np.zeros((envs, 1, 72, 20), np.uint8),
        "visited": np.zeros((envs, 9, 10), np.uint8),
        "structured": np.full((envs, 2), -1.0, np.float32),
        "milestones": np.zeros((envs, 1), np.uint8),
    }
    first = np.full(envs, number == 0)
    return StepBatch(seen, np.zeros(envs, np.float32), nothing, nothing, first, np.arange(envs), [])


@pytest.mark.parametrize("prioritized", [False, True])
def test_the_ratio_is_kept_and_demonstrations_are_never_overwritten(prioritized: bool) -> None:
    """The run's own replay is written round several times meanwhile, and given new priorities."""
    config = ReplayConfig(
        capacity=64, burn_in=2, sequence_length=6, sequence_period=3, learning_starts=1, prioritized=prioritized
    )
    lengths, ends = [30, 5, 17], [True, False, False]
    demos = replay_of(
        config, [numbered(i, steps, end) for i, (steps, end) in enumerate(zip(lengths, ends, strict=True))]
    )
    own = SequenceReplay(config, num_envs=2, frame_stack=1, seed=1, **SHAPES)
    mixed = MixedReplay(own, demos, ratio=0.25, seed=2)
    shown, batches = 0, 600
    for number in range(200 + batches):
        mixed.add(own_step(number, 2), np.zeros(2, np.int64), np.zeros((2, 1), np.float32))
        if number < 200:
            continue
        batch = mixed.sample(8)
        assert batch.mask.shape == (9, 8)
        rows = np.zeros((9, 8), bool) if batch.demonstrated is None else batch.demonstrated
        demonstrated = batch.indices == -1
        assert (rows[batch.mask] == np.broadcast_to(demonstrated, (9, 8))[batch.mask]).all()
        assert (batch.structured[:, ~demonstrated] == -1.0).all()
        assert_rows_are_right(batch, demonstrated, lengths, ends)
        mixed.update_priorities(batch.indices, np.linspace(0.1, 2.0, 8))
        shown += int(demonstrated.sum())
    assert own.check_valid() == (True, "") and demos.check_valid() == (True, "")
    expected, deviation = 0.25 * 8 * batches, (8 * batches * 0.25 * 0.75) ** 0.5
    assert abs(shown - expected) < 4 * deviation


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_of_nothing_or_all_draws_from_one_side_only(ratio: float) -> None:
    config = ReplayConfig(capacity=64, burn_in=0, sequence_length=4, sequence_period=2, learning_starts=1)
    own = SequenceReplay(config, num_envs=1, frame_stack=1, seed=1, **SHAPES)
    mixed = MixedReplay(own, replay_of(config, [numbered(0, 9, True)]), ratio, seed=0)
    for number in range(20):
        mixed.add(own_step(number, 1), np.zeros(1, np.int64), np.zeros((1, 1), np.float32))
    assert ((mixed.sample(50).indices == -1) == (ratio == 1.0)).all()


def test_states_are_those_that_the_actor_has_there() -> None:
    """Of a network with all memories, step by step from the beginning of each episode."""
    config = tiny_config(replay=ReplayConfig(burn_in=2, sequence_length=5, sequence_period=3), policy=PolicyConfig())
    env, learner = make_tiny(Chain, config)
    rng = np.random.default_rng(0)
    demos = make_demo_replay(config, env.observation_space.spaces, learner.state_size, [23, 1, 11])
    states: dict[tuple[float, ...], Array] = {}
    for steps in (23, 1, 11):
        rows = numbered(0, steps, True)
        rows = replace(rows, seen={**rows.seen, "structured": rng.normal(size=(steps + 1, 6)).astype(np.float16)})
        demos.add(rows)
        state = learner.initial_state(1)
        for t in range(steps):
            seen = {name: array[t : t + 1] for name, array in rows.seen.items()}
            seen |= {"frames": seen["frames"][:, None], "structured": seen["structured"].astype(np.float32)}
            states[tuple(seen["structured"][0].tolist())] = np.where(t == 0, 0.0, state[0])
            state = learner.act(seen, np.array([t == 0]), state, np.zeros(1, np.float32)).state
    demos.refresh(learner.states_after)
    batch = demos.sample(100)
    inside = ~batch.first[0]  # else memories are emptied at once
    assert 30 < inside.sum() < 100
    expected = [states[tuple(row.tolist())] for row in batch.structured[0, inside]]
    np.testing.assert_allclose(batch.state[inside], expected, atol=1e-4)
    assert np.abs(batch.state[inside]).max() > 0.1


def test_large_margin_by_hand() -> None:
    q_values = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 1.8, 2.0], [1.0, 1.0, 1.0]])
    got = large_margin_loss(q_values, torch.tensor([0, 2, 2, 1]), margin=0.5)
    torch.testing.assert_close(got, torch.tensor([3.0 + 0.5 - 1.0, 0.0, 1.8 + 0.5 - 2.0, 0.5]))


def test_cloning_by_hand() -> None:
    q_values = torch.tensor([0.1, 0.2], requires_grad=True)
    loss = cloning_loss(q_values, torch.tensor(0), temperature=0.1)
    torch.testing.assert_close(loss, -0.1 * torch.log(torch.tensor(1 / (1 + np.e), dtype=torch.float32)))
    loss.backward()
    chance = float(1 / (1 + np.exp(-1)))  # of the other action
    torch.testing.assert_close(q_values.grad, torch.tensor([-chance, chance]))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=7), st.integers(0, 6), st.floats(0.01, 5.0))
def test_imitation_losses_pull_no_harder_than_a_td_error(values: list[float], action: int, size: float) -> None:
    for loss in (cloning_loss, large_margin_loss):
        q_values = torch.tensor(values, requires_grad=True)
        found = loss(q_values, torch.tensor(action % len(values)), size)
        found.backward()
        assert q_values.grad is not None
        assert float(found.detach()) >= -1e-4 and float(q_values.grad.abs().max()) <= 1.0 + 1e-6


def tiny_config(demos: DemosConfig | None = None, **parts: Any) -> Config:
    base = Config(
        policy=NO_MEMORY,
        demos=demos or DemosConfig(),
        exploration=ExplorationConfig(temperature=0.02),
        replay=ReplayConfig(
            capacity=4000, burn_in=0, sequence_length=5, sequence_period=4, batch_size=16, learning_starts=200
        ),
        learner=LearnerConfig(learning_rate=2e-3, gamma=0.8, target_period_updates=100, expected_bootstrap=False),
        train=TrainConfig(num_envs=8, seed=1, device="cpu"),
    )
    return replace(base, **parts)


def demonstrate(task: TinyTask, act: Callable[[Array, int], int], episodes: int) -> list[DemoRows]:
    """Whole episodes of who acts by observation and step."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(episodes):
        structured, actions, rewards = [task.reset(rng)], [], []
        ended = terminated = False
        while not ended:
            actions.append(act(structured[-1], len(actions)))
            observation, reward, terminated, truncated = task.step(actions[-1])
            structured.append(observation)
            rewards.append(reward)
            ended = terminated or truncated
        blank = numbered(0, len(actions), terminated).seen
        found.append(
            DemoRows(
                seen={**blank, "frames": np.zeros_like(blank["frames"]), "structured": np.stack(structured)},
                action=np.array(actions),
                reward=np.array(rewards, np.float32),
                terminated=terminated,
            )
        )
    return found


def train_with(
    config: Config, task: Callable[[], TinyTask], shown: list[DemoRows], steps: int, epsilon: float
) -> tuple[Any, Learner]:
    """The trainer's loop, with demonstrations if there are some; one update a step."""
    env, learner = make_tiny(task, config)
    spaces = env.observation_space.spaces
    own = make_replay(config, spaces, learner.state_size, env.num_envs)
    demos = make_demo_replay(config, spaces, learner.state_size, [len(rows.action) for rows in shown])
    for rows in shown:
        demos.add(rows)
    replay = MixedReplay(own, demos, config.demos.ratio if shown else 0.0, seed=0)  # type: ignore[arg-type]
    teaching = Teaching(config, learner, demos)
    updates = 0
    while teaching.warms_up(updates):
        teaching.prepare(0, updates)
        learner.update(demos.sample(config.replay.batch_size))
        updates += 1
    step, state = env.reset(config.train.seed), learner.initial_state(env.num_envs)
    everyone = np.full(env.num_envs, epsilon, np.float32)
    for number in range(steps):
        result = learner.act(step.observation, step.first, state, everyone)
        replay.add(step, result.actions, state)
        step, state = env.step(result.actions), result.state
        if replay.ready:
            teaching.prepare(number * env.num_envs, updates)
            sampled = replay.sample(config.replay.batch_size)
            replay.update_priorities(sampled.indices, learner.update(sampled).priorities)
            updates += 1
    return env, learner


def values_of_chain(learner: Learner) -> Array:
    states = np.eye(6, dtype=np.float32)[:-1]
    seen = {"frames": np.zeros((5, 1, 72, 20), np.uint8), "visited": np.zeros((5, 9, 10), np.uint8)}
    nothing = np.zeros(5, np.float32)
    return learner.act({**seen, "structured": states}, nothing == 0, learner.initial_state(5), nothing).q_values


@pytest.mark.learning
def test_values_converge_to_the_optimal_ones_once_imitation_has_ended() -> None:
    """The demonstrator goes the wrong way every third step: who imitates it for ever has other values."""
    gap = {}
    shown = demonstrate(Chain(), lambda seen, step: int(step % 3 != 2), episodes=20)
    for anneal_steps in (2000, 0):
        demos = DemosConfig(folder="x", ratio=0.25, margin_weight=1.0, anneal_steps=anneal_steps)
        _, learner = train_with(tiny_config(demos), Chain, shown, steps=800, epsilon=0.5)
        gap[anneal_steps] = np.abs(values_of_chain(learner) - Chain().optimal_values(0.8)).max()
    assert gap[2000] < 0.03
    assert gap[0] > 0.06


class Lock:
    """Twelve steps, each with one right button of three; a wrong one ends the episode. All right pays 1."""

    num_actions, size, code = 3, 12, (0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 2, 1)

    def reset(self, rng: np.random.Generator) -> Array:
        """At the first button."""
        self._at = 0
        return np.eye(self.size, dtype=np.float32)[0]

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Press a button."""
        right = action == self.code[self._at]
        done = right and self._at == self.size - 1
        self._at = min(self._at + right, self.size - 1)
        return np.eye(self.size, dtype=np.float32)[self._at], float(done), done or not right, False


@pytest.mark.learning
def test_what_chance_does_not_find_is_learnt_from_three_demonstrations() -> None:
    """A random player opens the lock once in 3 ** 12 = 531,441 episodes."""
    shown = demonstrate(Lock(), lambda seen, step: Lock.code[int(seen.argmax())], episodes=3)
    config = tiny_config(DemosConfig(folder="x", ratio=0.25, anneal_steps=2000, warm_up_updates=100))
    config = replace(config, learner=replace(config.learner, gamma=0.95, target_period_updates=20))
    found = {}
    for name, demos in (("with", shown), ("without", [])):
        env, learner = train_with(config, Lock, demos, steps=400, epsilon=0.1)
        found[name] = greedy_return(env, learner, episodes=20)
    assert found == {"with": 1.0, "without": 0.0}


def test_only_the_rows_to_imitate_are_imitated() -> None:
    """Half of the actions of each episode are only experience: the losses do not know them."""
    config = tiny_config(DemosConfig(folder="x", bc_weight=0.0, margin_weight=1.0))
    env, learner = make_tiny(Chain, config)
    demos = make_demo_replay(config, env.observation_space.spaces, learner.state_size, [6] * 4)
    for rows in demonstrate(Chain(), lambda seen, step: step % 2, episodes=4):
        right = rows.action == 1
        demos.add(replace(rows, imitated=right))
    batch = demos.sample(64)
    assert batch.demonstrated is not None and not (batch.demonstrated & ~batch.mask).any()
    assert (batch.action[batch.demonstrated] == 1).all() and (batch.action[batch.mask & ~batch.demonstrated] == 0).all()
    scalars = [learner.update(demos.sample(64)).scalars for _ in range(60)]
    assert scalars[-1]["demo/accuracy"] == 1.0 > scalars[0]["demo/accuracy"] or scalars[0]["demo/accuracy"] == 1.0


def test_without_demonstrated_sequences_an_update_is_the_same_to_the_bit() -> None:
    """A batch that says that nothing in it was demonstrated, and one that says nothing."""
    weights = []
    for nothing in (False, True):
        config = tiny_config(DemosConfig(folder="x", margin_weight=1.0))
        env, learner = make_tiny(Chain, config)
        demos = make_demo_replay(config, env.observation_space.spaces, learner.state_size, [5] * 9)
        for rows in demonstrate(Chain(), lambda seen, step: step % 2, episodes=9):
            demos.add(rows)
        for _ in range(5):
            batch = demos.sample(16)
            learner.update(replace(batch, demonstrated=np.zeros_like(batch.mask) if nothing else None))
        weights.append([parameter.detach().clone() for parameter in learner.networks.online.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("dueling", [True, False])
def test_a_clone_forgets_the_level_of_its_values_and_prefers_the_same(dueling: bool) -> None:
    config = tiny_config()
    env, learner = make_tiny(Chain, replace(config, policy=replace(config.policy, dueling=dueling)))
    head = learner.networks.online.head
    if dueling:
        torch.nn.init.normal_(head.level.weight, 5.0)
        torch.nn.init.normal_(head.advantages.weight, 5.0)
    else:
        torch.nn.init.normal_(head.values.weight, 5.0)
    learner.load_networks({"online": learner.networks.online.state_dict()})
    before = values_of_chain(learner)
    learner.forget_level()
    after = values_of_chain(learner)
    assert np.abs(before.mean(axis=1)).min() > 10.0
    np.testing.assert_allclose(after.mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(after, before - before.mean(axis=1, keepdims=True), atol=1e-4)
    target = learner.networks.target.head.state_dict()
    assert all(torch.equal(target[name], value) for name, value in head.state_dict().items())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scripted episodes of 60 actions on the practice cartridge, cut off there."""
    folder = tmp_path_factory.mktemp("demos")
    game = Game(Recipe.of_config(Config(env=EnvConfig(max_steps=60)), random_start_steps=10))
    assert len(list(record_episodes(game, make_player("scripted", game), "scripted", 2, folder, seed=3))) == 2
    game.close()
    return folder


def cartridge(folder: Path, **others: Any) -> Config:
    return Config(
        env=EnvConfig(max_steps=60),
        demos=DemosConfig(folder=str(folder), ratio=0.5, warm_up_updates=5, anneal_steps=1000, refresh_updates=10),
        replay=ReplayConfig(capacity=4000, burn_in=2, sequence_length=8, batch_size=4, learning_starts=50),
        train=TrainConfig(num_envs=2, total_steps=200, log_interval=100, vectorization="serial", device="cpu"),
        **others,
    )


def test_files_become_rows_of_this_runs_rewards(recorded: Path) -> None:
    """Cells pay a quarter; nothing else pays in so short a way but the script's events, which pay as before."""
    config = cartridge(recorded)
    episodes = read_demonstrations(config)
    same = list(play_again(config, episodes))
    for rows, episode in zip(same, episodes, strict=True):
        np.testing.assert_array_equal(rows.reward, episode.rewards)
        np.testing.assert_array_equal(rows.action, episode.actions)
        for name, array in episode.inputs.items():
            np.testing.assert_array_equal(rows.seen[name][:-1], array)
        assert not rows.terminated and len(rows.seen["structured"]) == len(episode) + 1
    cheap = list(play_again(replace(config, rewards={"cell": 0.05}), episodes))
    for rows, before in zip(cheap, same, strict=True):
        changed = rows.reward != before.reward
        assert changed.sum() > 5
        np.testing.assert_allclose((before.reward - rows.reward)[changed], 0.15, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": EnvConfig(max_steps=60, action_freq=20)}, r"recorded with env.action_freq 24, this run has 20"),
        ({"demos": DemosConfig(folder="nowhere")}, r"demos.folder: no episode_0001.npz .* nowhere.* --demos"),
    ],
)
def test_demonstrations_that_do_not_fit_are_one_line(recorded: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_demonstrations(replace(cartridge(recorded), **change))


def test_rounds_of_dagger_are_refused(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "round_000"
    folder.mkdir()
    episode = read_demonstrations(cartridge(recorded))[0]
    labelled = replace(episode, labels=episode.actions.copy(), by_expert=np.zeros(len(episode), bool))
    (folder / "episode_0001.npz").write_bytes(labelled.to_bytes())
    with pytest.raises(UserError, match="of a round of DAgger: half of its actions are the student's"):
        read_demonstrations(cartridge(folder))


def test_episodes_that_play_otherwise_are_left_out(recorded: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = cartridge(recorded)
    good, bad = read_demonstrations(config)
    bad = replace(bad, actions=np.roll(bad.actions, 7), check_hashes=bad.check_hashes.copy())
    assert len(list(play_again(config, [good, bad]))) == 1
    assert "skipped demonstration 2: the memory differs" in caplog.text
    with pytest.raises(UserError, match="none of the demonstrations is the same"):
        list(play_again(config, [bad]))


def test_a_run_learns_from_them_and_goes_on(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line; resumed it needs the files, or is told to do without."""
    folder, run = tmp_path / "demos", tmp_path / "run"
    shutil.copytree(recorded, folder)
    config = cartridge(Path())
    config = replace(config, train=replace(config.train, runs_dir=str(tmp_path), run_name="run"))
    save_config(config, tmp_path / "config.yaml")
    call = partial(call_train_big, monkeypatch)
    assert call("--config", str(tmp_path / "config.yaml"), "--demos", str(folder), "--margin-weight", "0.1") == 0
    assert load_config(run / "config.yaml").demos == replace(config.demos, folder=str(folder), margin_weight=0.1)
    rows = read_metrics(run)
    assert [row["step"] for row in rows] == ["0", "100", "200"]
    assert all(float(row["demo/bc_loss"]) > 0.0 <= float(row["demo/margin_loss"]) for row in rows)
    assert [float(row["demo/coefficient"]) for row in rows] == pytest.approx([1.0, 0.9, 0.8])
    assert 0.0 < float(rows[-1]["demo/accuracy"]) <= 1.0
    on = ("--resume", str(run), "--total-steps")
    assert call(*on, "300", "--bc-weight", "0.5", "--demo-ratio", "0.25") == 0
    assert [row["step"] for row in read_metrics(run)] == ["0", "100", "200", "300"], "no second warm-up"
    shutil.rmtree(folder)
    capsys.readouterr()
    assert call(*on, "400") == 1
    assert re.fullmatch(r"error: demos.folder: .*--demos\n", capsys.readouterr().err)
    assert call(*on, "320", "--demos", "") == 0


def call_train_big(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command, with a film of one picture."""
    monkeypatch.setattr(sys, "argv", ["train_big", *arguments])
    monkeypatch.setattr(train_big, "train", partial(train, film_steps=1))
    with pytest.raises(SystemExit) as ended:
        train_big.main()
    return int(ended.value.code or 0)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
