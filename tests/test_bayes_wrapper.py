"""`Bayes`: pays the change of a potential, on the real cartridge; and that leaves the best policy as it is."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from daddy_puffer.config import EnvConfig, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.game.milestones import MILESTONE_BYTES, MILESTONES
from daddy_puffer.progress import Posteriors
from daddy_puffer.progress.shaping import potential, shaping_reward
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.vector import make_vector
from daddy_puffer.wrappers import Bayes, EpsilonEnv, SharedPosteriors

GAMMA = 0.9
COUNT = len(MILESTONES)


class Bits(gymnasium.Env):
    """Action a sets the milestones to bits a; ends after `length` steps, terminated or truncated."""

    observation_space = gymnasium.spaces.Dict({})
    action_space = gymnasium.spaces.Discrete(8)

    def __init__(self, length: int, terminates: bool = False, start: int = 0, spawn: int = 0) -> None:
        self.length, self.terminates, self.start, self.spawn = length, terminates, start, spawn

    def reset(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.count = 0
        return self._observe(self.start), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.count += 1
        over = self.count == self.length
        return self._observe(action), 1.0, over and self.terminates, over and not self.terminates, {}

    def _observe(self, bits: int) -> dict[str, Any]:
        packed = np.zeros(MILESTONE_BYTES, np.uint8)
        packed[0] = bits
        episode = np.array([0, self.count, self.spawn, 0], np.int32)
        return {"milestones": packed, "ledger": np.zeros(4, np.float32), "episode": episode}


def episode(env: Bayes, actions: list[int]) -> list[float]:
    """r_bayes of each step; checks the reward."""
    env.reset(seed=0)
    paid = []
    for action in actions:
        observation, reward, *_ = env.step(np.int64(action))
        assert float(reward) == pytest.approx(1.0 + 2.0 * observation["ledger"][3], abs=1e-6)
        paid.append(float(observation["ledger"][3]))
    return paid


def discounted(rewards: list[float]) -> float:
    return sum(GAMMA**t * reward for t, reward in enumerate(rewards))


@pytest.mark.parametrize("terminates", [False, True])
def test_discounted_sum_is_the_change_of_the_potential(terminates: bool) -> None:
    env = Bayes(Bits(5, terminates, start=1), 2.0, Posteriors(COUNT), gamma=GAMMA)
    scale = float(Posteriors(COUNT).curiosity()[0])
    paid = episode(env, [1, 3, 2, 7, 7])
    last = 0.0 if terminates else 3.0 * scale
    assert discounted(paid) == pytest.approx(GAMMA**5 * last - scale, abs=1e-5)
    assert paid[1] == pytest.approx(GAMMA * 2.0 * scale - scale, abs=1e-6)
    assert paid[2] < 0.0  # a milestone was lost


def test_scales_change_between_episodes_only_and_taper() -> None:
    posteriors = Posteriors(COUNT)
    env = Bayes(Bits(10), 2.0, posteriors, gamma=GAMMA, step_budget=10)
    first = episode(env, [0, 1] + [1] * 8)[1]
    assert posteriors.trial_count.min() == 1.0 and posteriors.successes.sum() == 1.0
    for _ in range(40):
        last = episode(env, [0, 1] + [1] * 8)[1]
    assert last < 0.3 * first
    env.reset(seed=0)
    posteriors.update(np.ones(COUNT, bool), np.zeros(COUNT, bool))  # another environment's
    env.step(np.int64(0))
    observation, *_ = env.step(np.int64(1))
    assert observation["ledger"][3] == pytest.approx(GAMMA * env._scales[0], abs=1e-6)


def test_a_milestone_that_was_there_at_the_spawn_is_no_trial() -> None:
    posteriors = Posteriors(COUNT)
    env = Bayes(Bits(4, start=1), 2.0, posteriors, gamma=GAMMA, step_budget=4, step_budgets={MILESTONES[2].name: 2})
    episode(env, [1, 1, 7, 7])  # bits 1 and 2 at the third step, the latter too late
    assert posteriors.trial_count[:4].tolist() == [0, 1, 1, 1]
    assert posteriors.successes[:4].tolist() == [0, 1, 0, 0]


def test_only_episodes_from_the_true_start_are_trials() -> None:
    posteriors = Posteriors(COUNT)
    games = {spawn: Bits(4, spawn=spawn) for spawn in (0, 7)}
    envs = {spawn: Bayes(game, 2.0, posteriors, gamma=GAMMA, step_budget=4) for spawn, game in games.items()}
    for _ in range(30):
        episode(envs[0], [0, 0, 0, 1])  # reliable from the true start
        for _ in range(4):  # and begun near another that is gained now and then, or cut before there is time for it
            episode(envs[7], [0, 2, 2, 2])
            games[7].length = 2
            episode(envs[7], [0, 0])
            games[7].length = 4
    assert posteriors.trial_count[:2].tolist() == [30, 30]
    counted = (1.0 - 0.95**30) / (1.0 - 0.95)  # trials that are remembered of 30
    np.testing.assert_allclose(posteriors.mean[:2], [(1 + counted) / (2 + counted), 1 / (2 + counted)])
    assert envs[7]._scales[0] < 0.3  # what is paid in episodes from a state tapers, too


def test_with_a_curriculum_the_tracker_shows_what_the_rewards_follow(tmp_path: Path) -> None:
    changes = {"env.max_steps": 120, "intrinsic.bayes_weight": 1.0, "progress.step_budget": 100}
    states = {"mode": "progress", "cell_size": 4, "episode_steps": 20, "true_start_share": 0.3}
    curriculum = {f"curriculum.{name}": value for name, value in states.items()}
    config = load_config(None, {**changes, **curriculum, "train.vectorization": "serial"})
    tracker = ProgressTracker([milestone.name for milestone in MILESTONES], config.progress, 2)
    rng = np.random.default_rng(0)
    walks = [np.repeat(rng.choice(6, 300, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05]), 3) for _ in range(2)]
    tags: list[str] = []
    with make_vector(config, num_envs=2, savestates=tmp_path) as env:
        tracker.add(env.reset(seed=0))
        for actions in zip(*walks, strict=True):
            batch = env.step(np.array(actions))
            tracker.add(batch)
            tags += [info["savestate_tag"] for info in batch.infos]
        assert env.posteriors is not None
        np.testing.assert_array_equal(env.posteriors.table, tracker.posteriors.table)
        assert 0 < env.posteriors.trial_count.max() <= tags.count("") < len(tags)


def test_a_host_that_steps_on_after_a_truncation_begins_the_next_trial() -> None:
    posteriors = Posteriors(COUNT)
    env = Bayes(Bits(3), 2.0, posteriors, gamma=GAMMA, step_budget=3)
    episode(env, [0, 1, 1])
    for time, action in enumerate([1, 3, 3], start=1):
        env.unwrapped.count = time - 1  # the host never resets
        env.step(np.int64(action))
    assert posteriors.trial_count[:3].tolist() == [1, 2, 2]
    np.testing.assert_allclose(posteriors.successes[:3], [1.0, 1.0, 0.0])


def test_an_unknown_milestone_is_told() -> None:
    with pytest.raises(UserError, match="no milestone is called 'Bolder'"):
        Bayes(Bits(4), step_budgets={"Bolder": 3})


def test_shared_posteriors_are_one_for_all_processes() -> None:
    posteriors = SharedPosteriors()
    everything = np.ones(COUNT, bool)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_learn, args=(posteriors, everything, 50)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert posteriors.trial_count.tolist() == [200.0] * COUNT  # none was lost


def _learn(posteriors: SharedPosteriors, everything: np.ndarray, count: int) -> None:
    for _ in range(count):
        posteriors.update(everything, everything)


def test_a_process_that_died_with_the_lock_stops_nobody() -> None:
    posteriors = SharedPosteriors()
    posteriors._lock.acquire()
    everything = np.ones(COUNT, bool)
    posteriors.update(everything, everything)
    assert posteriors.trial_count[0] == 1.0


def test_shared_posteriors_can_be_spawned_but_not_saved() -> None:
    posteriors = SharedPosteriors()
    assert "table" not in posteriors.__getstate__()
    with pytest.raises((RuntimeError, pickle.PicklingError)):
        pickle.dumps(posteriors)  # shared memory goes to children only
    posteriors.update(np.ones(COUNT, bool), np.ones(COUNT, bool))
    loaded = SharedPosteriors()
    loaded.load_state_dict(posteriors.state_dict())
    np.testing.assert_array_equal(loaded.table, posteriors.table)


def test_the_scripted_player_is_paid_on_the_cartridge() -> None:
    steps = 400
    posteriors = Posteriors(COUNT)
    game = EpsilonEnv(make_red_env(EnvConfig(max_steps=steps), {}), 1)
    env = Bayes(game, 1.0, posteriors, gamma=GAMMA, step_budget=steps)
    env.reset(seed=0)
    player, paid, truncated = ScriptedPlayer(), [], False
    while not truncated:
        observation, reward, _, truncated, info = env.step(player.act(env.get_wrapper_attr("memory")))
        assert float(reward) == pytest.approx(observation["ledger"][0] + observation["ledger"][3], abs=1e-4)
        paid.append(float(observation["ledger"][3]))
    assert info["milestones"]
    won = [MILESTONES[i].name for i in np.flatnonzero(posteriors.successes)]
    assert set(info["milestones"]) <= set(won)  # an item may have been given away since
    assert sum(value > 0.1 for value in paid) >= 2
    env.close()


def test_the_vectorized_environment_pays_where_asked() -> None:
    changes = {"env.max_steps": 16, "progress.step_budget": 16, "train.vectorization": "serial"}
    for weight in (0.0, 2.0):
        config = load_config(None, {**changes, "intrinsic.bayes_weight": weight})
        tracker = ProgressTracker([milestone.name for milestone in MILESTONES], config.progress, 2)
        with make_vector(config, num_envs=2) as env:
            tracker.add(env.reset(seed=0))
            for _ in range(20):
                batch = env.step(np.zeros(2, np.int64))
                tracker.add(batch)
                r_env, r_bayes = batch.observation["ledger"][:, 0], batch.observation["ledger"][:, 3]
                np.testing.assert_allclose(batch.reward, r_env + weight * r_bayes, rtol=1e-5, atol=1e-6)
            assert (env.posteriors is not None) == (weight > 0)
            assert tracker.posteriors.trial_count[0] == 2.0
            if env.posteriors is not None:  # the trainer sees what the wrappers see
                np.testing.assert_array_equal(env.posteriors.table, tracker.posteriors.table)


# A tiny game with a key that can be picked up and put down: states are (place 0..3) x (key or not), the goal at place 3
# opens with the key only and terminates. Actions: left, right, pick up (at place 1), put down.
PLACES, GOAL, KEY_PLACE = 4, 3, 1
REACHED = np.array([[False], [True]])  # milestone "key", by key or not
WEIGHTS = np.array([0.8])


def move(place: int, key: int, action: int) -> tuple[int, int, float, bool]:
    """Next place and key, reward, terminated."""
    if action == 2 and place == KEY_PLACE:
        key = 1
    elif action == 3:
        key = 0
    elif action in (0, 1):
        target = min(max(place + (1 if action else -1), 0), GOAL)
        place = target if target < GOAL or key else place
    done = place == GOAL
    return place, key, 1.0 if done else -0.01, done


def best_values(bonus: Any) -> np.ndarray:
    """Q* f64 `[place, key, action]` by value iteration of the tiny game, `bonus(key, next key, done)` added."""
    q = np.zeros((PLACES, 2, 4))
    for _ in range(600):
        new = np.zeros_like(q)
        for place in range(GOAL):
            for key in range(2):
                for action in range(4):
                    to, held, reward, done = move(place, key, action)
                    new[place, key, action] = reward + bonus(key, held, done) + GAMMA * (not done) * q[to, held].max()
        q = new
    return q[:GOAL]


def best_actions(q: np.ndarray) -> list[set[int]]:
    """The best actions of every state, ties included."""
    return [set(np.flatnonzero(row > row.max() - 1e-9)) for row in q.reshape(-1, q.shape[-1])]


def phi(key: int) -> float:
    return potential(REACHED[key], WEIGHTS)


def test_shaping_leaves_the_best_policy_and_shifts_values_by_the_potential() -> None:
    plain = best_values(lambda *_: 0.0)
    shaped = best_values(lambda key, held, done: shaping_reward(phi(key), phi(held), GAMMA, done))
    assert best_actions(shaped) == best_actions(plain)
    expected = plain - np.array([phi(0), phi(1)])[None, :, None]
    np.testing.assert_allclose(shaped, expected, atol=1e-9)


def test_a_bonus_that_is_no_potential_changes_the_best_policy() -> None:
    plain = best_values(lambda *_: 0.0)
    naive = best_values(lambda key, held, done: max(phi(held) - phi(key), 0.0))
    assert best_actions(naive) != best_actions(plain)
    assert best_actions(naive)[2 * KEY_PLACE + 1] == {3}  # with the key in hand: put it down, to pick it up again


def test_a_potential_left_over_at_the_end_changes_the_values() -> None:
    plain = best_values(lambda *_: 0.0)
    wrong = best_values(lambda key, held, done: shaping_reward(phi(key), phi(held), GAMMA, False))
    expected = plain - np.array([phi(0), phi(1)])[None, :, None]
    assert np.abs(wrong - expected).max() > 0.1
