"""The vectorized environment: one step law for both backends, and no failure of a worker becomes a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support import FakeRed

from daddy_puffer.errors import UserError
from daddy_puffer.types import Action, EpisodeFlag
from daddy_puffer.vector import VectorEnv, WorkerError

ROOT = Path(__file__).parents[1]


def make(num_workers: int, count: int = 4, timeout_seconds: float = 20.0, **kwargs: Any) -> VectorEnv:
    return VectorEnv([partial(FakeRed, **kwargs)] * count, num_workers=num_workers, timeout_seconds=timeout_seconds)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_serial_and_workers_say_the_same():
    mixed = [partial(FakeRed, truncate_at=7), partial(FakeRed, terminate_at=5), FakeRed, FakeRed]
    rng = np.random.default_rng(0)
    with VectorEnv(mixed) as serial, VectorEnv(mixed, num_workers=2) as workers:
        batches = [(serial.reset(3), workers.reset(3))]
        for _ in range(40):
            actions = rng.integers(0, 7, 4)
            batches.append((serial.step(actions), workers.step(actions)))
    assert sum(len(a.infos) for a, _ in batches) > 10
    for one, other in batches:
        for name in one.observation:
            assert_array_equal(one.observation[name], other.observation[name])
        for name in ("reward", "terminated", "truncated", "first", "env_ids"):
            assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.infos == other.infos


def test_step_after_an_end_starts_the_next_episode():
    """Both ends alike: final observation once, then the first of the next episode; its action is ignored."""
    with VectorEnv([partial(FakeRed, terminate_at=2), partial(FakeRed, truncate_at=2)]) as env:
        batches = [env.reset(0)] + [env.step(np.full(2, Action.A)) for _ in range(4)]
    expected = {  # step:      0  1  2  3  4
        "count": [0, 1, 2, 0, 1],
        "reward": [0, 1, 1, 0, 1],
        "ended": [False, False, True, False, False],
        "first": [True, False, False, True, False],
    }
    for row in range(2):
        assert [int(b.observation["structured"][row, 0]) for b in batches] == expected["count"]
        assert [int(b.reward[row]) for b in batches] == expected["reward"]
        assert [bool(b.first[row]) for b in batches] == expected["first"]
        assert [bool((b.terminated, b.truncated)[row][row]) for b in batches] == expected["ended"]
        assert not any((b.truncated, b.terminated)[row][row] for b in batches)


def test_flags_in_the_observation_agree_with_the_batch():
    with make(0, terminate_at=0, truncate_at=3) as env:
        batches = [env.reset(0)] + [env.step(np.zeros(4, int)) for _ in range(10)]
    for batch in batches:
        flags = batch.observation["episode"][:, 3]
        assert_array_equal(batch.first, flags & EpisodeFlag.FIRST != 0)
        assert_array_equal(batch.truncated, flags & EpisodeFlag.TRUNCATED != 0)


def test_batches_are_private_copies():
    with make(2) as env:
        before = env.reset(0)
        kept = {name: value.copy() for name, value in before.observation.items()}
        env.step(np.full(4, 3))
    for name, value in kept.items():
        assert_array_equal(before.observation[name], value)
    assert before.observation["frames"].flags.c_contiguous


def test_each_environment_has_its_own_seed():
    with make(2) as env:
        numbers = env.reset(5).observation["structured"][:, 1]
        env.step(np.zeros(4, int))
        restarted = env.reset(5)
        assert restarted.first.all()
        again = restarted.observation["structured"][:, 1]
        shifted = env.reset(6).observation["structured"][:, 1]
    assert len(set(numbers.tolist())) == 4
    assert_array_equal(numbers, again)
    assert_array_equal(numbers[1:], shifted[:-1])


def test_infos_come_at_the_end_of_an_episode_with_their_environment():
    with VectorEnv([partial(FakeRed, truncate_at=100), partial(FakeRed, truncate_at=3)]) as env:
        env.reset(0)
        infos = [env.step(np.full(2, Action.A)).infos for _ in range(4)]
    assert [len(i) for i in infos] == [0, 0, 1, 0]
    assert infos[2][0]["env_id"] == 1 and infos[2][0]["fake_total"] == 3.0


@pytest.mark.parametrize("misbehave", ["raise", "raise in reset"])
def test_exception_in_a_worker_comes_back_with_its_traceback(misbehave: str):
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"(?s)worker 0 \(environments 0 to 1\) raised.*support\.py.*boom in"):
        with make(2, misbehave=misbehave) as env:
            env.reset(0)
            for _ in range(10):
                env.step(np.zeros(4, int))
    assert time.monotonic() - start < 10
    assert all(not p.is_alive() for p in env.processes)


def test_serial_reset_does_not_hide_an_exception():
    with make(0, misbehave="raise in reset") as env, pytest.raises(RuntimeError, match="boom in reset"):
        env.reset(0)


def broken_factory() -> FakeRed:
    """Fails in the worker only: the parent has looked at one already."""
    if os.getpid() != int(os.environ["VECTOR_TEST_PARENT"]):
        raise UserError("state file is corrupt: give another")
    return FakeRed()


def test_user_error_in_a_worker_stays_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VECTOR_TEST_PARENT", str(os.getpid()))
    with VectorEnv([broken_factory] * 2, num_workers=1) as env, pytest.raises(UserError, match="corrupt"):
        env.reset(0)


def test_killed_worker_is_noticed_within_seconds():
    with make(2) as env:
        env.reset(0)
        os.kill(env.processes[1].pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(WorkerError, match=r"worker 1 \(environments 2 to 3\) died: signal SIGKILL"):
            for _ in range(10):
                env.step(np.zeros(4, int))
        assert time.monotonic() - start < 5


def test_worker_that_kills_itself_in_a_step_is_noticed():
    with make(1, misbehave="kill") as env, pytest.raises(WorkerError, match="SIGKILL"):
        env.reset(0)
        for _ in range(10):
            env.step(np.zeros(4, int))


def test_silent_worker_times_out_and_is_killed():
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"silent for 0\.5 s"), make(1, 2, 0.5, misbehave="hang") as env:
        env.reset(0)
        for _ in range(10):
            env.step(np.zeros(2, int))
    assert time.monotonic() - start < 15
    assert all(not p.is_alive() for p in env.processes)


def test_a_worker_told_to_end_serves_on_and_leaves_when_nothing_more_is_asked():
    with make(2) as env:
        env.reset(0)
        worker = env.processes[0]
        os.kill(worker.pid, signal.SIGTERM)
        for _ in range(5):
            env.step(np.zeros(4, int))
        worker.join(timeout=20)
        assert worker.exitcode == 0


def test_close_leaves_no_process_and_may_be_repeated():
    env = make(2)
    env.reset(0)
    pids = [p.pid for p in env.processes]
    assert not any(gone(pid) for pid in pids)
    env.close()
    env.close()
    assert all(gone(pid) for pid in pids)


def test_workers_die_with_a_killed_parent():
    code = (
        "import sys, time, numpy as np; sys.path.insert(0, 'tests')\n"
        "from support import FakeRed; from daddy_puffer.vector import VectorEnv\n"
        "env = VectorEnv([FakeRed] * 2, num_workers=2); env.reset(0)\n"
        "print(*[p.pid for p in env.processes], flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(pids) == 2
    assert wait_until(lambda: all(gone(pid) for pid in pids), seconds=10)


def test_workers_must_share_equally():
    with pytest.raises(UserError, match="4 environments cannot be shared equally among 3 workers"):
        make(3)
