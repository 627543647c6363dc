"""What `EpsilonEnv`, `Patience` and `RND` keep from step to step changes no number: each beside a slow twin that keeps
nothing, along one game of a scripted player and of random buttons on the real cartridge.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from daddy_puffer.config import EnvConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.red import RedEnv
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.game import FeatureWriter, milestone_bits
from daddy_puffer.types import Action
from daddy_puffer.wrappers import EpsilonEnv, Patience
from daddy_puffer.wrappers.rnd import OUTPUTS, SmallNetworks

STEPS, EPISODE_STEPS, STACK = 600, 300, 3
WINDOW = 7  # steps of patience: short, as the player finds something nearly all the time


def play(game: RedEnv, env: Any) -> Any:
    """Yield button (None at a reset), observation, reward and truncation; one button in five is random."""
    rng, player, truncated = np.random.default_rng(5), ScriptedPlayer(), True
    for step in range(STEPS):
        if truncated:
            truncated = False
            yield None, env.reset(seed=step)[0], 0.0, False
        button = int(rng.integers(len(Action))) if rng.random() < 0.2 else int(player.act(game.memory_image()))
        observation, reward, _, truncated, _ = env.step(np.int64(button))
        yield button, observation, float(reward), truncated


def test_observations_equal_those_made_from_nothing_and_stay_as_they_were() -> None:
    game = make_red_env(EnvConfig(max_steps=EPISODE_STEPS), {})
    env = EpsilonEnv(game, STACK)
    screens: deque[bytes] = deque(maxlen=STACK)
    given: list[tuple[dict[str, np.ndarray], dict[str, bytes]]] = []
    episode, step = -1, 0
    for button, observation, reward, truncated in play(game, env):
        screen = observation["frames"][-1].tobytes()
        episode, step = (episode + 1, 0) if button is None else (episode, step + 1)
        screens.extend([screen] * (STACK if button is None else 1))
        assert observation["frames"].tobytes() == b"".join(screens)
        fresh = FeatureWriter(EPISODE_STEPS).write(game.game_state, button)
        np.testing.assert_array_equal(observation["structured"], fresh)
        assert observation["milestones"].tobytes() == milestone_bits(game.game_state)
        assert observation["ledger"].tolist() == [np.float32(reward), 0, 0, 0]
        assert observation["episode"].tolist() == [episode, step, 0, 1 if button is None else 4 * truncated]
        given.append((observation, {key: value.tobytes() for key, value in observation.items()}))
    assert episode >= 1 and len({kept["milestones"] for _, kept in given}) > 1 and len(given) > STEPS
    for observation, kept in given:
        assert {key: value.tobytes() for key, value in observation.items()} == kept
    env.close()


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_patience_ends_where_the_sum_of_the_last_gains_says_so(threshold: float) -> None:
    game = make_red_env(EnvConfig(max_steps=EPISODE_STEPS), {})
    env = Patience(EpsilonEnv(game, 1), WINDOW, threshold)
    gains: list[float] = []
    ends = 0
    for button, _, reward, truncated in play(game, env):
        gains = [] if button is None else [*gains, max(reward, 0.0)]
        # added up in a ring's order, as the wrapper does
        ring = sorted(range(len(gains))[-WINDOW:], key=lambda at: at % WINDOW)
        impatient = len(gains) >= WINDOW and sum(gains[at] for at in ring) <= threshold
        assert truncated == (impatient or len(gains) == EPISODE_STEPS), len(gains)
        ends += impatient
    assert ends > 0
    env.close()


def test_errors_of_the_small_networks_are_mean_squared_distances() -> None:
    networks, rng = SmallNetworks(30, 1), np.random.default_rng(2)
    inputs = rng.standard_normal((5, 30)).astype(np.float32)
    before, after = networks.state_dict()["before"], networks.state_dict()["after"]
    hidden = np.maximum(inputs.astype(np.float64) @ before, 0.0)
    half = hidden.shape[1] // 2
    target, guess = hidden[:, :half] @ after[:half], -hidden[:, half:] @ after[half:]
    expected = ((target - guess) ** 2).sum(axis=1) / OUTPUTS
    np.testing.assert_allclose(networks.errors(inputs), expected, rtol=1e-4)
    np.testing.assert_array_equal(networks.errors(inputs), networks.errors(inputs.copy()))
