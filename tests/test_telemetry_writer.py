"""The writing thread and `steps/`: nothing is lost, nothing waits, a full disk is survived."""

from __future__ import annotations

import csv
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FakeRed, disk_of
from test_telemetry import episode, rows_of
from test_trainer import config, trainer

from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.telemetry import Event, Interval, ProgressRow, Record, Sink, StepRows, Telemetry
from daddy_puffer.telemetry.lines import LineFile
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, ProgressCsv, TensorBoard
from daddy_puffer.telemetry.step_rows import COLUMNS, StepShards
from daddy_puffer.vector import VectorEnv


def sampled(step: int, count: int = 2) -> StepRows:
    """Rows whose every number is the step."""
    names = ("step_global", "episode_id", "map_id", "x", "y", "city_id")
    flat = {name: np.full(count, step, np.int64) for name in names}
    rewards = {f"r_{name}": np.full(count, step, np.float32) for name in ("env", "rnd", "novel", "bayes", "total")}
    beliefs = {name: np.full((count, 3), step, np.float32) for name in ("posterior_mean", "alarm_score")}
    bits = np.full((count, 4), step % 256, np.uint8)
    quest = np.zeros(count, np.int64)
    return StepRows(**flat, **rewards, **beliefs, env_id=np.arange(count), milestones=bits, quest_id=quest)


def believed(step: int) -> ProgressRow:
    return ProgressRow(
        step=step, milestone="Boulder", alpha=2.0, beta=1.0, mean=2 / 3, lower=0.1, upper=0.9, alarm_score=-1.5
    )


def steps_of(folder: Path) -> list[int]:
    found: list[int] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as columns:
            assert set(columns.files) == {*COLUMNS, "watched"} and len({len(columns[name]) for name in COLUMNS}) == 1
            assert (columns["r_total"] == columns["step_global"]).all()
            found += columns["step_global"].tolist()
    return found


class Slow(Sink):
    """Notes what it is given, in which thread; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.taken: list[Record] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.flushed = 0
        self.closed = False

    def take(self, record: Record) -> None:
        self.gate.wait(20)
        self.threads.add(threading.current_thread().name)
        self.taken.append(record)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


def test_emit_does_not_wait_and_sampled_rows_are_dropped_first(caplog: pytest.LogCaptureFixture) -> None:
    sink = Slow()
    with Telemetry([sink], queue_rows=4) as telemetry:
        began = time.perf_counter()
        for step in range(50):
            telemetry.emit(sampled(step))
            telemetry.emit(episode(episode_id=step))
            telemetry.emit(Event("checkpoint", step))
        assert time.perf_counter() - began < 5  # the sink waits for 20 s
        assert telemetry.emit_seconds < 5
        telemetry.emit(Interval.of(50, {}))
        sink.gate.set()
    events = [r for r in sink.taken if isinstance(r, Event)]
    episodes = [r for r in sink.taken if not isinstance(r, (Event, StepRows, Interval))]
    rows = [r for r in sink.taken if isinstance(r, StepRows)]
    assert [e.step for e in events] == [e.episode_id for e in episodes] == list(range(50))
    assert 4 <= len(rows) <= 5 and telemetry.dropped == 50 - len(rows)
    assert sink.closed and sink.threads == {"telemetry"}
    (interval,) = (r for r in sink.taken if isinstance(r, Interval))
    assert interval.values()["telemetry/dropped"] == 50 - len(rows)
    assert caplog.text.count("sampled rows are dropped") == 1


def test_behind_a_stuck_sink_the_queue_is_bounded_and_drops_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = Slow()
    with Telemetry([sink], queue_rows=4, queue_records=30) as telemetry:
        for step in range(100):
            telemetry.emit(sampled(step))
            telemetry.emit(Event("x", step))
        assert not telemetry.flush(0.05)
        sink.gate.set()
        assert telemetry.flush()
        telemetry.emit(Event("x", 100))
    rows = [r for r in sink.taken if isinstance(r, StepRows)]
    steps = [r.step for r in sink.taken if isinstance(r, Event)]
    assert steps == [*range(30), 100]  # the oldest, and again what comes when there is room
    assert 4 <= len(rows) <= 5 and telemetry.dropped == 100 - len(rows) + 70
    assert caplog.text.count("the logs are too slow or stuck: records are dropped") == 1
    assert "the logs lack 70 records" in caplog.text


def test_what_a_sink_missed_is_bounded_and_drops_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "e.jsonl"
    with Telemetry([JsonLines(path)], queue_records=10, retry_seconds=1000) as telemetry:
        with disk_of(0):
            for step in range(50):
                telemetry.emit(Event("x", step))
            assert not telemetry.flush()
        assert telemetry.flush() and telemetry.dropped == 40
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(10))
    assert "the logs lack 40 records" in caplog.text


def test_the_end_waits_for_a_slow_sink_but_not_for_a_stuck_one(caplog: pytest.LogCaptureFixture) -> None:
    class Slower(Slow):
        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.seconds = seconds
            self.gate.set()

        def take(self, record: Record) -> None:
            time.sleep(self.seconds)
            super().take(record)

    slower, stuck = Slower(0.1), Slow()
    with Telemetry([slower], close_seconds=0.5) as telemetry:
        for step in range(10):
            telemetry.emit(Event("x", step))
    filming = Slower(1.5)
    filming.waits = True
    with Telemetry([filming], close_seconds=0.5) as telemetry:
        telemetry.emit(Event("x", 0))
    assert len(slower.taken) == 10 and slower.closed and filming.closed and not caplog.messages
    began = time.monotonic()
    with Telemetry([slower, stuck], close_seconds=0.5) as telemetry:
        for step in range(10):
            telemetry.emit(Event("x", step))
    assert 0.5 <= time.monotonic() - began < 5  # the sink waits for 20 s
    assert caplog.messages == ["Slow has been stuck for 0.5 s: the run ends without it, 9 records still wait"]
    stuck.gate.set()


def test_flush_returns_when_everything_is_written(tmp_path: Path) -> None:
    slow = Slow()
    with Telemetry([slow, JsonLines(tmp_path / "e.jsonl"), StepShards(tmp_path / "steps", ["a"])]) as telemetry:
        for step in range(20):
            telemetry.emit(Event("x", step))
        telemetry.emit(sampled(3))
        assert not telemetry.flush(0.05)
        slow.gate.set()
        assert telemetry.flush()
        assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 20 and slow.flushed == 2
        assert steps_of(tmp_path / "steps") == [3, 3]


def test_flush_makes_up_for_what_a_sink_missed_and_says_when_it_cannot(tmp_path: Path) -> None:
    """However long the next attempt is off: a checkpoint that follows must not be ahead of the logs."""
    path = tmp_path / "e.jsonl"
    with Telemetry([JsonLines(path), StepShards(tmp_path / "steps", ["a"])], retry_seconds=1000) as telemetry:
        with disk_of(0):
            telemetry.emit(Event("x", 1))
            telemetry.emit(sampled(1))
            assert not telemetry.flush()
            telemetry.emit(Event("x", 2))
            assert not telemetry.flush()
        assert telemetry.flush()
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
        assert steps_of(tmp_path / "steps") == [1, 1]


def test_a_checkpoint_ahead_of_the_logs_is_written_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sink that hangs while the first checkpoint is due: no reason to lose that too."""
    slow = Slow()
    waits = iter([0.05, 20.0, 20.0])

    def flush() -> bool:
        whole = telemetry.flush(next(waits))
        slow.gate.set()
        return whole

    with Telemetry([slow]) as telemetry, VectorEnv([FakeRed] * 4) as env:
        made = trainer(config(600, save_interval=300), env, tmp_path)
        made.before_save = flush
        for record in made.run(StopSignals()):
            telemetry.emit(record)
    saved = [record.step for record in slow.taken if isinstance(record, Event) and record.name == "checkpoint"]
    assert saved == [300, 600] and find_checkpoint(tmp_path).name == "step_600"
    assert [text for text in caplog.messages if "ahead of the logs" in text] == [
        "the checkpoint of step 300 is ahead of the logs: a run that is killed now and resumed there lacks rows"
    ]


def test_what_is_left_is_written_when_the_training_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), Telemetry([JsonLines(tmp_path / "e.jsonl")]) as telemetry:
        for step in range(100):
            telemetry.emit(Event("x", step))
        raise RuntimeError("boom")
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 100


class Failing(Sink):
    """Fails for a reason that no waiting mends."""

    def event(self, event: Event) -> None:
        raise ValueError("no such thing")


def test_a_broken_sink_is_switched_off_and_raises_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        pytest.raises(ValueError, match="no such thing"),
        Telemetry([Failing(), JsonLines(tmp_path / "l.jsonl")]) as telemetry,
    ):
        for step in range(5):
            telemetry.emit(Event("x", step))
        assert telemetry.flush()  # what is off for good is no reason to warn at every checkpoint
    assert len((tmp_path / "l.jsonl").read_text().splitlines()) == 5
    assert caplog.text.count("Failing is switched off, training goes on") == 1


def test_a_line_gets_through_whole_or_not_at_all(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "l")
    file.write("x" * 90 + "\n")
    with disk_of(100), pytest.raises(OSError, match="File too large"):
        file.write("y" * 90 + "\n")
    assert (tmp_path / "l").read_text() == "x" * 90 + "\n"
    file.write("y\n")
    assert (tmp_path / "l").read_text().splitlines()[1:] == ["y"]
    file.close()


def records(steps: range) -> list[Record]:
    each = [(Event("x", s), episode(end_step_global=s), Interval.of(s, {f"m{s % 7}": s}), believed(s)) for s in steps]
    return [record for group in each for record in group] + [sampled(s, 400) for s in steps]


def written(folder: Path) -> dict[str, list[int]]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {
        "episodes": [int(row["end_step_global"]) for row in rows_of(folder / "episodes.csv")],
        "metrics": [int(row["step"]) for row in rows_of(folder / "metrics.csv")],
        "progress": [int(row["step"]) for row in rows_of(folder / "progress.csv")],
        "events": [line["step"] for line in lines if line["event"] == "x"],
        "steps": steps_of(folder / "steps")[::400],
    }


def file_sinks(folder: Path, step: int | None = None) -> list[Sink]:
    return [
        EpisodeCsv(folder / "episodes.csv", step),
        MetricsCsv(folder / "metrics.csv", step),
        ProgressCsv(folder / "progress.csv", step),
        JsonLines(folder / "events.jsonl", step),
        StepShards(folder / "steps", ["a", "b", "c"], step),
    ]


def test_a_full_disk_is_one_warning_and_everything_is_there_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with Telemetry(file_sinks(tmp_path), retry_seconds=0.05) as telemetry:
        for record in records(range(1, 6)):
            telemetry.emit(record)
        telemetry.flush()
        with disk_of(1500):
            for record in records(range(6, 60)):
                telemetry.emit(record)
            telemetry.flush()
        assert len(written(tmp_path)["events"]) < 59
        full = caplog.text.count("JsonLines cannot write: File too large; training goes on")
        time.sleep(0.1)
        telemetry.emit(Event("x", 60))
        telemetry.flush()
        assert len(written(tmp_path)["events"]) == 60
    assert full >= 1 and "JsonLines can write again" in caplog.text
    found = written(tmp_path)
    assert found["events"] == list(range(1, 61)) and telemetry.dropped == 0
    for name in ("episodes", "metrics", "progress", "steps"):
        assert found[name] == list(range(1, 60)), name


def test_tensorboard_goes_on_in_another_file(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoard(tmp_path)
    sink.progress(believed(1))
    sink.flush()
    with disk_of(1), pytest.raises(OSError):
        for _ in range(50):  # its own thread meets the limit, and says so at a later call
            sink.interval(Interval.of(2, {"a": 1.0}))
            sink.flush()
            time.sleep(0.01)
    sink.interval(Interval.of(3, {"a": 2.0}))
    sink.close()
    values = []
    for path in sorted(tmp_path.iterdir()):
        read = EventAccumulator(str(path))
        read.Reload()
        values += [(name, e.step, round(e.value, 3)) for name in read.Tags()["scalars"] for e in read.Scalars(name)]
    assert {("posterior_mean/Boulder", 1, 0.667), ("alarm_score/Boulder", 1, -1.5), ("a", 3, 2.0)} <= set(values)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 1)), min_size=1, max_size=4), st.integers(0, 5))
def test_whatever_is_killed_and_resumed_no_step_is_missing_or_there_twice(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, float]], late: int
) -> None:
    """A life is some steps after a checkpoint; the next goes on from a checkpoint within it."""
    folder = tmp_path_factory.mktemp("run")
    step, resume = 0, None
    for length, share in lives:
        sinks = file_sinks(folder, resume)
        kept = step + int(length * share)
        for now in range(step + 1, step + length + 1):
            for record in records(range(now, now + 1)):
                for sink in sinks:
                    sink.take(record)
            if now == min(kept + late, step + length):  # at the checkpoint or somewhat later
                for sink in sinks:
                    sink.flush()
        # killed: nothing is closed, and a line was half written
        with (folder / "episodes.csv").open("a") as file:
            file.write("7,1,3")
        step = resume = kept
    for sink in file_sinks(folder, resume):
        sink.close()
    assert all(found == list(range(1, step + 1)) for found in written(folder).values())


def test_a_new_run_begins_with_no_rows_and_files_have_a_bounded_length(tmp_path: Path) -> None:
    sink: Any = StepShards(tmp_path / "steps", ["a"])
    for step in range(1, 60):
        sink.steps(sampled(step, 400))
    sink.close()
    sizes = [len(np.load(path)["env_id"]) for path in sorted((tmp_path / "steps").iterdir())]
    assert len(sizes) == 3 and sum(sizes) == 59 * 400 and max(sizes) < 8192 + 400
    StepShards(tmp_path / "steps", ["a"])
    assert list((tmp_path / "steps").iterdir()) == []


def test_progress_csv_has_the_documented_columns(tmp_path: Path) -> None:
    sink = ProgressCsv(tmp_path / "p.csv")
    sink.progress(believed(7))
    with (tmp_path / "p.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["step", "milestone", "alpha", "beta", "mean", "lower", "upper", "alarm_score"]
    assert (row["step"], row["mean"]) == ("7", "0.666667")
