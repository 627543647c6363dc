"""The loop: what reaches replay, how much is trained, when it stops and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import MILESTONE_BYTES, STACK, STRUCTURED, FakeLearner, FakeRed

from daddy_puffer.config import Config, ExplorationConfig, LearnerConfig, ReplayConfig, TrainConfig
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.trainer import Trainer, TrainingDivergedError
from daddy_puffer.replay import SequenceReplay
from daddy_puffer.telemetry import EpisodeRecord, Event, Interval, Record
from daddy_puffer.vector import VectorEnv, WorkerError

ROOT = Path(__file__).parents[1]
ENVS = 4
REPLAY = ReplayConfig(
    capacity=4000, burn_in=2, sequence_length=8, sequence_period=4, batch_size=4, learning_starts=100
)  # fmt: skip


def config(total_steps: int = 1000, replay_ratio: float = 2.0, epsilon: float = 0.0, **train: Any) -> Config:
    """Without exploration the fake learner's button A is pressed at every step."""
    return Config(
        replay=REPLAY,
        learner=LearnerConfig(replay_ratio=replay_ratio),
        exploration=ExplorationConfig(epsilon_start=epsilon, epsilon_end=epsilon / 4, epsilon_decay_steps=500),
        train=TrainConfig(**{"num_envs": ENVS, "log_interval": 200, "total_steps": total_steps, **train}),
    )


def trainer(settings: Config, env: VectorEnv, folder: Path, learner: Any = None) -> Trainer:
    sizes = {"structured_size": STRUCTURED, "milestone_size": MILESTONE_BYTES, "state_size": FakeLearner.state_size}
    replay = SequenceReplay(settings.replay, num_envs=ENVS, frame_stack=STACK, seed=0, **sizes)
    return Trainer(settings, env, learner or FakeLearner(), replay, folder)


def run(settings: Config, folder: Path, learner: Any = None, **fake: Any) -> tuple[Trainer, list[Record]]:
    with VectorEnv([partial(FakeRed, **fake)] * ENVS) as env:
        made = trainer(settings, env, folder, learner)
        return made, list(made.run(StopSignals()))


def of_kind(records: list[Record], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def test_counts_every_step_but_the_resets(tmp_path: Path):
    made, records = run(config(1000), tmp_path, truncate_at=9)
    episodes = of_kind(records, EpisodeRecord)
    # 10 vector steps an episode, 9 of them transitions: each is 9 long and pays 1 a step
    assert {(e.length_steps, e.return_total) for e in episodes} == {(9, 9.0)}
    assert [e.episode_id for e in episodes] == list(range(len(episodes)))
    assert made.counters.steps == 1000 and made.counters.episodes == len(episodes) == ENVS * (1000 // ENVS // 9)
    assert episodes[-1].end_step_global - episodes[-1].start_step_global == 9 * ENVS
    assert len(made.replay) == 1000 - ENVS  # the last action's consequence is not stored yet


@pytest.mark.parametrize("ratio", [0.5, 2.0, 20.0])
def test_replay_ratio_is_kept_and_reported(tmp_path: Path, ratio: float):
    made, records = run(config(1500, ratio), tmp_path)
    rows_an_update = REPLAY.batch_size * REPLAY.sequence_length
    owed = ratio * made.counters.learning_steps
    assert owed - rows_an_update - ENVS * ratio <= made.counters.trained_rows <= owed
    assert 1500 - made.counters.learning_steps == pytest.approx(REPLAY.learning_starts, abs=40)
    reported = of_kind(records, Interval)[-1].values()["replay/ratio"]
    assert reported == pytest.approx(ratio, rel=0.1)


def test_rows_reach_replay_with_the_state_before_them(tmp_path: Path):
    learner = FakeLearner()
    run(config(1000), tmp_path, learner, truncate_at=9)
    for batch in learner.batches:
        count, first = batch.structured[..., 0], batch.first
        assert np.array_equal(first, count == 0)
        start = ~first[0]  # the state before a first row is of the former episode; the policy zeroes it
        assert np.array_equal(batch.state[start, 0], count[0][start])
        assert np.array_equal(batch.truncated[:-1], count[:-1] == 8)  # follows the action of row 8
        followed = batch.mask[:-1] & ~first[:-1]
        assert np.array_equal(count[1:][followed], count[:-1][followed] + 1)
        assert (batch.reward[batch.mask] == 1).all()


def test_exploration_follows_epsilon_by_environment_steps(tmp_path: Path):
    _, records = run(config(2000, epsilon=0.8), tmp_path, truncate_at=10_000)
    values = {i.step: i.values() for i in of_kind(records, Interval)}
    assert values[200]["exploration/epsilon"] == pytest.approx(0.8 - 0.6 * 200 / 500)
    assert values[600]["exploration/epsilon"] == values[2000]["exploration/epsilon"] == pytest.approx(0.2)
    greedy = [values[step]["rollout/reward_per_step"] for step in (200, 2000)]  # a reward is button A
    assert greedy[0] < 0.5 < greedy[1] < 1.0


def test_intervals_hold_rates_and_phases_that_add_up(tmp_path: Path):
    _, records = run(config(1000), tmp_path)
    intervals = of_kind(records, Interval)
    assert [i.step for i in intervals] == [200, 400, 600, 800, 1000]
    values = intervals[-1].values()
    assert sum(v for name, v in values.items() if name.startswith("phase/")) == pytest.approx(1.0)
    assert values["rollout/reward_per_step"] == 1.0 and values["rollout/badges_mean"] == 1.0
    assert values["rollout/return_mean"] == values["rollout/length_mean"] == 20.0
    assert "learner/loss" in values and values["speed/steps_per_second"] > 0


def test_checkpoints_every_interval_and_at_the_end(tmp_path: Path):
    made, records = run(config(1000, save_interval=300, keep_checkpoints=2), tmp_path)
    events = of_kind(records, Event)
    assert [(e.name, e.step) for e in events[:-1]] == [("checkpoint", s) for s in (300, 600, 900, 1000)]
    assert events[-1].details == {"reason": "all steps done", "interrupted": False}
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["latest", "step_1000", "step_900"]
    state = load_checkpoint(find_checkpoint(tmp_path))
    assert state["counters"]["steps"] == 1000
    assert state["learner"]["updates"] == state["counters"]["updates"] == made.counters.updates > 0


def test_resume_goes_on_with_counters_and_epsilon(tmp_path: Path):
    first, _ = run(config(600, epsilon=0.8), tmp_path)
    settings = config(1000, epsilon=0.8)
    with VectorEnv([FakeRed] * ENVS) as env:
        second = trainer(settings, env, tmp_path)
        note = second.resume(find_checkpoint(tmp_path))
        assert second.counters == first.counters and second.epsilon == pytest.approx(0.2)
        records = list(second.run(StopSignals()))
    assert note.name == "resume" and "100 new transitions" in note.details["replay"]
    episodes = of_kind(records, EpisodeRecord)
    assert episodes[0].episode_id == first.counters.episodes
    assert second.counters.steps == 1000 and second.counters.updates > first.counters.updates
    assert second.learner.updates == second.counters.updates


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path):
    learner = FakeLearner(diverge_at=40)
    with pytest.raises(TrainingDivergedError, match=r"the loss is no finite number at step \d+: lower .*step_600"):
        run(config(5000, save_interval=300), tmp_path, learner)
    assert find_checkpoint(tmp_path).name == "step_600"
    assert load_checkpoint(find_checkpoint(tmp_path))["learner"]["updates"] < 40


def test_parameters_that_are_not_finite_are_never_saved(tmp_path: Path):
    learner = FakeLearner()
    with VectorEnv([FakeRed] * ENVS) as env:
        made = trainer(config(2000, save_interval=300), env, tmp_path, learner)
        with pytest.raises(TrainingDivergedError, match="a parameter is no finite number at step 600"):
            for record in made.run(StopSignals()):
                if isinstance(record, Event):  # the first checkpoint
                    learner.finite = False
    assert find_checkpoint(tmp_path).name == "step_300"


def test_time_limit(tmp_path: Path):
    start = time.monotonic()
    _, records = run(config(10**9, max_seconds=0.5), tmp_path)
    assert 0.5 <= time.monotonic() - start < 5
    assert of_kind(records, Event)[-1].details["reason"] == "max_seconds 0.5"


def test_failing_worker_ends_the_run_but_leaves_a_checkpoint(tmp_path: Path):
    with VectorEnv([partial(FakeRed, misbehave="raise", misbehave_at=50)] * ENVS, num_workers=2) as env:
        with pytest.raises(WorkerError, match="boom in step"):
            list(trainer(config(5000), env, tmp_path).run(StopSignals()))
    assert find_checkpoint(tmp_path).name == f"step_{49 * ENVS}"


def test_updates_run_beside_acting_and_environments(tmp_path: Path):
    """A vector step costs 40 ms in the environments and 40 ms of acting, an update 70 ms: none waits for another."""
    learner = SlowActor(update_seconds=0.07)
    settings = config(320, replay_ratio=REPLAY.batch_size * REPLAY.sequence_length / ENVS)  # one update a step
    with VectorEnv([partial(SlowRed, 0.04)] * ENVS, num_workers=ENVS, timeout_seconds=20) as env:
        start = time.monotonic()
        made = trainer(settings, env, tmp_path, learner)
        records = list(made.run(StopSignals()))
        seconds = time.monotonic() - start
    assert made.counters.updates >= 40
    in_turn = made.counters.updates * (0.04 + 0.04 + 0.07)
    assert seconds - 30 * (0.04 + 0.04) < 0.8 * in_turn  # 30 vector steps before learning
    assert of_kind(records, Interval)[-1].values()["speed/learner_busy"] > 0.5


class SlowActor(FakeLearner):
    """Choosing takes 40 ms."""

    def act(self, *arguments: Any) -> Any:
        time.sleep(0.04)
        return super().act(*arguments)


def test_actor_gets_new_weights_only_when_the_next_update_begins(tmp_path: Path):
    """So that what is chosen does not depend on how fast the thread is."""
    seen = []

    class Watched(FakeLearner):
        def act(self, *arguments: Any) -> Any:
            seen.append((self.published, made.counters.updates))
            return super().act(*arguments)

    learner = Watched()
    settings = config(600)
    with VectorEnv([FakeRed] * ENVS) as env:
        made = trainer(settings, env, tmp_path, learner)
        list(made.run(StopSignals()))
    assert all(published == finished for published, finished in seen)
    assert sorted({finished for _, finished in seen}) == list(range(seen[-1][1] + 1))
    assert made.counters.updates == learner.updates == seen[-1][1] + 1  # the last one was finished at the end


class SlowRed(FakeRed):
    """Each step sleeps."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def step(self, action: Any) -> Any:
        time.sleep(self.seconds)
        return super().step(action)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
import test_trainer as t
folder = Path(sys.argv[1])
with t.StopSignals() as stop, t.VectorEnv([t.FakeRed] * t.ENVS, num_workers=2) as env:
    print("workers", *[p.pid for p in env.processes], flush=True)
    for record in t.trainer(t.config(10**9), env, folder).run(stop):
        print(record, flush=True)
sys.exit(stop.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_checkpoint_no_workers_and_its_exit_code(tmp_path: Path, number: signal.Signals):
    """The signal goes to the whole group, as Ctrl-C and SLURM send it."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()[1:]]
    assert any("Interval" in line for line in process.stdout), "the run ended before its first interval"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert f"'reason': '{number.name}', 'interrupted': True" in output.splitlines()[-1]
    state = load_checkpoint(find_checkpoint(tmp_path))
    assert state["counters"]["steps"] > 0
    assert json.loads(json.dumps(state["counters"])) == state["counters"]
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT and stop.exit_code == 130
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_config_ranges():
    with pytest.raises(Exception, match="log_interval"):
        replace(TrainConfig(), log_interval=0)
