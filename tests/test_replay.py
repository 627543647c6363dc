"""Sequence replay against a list that keeps everything, fed with the same streams of episodes."""

from __future__ import annotations

import dataclasses
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import disk_of, through_a_file

from daddy_puffer.config import ReplayConfig
from daddy_puffer.errors import UserError
from daddy_puffer.replay import SequenceReplay
from daddy_puffer.types import MOST_VISITED, PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, SequenceBatch, StepBatch

STRUCTURED, MILESTONE_BYTES, STATE = 5, 3, 4


class Stream:
    """B environments that show random frames, end at random and are reset by the next step, as `types.py` says."""

    def __init__(self, seed: int, num_envs: int, stack: int, end_probability: float):
        self.rng = np.random.default_rng(seed)
        self.num_envs, self.stack, self.end_probability = num_envs, stack, end_probability
        self.ended = np.ones(num_envs, bool)
        self.frames = np.zeros((num_envs, stack, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8)

    def step(self) -> StepBatch:
        rng, count, first = self.rng, self.num_envs, self.ended
        newest = rng.integers(0, 256, (count, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8)
        self.frames = np.concatenate([self.frames[:, 1:], newest[:, None]], axis=1)
        self.frames[first] = newest[first][:, None]  # the first frame is repeated
        ends = ~first & (rng.random(count) < self.end_probability)
        terminated = ends & (rng.random(count) < 0.5)
        self.ended = ends
        observation = {
            "frames": self.frames,
            "visited": rng.integers(0, MOST_VISITED + 1, (count, *VISITED_SHAPE), np.uint8),
            "structured": rng.integers(0, 256, (count, STRUCTURED)).astype(np.float32),
            "milestones": rng.integers(0, 256, (count, MILESTONE_BYTES), np.uint8),
        }
        reward = np.where(first, 0, rng.normal(size=count)).astype(np.float32)
        return StepBatch(observation, reward, terminated, ends & ~terminated, first, np.arange(count), [])


class Twin:
    """Keeps each row of each environment in a list for ever."""

    def __init__(self, num_envs: int):
        self.rows: list[list[dict[str, Any]]] = [[] for _ in range(num_envs)]

    def add(self, step: StepBatch, action: np.ndarray, state: np.ndarray) -> None:
        for env, rows in enumerate(self.rows):
            row = {name: values[env].copy() for name, values in step.observation.items()}
            row |= {name: getattr(step, name)[env] for name in ("reward", "terminated", "truncated", "first")}
            rows.append(row | {"action": action[env], "state": state[env].copy()})

    def transitions(self, oldest: int) -> int:
        return sum(not row["first"] for rows in self.rows for row in rows[oldest + 1 :])

    def check(self, batch: SequenceBatch, column: int, env: int, start: int) -> None:
        """Column `column` of `batch` is what environment `env` showed from row `start` on."""
        rows = self.rows[env]
        length = len(batch.mask)
        np.testing.assert_array_equal(batch.state[column], rows[start]["state"])
        for t in range(length):
            row, following = rows[start + t], rows[start + t + 1] if t + 1 < length else None
            for name in ("frames", "visited", "structured", "milestones", "first", "action"):
                np.testing.assert_array_equal(getattr(batch, name)[t, column], row[name], err_msg=f"{name} at {t}")
            transition = following is not None and not following["first"]
            assert batch.mask[t, column] == transition
            for name in ("reward", "terminated", "truncated"):
                expected = following[name] if transition else 0  # type: ignore[index]
                assert getattr(batch, name)[t, column] == expected, f"{name} at {t}"


def make_replay(
    num_envs: int, stack: int = 4, seed: int = 0, path: Path | None = None, **fields: Any
) -> SequenceReplay:
    small = {"capacity": 40 * num_envs, "burn_in": 2, "sequence_length": 5, "sequence_period": 4, "learning_starts": 1}
    return SequenceReplay(
        ReplayConfig(**(small | fields)),
        num_envs=num_envs,
        frame_stack=stack,
        structured_size=STRUCTURED,
        milestone_size=MILESTONE_BYTES,
        state_size=STATE,
        seed=seed,
        path=path,
    )


def fill(replay: SequenceReplay, stream: Stream, steps: int, twin: Twin | None = None) -> None:
    for _ in range(steps):
        step = stream.step()
        action = stream.rng.integers(0, 7, stream.num_envs)
        state = stream.rng.normal(size=(stream.num_envs, STATE)).astype(np.float32)
        replay.add(step, action, state)
        if twin is not None:
            twin.add(step, action, state)
        valid, reason = replay.check_valid()
        assert valid, reason


def assert_same(first: SequenceBatch, second: SequenceBatch) -> None:
    for field in dataclasses.fields(SequenceBatch):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 5),
    end_probability=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    period=st.integers(1, 7),
    burn_in=st.integers(0, 3),
    prioritized=st.booleans(),
    steps=st.integers(12, 150),
)
def test_samples_are_what_the_environments_showed(
    seed: int,
    num_envs: int,
    stack: int,
    end_probability: float,
    period: int,
    burn_in: int,
    prioritized: bool,
    steps: int,
):
    replay = make_replay(num_envs, stack, sequence_period=period, burn_in=burn_in, prioritized=prioritized)
    rows = 40 // period * period  # the ring wraps up to three times
    stream, twin = Stream(seed, num_envs, stack, end_probability), Twin(num_envs)
    for _ in range(3):
        fill(replay, stream, steps // 3 + 4, twin)
        count = len(twin.rows[0])
        oldest = max(0, count - rows)
        assert len(replay) == twin.transitions(oldest)
        if count < replay.length:
            continue
        batch = replay.sample(8)
        for column, index in enumerate(batch.indices):
            start, env = index // num_envs * period, index % num_envs
            assert oldest <= start <= count - replay.length
            assert batch.age[column] == (count - 1 - start) * num_envs
            twin.check(batch, column, env, start)
        replay.update_priorities(batch.indices, stream.rng.random(8))


def test_every_whole_sequence_is_drawn_and_no_other():
    replay, stream = make_replay(2, stack=3), Stream(0, 2, 3, 0.1)
    fill(replay, stream, 40 + 13)  # rows 13 to 52 are held
    drawn = np.unique(replay.sample(2000).indices)
    # starts every 4 rows: 16 (the stack of row 16 needs rows 14 and 15) to 44 (44 + 8 rows = 52); 2 environments
    np.testing.assert_array_equal(drawn, np.arange(16 // 4 * 2, 44 // 4 * 2 + 2))


def test_a_start_whose_stack_was_overwritten_is_not_drawn():
    replay, stream = make_replay(1, stack=3), Stream(0, 1, 3, 0.0)
    fill(replay, stream, 40 + 14)  # row 14 is the oldest: the stack of row 16 needs 14 and 15
    assert replay.sample(500).indices.min() == 4
    fill(replay, stream, 1)
    assert replay.sample(500).indices.min() == 5


def test_uniform_draws_are_uniform():
    replay, stream = make_replay(2), Stream(1, 2, 4, 0.1)
    fill(replay, stream, 60)
    _, counts = np.unique(replay.sample(20_000).indices, return_counts=True)
    expected = 20_000 / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < len(counts) + 5 * np.sqrt(2 * len(counts))  # chi-square
    assert (replay.sample(4).weights == 1.0).all()


def test_prioritized_draws_follow_the_priorities_and_weights_undo_them():
    replay, stream = make_replay(2, prioritized=True, priority_exponent=0.5), Stream(2, 2, 4, 0.1)
    fill(replay, stream, 60)
    indices = np.unique(replay.sample(2000).indices)
    priorities = stream.rng.random(len(indices)) * 10
    replay.update_priorities(indices, priorities)
    probability = priorities**0.5 / (priorities**0.5).sum()
    batch = replay.sample(20_000)
    drawn, counts = np.unique(batch.indices, return_counts=True)
    np.testing.assert_array_equal(drawn, indices)
    np.testing.assert_allclose(counts, 20_000 * probability, atol=2.0)  # drawn one from each equal share of the sum
    expected = (len(indices) * probability[np.searchsorted(indices, batch.indices)]) ** -0.6
    np.testing.assert_allclose(batch.weights, expected / expected.max(), rtol=1e-5)


def test_single_draws_follow_the_priorities_too():
    replay, stream = make_replay(1, prioritized=True, priority_exponent=1.0), Stream(3, 1, 4, 0.1)
    fill(replay, stream, 25)
    indices = np.unique(replay.sample(200).indices)
    replay.update_priorities(indices, np.arange(1.0, len(indices) + 1))
    draws = 4000
    counts = np.bincount([np.searchsorted(indices, replay.sample(1).indices[0]) for _ in range(draws)])
    expected = draws * np.arange(1.0, len(indices) + 1) / np.arange(1, len(indices) + 1).sum()
    assert ((counts - expected) ** 2 / expected).sum() < len(indices) + 5 * np.sqrt(2 * len(indices))


def test_new_sequences_get_the_largest_priority_seen():
    replay, stream = make_replay(1, prioritized=True, priority_exponent=1.0), Stream(4, 1, 4, 0.0)
    fill(replay, stream, 12)
    replay.update_priorities(replay.sample(50).indices, np.full(50, 7.0))
    fill(replay, stream, 4)
    replay.update_priorities(np.array([0, 1]), np.array([0.5, 0.5]))
    fill(replay, stream, 4)  # sequences 2 and 3 now have 7 each, though the present priorities of the others are lower
    counts = np.bincount(replay.sample(1500).indices)
    np.testing.assert_allclose(counts, [50, 50, 700, 700], atol=2)


def test_priorities_of_overwritten_sequences_are_ignored():
    replay, stream = make_replay(2, prioritized=True), Stream(5, 2, 4, 0.1)
    fill(replay, stream, 20)
    stale = replay.sample(16).indices
    fill(replay, stream, 40)  # the ring went round: other sequences lie in the same places
    before = replay.get_state()["priorities"].copy()
    replay.update_priorities(stale, np.full(16, 99.0))
    np.testing.assert_array_equal(replay.get_state()["priorities"], before)
    assert replay.get_state()["max_priority"] == 1.0


def test_a_priority_of_zero_stays_drawable_and_bad_ones_are_refused():
    replay, stream = make_replay(1, prioritized=True), Stream(6, 1, 4, 0.0)
    fill(replay, stream, 30)
    indices = np.unique(replay.sample(200).indices)
    replay.update_priorities(indices, np.zeros(len(indices)))
    assert replay.check_valid() == (True, "")
    assert set(replay.sample(200).indices) == set(indices)
    with pytest.raises(ValueError, match="finite and not negative"):
        replay.update_priorities(indices[:1], np.array([np.nan]))
    assert replay.check_valid() == (True, "")


def test_float16_never_makes_an_infinity_and_keeps_ids():
    replay, stream = make_replay(1, stack=1), Stream(7, 1, 1, 0.0)
    step = stream.step()
    for _ in range(8):
        step.observation["structured"][:] = [[0.0, 255.0, 1e9, -1e9, 0.1]]
        replay.add(step, np.zeros(1), np.zeros((1, STATE)))
    np.testing.assert_allclose(replay.sample(1).structured[0, 0], [0.0, 255.0, 65504.0, -65504.0, 0.1], rtol=1e-3)


def test_a_reset_without_an_end_is_masked():
    """After a resume the environments begin anew in the middle of what the replay holds."""
    replay, stream, twin = make_replay(1), Stream(8, 1, 4, 0.0), Twin(1)
    fill(replay, stream, 5, twin)
    stream.ended[:] = True
    fill(replay, stream, 4, twin)
    batch = replay.sample(1)
    assert batch.indices[0] == 0
    assert batch.mask[:, 0].tolist() == [True, True, True, True, False, True, True, False]
    twin.check(batch, 0, 0, 0)


def test_ready_needs_transitions_and_a_whole_sequence():
    replay, stream = make_replay(4, learning_starts=10), Stream(9, 4, 4, 0.0)
    fill(replay, stream, 7)
    assert len(replay) == 4 * 6  # the newest rows wait for what follows
    assert not replay.ready  # 8 rows make a sequence
    with pytest.raises(ValueError, match="7 rows are held, a sequence needs 8"):
        replay.sample(1)
    fill(replay, stream, 1)
    assert replay.ready
    late = make_replay(1, learning_starts=20)
    fill(late, Stream(9, 1, 4, 0.0), 20)
    assert not late.ready
    fill(late, Stream(9, 1, 4, 0.0), 2)
    assert late.ready


@pytest.mark.parametrize("prioritized", [False, True])
@pytest.mark.parametrize("steps", [20, 95])
def test_state_round_trip_through_npz(prioritized: bool, steps: int):
    ours, stream = make_replay(2, prioritized=prioritized), Stream(10, 2, 4, 0.1)
    fill(ours, stream, steps)
    if prioritized:
        indices = ours.sample(8).indices
        ours.update_priorities(indices, stream.rng.random(8) * 5)
    theirs = make_replay(2, prioritized=prioritized, seed=999)
    theirs.set_state(through_a_file(ours.get_state()))
    assert theirs.check_valid() == (True, "")
    assert len(theirs) == len(ours)
    twin_stream = Stream(11, 2, 4, 0.1)
    for _ in range(30):
        step = twin_stream.step()
        for replay in (ours, theirs):
            replay.add(step, np.zeros(2), np.zeros((2, STATE)))
        first, second = ours.sample(4), theirs.sample(4)
        assert_same(first, second)
        for replay in (ours, theirs):
            replay.update_priorities(first.indices, first.age + 1.0)


def test_a_state_of_other_sizes_is_refused():
    saved = make_replay(2).get_state()
    with pytest.raises(UserError, match="'sequence_period': 4.*'sequence_period': 2"):
        make_replay(2, sequence_period=2).set_state(saved)
    with pytest.raises(UserError, match="'environments': 2.*'environments': 4"):
        make_replay(4, capacity=160).set_state(saved)
    with pytest.raises(UserError, match=r"replay\.prioritized"):
        make_replay(2, prioritized=True).set_state(make_replay(2, prioritized=False).get_state())
    other = SequenceReplay(
        make_replay(2).config,
        num_envs=2,
        frame_stack=4,
        structured_size=STRUCTURED + 1,
        milestone_size=MILESTONE_BYTES,
        state_size=STATE,
        seed=0,
    )
    with pytest.raises(UserError, match="structured"):
        other.set_state(saved)


def test_a_file_holds_the_same_as_memory(tmp_path: Path):
    in_memory, in_file = make_replay(2), make_replay(2, path=tmp_path / "new" / "replay.bin")
    fill(in_memory, Stream(12, 2, 4, 0.1), 70)
    fill(in_file, Stream(12, 2, 4, 0.1), 70)
    assert_same(in_memory.sample(16), in_file.sample(16))
    assert isinstance(in_file._ring.arrays["frames"].base, np.memmap) and not list((tmp_path / "new").iterdir())


def test_runs_that_name_the_same_file_each_have_their_own(tmp_path: Path):
    one, alone = make_replay(2, path=tmp_path / "replay.bin"), make_replay(2)
    for replay in (one, alone):
        fill(replay, Stream(12, 2, 4, 0.1), 70)
    for path in (tmp_path / "replay.bin", tmp_path):
        fill(make_replay(2, path=path), Stream(13, 2, 4, 0.1), 70)
    assert_same(one.sample(16), alone.sample(16))


def test_the_disk_for_a_file_is_taken_at_the_beginning(tmp_path: Path):
    """Else the run is killed without a word when somebody else has filled the disk."""
    with disk_of(100_000), pytest.raises(UserError, match=r"cannot make the replay file .*replay\.bin: File too large"):
        make_replay(1, capacity=10_000, path=tmp_path / "replay.bin")
    replay = make_replay(1, capacity=10_000, path=tmp_path / "replay.bin")
    (held,) = (fd for fd in Path("/proc/self/fd").iterdir() if str(fd.resolve()).startswith(str(tmp_path)))
    assert held.stat().st_blocks * 512 > 10_000 * 1_500 and len(replay) == 0


def test_a_file_that_cannot_be_made_is_one_clear_line(tmp_path: Path):
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(UserError, match="cannot make the replay file"):
        make_replay(1, path=tmp_path / "taken" / "replay.bin")
    with pytest.raises(UserError, match="GB free"):
        make_replay(1, capacity=10**12, path=tmp_path / "replay.bin")


def test_capacity_must_hold_a_sequence_of_each_environment():
    with pytest.raises(UserError, match="gives each of 16 environments 2 rows.*set it to 224 or more"):
        make_replay(16, capacity=40, sequence_period=2)
    enough = make_replay(16, capacity=224, sequence_period=2)
    fill(enough, Stream(0, 16, 4, 0.1), 50)
    assert enough.ready


def test_a_million_transitions_fit_in_two_gigabytes_and_take_memory_only_as_they_come():
    resident_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    replay = SequenceReplay(
        ReplayConfig(capacity=1_000_000, sequence_period=16, prioritized=True),
        num_envs=8,
        frame_stack=4,
        structured_size=128,
        milestone_size=32,
        state_size=640,
        seed=0,
    )
    by_hand = 72 * 20 + 45 + 2 * 128 + 32 + 4 + 1 + 1 + 1 + 4 * 640 / 16
    assert by_hand < replay.bytes_per_transition < by_hand + 3  # the sum tree
    assert replay.bytes_per_transition * 1_000_000 < 2.2e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident_before < 200_000  # KiB
