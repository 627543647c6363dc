"""Records, sinks, phase timers and episode sums."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, PhaseTimers, ProgressRow, Telemetry
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, TensorBoard, WeightsAndBiases
from daddy_puffer.types import StepBatch

COLUMNS = (
    "episode_id,env_id,length_steps,return_env,return_rnd,return_novel,return_bayes,return_total,start_step_global,"
    "end_step_global,milestones_reached,savestate_tag,badges,map,alarm_triggered"
)


def batch(
    reward: list[float],
    first: str = "",
    terminated: str = "",
    truncated: str = "",
    infos: tuple[Any, ...] = (),
    milestones: tuple[int, ...] = (),
    env_ids: tuple[int, ...] = (),
) -> StepBatch:
    """Rows named by digits: first="01" sets rows 0 and 1. The ledger is (reward / 2, 1, 0, 0); a byte of milestones."""
    rows = len(reward)
    bits = np.array(milestones or [0] * rows, np.uint8)[:, None]
    flags = [np.array([str(row) in text for row in range(rows)]) for text in (terminated, truncated, first)]
    ledger = np.array([[r / 2, 1, 0, 0] for r in reward], np.float32)
    return StepBatch(
        observation={"ledger": ledger, "milestones": bits},
        reward=np.array(reward, np.float32),
        terminated=flags[0],
        truncated=flags[1],
        first=flags[2],
        env_ids=np.array(env_ids or range(rows)),
        infos=list(infos),
    )


def episode(**changes: Any) -> EpisodeRecord:
    values: dict[str, Any] = {
        **{"episode_id": 0, "env_id": 1, "length_steps": 3, "return_env": 1.5, "return_rnd": 0.0, "return_novel": 0.0},
        **{"return_bayes": 0.0, "return_total": 1.5, "start_step_global": 0, "end_step_global": 6, "badges": 1},
        **{"milestones_reached": "a;b", "savestate_tag": "", "map": "Cave, deep", "alarm_triggered": False},
    }
    return EpisodeRecord(**{**values, **changes})


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tracker_sums_rewards_and_sources_from_first_to_end():
    tracker = EpisodeTracker(2, "abc")
    info = {"env_id": 1, "badges": 2, "map": "Gym"}
    assert tracker.add(batch([0, 0], first="01"), step=0) == []
    assert tracker.add(batch([1, 4]), step=2) == []
    (ended,) = tracker.add(batch([1, 8], truncated="1", infos=(info,), milestones=(4, 3)), step=4)
    assert (ended.env_id, ended.length_steps, ended.return_total) == (1, 2, 4 + 8)
    assert (ended.return_env, ended.return_rnd) == ((4 + 8) / 2, 1 + 1)
    assert (ended.start_step_global, ended.end_step_global) == (0, 4)
    assert (ended.badges, ended.map, ended.milestones_reached, ended.alarm_triggered) == (2, "Gym", "a;b", False)
    assert tracker.add(batch([1, 0], first="1"), step=5) == []  # the reset row counts neither step nor reward
    one, other = tracker.add(batch([1, 16], terminated="01"), step=7)
    assert (ended.episode_id, tracker.episode_ids.tolist()) == (1, [0, 2])  # given when an episode begins
    assert (one.env_id, one.episode_id, one.length_steps, one.return_total) == (0, 0, 4, 4)
    assert (other.env_id, other.episode_id, other.length_steps, other.return_total) == (1, 2, 1, 16)
    assert other.start_step_global == 5


def test_what_was_reached_and_left_again_was_reached():
    tracker = EpisodeTracker(1, "abc")
    found = []
    for bits, first, end in ((1, "0", ""), (3, "", ""), (4, "", "0"), (1, "0", ""), (1, "", "0")):
        found += tracker.add(batch([0], first=first, terminated=end, milestones=(bits,)), step=0)
    assert [one.milestones_reached for one in found] == ["a;b;c", "a"]


def test_tracker_takes_some_environments_at_a_time():
    whole, halves = EpisodeTracker(4, "abc"), EpisodeTracker(4, "abc")
    rng = np.random.default_rng(0)
    first, found = "0123", ([], [])
    for step in range(60):
        rewards, bits = rng.integers(0, 9, 4).astype(float).tolist(), tuple(rng.integers(0, 8, 4).tolist())
        ends = "" if first else "".join(str(env) for env in range(4) if rng.random() < 0.2)
        infos = tuple({"env_id": int(env), "badges": step} for env in ends)
        found[0].extend(whole.add(batch(rewards, first=first, truncated=ends, infos=infos, milestones=bits), step))
        for half in ((0, 1), (3, 2)):
            rows = {str(env): str(row) for row, env in enumerate(half)}
            some = batch(
                [rewards[env] for env in half],
                first="".join(rows[env] for env in first if env in rows),
                truncated="".join(rows[env] for env in ends if env in rows),
                infos=infos,
                milestones=tuple(bits[env] for env in half),
                env_ids=half,
            )
            found[1].extend(halves.add(some, step))
        first = ends
    told = [sorted((r.end_step_global, r.env_id, r.return_total, r.milestones_reached) for r in each) for each in found]
    assert told[0] == told[1] and len(told[0]) > 20
    assert sorted(r.badges for r in found[0]) == sorted(r.badges for r in found[1])


def test_an_episode_that_another_follows_without_an_end_was_cut_off():
    tracker = EpisodeTracker(2, "abc")
    tracker.add(batch([0, 0], first="01"), step=0)
    tracker.add(batch([3, 5], milestones=(2, 0)), step=2)
    (cut,) = tracker.add(batch([0, 7], first="0", milestones=(1, 0), infos=({"env_id": 0, "badges": 1},)), step=3)
    assert (cut.env_id, cut.episode_id, cut.length_steps, cut.return_total, cut.badges) == (0, 0, 1, 3, 1)
    assert (cut.milestones_reached, cut.end_step_global) == ("b", 3)
    assert tracker.episode_ids.tolist() == [2, 1]
    (ended, _) = tracker.add(batch([1, 0], terminated="01"), step=5)
    assert (ended.length_steps, ended.return_total, ended.milestones_reached) == (1, 1, "a")


def test_phases_add_up_to_wall_time():
    now = [0.0]
    timers = PhaseTimers("act", "env", clock=lambda: now[0])
    for name, seconds in (("act", 2.0), ("env", 3.0), ("act", 1.0)):
        with timers(name):
            now[0] += seconds
        now[0] += 0.5
    spent, wall = timers.take()
    assert spent == {"act": 3.0, "env": 3.0, "other": 1.5} and wall == sum(spent.values())
    assert timers.take() == ({"act": 0.0, "env": 0.0, "other": 0.0}, 0.0)


def test_phase_counts_a_block_that_raises():
    now = [0.0]
    timers = PhaseTimers("act", clock=lambda: now[0])
    with pytest.raises(ValueError), timers("act"):
        now[0] += 2.0
        raise ValueError
    assert timers.take()[0]["act"] == 2.0


def test_episodes_csv_has_the_documented_columns(tmp_path: Path):
    path = tmp_path / "episodes.csv"
    sink = EpisodeCsv(path)
    sink.episode(episode(alarm_triggered=True))
    assert path.read_text().splitlines()[0] == COLUMNS
    (row,) = rows_of(path)  # on disk before it is closed
    assert row["map"] == "Cave, deep" and row["return_env"] == "1.5" and row["alarm_triggered"] == "1"
    sink.close()


def test_metrics_csv_grows_columns_and_keeps_rows(tmp_path: Path):
    sink = MetricsCsv(tmp_path / "metrics.csv")
    sink.interval(Interval.of(5, {"a": 1.0}))
    sink.interval(Interval.of(10, {"b": 2.5, "a": 3.0}))
    assert rows_of(tmp_path / "metrics.csv") == [
        {"step": "5", "a": "1", "b": ""},
        {"step": "10", "a": "3", "b": "2.5"},
    ]


def test_resume_drops_what_came_after_the_checkpoint(tmp_path: Path):
    for resume_step in (None, 10):
        csvs = EpisodeCsv(tmp_path / "e.csv", resume_step), MetricsCsv(tmp_path / "m.csv", resume_step)
        lines = JsonLines(tmp_path / "l.jsonl", resume_step)
        for step in (5, 10, 15) if resume_step is None else (12,):
            csvs[0].episode(episode(end_step_global=step))
            csvs[1].interval(Interval.of(step, {"a": step}))
            lines.event(Event("checkpoint", step))
        for sink in (*csvs, lines):
            sink.close()
        if resume_step is None:
            with (tmp_path / "e.csv").open("a") as file:
                file.write("7,1,3")  # a killed run's last line
    assert [row["end_step_global"] for row in rows_of(tmp_path / "e.csv")] == ["5", "10", "12"]
    assert [row["a"] for row in rows_of(tmp_path / "m.csv")] == ["5", "10", "12"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 12]


def test_json_lines_hold_every_kind_and_no_nan(tmp_path: Path):
    sink = JsonLines(tmp_path / "events.jsonl")
    telemetry = Telemetry([sink])
    with telemetry:
        telemetry.emit(Interval.of(5, {"a": float("nan"), "b": 2.0}))
        telemetry.emit(episode())
        telemetry.emit(Event("checkpoint", 7, {"path": "x"}))
    first, second, third = (json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert first.items() >= {"event": "interval", "step": 5, "a": None, "b": 2.0}.items()
    assert first.keys() - {"event", "step", "a", "b"} == {"telemetry/emit", "telemetry/busy", "telemetry/dropped"}
    assert second["event"] == "episode" and second["map"] == "Cave, deep"
    assert third == {"event": "checkpoint", "step": 7, "path": "x"}


def test_tensorboard_files_can_be_read_back(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoard(tmp_path)
    sink.interval(Interval.of(5, {"learner/loss": 0.25}))
    sink.episode(episode(return_rnd=0.5, alarm_triggered=True))
    sink.progress(BELIEVED)
    sink.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("learner/loss")] == [(5, 0.25)]
    assert [(e.step, e.value) for e in read.Scalars("episode/return_total")] == [(6, 1.5)]
    shown = {tag: read.Scalars(tag)[0].value for tag in read.Tags()["scalars"]}
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert {name.removesuffix("/text_summary") for name in {**shown, **texts}} - {"learner/loss"} == {
        *(f"episode/{column}" for column in COLUMNS.split(",")), *POSTERIOR
    }  # fmt: skip
    assert (shown["episode/return_rnd"], shown["episode/alarm_triggered"]) == (0.5, 1.0)
    assert texts["episode/milestones_reached/text_summary"] == "a;b"
    assert texts["episode/savestate_tag/text_summary"] == "" and shown["posterior_upper/Boulder"] == 0.875


def test_tensorboard_hides_what_came_after_the_checkpoint_and_nothing_else(tmp_path: Path):
    """Nor what it wrote itself before a full disk made it go on in another file."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    sink = TensorBoard(tmp_path)
    for step in (5, 10, 15, 20):
        sink.interval(Interval.of(step, {"a": step}))
        sink.episode(episode(end_step_global=step))
    sink.close()
    sink = TensorBoard(tmp_path, resume_step=10)
    sink.interval(Interval.of(12, {"a": -12}))
    sink.episode(episode(end_step_global=12))
    sink.close()
    sink._writer = None  # as it is after an error
    sink.interval(Interval.of(14, {"a": -14}))
    sink.close()

    def shown() -> list[tuple[int, float]]:
        read = EventAccumulator(str(tmp_path))
        read.Reload()
        assert {e.step for e in read.Tensors("episode/map/text_summary")} <= {5, 10, 12}
        return [(e.step, make_ndarray(e.tensor_proto).item()) for e in read.Tensors("a")]

    assert shown() == [(5, 5), (10, 10), (12, -12), (14, -14)]
    sink = TensorBoard(tmp_path)
    sink.interval(Interval.of(3, {"a": 0.5}))
    sink.close()
    assert shown() == [(3, 0.5)]  # a new run in an old folder


BELIEVED = ProgressRow(
    step=7, milestone="Boulder", alpha=2.0, beta=1.0, mean=0.75, lower=0.125, upper=0.875, alarm_score=-1.5
)
POSTERIOR = {
    "posterior_alpha/Boulder": 2.0,
    "posterior_beta/Boulder": 1.0,
    "posterior_mean/Boulder": 0.75,
    "posterior_lower/Boulder": 0.125,
    "posterior_upper/Boulder": 0.875,
    "alarm_score/Boulder": -1.5,
}


def wandb_records(folder: Path) -> tuple[str, list[Any]]:
    """Id and records of the last offline run in `folder`, whose file is a log in blocks as LevelDB has them."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its own process may still be writing
    (path,) = (folder / "wandb" / "latest-run").glob("*.wandb")
    data, at, whole, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            found.append(Record.FromString(whole))
            whole = b""
    return path.stem.removeprefix("run-"), found


def wandb_rows(records: list[Any]) -> list[dict[str, Any]]:
    """What was logged, without what wandb itself adds."""
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


@pytest.fixture
def wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network, home folder and a look at the test's output."""
    pytest.importorskip("wandb")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("CONSOLE", "off")):
        monkeypatch.setenv(f"WANDB_{name}", value)


@pytest.mark.usefixtures("wandb_offline")
def test_wandb_has_every_field_of_every_record(tmp_path: Path):
    with Telemetry([WeightsAndBiases(tmp_path, "tests", "night", {"seed": 3})]) as telemetry:
        telemetry.emit(Interval.of(5, {"learner/loss": 0.25}))
        telemetry.emit(episode(return_rnd=0.5, savestate_tag="cave_7", alarm_triggered=True))
        telemetry.emit(BELIEVED)
        telemetry.emit(Event("checkpoint", 8))
    _, records = wandb_records(tmp_path)
    interval, ended, believed = wandb_rows(records)
    assert interval.items() >= {"step": 5, "learner/loss": 0.25}.items()
    assert {*ended} == {"step", *(f"episode/{column}" for column in COLUMNS.split(","))}
    assert (ended["step"], ended["episode/return_rnd"], ended["episode/alarm_triggered"]) == (6, 0.5, 1)
    assert (ended["episode/savestate_tag"], ended["episode/map"]) == ("cave_7", "Cave, deep")
    assert believed == {"step": 7, **POSTERIOR}
    metrics = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
    assert [(m.name or m.glob_name, m.step_metric) for m in metrics] == [("step", ""), ("*", "step")]


@pytest.mark.usefixtures("wandb_offline")
def test_a_resumed_run_is_the_same_in_wandb_and_loses_no_row_and_a_new_one_is_another(tmp_path: Path):
    ids, steps = [], []
    for folder, resume_step, logged in (
        ("run", None, (5, 10, 15)),
        ("run", 10, (12, 11)),  # an episode's row may come after an interval's
        ("other/run", None, (5,)),  # the same name
        ("run", None, (5,)),  # it had no checkpoint, and begins anew
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        sink = WeightsAndBiases(tmp_path / folder, "tests", "run", {}, resume_step)
        for step in logged:
            sink.interval(Interval.of(step, {"a": step}))
        sink.close()
        run_id, records = wandb_records(tmp_path / folder)
        ids.append(run_id)
        steps.append(tuple(row["step"] for row in wandb_rows(records)))
    assert ids[0] == ids[1] and len({*ids}) == 3
    assert steps == [(5, 10, 15), (12, 11), (5,), (5,)]
