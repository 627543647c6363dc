"""Whole episodes that got to a milestone as demonstrations: gathered from what environments show, learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import through_a_file

from daddy_puffer.arrays import Arrays
from daddy_puffer.config import Config, load_config
from daddy_puffer.demos.game import INPUTS
from daddy_puffer.demos.own_way import without_loops
from daddy_puffer.demos.own_wins import OwnWins
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import place_of
from daddy_puffer.game.milestones import milestones_reached
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.teaching import Teaching
from daddy_puffer.replay import DemoReplay
from daddy_puffer.rollout import ScriptedAgent
from daddy_puffer.types import SPAWN_FIELD, Action, Array, StepBatch
from daddy_puffer.vector import RedFactory, VectorEnv

GOAL, STORY = "Boulder", "EVENT_BEAT_BROCK"
STEPS = 330


@pytest.fixture(scope="module")
def played() -> list[tuple[StepBatch, Array]]:
    """Two games: the scripted player wins the badge in the first, the second only presses B; episodes of 300 steps."""
    config = load_config(None, {"env.max_steps": 300})
    envs = [RedFactory(config)() for _ in range(2)]
    rows: list[tuple[StepBatch, Array]] = []
    with VectorEnv([lambda env=env: env for env in envs]) as vector:  # type: ignore[misc]
        agent, batch = ScriptedAgent(*envs), vector.reset(0)
        for _ in range(STEPS):
            actions = agent.act(batch)
            actions[1] = Action.B
            rows.append((copied(batch), actions))
            batch = vector.step(actions)
    return rows


def copied(batch: StepBatch) -> StepBatch:
    """The vectorized environment writes into the same memory every step."""
    parts = {name: value.copy() for name, value in vars(batch).items() if isinstance(value, np.ndarray)}
    observation = {name: value.copy() for name, value in batch.observation.items()}
    return StepBatch(**{**vars(batch), **parts, "observation": observation})


def noted(played: list[tuple[StepBatch, Array]], *goals: str, most: int = 4, longest: int = 1_000) -> OwnWins:
    wins = OwnWins(2, goals or (GOAL,), most, longest)
    for batch, actions in played:
        wins.note(batch, actions)
    return wins


def won_at(played: list[tuple[StepBatch, Array]]) -> int:
    """Step of the first observation that shows the badge."""
    flags = [milestones_reached(batch.observation["milestones"][0].tobytes()) for batch, _ in played]
    return next(step for step, found in enumerate(flags) if GOAL in found)


def test_an_episode_that_got_there_is_kept_as_it_was_played(played: list[tuple[StepBatch, Array]]) -> None:
    wins = noted(played)
    assert wins.news
    [rows] = wins.episodes()
    assert not wins.news
    steps = won_at(played)
    assert len(rows.action) == len(rows.reward) == steps and not rows.terminated
    assert rows.action.tolist() == [int(actions[0]) for _, actions in played[:steps]]
    assert rows.reward.tolist() == [batch.reward[0] for batch, _ in played[1 : steps + 1]]
    for name in INPUTS:
        shown = [batch.observation[name][0] for batch, _ in played[: steps + 1]]
        assert np.array_equal(rows.seen[name], [row[-1] if name == "frames" else row for row in shown]), name
    assert rows.imitated is not None and 0.3 * steps < rows.imitated.sum() < steps


def test_a_place_is_the_cell_and_what_was_reached(played: list[tuple[StepBatch, Array]]) -> None:
    rows = [batch.observation["structured"][0] for batch, _ in played]
    places = [place_of(row) for row in rows]
    fights = [None if place is None else place for place in places]
    assert fights.count(None) > 5, "the leader is fought"
    # nothing but the player's doing changes it: who presses B at the bed stays where he is
    still = {place_of(batch.observation["structured"][1]) for batch, _ in played}
    assert len(still) == 1 and len(set(places)) > 50
    kept = without_loops([place or ("battle", step) for step, place in enumerate(places)])
    walked = [place for place, counts in zip(places, kept, strict=True) if counts and place is not None]
    assert len(walked) == len(set(walked))


def test_each_milestone_gives_an_episode_and_the_newest_are_kept(played: list[tuple[StepBatch, Array]]) -> None:
    twice = played * 3
    assert len(noted(twice, most=4).episodes()) == 3
    newest = noted(twice, most=2)
    assert len(newest.episodes()) == 2 and len({len(rows.action) for rows in newest.episodes()}) == 1
    both = noted(played, GOAL, STORY).episodes()
    assert 1 <= len(both) <= 2 and len(both[-1].action) >= won_at(played)


def test_episodes_from_kept_states_and_long_ones_are_not_kept(played: list[tuple[StepBatch, Array]]) -> None:
    steps = won_at(played)
    assert noted(played, longest=steps).news and not noted(played, longest=steps - 1).news
    spawned = [(copied(batch), actions) for batch, actions in played]
    for batch, _ in spawned:
        batch.observation["episode"][:, SPAWN_FIELD] = 3
    assert not noted(spawned).news
    cut = [row for row in played if not row[0].first[0]]  # nobody knows how it began
    assert not noted(cut).news


@pytest.mark.parametrize("until", [1, 40, STEPS - 5])
def test_what_was_written_down_goes_on_alike(played: list[tuple[StepBatch, Array]], until: int) -> None:
    whole, begun, rest = noted(played), noted(played[:until]), OwnWins(2, (GOAL,), 4, 1_000)
    rest.set_state(through_a_file(begun.get_state()))
    assert rest.news == begun.news
    for batch, actions in played[until:]:
        rest.note(batch, actions)
    for mine, theirs in zip(rest.episodes(), whole.episodes(), strict=True):
        for name, array in theirs.to_arrays().items():
            assert np.array_equal(mine.to_arrays()[name], array), name


def settings(**changes: Any) -> Config:
    small = {"replay.burn_in": 2, "replay.sequence_length": 8, "env.frame_stack": 1}
    own = {"curriculum.mode": "go_explore", "demos.own_way": [GOAL], "demos.own_way_interval": 100}
    return load_config(None, {**small, **own, **changes})


class NoWay:
    """No state was kept that leads anywhere."""

    playing, goal = False, ""

    def look(self) -> bool:
        return False

    def advance(self) -> None:
        raise AssertionError

    def close(self) -> None:
        self.goal = "closed"

    def get_state(self) -> Arrays:
        return {}

    def set_state(self, state: Arrays) -> None:
        raise AssertionError


def test_what_was_won_is_learnt_from_at_the_next_look(played: list[tuple[StepBatch, Array]]) -> None:
    config = settings()
    env = RedFactory(config)()
    with VectorEnv([lambda: env]) as vector:
        learner = Learner(config, vector.spaces, len(Action))
        spaces = vector.spaces
    demos = DemoReplay(
        config.replay,
        lengths=np.zeros(0, np.int64),
        frame_stack=1,
        structured_size=spaces["structured"].shape[0],
        milestone_size=spaces["milestones"].shape[0],
        state_size=learner.state_size,
        seed=0,
    )
    way = NoWay()
    teaching = Teaching(config, learner, demos, way, OwnWins(2, [GOAL], 4, 1_000))
    assert teaching.play(0) == (0, None) and not demos.sequences
    for batch, actions in played:
        teaching.note(batch, actions)
    assert teaching.play(99) == (0, None) and not demos.sequences  # not before the next look
    assert teaching.play(100) == (0, None)
    assert len(demos) == won_at(played) and demos.check_valid()[0]
    teaching.prepare(100, 0)
    sample = demos.sample(4)
    assert sample.demonstrated is not None and sample.demonstrated.any()
    assert np.abs(sample.state).sum() > 0, "memories are those of the episode"
    teaching.close()
    assert way.goal == "closed"


@pytest.mark.parametrize("changes", [{"demos.own_wins": -1}, {"demos.own_wins": 3, "demos.own_way": []}])
def test_wrong_settings_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="own_wins"):
        settings(**changes)
