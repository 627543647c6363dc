"""Records, sinks, phase timers, episode sums and films."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import imageio
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, PhaseTimers, Telemetry
from daddy_puffer.telemetry.console import ConsoleSink
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, TensorBoard
from daddy_puffer.telemetry.video import Caption, VideoWriter, save_gif, save_mp4
from daddy_puffer.types import StepBatch

COLUMNS = (
    "episode_id,env_id,length_steps,return_env,return_rnd,return_novel,return_bayes,return_total,start_step_global,"
    "end_step_global,milestones_reached,savestate_tag,badges,map,alarm_triggered"
)


def batch(
    reward: list[float], first: str = "", terminated: str = "", truncated: str = "", infos: tuple[Any, ...] = ()
) -> StepBatch:
    """Rows named by digits: first="01" sets rows 0 and 1. The ledger is (reward / 2, 1, 0, 0)."""
    rows = len(reward)
    flags = [np.array([str(row) in text for row in range(rows)]) for text in (terminated, truncated, first)]
    ledger = np.array([[r / 2, 1, 0, 0] for r in reward], np.float32)
    return StepBatch(
        observation={"ledger": ledger},
        reward=np.array(reward, np.float32),
        terminated=flags[0],
        truncated=flags[1],
        first=flags[2],
        env_ids=np.arange(rows),
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
    tracker = EpisodeTracker(2)
    info = {"env_id": 1, "badges": 2, "map": "Gym", "milestones": ["a", "b"]}
    assert tracker.add(batch([0, 0], first="01"), step=0) == []
    assert tracker.add(batch([1, 4]), step=2) == []
    (ended,) = tracker.add(batch([1, 8], truncated="1", infos=(info,)), step=4)
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
    sink.episode(episode())
    sink.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("learner/loss")] == [(5, 0.25)]
    assert [(e.step, e.value) for e in read.Scalars("episode/return_total")] == [(6, 1.5)]


@pytest.mark.parametrize("terminal", [False, True])
def test_console_prints_plain_lines_unless_on_a_terminal(terminal: bool):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200, highlight=False)
    now = [50.0]
    sink = ConsoleSink(1000, 100.0, console, clock=lambda: now[0])
    now[0] += 20.0
    sink.episode(episode())
    sink.interval(Interval.of(500, {"speed/steps_per_second": 1234.4, "learner/loss": 0.5}))
    sink.event(Event("checkpoint", 500, {"path": "runs/x"}))
    now[0] += 70.0
    sink.interval(Interval.of(600, {}))
    sink.close()
    assert "step 600 (90%)  episodes 1\n" in text.getvalue()  # of the time, which ends first
    assert "step 500 (50%)  episodes 1  sps 1,234  loss 0.5\n" in text.getvalue()
    assert "step 500  checkpoint: path runs/x\n" in text.getvalue()
    assert ("\x1b" in text.getvalue()) == terminal


def grey(value: int) -> np.ndarray:
    return np.full((144, 160, 3), value, np.uint8)


def test_films_hold_every_frame_in_order(tmp_path: Path):
    frames = [grey(v) for v in (0, 85, 170, 255)]
    film = [frame[100, 100].mean() for frame in imageio.mimread(save_mp4(frames, tmp_path / "a.mp4"))]
    np.testing.assert_allclose(film, [0, 85, 170, 255], atol=6)
    with Image.open(save_gif(frames, tmp_path / "a.gif", fps=10)) as gif:
        shades = []
        for number in range(gif.n_frames):
            gif.seek(number)
            shades.append(gif.convert("RGB").getpixel((100, 100))[0])
        assert gif.info["duration"] == 100
    np.testing.assert_allclose(shades, [0, 85, 170, 255], atol=3)


def test_caption_is_written_below_an_untouched_picture(tmp_path: Path):
    with VideoWriter(tmp_path / "film", formats=("gif",), max_frames=2) as writer:
        for step in range(5):
            caption = Caption(step=step, action="START", reward=0.5, total=1.0, badges=0, place="Route 1")
            writer.add(grey(85), caption)
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 2  # max_frames
        picture = np.asarray(gif.convert("L"))
    assert picture.shape == (2 * 144 + 32, 320)
    assert set(np.unique(picture[:288])) == {85}
    assert picture[288:].max() > 180 > 60 > picture[288:].min()


def test_abandoned_film_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "film") as writer:
        writer.add(grey(0))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
