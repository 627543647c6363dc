"""Drawing save states: every mode on candidates of any kind, and the arithmetic of each by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daddy_puffer.config import CurriculumConfig
from daddy_puffer.errors import UserError
from daddy_puffer.swarm import MODES, Candidates, probabilities
from daddy_puffer.swarm.sampling import learnability, stages


def candidates(count: int, **given: list[float]) -> Candidates:
    """N states alike, each in a cell of its own, but for what is `given`."""
    zeros = np.zeros(count)
    names = ("region_visits", "distance", "progress", "made", "visits", "tried", "gained", "missed", "found", "holes")
    values: dict[str, np.ndarray] = {name: zeros for name in names}
    values.update({name: np.array(value, float) for name, value in given.items()})
    cell = values.pop("cell", np.arange(count)).astype(np.int64)
    region = values.pop("region", zeros).astype(np.int64)
    place = values.pop("place", cell).astype(np.int64)
    return Candidates(cell=cell, region=region, place=place, **values)


@st.composite
def any_candidates(draw: st.DrawFn) -> Candidates:
    count = draw(st.integers(1, 12))

    def counts(most: int) -> list[float]:
        return draw(st.lists(st.integers(0, most), min_size=count, max_size=count))

    tried = counts(10**6)
    found = [min(a, b) for a, b in zip(tried, counts(10**6), strict=True)]
    return candidates(
        count,
        cell=counts(3),
        region=counts(2),
        distance=counts(5000),
        progress=counts(84),
        made=counts(10**9),
        visits=counts(10**9),
        tried=tried,
        gained=counts(20),
        missed=counts(20),
        found=found,
        holes=counts(4),
    )


@given(any_candidates(), st.sampled_from(MODES), st.integers(0, 99))
def test_probabilities_are_probabilities(states: Candidates, mode: str, seed: int) -> None:
    chances = probabilities(mode, states, np.random.default_rng(seed))
    assert chances.shape == (len(states),) and (chances >= 0).all() and chances.sum() == pytest.approx(1)
    if mode not in ("rubinstein", "frontier"):  # all others leave every state a chance
        assert (chances > 0).all()


@given(any_candidates(), st.sampled_from(("go_explore", "progress", "rubinstein")), st.randoms())
def test_the_order_of_the_states_does_not_matter(states: Candidates, mode: str, shuffler: object) -> None:
    order = np.random.default_rng(0).permutation(len(states))
    shuffled = Candidates(**{name: getattr(states, name)[order] for name in Candidates.__slots__})
    chances = probabilities(mode, states, np.random.default_rng(0))
    if mode == "rubinstein":  # of states alike in everything, either will do
        chosen = chances.argmax(), order[probabilities(mode, shuffled, np.random.default_rng(0)).argmax()]
        assert len({(states.progress[one], states.made[one]) for one in chosen}) == 1
    else:
        np.testing.assert_allclose(chances[order], probabilities(mode, shuffled, np.random.default_rng(0)))


def test_go_explore_weighs_cells_by_one_over_root_of_visits_plus_one() -> None:
    states = candidates(3, visits=[0, 3, 8])
    chances = probabilities("go_explore", states, np.random.default_rng(0))
    np.testing.assert_allclose(chances, np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3))


def test_frontier_prefers_places_from_which_something_new_was_found() -> None:
    # place 1 has led nowhere 50 times, place 2 somewhere every second time, place 3 was never tried
    states = candidates(4, place=[1, 2, 2, 3], tried=[50, 10, 10, 0], found=[0, 5, 5, 0], distance=[1, 90, 80, 99])
    rng = np.random.default_rng(0)
    drawn = np.mean([probabilities("frontier", states, rng) for _ in range(2000)], axis=0)
    assert drawn[0] < 0.01 and drawn[1] == 0.0  # there is a shorter way to place 2
    assert 0.4 < drawn[2] < 0.6 and 0.4 < drawn[3] < 0.6  # Beta(11, 11) against a uniform draw
    # of two places tried alike the one that is often passed is drawn less: two cells of it add up
    known = candidates(3, place=[1, 1, 2], cell=[0, 1, 2], visits=[5000, 4999, 3], tried=[8, 8, 16])
    drawn = np.mean([probabilities("frontier", known, rng) for _ in range(2000)], axis=0)
    assert drawn[2] > 0.95
    # of two places that have led nowhere, the one with three holes beside it is tried four times as gladly
    beside = candidates(2, tried=[8, 8], holes=[0, 3])
    drawn = np.mean([probabilities("frontier", beside, rng) for _ in range(2000)], axis=0)
    assert drawn[1] > 0.75


def test_go_explore_weighs_a_map_by_its_own_visits_however_many_cells_it_has() -> None:
    states = candidates(4, region=[1, 1, 1, 2], region_visits=[99, 99, 99, 3], visits=[0, 3, 8, 3])
    chances = probabilities("go_explore", states, np.random.default_rng(0))
    known, frontier = 1 / 10, 1 / 2
    np.testing.assert_allclose(chances[3], frontier / (known + frontier))
    np.testing.assert_allclose(chances[:3] / chances[:3].sum(), np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3))


def test_states_of_one_cell_share_its_weight() -> None:
    chances = probabilities("go_explore", candidates(4, cell=[7, 7, 7, 9]), np.random.default_rng(0))
    np.testing.assert_allclose(chances, [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_rubinstein_sends_everybody_to_the_newest_of_the_best() -> None:
    states = candidates(4, progress=[1, 5, 5, 4], made=[9, 2, 3, 8])
    np.testing.assert_array_equal(probabilities("rubinstein", states, np.random.default_rng(0)), [0, 0, 1, 0])


def test_progress_is_linear_in_milestones_above_the_least() -> None:
    chances = probabilities("progress", candidates(3, progress=[2, 3, 5]), np.random.default_rng(0))
    np.testing.assert_allclose(chances, np.array([1, 2, 4]) / 7)


def test_thirds_are_of_the_range_of_progress() -> None:
    assert stages(np.array([0.0, 2, 3, 5, 6, 9])).tolist() == [0, 0, 1, 1, 2, 2]
    assert stages(np.array([4.0, 4])).tolist() == [0, 0]


def test_mixture_gives_each_third_the_same_share_however_many_states_it_has() -> None:
    states = candidates(8, progress=[0, 0, 0, 0, 0, 4, 9, 9])
    chances = probabilities("mixture", states, np.random.default_rng(0))
    np.testing.assert_allclose([chances[:5].sum(), chances[5], chances[6:].sum()], 1 / 3)


def test_mixture_prefers_rare_cells_and_starts_that_succeed_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    rare = candidates(2, visits=[0, 99])
    tried = candidates(3, gained=[0, 500, 1000], missed=[1000, 500, 0])
    mean_rare = np.mean([probabilities("mixture", rare, rng) for _ in range(2000)], axis=0)
    mean_tried = np.mean([probabilities("mixture", tried, rng) for _ in range(500)], axis=0)
    assert mean_rare[0] > 0.8
    assert mean_tried[1] > 0.9 and min(mean_tried) > 0.01  # but the others are tried now and then


def test_a_start_hardly_tried_is_drawn_more_often_than_one_that_always_fails() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([learnability(np.zeros(2), np.array([0.0, 200]), rng) for _ in range(1000)])
    assert draws[:, 0].mean() == pytest.approx(4 / 6, abs=0.03)  # E[4 p (1 - p)] of a uniform p
    assert draws[:, 1].mean() < 0.05


def test_an_unknown_mode_is_an_error_and_every_mode_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="none of"):
        probabilities("off", candidates(1), np.random.default_rng(0))
    for mode in MODES:
        assert CurriculumConfig(mode=mode).mode == mode
    with pytest.raises(UserError, match="quotes"):
        CurriculumConfig(mode="False")
