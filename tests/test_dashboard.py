"""What a run tells on a terminal and in a log file: lines, picture, time left, and the terminal afterwards."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from daddy_puffer.telemetry import EpisodeRecord, Event, Interval, ProgressRow, StepRows, Telemetry
from daddy_puffer.telemetry.console import ConsoleSink, console_sink
from daddy_puffer.telemetry.dashboard import DashboardSink, Lines, draw, wants_dashboard
from daddy_puffer.telemetry.standing import Plan, Standing, clock_text, episode_line, log_line, short_name

PLAN = Plan(
    name="night",
    total_steps=1000,
    num_envs=2,
    watched=("Boulder", "EVENT_GOT_STARTER"),
    map_names={1: "ViridianCity", 2: "PewterCity"},
)
VALUES = {
    "speed/steps_per_second": 412.3,
    "exploration/epsilon": 0.24,
    "rollout/reward_per_step": 0.05,
    "rollout/env_reward_per_step": 0.04,
    "novelty/reward_per_step": 0.01,
    "learner/loss": 0.5,
    "learner/q_mean": 1.25,
    "curriculum/early_share": 0.45,
    "curriculum/mid_share": 0.35,
    "curriculum/late_share": 0.2,
    "curriculum/true_start_share": 0.3,
    "curriculum/states": 37.0,
}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def episode(**changes: Any) -> EpisodeRecord:
    values: dict[str, Any] = {
        **{"episode_id": 1342, "env_id": 7, "length_steps": 642, "return_env": 23.5, "return_rnd": 0.0},
        **{"return_novel": 8.0, "return_bayes": 0.0, "return_total": 31.8, "start_step_global": 0},
        **{"end_step_global": 500, "badges": 2, "milestones_reached": "EVENT_GOT_STARTER", "map": "PewterCity"},
        **{"savestate_tag": "", "alarm_triggered": False},
    }
    return EpisodeRecord(**{**values, **changes})


def belief(milestone: str, mean: float, step: int = 500) -> ProgressRow:
    return ProgressRow(
        step=step, milestone=milestone, alpha=1, beta=1, mean=mean, lower=mean / 2, upper=mean, alarm_score=0.0
    )


def rows(step: int, maps: list[int]) -> StepRows:
    count = len(maps)
    zeros = dict.fromkeys(("r_env", "r_rnd", "r_novel", "r_bayes", "r_total"), np.zeros(count, np.float32))
    numbers = {"episode_id": np.arange(count), **dict.fromkeys(("x", "y", "city_id", "quest_id"), np.zeros(count, int))}
    return StepRows(
        step_global=np.full(count, step), env_id=np.arange(count), map_id=np.array(maps),
        milestones=np.zeros((count, 1), np.uint8), posterior_mean=np.zeros((count, 0)),
        alarm_score=np.zeros((count, 0)), **zeros, **numbers,
    )  # fmt: skip


def standing(clock: Clock | None = None) -> Standing:
    found = Standing(PLAN, clock or Clock())
    for record in (
        rows(100, [1, 2]),
        belief("Cascade", 0.01),
        belief("EVENT_GOT_STARTER", 0.42),
        belief("Boulder", 0.81),
        episode(),
        Interval.of(500, VALUES),
    ):
        found.take(record)
    return found


def test_episode_line_has_the_documented_words():
    line = episode_line(episode(savestate_tag="Gym_1"), belief("Boulder", 0.81))
    assert line == (
        "[EP 1342 env=7] len=642 R_env=23.5 R_total=31.8 badges=2 map=PewterCity savestate_tag=Gym_1 theta_Boulder=0.81"
    )
    assert episode_line(episode(alarm_triggered=True)).endswith(" savestate_tag=- alarm=1")


def test_log_line_holds_everything_that_is_known():
    assert log_line(standing()) == (
        "step 500/1,000 (50%)  left 0:01  sps 412  episodes 1343  envs 2  epsilon 0.24  length 642  r_env 23.50  "
        "r_novel 8.00  r_total 31.80  badges 2.00  loss 0.5  q 1.250  spawn: early 45% | mid 35% | late 20%  "
        "theta: Boulder 0.81 got_starter 0.42 Cascade 0.01  map: PewterCity 2 ViridianCity 1"
    )
    assert log_line(Standing(PLAN, Clock())) == "step 0/1,000 (0%)  episodes 0  envs 2"


def test_the_theta_of_an_episode_is_of_the_first_watched_milestone_that_it_lacks():
    known = standing()
    lacking = [known.belief_about(episode(milestones_reached=names)) for names in ("", "Boulder", "Boulder;Cascade")]
    assert [row.milestone for row in lacking if row] == ["Boulder", "EVENT_GOT_STARTER", "EVENT_GOT_STARTER"]
    everything = known.belief_about(episode(milestones_reached="Boulder;EVENT_GOT_STARTER"))
    assert everything is not None and everything.milestone == "EVENT_GOT_STARTER"
    assert Standing(PLAN).belief_about(episode()) is None


def test_time_left_follows_the_speed_of_the_last_minute_and_the_clock():
    clock = Clock()
    found = Standing(Plan(total_steps=10_000, max_seconds=300.0), clock)
    assert found.seconds_left == 300.0 and found.speed is None
    for seconds, step in ((0, 0), (100, 100), (110, 600), (120, 1100)):
        clock.now = 50.0 + seconds
        found.take(Interval.of(step, {}))
    assert found.speed == (1100 - 100) / 20
    assert found.seconds_left == min((10_000 - 1100) / 50, 300 - 120)
    assert found.share_done == 120 / 300  # of the time, which ends first
    assert found.total == "/10,000"  # at this speed, however, the steps do
    clock.now += 3  # 177 seconds left, 178 to go
    assert found.total == "" and log_line(found).startswith("step 1,100 (")
    clock.now += 10_000
    assert found.seconds_left == 0.0 and found.share_done == 1.0


def test_a_resumed_run_is_not_taken_for_a_fast_one():
    clock = Clock()
    found = Standing(Plan(total_steps=1_000_100), clock)
    found.take(Event("resume", 1_000_000))
    clock.now += 10
    found.take(Interval.of(1_000_050, {}))
    assert (found.speed, found.seconds_left) == (5.0, 10.0)


def test_every_environment_is_counted_where_it_was_seen_last():
    found = Standing(PLAN)
    found.take(rows(10, [1, 1]))
    assert found.places == {"ViridianCity": 2}
    found.take(rows(20, [2, 9]))
    assert found.places == {"PewterCity": 1, "map 9": 1}


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "0:04"), (266, "4:26"), (11_066, "3:04:26"), (180_000, "2d 2:00")])
def test_clock_text(seconds: float, text: str):
    assert clock_text(seconds) == text


def test_short_names():
    assert [short_name(name) for name in ("Boulder", "EVENT_GOT_HM01", "rival3")] == ["Boulder", "got_hm01", "rival3"]


def test_ordinary_episodes_get_a_line_now_and_then_and_the_best_ones_always():
    clock = Clock()
    lines = Lines(Standing(PLAN, clock), clock)
    said = []
    for seconds, gained, badges in ((0, 1, 0), (1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 1, 1), (7, 1, 1), (9, 1, 0)):
        clock.now = 50.0 + seconds
        said.append(lines.take(episode(return_env=gained, badges=badges)) is not None)
    assert said == [True, False, True, True, False, False, True]


def test_picture_tells_everything_at_80_and_160_columns():
    for width in (80, 160):
        text = draw(standing(), width, 24).plain
        for part in ("night", "500 / 1,000", "412", "epsilon   0.24", "mean length 642", "1,343", "r_novel     0.0100"):
            assert part in text, part
        for part in ("early 45% | mid 35% | late 20%", "true start 30%", "PewterCity 2  ViridianCity 1", "●●○○○○○○"):
            assert part in text, part
    assert "0:00 · 0:01 left" in draw(standing(), 80, 24).plain
    ended = standing()
    ended.take(Event("stop", 500, {"reason": "SIGINT"}))
    assert "0:00 · SIGINT" in draw(ended, 80, 24).plain
    assert "Boulder 0.81  got_starter 0.42" in draw(standing(), 80, 24).plain
    assert "━━━━━━━━── 0.81 [0.41, 0.81]" in draw(standing(), 160, 24).plain


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(20, 240),
    height=st.integers(1, 60),
    step=st.integers(0, 10**12),
    values=st.dictionaries(st.sampled_from(sorted(VALUES)), st.floats(width=32), max_size=12),
    names=st.lists(st.text("abcdefghijXYZ é_", min_size=1, max_size=60), max_size=12),
)
def test_picture_is_never_larger_than_the_terminal(
    width: int, height: int, step: int, values: dict[str, float], names: list[str]
):
    found = standing()
    for name in names:
        found.take(belief(name, 0.5))
        found.take(episode(map=name, env_id=len(name), episode_id=step))
    found.take(Interval.of(step, values))
    lines = draw(found, width, height).split("\n")
    assert max(line.cell_len for line in lines) < max(width, 21)
    assert len(lines) <= max(height, 3)


def test_picture_without_unicode():
    assert draw(standing(), 80, 24, plain=True).plain.isascii()
    assert not draw(standing(), 80, 24).plain.isascii()


class Terminal:
    """A real pseudo terminal; what is written to it is collected."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.file = os.fdopen(self.slave, "w", encoding="utf-8")
        self.before = termios.tcgetattr(self.slave)
        self.written = b""
        threading.Thread(target=self._read, daemon=True).start()

    def console(self, **environment: str) -> Console:
        variables = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment}
        return Console(file=self.file, highlight=False, _environ=variables)

    def wait_for(self, text: bytes) -> bytes:
        deadline = time.monotonic() + 60
        while text not in self.written:
            assert time.monotonic() < deadline, self.written
            time.sleep(0.01)
        return self.written

    def assert_sane(self) -> None:
        assert termios.tcgetattr(self.slave) == self.before
        assert self.written.rfind(b"\x1b[?25h") > self.written.rfind(b"\x1b[?25l")  # the cursor is visible
        assert b"\x1b[?1049h" not in self.written  # no second screen

    def _read(self) -> None:
        while True:
            try:
                self.written += os.read(self.master, 4096)
            except OSError:
                return


def test_who_gets_a_picture():
    terminal = Terminal()
    assert wants_dashboard(terminal.console())
    assert not wants_dashboard(terminal.console(NO_COLOR="1"))
    assert not wants_dashboard(terminal.console(TERM="dumb"))
    assert not wants_dashboard(Console(file=io.StringIO(), force_terminal=True))  # a log file with FORCE_COLOR
    assert isinstance(console_sink(PLAN, terminal.console()), DashboardSink)
    assert isinstance(console_sink(PLAN, Console(file=io.StringIO())), ConsoleSink)


def test_lines_hold_no_escape_sequence():
    text = io.StringIO()
    sink = ConsoleSink(PLAN, Console(file=text, force_terminal=True, width=20))
    for record in (episode(), belief("Boulder", 0.5), Interval.of(500, VALUES), Event("stop", 500, {"reason": "done"})):
        sink.take(record)
    first, second, third = text.getvalue().splitlines()  # none is wrapped
    assert first.startswith("[EP 1342 env=7]") and second.startswith("step 500/1,000 (50%)")
    assert third == "step 500  stop: reason done" and "\x1b" not in text.getvalue()


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, RuntimeError])
def test_the_terminal_is_sane_afterwards(failure: type[BaseException] | None):
    terminal = Terminal()
    telemetry = Telemetry([DashboardSink(PLAN, terminal.console())])
    try:
        with telemetry:
            telemetry.emit(Interval.of(500, VALUES))
            telemetry.emit(Event("checkpoint", 500, {"path": "runs/x"}))
            terminal.wait_for(b"0.24")
            terminal.assert_sane()  # at any time, so that a run that is killed leaves it so
            if failure is not None:
                raise failure
    except (KeyboardInterrupt, RuntimeError):
        pass
    terminal.wait_for(b"checkpoint: path runs/x")
    terminal.assert_sane()
    assert sys.stdout is not terminal.file and not isinstance(sys.stdout, type(telemetry))


KILLED = """
import signal, sys, time
from rich.console import Console
from daddy_puffer.telemetry import Interval, Telemetry
from daddy_puffer.telemetry.console import console_sink
from daddy_puffer.telemetry.standing import Plan
with Telemetry([console_sink(Plan(name="night", total_steps=9))]) as telemetry:
    telemetry.emit(Interval.of(3, {"exploration/epsilon": 0.24}))
    time.sleep(60)
"""


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_killed_program_leaves_a_sane_terminal(signal_name: str):
    import signal

    terminal = Terminal()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=terminal.file, stderr=subprocess.DEVNULL, env=environment,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    terminal.wait_for(b"0.24")
    process.send_signal(getattr(signal, signal_name))
    assert process.wait(60) != 0
    terminal.assert_sane()


class Held(io.StringIO):
    """A terminal that was stopped with Ctrl-S."""

    def write(self, text: str) -> int:
        threading.Event().wait()
        return 0


def test_a_held_terminal_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("daddy_puffer.telemetry.dashboard.CLOSE_SECONDS", 0.1)
    sink = DashboardSink(PLAN, Console(file=Held(), force_terminal=True, width=80, height=24))
    began = time.monotonic()
    for step in range(1000):
        sink.take(Event("checkpoint", step))
    sink.close()
    assert time.monotonic() - began < 5.0


def test_a_picture_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("daddy_puffer.telemetry.dashboard.draw", broken)
    sink = DashboardSink(PLAN, Console(file=io.StringIO(), force_terminal=True))
    sink.take(Event("checkpoint", 1))
    sink.close()
    sink.take(Event("stop", 2))
    assert [record.message for record in caplog.records] == [
        "the dashboard is switched off, training goes on: ZeroDivisionError()"
    ]
