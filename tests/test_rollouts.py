"""Rollouts without replay, against a list that keeps everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import through_a_file
from test_replay import MILESTONE_BYTES, STATE, STRUCTURED, Stream, Twin, assert_same, make_replay

from daddy_puffer.config import ReplayConfig
from daddy_puffer.errors import UserError
from daddy_puffer.replay import Rollouts

LENGTH = 5


def make_rollouts(num_envs: int, stack: int = 1) -> Rollouts:
    return Rollouts(
        ReplayConfig(kind="rollouts", burn_in=0, sequence_length=LENGTH),
        num_envs=num_envs,
        frame_stack=stack,
        structured_size=STRUCTURED,
        milestone_size=MILESTONE_BYTES,
        state_size=STATE,
        seed=0,
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 4),
    stack=st.integers(1, 4),
    end_probability=st.sampled_from([0.0, 0.2, 1.0]),
    steps=st.integers(6, 60),
)
def test_the_last_whole_rollout_is_handed_out_as_it_was_shown(
    seed: int, num_envs: int, stack: int, end_probability: float, steps: int
) -> None:
    rollouts, stream, twin = (
        make_rollouts(num_envs, stack),
        Stream(seed, num_envs, stack, end_probability),
        Twin(num_envs),
    )
    for step in range(steps):
        assert rollouts.ready == (step > LENGTH)
        shown, state = stream.step(), stream.rng.normal(size=(num_envs, STATE)).astype(np.float32)
        action = stream.rng.integers(0, 7, num_envs)
        rollouts.add(shown, action, state)
        twin.add(shown, action, state)
        if step < LENGTH:
            continue
        batch = rollouts.sample(num_envs)
        assert sorted(batch.indices) == list(range(num_envs))
        start = (step // LENGTH - 1) * LENGTH
        assert (batch.age == (step - start) * num_envs).all()
        for column, env in enumerate(batch.indices):
            twin.check(batch, column, int(env), start)


def test_every_environment_comes_once_before_any_comes_again() -> None:
    rollouts, stream = make_rollouts(4), Stream(0, 4, 1, 0.0)
    with pytest.raises(ValueError, match="0 rows are held"):
        rollouts.sample(1)
    for _ in range(LENGTH + 1):
        rollouts.add(stream.step(), np.zeros(4, np.int64), np.zeros((4, STATE), np.float32))
    drawn = np.concatenate([rollouts.sample(2).indices for _ in range(6)])
    for round_ in drawn.reshape(3, 4):
        assert sorted(round_) == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", [3, LENGTH + 2, 4 * LENGTH + 1])
def test_what_was_written_down_goes_on_alike(steps: int) -> None:
    ours, theirs, stream = make_rollouts(3, stack=2), make_rollouts(3, stack=2), Stream(0, 3, 2, 0.2)

    def add(*rollouts: Rollouts) -> None:
        shown, state = stream.step(), stream.rng.normal(size=(3, STATE)).astype(np.float32)
        for each in rollouts:
            each.add(shown, np.zeros(3, np.int64), state)

    for _ in range(steps):
        add(ours)
        if ours.ready:
            ours.sample(2)  # in the midst of a round
    theirs.set_state(through_a_file(ours.get_state()))
    assert len(theirs) == len(ours) and theirs.ready == ours.ready
    for _ in range(3 * LENGTH):
        add(ours, theirs)
        if ours.ready:
            assert_same(ours.sample(2), theirs.sample(2))
    with pytest.raises(UserError, match=r"another replay\.kind"):
        theirs.set_state(make_replay(3).get_state())
    with pytest.raises(UserError, match="this run has"):
        theirs.set_state(make_rollouts(4, stack=2).get_state())


def test_burn_in_is_refused() -> None:
    with pytest.raises(UserError, match="burn_in must be 0"):
        ReplayConfig(kind="rollouts")
