"""The loop: what reaches replay, how much is trained, when it stops and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
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
from support import MILESTONE_BYTES, STACK, STRUCTURED, FakeLearner, FakeRed, disk_of

from daddy_puffer.arrays import Arrays
from daddy_puffer.config import (
    Config,
    ExplorationConfig,
    IntrinsicConfig,
    LearnerConfig,
    ProgressConfig,
    ReplayConfig,
    TrainConfig,
)
from daddy_puffer.errors import UserError
from daddy_puffer.files import write_archive
from daddy_puffer.game import MILESTONES
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint, load_replay
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.trainer import Trainer, TrainingDivergedError
from daddy_puffer.replay import SequenceReplay
from daddy_puffer.telemetry import EpisodeRecord, Event, Interval, ProgressRow, Record, StepRows
from daddy_puffer.types import Action
from daddy_puffer.vector import VectorEnv, WorkerError
from daddy_puffer.wrappers import SharedPosteriors, VisitCounts

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
    replay = SequenceReplay(settings.replay, num_envs=env.num_envs, frame_stack=STACK, seed=0, **sizes)
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
    assert made.counters.steps == 1000 and len(episodes) == ENVS * (1000 // ENVS // 9)
    assert made.counters.episodes == len(episodes) + ENVS  # those that are not over have a number as well
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


def test_the_learner_is_told_how_much_of_the_training_is_done(tmp_path: Path):
    learner = FakeLearner()
    run(config(1000), tmp_path, learner)
    shares = learner.shares_done
    assert shares == sorted(shares) and len(shares) == learner.updates
    assert shares[0] == pytest.approx(REPLAY.learning_starts / 1000, abs=0.1) and 0.9 < shares[-1] <= 1.01


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


def test_means_and_the_rhythm_of_the_log_go_on_after_a_resume(tmp_path: Path):
    """Before it every episode returns 9, after it 0: the mean of the last twenty does not jump to that of one."""
    run(config(810, log_interval=40), tmp_path, truncate_at=9)
    with VectorEnv([partial(FakeRed, truncate_at=9)] * ENVS) as env:
        second = trainer(config(930, log_interval=40), env, tmp_path, FakeLearner(action=Action.B))
        second.resume(find_checkpoint(tmp_path))
        intervals = of_kind(list(second.run(StopSignals())), Interval)
    assert [i.step for i in intervals] == [840, 880, 920, 932], "as if there had been no end at 812"
    means = [i.values()["rollout/return_mean"] for i in intervals]
    assert means[0] == 9.0 and means[1] == pytest.approx(9 * 16 / 20)


def saved_run(folder: Path, count: int = ENVS, steps: int = 600, **train: Any) -> tuple[Trainer, list[Record]]:
    """A run of so many environments with its replay saved; resumed if there is something in `folder`."""
    with VectorEnv([FakeRed] * count) as env:
        made = trainer(config(steps, save_replay=True, **train), env, folder)
        events = [made.resume(find_checkpoint(folder))] if (folder / "checkpoints").exists() else []
        return made, [*events, *made.run(StopSignals())]


def test_a_replay_that_was_saved_is_learned_from_at_once(tmp_path: Path):
    first, _ = saved_run(tmp_path)
    held = len(first.replay)
    second, records = saved_run(tmp_path, steps=620, log_interval=20)
    assert records[0].details["replay"] == f"{held} transitions are held"
    assert second.counters.learning_steps == first.counters.learning_steps + 20
    assert second.counters.updates > first.counters.updates
    # whoever does not save it any more loads it all the same
    with VectorEnv([FakeRed] * ENVS) as env:
        third = trainer(config(640), env, tmp_path)
        assert "transitions are held" in third.resume(find_checkpoint(tmp_path)).details["replay"]
        list(third.run(StopSignals()))
    assert not list(tmp_path.glob("checkpoints/*/replay.npz"))


def test_only_the_newest_checkpoint_has_a_replay(tmp_path: Path):
    saved_run(tmp_path, save_interval=200, keep_checkpoints=5)
    assert len(list(tmp_path.glob("checkpoints/step_*"))) == 3
    assert [p.parent.name for p in tmp_path.glob("checkpoints/*/replay.npz") if p.parent.name != "latest"] == [
        "step_600"
    ]


def test_a_replay_that_cannot_be_used_is_one_line_and_begins_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    saved_run(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "other", symlinks=True)
    _, records = saved_run(tmp_path / "other", count=2, steps=700)
    assert "100 new transitions" in records[0].details["replay"]
    file = find_checkpoint(tmp_path) / "replay.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    made, _ = saved_run(tmp_path, steps=700)
    assert made.counters.steps == 700
    lines = [entry.message for entry in caplog.records]
    assert len(lines) == 2 and all(line.startswith("the replay begins empty: ") for line in lines)
    assert "'environments': 4" in lines[0] and "replay.npz cannot be read" in lines[1]


def test_a_replay_of_another_version_is_a_user_error(tmp_path: Path):
    saved_run(tmp_path)
    held = load_replay(find_checkpoint(tmp_path))
    assert held is not None
    del held["replay/states"]
    write_archive(find_checkpoint(tmp_path) / "replay.npz", held)
    with pytest.raises(
        UserError, match=r"step_600/replay.npz is damaged, or of another version .KeyError.'states'.*delete it"
    ):
        saved_run(tmp_path, steps=700)


def test_a_disk_without_room_for_the_replay_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    settings = config(600, save_interval=300, save_replay=True)
    with VectorEnv([FakeRed] * ENVS) as env:
        run = trainer(settings, env, tmp_path).run(StopSignals())
        with disk_of(40_000):  # all else fits into it
            event = next(r for r in run if isinstance(r, Event))
        assert event.name == "no_checkpoint" and not list(tmp_path.glob("checkpoints/*"))
        assert [e.name for e in of_kind(list(run), Event)] == ["checkpoint", "stop"]
    assert "File too large; training goes on" in caplog.text


@pytest.mark.parametrize("count", [2, 6])
def test_resume_with_another_number_of_environments(tmp_path: Path, count: int):
    def settings(total_steps: int) -> Config:
        return replace(config(total_steps, epsilon=0.8), intrinsic=IntrinsicConfig(rnd_weight=0.5))

    with VectorEnv([FakeRed] * ENVS) as env:
        env.visits, env.posteriors = VisitCounts(), SharedPosteriors()
        first = trainer(settings(600), env, tmp_path)
        list(first.run(StopSignals()))
    with VectorEnv([FakeRed] * count) as env:
        env.visits, env.posteriors = VisitCounts(), SharedPosteriors()
        second = trainer(settings(1200), env, tmp_path)
        second.resume(find_checkpoint(tmp_path))
        list(second.run(StopSignals()))
    assert second.counters.steps == 1200 and second.counters.updates > first.counters.updates


def test_a_finished_run_that_is_resumed_keeps_its_checkpoint(tmp_path: Path):
    run(config(600), tmp_path)
    kept = find_checkpoint(tmp_path) / "state.pt"
    written = kept.stat().st_ino
    with VectorEnv([FakeRed] * ENVS) as env:
        second = trainer(config(600), env, tmp_path)
        second.resume(find_checkpoint(tmp_path))
        records = list(second.run(StopSignals()))
        assert [event.name for event in of_kind(records, Event)] == ["stop"]
        assert second.checkpoint == kept.parent and kept.stat().st_ino == written
        elsewhere = trainer(config(600), env, tmp_path / "new")
        elsewhere.resume(find_checkpoint(tmp_path))
        list(elsewhere.run(StopSignals()))
        assert elsewhere.checkpoint.parent == tmp_path / "new" / "checkpoints"


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


class Forgetful(FakeRed):
    """Fails when it is asked to write down what it goes on from, as one does whose process has died."""

    def get_state(self) -> Arrays:
        raise RuntimeError("boom in get_state")

    def set_state(self, state: Arrays) -> None:
        raise AssertionError


def test_games_that_cannot_be_written_down_do_not_cost_what_was_learnt(tmp_path: Path):
    with VectorEnv([Forgetful] * ENVS) as env, pytest.raises(RuntimeError, match="boom in get_state"):
        list(trainer(config(5000, save_interval=300, save_replay=True), env, tmp_path).run(StopSignals()))
    kept = find_checkpoint(tmp_path)
    replay = load_replay(kept)
    assert kept.name == "step_300" and replay is not None
    assert {name.split("/")[0] for name in replay} == {"replay"}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_leaves_a_checkpoint_no_workers_and_its_exit_code(tmp_path: Path, number: signal.Signals):
    """The signal goes to the whole group, as Ctrl-C and SLURM send it."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()[1:]]
    assert any("Interval" in line for line in process.stdout), "the run ended before its first interval"
    os.killpg(process.pid, number)
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


def with_curiosity(**changes: Any) -> Config:
    return replace(config(**changes), intrinsic=IntrinsicConfig(rnd_weight=0.5))


def test_rnd_reaches_replay_and_the_episodes_but_no_reset_row(tmp_path: Path):
    """Everything is new for a while: `structured` counts steps and holds a random number."""
    learner = FakeLearner()
    made, records = run(with_curiosity(total_steps=4000), tmp_path, learner, truncate_at=9)
    episodes = of_kind(records, EpisodeRecord)
    for episode in episodes:
        assert episode.return_total == pytest.approx(episode.return_env + 0.5 * episode.return_rnd, rel=1e-4)
    assert {e.return_env for e in episodes} == {9.0} and episodes[0].return_rnd == 0 < episodes[-1].return_rnd
    bonus = np.concatenate([b.reward[b.mask] - 1 for b in learner.batches[-20:]])
    assert (bonus >= 0).all() and (bonus > 0).mean() > 0.5
    for batch in learner.batches:
        before_first = np.zeros_like(batch.first)
        before_first[:-1] = batch.first[1:]
        assert not batch.reward[before_first].any()  # what follows a final row is a reset, which pays nothing
    assert of_kind(records, Interval)[-1].values()["phase/rnd"] > 0


def test_rnd_goes_on_after_a_resume_where_it_was(tmp_path: Path):
    first, _ = run(with_curiosity(total_steps=3000), tmp_path)
    assert first._rnd is not None
    with VectorEnv([FakeRed] * ENVS) as env:
        second = trainer(with_curiosity(total_steps=4000), env, tmp_path)
        second.resume(find_checkpoint(tmp_path))
        assert second._rnd is not None
        batch = env.reset(5)
        mine, other = (t._rnd.add_to(replace(batch, first=np.zeros(ENVS, bool))) for t in (first, second))
        assert mine.reward.any()
        np.testing.assert_array_equal(mine.reward, other.reward)
        assert of_kind(list(second.run(StopSignals())), EpisodeRecord)[0].return_rnd > 0


def test_curiosity_may_begin_at_a_resume(tmp_path: Path):
    run(config(600), tmp_path)
    with VectorEnv([FakeRed] * ENVS) as env:
        second = trainer(with_curiosity(total_steps=4000), env, tmp_path)
        second.resume(find_checkpoint(tmp_path))
        assert of_kind(list(second.run(StopSignals())), EpisodeRecord)[-1].return_rnd > 0


def test_visit_counts_are_kept_by_checkpoints_and_restored(tmp_path: Path):
    with VectorEnv([FakeRed] * ENVS) as env:
        env.visits = VisitCounts()
        made = trainer(config(200), env, tmp_path)
        env.visits.add(7)
        made.save()
        env.visits.add(7)
        env.visits.add(8)
        made.resume(find_checkpoint(tmp_path))
        assert dict(zip(*(v.tolist() for v in env.visits.state_dict().values()), strict=True)) == {7: 1}


def test_beliefs_that_environments_share_are_kept_by_checkpoints_and_restored(tmp_path: Path):
    with VectorEnv([FakeRed] * ENVS) as env:
        env.posteriors = SharedPosteriors()
        made = trainer(config(200), env, tmp_path)
        counted = np.arange(len(MILESTONES)) % 3 == 0
        env.posteriors.update(counted, counted)
        made.save()
        kept = env.posteriors.table.copy()
        env.posteriors.update(counted, ~counted)
        made.resume(find_checkpoint(tmp_path))
        assert kept.any() and np.array_equal(env.posteriors.table, kept)
    with VectorEnv([FakeRed] * ENVS) as env:  # another process
        env.posteriors = SharedPosteriors()
        trainer(config(200), env, tmp_path).resume(find_checkpoint(tmp_path))
        assert np.array_equal(env.posteriors.table, kept)


def test_sampled_steps_say_where_and_in_which_episode(tmp_path: Path):
    settings = replace(
        config(400, step_log_interval=3), progress=ProgressConfig(watched=["Boulder", "EVENT_GOT_STARTER"])
    )
    _, records = run(settings, tmp_path, truncate_at=20)
    sampled = of_kind(records, StepRows)
    assert len(sampled) == (100 + 4) // 3 - 4  # in all four vector steps 21, 42, ... everything was reset
    lengths: dict[tuple[int, int], list[int]] = {}
    for rows in sampled:
        count = rows.map_id  # the fake game's first number is the step in the episode
        assert (rows.r_env == 1).all() and (rows.r_total == 1).all() and (rows.step_global == rows.step_global[0]).all()
        assert np.array_equal(rows.city_id, np.where(count <= 10, count, -1))
        assert (rows.quest_id == 1).all()  # it holds the first badge and no starter
        assert rows.posterior_mean.shape == rows.alarm_score.shape == (ENVS, 2)
        for env_id, episode_id, step in zip(rows.env_id, rows.episode_id, count, strict=True):
            lengths.setdefault((int(env_id), int(episode_id)), []).append(int(step))
    assert all(steps == sorted(set(steps)) for steps in lengths.values())  # one episode never goes back
    ended = {(e.env_id, e.episode_id) for e in of_kind(records, EpisodeRecord)}
    assert ended <= set(lengths) and len(lengths) - len(ended) <= ENVS
    assert not of_kind(run(config(400, step_log_interval=0), tmp_path / "off")[1], StepRows)


def test_beliefs_come_with_every_interval_and_the_alarm_is_in_the_episodes(tmp_path: Path):
    for score, alarmed in ((-1e9, {True}), (1e9, {False})):
        watched = ["EVENT_GOT_STARTER", "Boulder"]
        settings = replace(config(1000), progress=ProgressConfig(watched=watched, alarm_never=score, alarm_lost=1e9))
        made, records = run(settings, tmp_path / str(score), truncate_at=9)
        beliefs = of_kind(records, ProgressRow)
        assert [(b.step, b.milestone) for b in beliefs] == [
            (i.step, name) for i in of_kind(records, Interval) for name in watched
        ]
        starter = [b for b in beliefs if b.milestone == "EVENT_GOT_STARTER"]
        assert starter[0].mean > starter[-1].mean and starter[-1].upper < 0.5  # nobody ever gets one
        episodes = of_kind(records, EpisodeRecord)
        assert {e.alarm_triggered for e in episodes} == alarmed
        assert of_kind(records, Interval)[-1].values()["progress/alarm"] == float(alarmed == {True})
        with VectorEnv([FakeRed] * ENVS) as env:
            again = trainer(settings, env, tmp_path / str(score))
            again.resume(made.checkpoint)
            assert again.progress.rows(5)[0].alpha == made.progress.rows(5)[0].alpha


class Spawned(FakeRed):
    """Begins every second episode from a state, with as many milestones as episodes went before."""

    def _observe(self, *arguments: Any) -> dict[str, np.ndarray]:
        observation = super()._observe(*arguments)
        observation["episode"][2] = self.episode % 2
        observation["milestones"][:] = np.packbits(np.arange(8 * MILESTONE_BYTES) < self.episode)
        return observation


def test_curriculum_metrics_say_where_episodes_began(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").touch()
    with VectorEnv([partial(Spawned, truncate_at=9)] * ENVS) as env:
        env.savestates = tmp_path
        records = list(trainer(config(1000, log_interval=1000), env, tmp_path / "run").run(StopSignals()))
    values = of_kind(records, Interval)[-1].values()
    assert values["curriculum/states"] == 2 and values["curriculum/true_start_share"] == 14 / 28
    # of the episodes 0 to 27 the odd ones began from a state: with 1, 3, ... 27 milestones
    shares = [values[f"curriculum/{stage}_share"] for stage in ("early", "mid", "late")]
    assert shares == pytest.approx([5 / 14, 4 / 14, 5 / 14])
