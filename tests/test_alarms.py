"""Alarms: what each is for, on planted stalls; and that thresholds keep their false-alarm rate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daddy_puffer.progress.alarms import Alarm, ChangePoint, FixedDeadline, MilestoneAlarm, RewardCusum, log_odds_below

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import alarm as study  # noqa: E402

DETECTORS: list[Callable[..., Alarm]] = [FixedDeadline, RewardCusum, ChangePoint, MilestoneAlarm]


def first_alarm(detector: Alarm, reached: np.ndarray, returns: np.ndarray | None = None) -> int:
    """Episode of the first alarm, -1 = none."""
    totals = reached.astype(float) if returns is None else returns
    for episode, (won, total) in enumerate(zip(reached, totals, strict=True)):
        if detector.update(bool(won), float(total)):
            return episode
    return -1


def coins(*parts: tuple[int, float], seed: int = 0) -> np.ndarray:
    """Outcomes at these rates for so many episodes each."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(count) < rate for count, rate in parts])


@pytest.mark.parametrize("make", DETECTORS)
def test_without_threshold_there_is_no_alarm(make: Callable[..., Alarm]) -> None:
    assert first_alarm(make(), coins((200, 0.5), (200, 0.0))) == -1


def test_deadline_ends_with_the_first_success() -> None:
    assert first_alarm(FixedDeadline((50,)), np.zeros(80, bool)) == 50
    assert first_alarm(FixedDeadline((50,)), coins((1, 1.0), (80, 0.0))) == -1


def test_cusum_is_pages_sum() -> None:
    detector = RewardCusum((np.inf,), scale=2.0, allowance=0.5, reference=10.0)
    sums = []
    for total in (10.0, 4.0, 12.0, 4.0):
        detector.update(False, total)
        sums.append(detector.scores[0])
    assert sums == [0.0, 2.5, 1.0, 3.5]


def test_cusum_that_adapts_sees_what_was_lost() -> None:
    returns = np.random.default_rng(0).normal(np.repeat([0.0, 10.0, 0.0], 100), 1.0)
    found = first_alarm(RewardCusum((20.0,), scale=1.0), np.zeros(300, bool), returns)
    assert 200 <= found < 210


def test_change_point_predicts_as_the_beta_model_without_changes() -> None:
    detector = ChangePoint(hazard=1e-12, longest=50)
    outcomes = coins((40, 0.3))
    for won in outcomes:
        detector.update(bool(won), 0.0)
    assert detector._length[40] == pytest.approx(1.0)
    assert detector._wins[40] == outcomes.sum() and detector._trials[40] == 40


def test_change_point_finds_the_change() -> None:
    detector = ChangePoint(hazard=0.01)
    for won in coins((150, 0.9), (20, 0.0)):
        detector.update(bool(won), 0.0)
    assert int(np.argmax(detector._length)) in range(18, 23)
    assert detector.scores[1] > 4.0


def test_run_lengths_over_the_longest_are_kept_together() -> None:
    detector = ChangePoint(longest=30)
    for won in coins((200, 0.5)):
        detector.update(bool(won), 0.0)
    assert detector._length.sum() == pytest.approx(1.0) and detector._trials.max() == 30


def test_ours_alarms_when_a_milestone_never_comes_and_when_it_is_lost() -> None:
    never, lost = (first_alarm(MilestoneAlarm(levels), np.zeros(400, bool)) for levels in ((50, np.inf), (np.inf, 0)))
    assert 50 <= never < 55 and lost == -1
    outcomes = coins((100, 0.05), (100, 0.9), (200, 0.01))
    assert 200 <= first_alarm(MilestoneAlarm((np.inf, 0.0)), outcomes) < 240
    assert first_alarm(MilestoneAlarm((np.inf, 2.0)), coins((100, 0.05), (600, 0.9))) == -1


def test_ours_goes_on_from_its_state() -> None:
    outcomes = coins((100, 0.6), (60, 0.0))
    whole, first, second = MilestoneAlarm(), MilestoneAlarm(), MilestoneAlarm()
    for episode, won in enumerate(outcomes):
        whole.update(bool(won), 0.0)
        (first if episode < 70 else second).update(bool(won), 0.0)
        if episode == 69:
            second.load_state(first.state())
    assert second.scores == whole.scores


def test_log_odds_are_exact_far_out() -> None:
    assert log_odds_below(1.0, 1.0, 0.25) == pytest.approx(np.log(1 / 3))
    assert log_odds_below(1.0, 200.0, 0.5) == pytest.approx(200 * np.log(2.0), rel=1e-6)


def test_thresholds_are_exceeded_by_the_share_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    highest = rng.normal(size=(1000, 2))
    levels = study.thresholds_for(highest, 0.05)
    assert 0.04 <= (highest > levels).any(axis=1).mean() <= 0.05
    fresh = rng.normal(size=(20000, 2))
    assert 0.03 < (fresh > levels).any(axis=1).mean() < 0.07
    assert (highest > levels).mean(axis=0) == pytest.approx([0.025, 0.025], abs=0.005)


def test_lead_counts_from_the_alarm_to_the_end_and_only_after_the_stall() -> None:
    run = study.Run(np.zeros(100, bool), np.zeros(100), 40, "collapse")
    assert [study.lead(run, alarm) for alarm in (-1, 39, 40, 99)] == [0, 0, 59, 0]


def test_planted_runs_stall_and_healthy_ones_do_not() -> None:
    for plant in ("", *study.PLANTS):
        ends = [study.simulate(plant, np.random.default_rng(seed)).reached[-100:].mean() for seed in range(20)]
        assert (min(ends) > 0.4) if plant == "" else (max(ends) < 0.35)


def test_the_study_runs_and_tells_what_is_wrong() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "alarm.py")]
    refused = subprocess.run([*command, "--runs-per-kind", "3"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "at least 20" in refused.stderr


def test_logged_runs_are_read(tmp_path: Path) -> None:
    header = "return_total,milestones_reached,savestate_tag\n"
    (tmp_path / "episodes.csv").write_text(header + "1.5,Boulder;X,\n2,,\n3,Boulder,from_a_state\n")
    run = study.logged(tmp_path, "Boulder")
    assert run.reached.tolist() == [True, False] and run.returns.tolist() == [1.5, 2.0]
    with pytest.raises(study.UserError, match="does not exist"):
        study.logged(tmp_path / "none", "Boulder")
