"""Posteriors against known distributions and simulated coins, and what a trainer makes of batches."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from daddy_puffer.config import ProgressConfig
from daddy_puffer.errors import UserError
from daddy_puffer.progress import Posteriors, trials
from daddy_puffer.progress.hierarchical import gibbs, particle_filter
from daddy_puffer.progress.posteriors import _IDLE, budgets_by_name
from daddy_puffer.progress.shaping import potential, shaping_reward
from daddy_puffer.progress.tracker import STALL_PATIENCE, ProgressTracker
from daddy_puffer.telemetry.sinks import ProgressCsv
from daddy_puffer.types import StepBatch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import progress_backends as study  # noqa: E402

ALL = np.array([True])
outcomes_lists = st.lists(st.booleans(), min_size=1, max_size=150)


def after(outcomes: list[bool] | np.ndarray, forgetting: float = 0.99) -> Posteriors:
    """The posterior of one milestone after these trials."""
    posteriors = Posteriors(1, forgetting)
    for outcome in outcomes:
        posteriors.update(ALL, np.array([outcome]))
    return posteriors


@given(outcomes_lists, st.floats(0.5, 0.999))
@settings(max_examples=60, deadline=None)
def test_interval_holds_the_mean_and_forgetting_bounds_what_is_remembered(outcomes: list[bool], keep: float) -> None:
    posteriors = after(outcomes, keep)
    lower, upper = posteriors.interval()
    assert 0.0 <= lower[0] < posteriors.mean[0] < upper[0] <= 1.0
    assert posteriors.alpha[0] + posteriors.beta[0] <= 2.0 + 1.0 / (1.0 - keep) + 1e-9
    assert posteriors.trial_count[0] == len(outcomes)


@given(outcomes_lists, st.integers(0, 149))
@settings(max_examples=60, deadline=None)
def test_a_success_more_means_a_higher_mean_and_less_curiosity(outcomes: list[bool], place: int) -> None:
    place %= len(outcomes)
    worse, better = ([*outcomes[:place], won, *outcomes[place + 1 :]] for won in (False, True))
    low, high = after(worse), after(better)
    assert low.mean[0] < high.mean[0]
    assert low.curiosity()[0] > high.curiosity()[0]
    assert low.probability_below(0.3)[0] >= high.probability_below(0.3)[0]


def test_update_is_the_discounted_conjugate_one() -> None:
    posteriors = after([True, False, True], 0.9)
    assert posteriors.alpha[0] == pytest.approx(1.0 + 0.81 + 1.0)
    assert posteriors.beta[0] == pytest.approx(1.0 + 0.9)
    lower, upper = posteriors.interval()
    assert (lower[0], upper[0]) == pytest.approx(stats.beta(2.81, 1.9).interval(0.95))
    assert posteriors.probability_below(0.4)[0] == pytest.approx(stats.beta(2.81, 1.9).cdf(0.4))


def test_only_the_counted_milestones_learn() -> None:
    posteriors = Posteriors(3)
    posteriors.update(np.array([True, False, True]), np.array([True, False, False]))
    np.testing.assert_allclose(posteriors.mean, [2 / 3, 1 / 2, 1 / 3])
    assert posteriors.trial_count.tolist() == [1, 0, 1]


def test_95_percent_intervals_hold_the_rate_about_95_times_in_100() -> None:
    rng, inside = np.random.default_rng(0), []
    for _ in range(30):
        rates = rng.random(50)
        posteriors = Posteriors(50, 0.9999)
        for _ in range(40):
            posteriors.update(np.ones(50, bool), rng.random(50) < rates)
        lower, upper = posteriors.interval()
        inside.extend((lower < rates) & (rates < upper))
    assert 0.93 < np.mean(inside) < 0.97


def test_a_policy_that_changed_is_followed() -> None:
    forgets, remembers = (after([True] * 300 + [False] * 150, keep) for keep in (0.97, 0.9999))
    assert forgets.interval()[1][0] < 0.15
    assert remembers.mean[0] > 0.6


def test_stalled_is_who_learns_no_more_and_is_not_reliable() -> None:
    rng = np.random.default_rng(1)
    risen = np.concatenate([rng.random(60) < 0.1, rng.random(60) < 0.95])
    assert after(np.zeros(150, bool)).stalled(0.5, 120)[0]
    assert not after(np.zeros(119, bool)).stalled(0.5, 120)[0]
    assert not after(risen).stalled(0.5, 120)[0]
    assert not after(np.ones(300, bool)).stalled(0.5, 120)[0]
    lost = np.concatenate([risen, np.zeros(400, bool)])
    assert after(lost).stalled(0.5, 120)[0]


def test_progress_is_a_new_best_by_a_tenth_of_the_newest_trials() -> None:
    def idle(*parts: tuple[int, bool]) -> float:
        return after([won for count, won in parts for _ in range(count)]).table[0, _IDLE]

    assert idle((64, False), (6, True)) == 70 and idle((64, False), (7, True)) == 0  # 7 of 64
    assert idle((64, False), (13, True)) == 6 and idle((64, False), (14, True)) == 0
    lost = (64, False), (14, True), (64, False)
    assert idle(*lost, (20, True)) == 84 and idle(*lost, (21, True)) == 0  # 21 is the first above 14 + 6.4


def flagged(rates: np.ndarray, runs: int = 300) -> np.ndarray:
    """Whether each of so many simulated runs counts as stalled after each trial, bool `[T, runs]`."""
    rng, posteriors = np.random.default_rng(7), Posteriors(runs)
    rows = []
    for rate in rates:
        posteriors.update(np.ones(runs, bool), rng.random(runs) < rate)
        rows.append(posteriors.stalled(0.4, STALL_PATIENCE))
    return np.array(rows)


@pytest.mark.parametrize("trials_to_target", [100, 400])
def test_a_milestone_that_rises_slowly_is_not_stalled(trials_to_target: int) -> None:
    rates = np.minimum(0.4 * np.arange(1000) / trials_to_target, 0.8)
    assert flagged(rates).any(axis=0).mean() <= 0.05


@pytest.mark.parametrize(("rate", "share"), [(0.02, 0.95), (0.1, 0.85), (0.2, 0.75), (0.3, 0.65)])
def test_a_milestone_that_stays_where_it_is_is_stalled(rate: float, share: float) -> None:
    found = flagged(np.full(1000, rate))
    assert found.any(axis=0).mean() > 0.98 and found[400:].mean() > share


def test_state_of_before_the_best_was_kept_goes_on() -> None:
    before = after([True] * 80)
    earlier, again = before.table[:, :-1], Posteriors(1, 0.99)
    again.load_state_dict({"table": earlier})
    np.testing.assert_array_equal(again.table[:, :-1], earlier)
    again.update(ALL, ALL)
    before.update(ALL, ALL)
    np.testing.assert_array_equal(again.mean, before.mean)


def test_state_goes_on_elsewhere() -> None:
    outcomes = np.random.default_rng(3).random(200) < 0.4
    whole, first, second = after(outcomes), after(outcomes[:90]), Posteriors(1, 0.99)
    second.load_state_dict(first.state_dict())
    for outcome in outcomes[90:]:
        second.update(ALL, np.array([outcome]))
    np.testing.assert_array_equal(second.table, whole.table)


def test_trials_of_an_episode() -> None:
    spawned = np.array([True, False, False, False])
    reached_at = np.array([-1, 7, 12, -1])
    counted, outcome = trials(spawned, reached_at, np.array([10, 10, 10, 50]))
    assert counted.tolist() == [False, True, True, True]
    assert outcome.tolist() == [False, True, False, False]
    assert trials(spawned, reached_at, np.array([10, 6, 12, 50]))[1].tolist() == [False, False, True, False]


def test_budgets_by_name() -> None:
    assert budgets_by_name(("a", "b"), 5, {"b": 9}).tolist() == [5, 9]
    with pytest.raises(UserError, match="did you mean Boulder"):
        budgets_by_name(("Boulder", "b"), 5, {"Bolder": 9})


def test_potential_and_shaping() -> None:
    assert potential(np.array([True, False, True]), np.array([1.0, 2.0, 4.0])) == 5.0
    assert shaping_reward(2.0, 5.0, 0.9, False) == pytest.approx(2.5)
    assert shaping_reward(2.0, 5.0, 0.9, True) == -2.0


def batch(bits: list[int], first: bool = False, truncated: bool = False, spawn_id: int = 0) -> StepBatch:
    """One step of environments whose milestones are `bits`; all begin or end together, at the true start if 0."""
    count = len(bits)
    no, end = np.zeros(count, bool), np.full(count, truncated)
    packed = np.array(bits, np.uint8)[:, None]
    numbers = np.arange(count)
    episode = np.full((count, 4), spawn_id, np.int32)
    return StepBatch(
        {"milestones": packed, "episode": episode}, np.zeros(count), no, end, np.full(count, first), numbers, []
    )


def tracker(num_envs: int, **changes: object) -> ProgressTracker:
    values = {"step_budget": 3, "watched": ["b"], "forgetting": 0.99, **changes}
    return ProgressTracker(("a", "b", "c"), ProgressConfig(**values), num_envs)


def play(progress: ProgressTracker, episode: list[list[int]], spawn_id: int = 0) -> None:
    """One episode of all environments: their bits at each time."""
    for time, bits in enumerate(episode):
        progress.add(batch(bits, first=time == 0, truncated=time == len(episode) - 1, spawn_id=spawn_id))


def test_tracker_counts_steps_from_the_spawn() -> None:
    progress = tracker(2)
    # the first reaches b (bit 1) with its third action, the second begins with b and reaches a (bit 0) too late
    play(progress, [[0, 2], [0, 2], [0, 2], [2, 2], [0, 3]])
    assert progress.posteriors.trial_count.tolist() == [2, 1, 2]
    np.testing.assert_allclose(progress.posteriors.successes, [0, 1, 0])


def test_tracker_takes_some_environments_at_a_time() -> None:
    whole, halves = (tracker(4, forgetting=1 - 1e-9) for _ in range(2))  # the order of trials hardly matters
    rng = np.random.default_rng(0)
    for _ in range(20):
        episode = np.bitwise_or.accumulate(rng.integers(0, 8, (6, 4)) & rng.integers(0, 8, (6, 4)))
        play(whole, episode.tolist())
        for half in (np.array([3, 0]), np.array([1, 2])):
            for time, bits in enumerate(episode[:, half].tolist()):
                some = batch(bits, first=time == 0, truncated=time == 5)
                halves.add(replace(some, env_ids=half))
    assert whole.posteriors.trial_count.tolist() == halves.posteriors.trial_count.tolist()
    assert 0 < whole.posteriors.trial_count.min() < 80
    np.testing.assert_allclose(whole.posteriors.successes, halves.posteriors.successes, atol=1e-4)
    assert (whole.posteriors.successes < whole.posteriors.trial_count).all()


def test_an_episode_that_was_cut_off_tells_of_budgets_that_were_over() -> None:
    progress = tracker(1, step_budgets={"a": 6})
    for time, bits in enumerate([0, 1, 5, 5, 5]):  # reaches a and c within their budgets
        progress.add(batch([bits], first=time == 0, truncated=False))
    progress.add(batch([0], first=True, truncated=False))
    assert progress.posteriors.trial_count.tolist() == [0, 1, 1]  # a could still have been reached
    np.testing.assert_allclose(progress.posteriors.successes, [0, 0, 1])


def test_tracker_rows_show_what_is_watched_or_was_reached(tmp_path: Path) -> None:
    progress = tracker(1)
    assert [row.milestone for row in progress.rows(7)] == ["b"]
    play(progress, [[0], [4], [4], [4]])
    rows = progress.rows(40)
    assert [row.milestone for row in rows] == ["b", "c"]
    assert rows[1].alpha == 2.0 and rows[1].lower < rows[1].mean < rows[1].upper
    sink = ProgressCsv(tmp_path / "progress.csv")
    for row in (*progress.rows(20), *rows):
        sink.progress(row)
    sink.close()
    resumed = ProgressCsv(tmp_path / "progress.csv", resume_step=30)
    for row in rows:
        resumed.progress(row)
    resumed.close()
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert lines[0] == "step,milestone,alpha,beta,mean,lower,upper,alarm_score"
    assert [line.split(",")[:2] for line in lines[1:]] == [["20", "b"], ["20", "c"], ["40", "b"], ["40", "c"]]


def test_tracker_alarms_at_the_frontier_only_and_when_something_is_lost() -> None:
    progress = tracker(1, watched=["a", "b"], forgetting=0.95, alarm_never=50.0, alarm_lost=0.0)
    won = [[0], [1], [1], [1]]
    lost = [[0], [0], [0], [0]]
    for _ in range(30):
        play(progress, lost)
    assert not progress.alarm
    for _ in range(30):
        play(progress, lost)
    assert progress.alarm and progress.metrics()["progress/alarm"] == 1.0
    for _ in range(80):
        play(progress, won)  # a is reliable now, so that it is b that nobody reaches
    assert progress.alarm and progress.metrics()["progress/reliable"] == 1.0
    reached_both = [[0], [1], [3], [3]]
    for _ in range(80):
        play(progress, reached_both)
    assert not progress.alarm
    for _ in range(50):
        play(progress, won)
    assert progress.alarm  # b was lost
    again = tracker(1, watched=["a", "b"], forgetting=0.95, alarm_never=50.0, alarm_lost=0.0)
    again.load_state_dict(progress.state_dict())
    assert again.alarm and again.rows(5) == progress.rows(5)


def test_only_episodes_from_the_true_start_are_trials() -> None:
    progress = tracker(2, watched=["a"], forgetting=0.95, alarm_never=50.0)
    for _ in range(60):
        play(progress, [[0, 0], [0, 0]], spawn_id=7)
    assert not progress.alarm and not progress.posteriors.trial_count.any()
    for _ in range(60):
        play(progress, [[0, 0], [1, 0]])
    assert progress.posteriors.trial_count.tolist() == [120, 120, 120]
    play(progress, [[0, 0], [1, 1]], spawn_id=7)
    assert progress.posteriors.trial_count.tolist() == [120, 120, 120]


def test_tracker_rejects_an_unknown_milestone() -> None:
    with pytest.raises(UserError, match="no milestone is called 'Bolder'"):
        tracker(1, watched=["Bolder"])


def test_gibbs_agrees_with_quadrature_on_the_hierarchical_model() -> None:
    wins, losses = np.array([3.0, 8.0, 0.0]), np.array([7.0, 2.0, 10.0])
    found = gibbs(wins, losses, np.random.default_rng(0), draws=6000)
    from scipy.special import betaln

    mu, log_kappa = np.meshgrid(np.linspace(0.005, 0.995, 199), np.linspace(-4.0, 9.0, 261), indexing="ij")
    a, b = mu * np.exp(log_kappa), (1.0 - mu) * np.exp(log_kappa)
    log_weight = -0.5 * ((log_kappa - np.log(10.0)) / 1.5) ** 2
    for won, lost in zip(wins, losses, strict=True):
        log_weight = log_weight + betaln(a + won, b + lost) - betaln(a, b)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    exact = [(weight * (a + won) / (a + b + won + lost)).sum() for won, lost in zip(wins, losses, strict=True)]
    np.testing.assert_allclose(found.theta.mean(axis=0), exact, atol=0.02)
    assert 0.1 < found.accepted < 0.9


def test_gibbs_lends_strength_between_milestones() -> None:
    alone, among = np.array([1.0]), np.array([1.0, 90.0, 95.0, 92.0, 91.0])
    rng = np.random.default_rng(1)
    single = gibbs(alone, np.array([1.0]), rng, draws=1500).theta.mean(axis=0)[0]
    shared = gibbs(among, np.array([1.0, 10.0, 5.0, 8.0, 9.0]), rng, draws=1500).theta.mean(axis=0)[0]
    assert abs(single - 0.5) < 0.06 and shared > single + 0.2


def test_logs_of_real_runs_are_analysed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "episodes.csv"
    log.write_text("episode_id,milestones_reached,savestate_tag\n0,A;Boulder,\n1,A;Cascade,a_state\n2,,\n3,Boulder,\n")
    names, outcomes = study.logged(tmp_path)
    assert names == ["A", "Boulder"]  # what was reached from a state of the curriculum alone is not among them
    assert outcomes.tolist() == [[True, True], [False, False], [False, True]]
    means, posteriors = study.conjugate_history(outcomes, 0.5)
    np.testing.assert_allclose(means[:, 1], [1 / 2, 2 / 3, 1.5 / 3.5])
    np.testing.assert_allclose(posteriors.alpha, [1.25, 2.25])
    monkeypatch.setattr("sys.argv", ["progress_backends.py", "--runs", str(tmp_path)])
    study.main()
    printed = capsys.readouterr().out
    assert "| Boulder | 2 of 3 |" in printed and f"| {study.REFERENCE} |" in printed
    for text, said in (("milestones_reached,savestate_tag\n,\n", "no episode reached"), (None, "does not exist")):
        log.unlink() if text is None else log.write_text(text)
        with pytest.raises(UserError, match=said):
            study.logged(tmp_path)


def test_particle_filter_without_drift_is_the_conjugate_posterior() -> None:
    outcomes = np.random.default_rng(4).random(60) < 0.3
    found = particle_filter(outcomes, np.random.default_rng(5), particles=20000, drift=0.01)
    exact = stats.beta(1 + outcomes.sum(), 1 + 60 - outcomes.sum())
    assert found.mean[-1] == pytest.approx(exact.mean(), abs=0.02)
    assert (found.lower[-1], found.upper[-1]) == pytest.approx(exact.interval(0.95), abs=0.04)


def test_particle_filter_follows_a_jump() -> None:
    outcomes = np.concatenate([np.zeros(150, bool), np.ones(150, bool)])
    found = particle_filter(outcomes, np.random.default_rng(6), drift=0.3)
    assert found.predicted[149] < 0.1 and found.predicted[-1] > 0.9
