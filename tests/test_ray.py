"""Environments on the nodes of a Ray cluster: the same rows as here, and no failure of a worker becomes a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.testing import assert_array_equal
from support import FakeRed, assert_same

from daddy_puffer.config import Config, CurriculumConfig, EnvConfig, IntrinsicConfig, TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.vector import VectorEnv, WorkerError, make_vector
from daddy_puffer.vector.ray_pool import Failure, Games
from daddy_puffer.vector.tables import NotedTables

ROOT = Path(__file__).parents[1]
ADDRESS = "RAY_ADDRESS"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of two CPUs each, on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "tests"))  # the workers need the fake
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
        yield cluster
        __import__("ray").shutdown()
        cluster.shutdown()


@pytest.fixture
def cluster(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Connected: every connection has Ray start a process for each CPU."""
    import ray

    monkeypatch.setenv(ADDRESS, nodes.address)
    if not ray.is_initialized():
        ray.init(address=nodes.address, logging_level="ERROR")
    return nodes


def make(count: int = 4, timeout_seconds: float = 30.0, **kwargs: Any) -> VectorEnv:
    factories = [partial(FakeRed, **kwargs)] * count
    return VectorEnv(factories, num_workers=2, timeout_seconds=timeout_seconds, ray=True)


def settings(vectorization: str, **changes: Any) -> Config:
    train = TrainConfig(num_envs=4, num_workers=2, vectorization=vectorization, record_episodes="none")
    return Config(env=EnvConfig(max_steps=25), train=train, **changes)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_two_nodes_and_serial_say_the_same_of_every_kind_of_end(cluster: Any) -> None:
    # 20 rows of a worker are more than the 100 KB from which Ray shares memory
    mixed = [partial(FakeRed, truncate_at=7), partial(FakeRed, terminate_at=5), FakeRed, FakeRed] * 10
    rng = np.random.default_rng(0)
    with VectorEnv(mixed) as here, VectorEnv(mixed, num_workers=2, ray=True) as there:
        raylets = {psutil.Process(place.process).ppid() for place in there._backend.places}
        assert len(raylets) == 2, "both workers are on one node"
        batches = [(here.reset(3), there.reset(3))]
        for _ in range(40):
            actions = rng.integers(0, 7, len(mixed))
            batches.append((here.step(actions), there.step(actions)))
        batches.append((here.reset(9), there.reset(9)))
    assert sum(len(one.infos) for one, _ in batches) > 100
    for one, other in batches:
        assert_same(one, other)  # also that the rows of old batches are still theirs
        assert all(values.flags.writeable for values in other.observation.values())


def test_the_game_itself_plays_the_same_on_a_cluster(cluster: Any) -> None:
    rng = np.random.default_rng(0)
    with make_vector(settings("serial")) as here, make_vector(settings("ray")) as there:
        assert_same(here.reset(5), there.reset(5))
        infos = 0
        for _ in range(60):
            actions = rng.integers(0, here.num_actions, 4)
            batch = here.step(actions)
            assert_same(batch, there.step(actions))
            infos += len(batch.infos)
    assert infos == 8, "two episodes of four games"


def test_what_one_worker_visits_the_other_knows_one_step_later(cluster: Any) -> None:
    """Both go the same way twice: at first each is the first, then each comes as the third, after both."""
    config = settings("ray", intrinsic=IntrinsicConfig(novelty_weight=1.0, bayes_weight=1.0))
    with make_vector(replace(config, train=replace(config.train, num_envs=2))) as env:
        assert env.visits is not None and env.posteriors is not None
        batches = [env.reset(0)]
        way = np.random.default_rng(2).integers(0, env.num_actions, 25)
        for action in [*way, 0, *way]:
            batches.append(env.step(np.full(2, action)))
        paid = np.array([batch.observation["ledger"][:, 2] for batch in batches])
        counts, trials = env.visits.counts.copy(), env.posteriors.beta + env.posteriors.alpha
        first, second = paid[1:26], paid[27:52]
        assert (first > 0).sum() >= 4 and set(first[first > 0]) == {1.0}
        np.testing.assert_allclose(second[second > 0], 3**-0.5, rtol=1e-6)
        assert counts.sum() == (paid > 0).sum()
        known = env.visits.state_dict()
        env.visits.load_state_dict({"index": known["index"], "count": known["count"] + 96})  # as a resume does
        env.reset(0)
        again = np.array([env.step(np.full(2, action)).observation["ledger"][:, 2] for action in way])
        np.testing.assert_allclose(again[again > 0], 101**-0.5, rtol=1e-6)
    assert trials.max() > 3, "four episodes ended"


def test_states_are_kept_in_the_folder_that_all_nodes_see(cluster: Any, tmp_path: Path) -> None:
    config = settings("ray", curriculum=CurriculumConfig(mode="mixture", cell_size=2, true_start_share=0.2))
    config = replace(config, env=EnvConfig(max_steps=80))
    rng = np.random.default_rng(0)
    spawns: set[int] = set()
    with make_vector(config, savestates=tmp_path / "savestates") as env:
        env.reset(1)
        for _ in range(400):
            batch = env.step(rng.integers(0, env.num_actions, 4))
            spawns |= set(batch.observation["episode"][:, 2].tolist())
        assert env.states_kept
    assert len(spawns) > 1, "no episode began from a state"
    assert not list((tmp_path / "savestates").glob(".seen-by-all-*"))


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    import ray.cloudpickle

    answer = Games(tmp_path, tmp_path / "elsewhere/.seen-by-all-x").start(ray.cloudpickle.dumps(([FakeRed], None)))
    assert isinstance(answer, Failure) and answer.user_error
    assert "does not see" in answer.text and "curriculum.mode off" in answer.text


def test_exception_in_a_worker_comes_back_with_its_traceback(cluster: Any) -> None:
    with pytest.raises(WorkerError, match=r"(?s)worker 0 \(environments 0 to 1, process \d+ on node.*raised.*boom in"):
        with make(misbehave="raise") as env:
            env.reset(0)
            for _ in range(10):
                env.step(np.zeros(4, int))


def test_user_error_in_a_worker_stays_one(cluster: Any) -> None:
    trainer = os.getpid()

    def factory() -> FakeRed:
        """Fails in the worker only: the trainer looks at one first."""
        if os.getpid() != trainer:
            raise UserError("state file is corrupt: give another")
        return FakeRed()

    with pytest.raises(UserError, match="corrupt"):
        VectorEnv([factory] * 2, num_workers=1, ray=True)


def test_killed_actor_is_noticed_within_seconds(cluster: Any) -> None:
    with make() as env:
        env.reset(0)
        victim = env._backend.places[1].process
        os.kill(victim, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(
            WorkerError, match=rf"worker 1 \(environments 2 to 3, process {victim} .* died: its process"
        ):
            for _ in range(10):
                env.step(np.zeros(4, int))
        assert time.monotonic() - start < 20
        other = env._backend.places[0].process
    assert wait_until(lambda: not psutil.pid_exists(other), 20), "the other worker was left behind"


def test_silent_worker_times_out(cluster: Any) -> None:
    with pytest.raises(WorkerError, match=r"silent for 2 s"), make(2, 2.0, misbehave="hang") as env:
        env.reset(0)
        for _ in range(10):
            env.step(np.zeros(2, int))


def test_more_workers_than_cpus_are_refused(cluster: Any) -> None:
    with pytest.raises(UserError, match="4 CPUs for 8 workers: lower train.num_workers"):
        VectorEnv([FakeRed] * 8, num_workers=8, ray=True)


def test_joins_the_cluster_at_the_address_and_leaves_it_as_it_was(cluster: Any) -> None:
    """Ray takes SIGTERM for itself when it connects; it is the trainer's sign to write a checkpoint."""
    import ray

    ray.shutdown()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with make() as env:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert len(ray.nodes()) == 2
        env.reset(0)
    env.close()
    assert not ray.is_initialized()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_killed_node_is_noticed_within_seconds(cluster: Any) -> None:
    """The last test of those with a cluster: of its two nodes one is left."""
    with make() as env:
        env.reset(0)
        start = time.monotonic()
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        with pytest.raises(WorkerError, match=r"worker \d \(environments .* died: its .* is gone.*--resume"):
            for _ in range(10_000):
                env.step(np.zeros(4, int))
        assert time.monotonic() - start < 30


def test_ctrl_c_on_a_ray_of_our_own_leaves_a_checkpoint_and_no_process(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    command = [sys.executable, "-m", "daddy_puffer.train_big", "--num-envs", "4", "--run-name", "x"]
    folders = set(Path("/tmp").glob("ray-*"))
    process = subprocess.Popen(
        [*command, "--vectorization", "ray", "--log-interval", "200", "--device", "cpu"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: (tmp_path / "runs/x/metrics.csv").exists(), 240)
        assert len(family(process.pid)) > 3, "no Ray of its own"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert find_checkpoint(tmp_path / "runs/x").is_dir()
        assert wait_until(lambda: not family(process.pid), 10), family(process.pid)
        assert set(Path("/tmp").glob("ray-*")) <= folders
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)


def family(session: int) -> list[int]:
    """Living processes of a session; a killed one that nobody has asked for is not living."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


def test_nobody_at_the_address_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    monkeypatch.setenv(ADDRESS, "ray://127.0.0.1:1")
    with pytest.raises(UserError, match="Ray's client: start on a node of the cluster"):
        make()


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="pip install ray"):
        make()


def test_tables_tell_each_other_what_they_counted_once() -> None:
    """A copy that travelled begins empty; what is applied is not noted again."""
    mine, other = NotedTables(0.9), NotedTables(0.9)
    counted = np.zeros(len(mine.posteriors.alpha), bool)
    counted[3] = True
    for _ in range(2):
        mine.visits.add(77)
    mine.posteriors.update(counted, counted)
    notes = mine.take()
    assert mine.take() == ([], [])
    other.apply(notes)
    assert other.take() == ([], [])
    assert other.visits.counts[77] == 2
    assert_array_equal(other.posteriors.table, mine.posteriors.table)
    third = NotedTables(0.9)
    third.load_state_dict(mine.state_dict())
    assert_array_equal(third.visits.counts, mine.visits.counts)
    assert_array_equal(third.posteriors.table, mine.posteriors.table)
