"""What a sweep searches, what it remembers and how it judges: spaces, journal, measure, Pareto set, searchers."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from daddy_puffer.config import YAML_PATHS, Config, load_config
from daddy_puffer.errors import UserError
from daddy_puffer.sweep import searchers
from daddy_puffer.sweep.command import choose_objective
from daddy_puffer.sweep.journal import Journal, read_facts
from daddy_puffer.sweep.measure import measure, read_outcome
from daddy_puffer.sweep.results import rank_correlation, show
from daddy_puffer.sweep.searchers import CarbsSearch, RandomSearch, choose_searcher, make_searcher
from daddy_puffer.sweep.space import Parameter, Space, read_space
from daddy_puffer.sweep.trials import (
    Outcome,
    Plan,
    Trial,
    best_trial,
    check_settings,
    facts_of,
    pareto,
    plan_of,
    trials_of,
)

ROOT = Path(__file__).parents[1]
FILE = ROOT / "sweep.yaml"
LEARNER = ("train", "learner")


def write(path: Path, entries: dict[str, Any], keys: tuple[str, ...] = LEARNER) -> Path:
    node: Any = entries
    for key in reversed(keys):
        node = {key: node}
    path.write_text(yaml.safe_dump(node))
    return path


def log_space(**values: Any) -> dict[str, Any]:
    return {"carbs.utils.LogSpace": {"min": 1.0e-5, "max": 1.0e-2, **values}}


def test_shipped_file_is_read_around_the_configuration() -> None:
    config = load_config(ROOT / "config.yaml")
    found = {p.name: p for p in read_space(FILE, config)}
    gamma, rate, badge = found["learner.gamma"], found["learner.learning_rate"], found["rewards.badge"]
    assert gamma.space.kind == "LogitSpace" and gamma.centre == config.learner.gamma
    assert rate.space.kind == "LogSpace" and rate.centre == config.learner.learning_rate
    assert badge.centre == config.rewards["badge"] and found["env.max_steps"].space.is_integer
    overrides = {name: p.space.from_unit(0.5) for name, p in found.items()}
    assert load_config(ROOT / "config.yaml", overrides).learner.gamma == overrides["learner.gamma"]


def test_shipped_file_passes_upstreams_check() -> None:
    """The assertion of pokemonred_puffer/sweep.py, `launch_sweep`."""
    for p in read_space(FILE, load_config(ROOT / "config.yaml")):
        space = p.space
        assert space.min < p.centre - space.scale < p.centre + space.scale < space.max, p.name


SPACES = st.builds(
    lambda kind, low, width, integer, factor: Space(
        kind=kind,
        min=float(low * factor) if integer and kind != "LogitSpace" else low / 100,
        max=float((low + width) * factor) if integer and kind != "LogitSpace" else (low + width) / 100,
        is_integer=integer and kind != "LogitSpace",
        rounding_factor=factor,
    ),
    st.sampled_from(["LinearSpace", "LogSpace", "LogitSpace"]),
    st.integers(1, 49), st.integers(1, 50), st.booleans(), st.sampled_from([1, 8]),
)  # fmt: skip


@given(space=SPACES, share=st.floats(0.0, 1.0))
def test_every_share_of_a_space_is_a_value_in_it(space: Space, share: float) -> None:
    value = space.from_unit(share)
    assert space.min <= value <= space.max
    if space.is_integer:
        assert isinstance(value, int) and value % space.rounding_factor == 0
    else:
        assert space.to_unit(value) == pytest.approx(share, abs=1e-6)
    assert space.nearest(value) == value


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"learning_rat": log_space()}, "did you mean train.learner.learning_rate"),
        ({"learning_rate": log_space(mx=1.0)}, "did you mean max"),
        ({"learning_rate": {"carbs.utils.LogSpac": {"min": 1.0, "max": 2.0}}}, "did you mean carbs.utils.LogSpace"),
        ({"learning_rate": {"carbs.utils.__import__": {}}}, "unknown space"),
        ({"learning_rate": log_space(min=0.02)}, "must be below max"),
        ({"learning_rate": log_space(min=0.01)}, "must be below max"),
        ({"learning_rate": log_space(min=0.0)}, "min above 0"),
        ({"learning_rate": log_space(min="1e-5")}, "1.0e-5"),
        ({"learning_rate": log_space(scale=0.0)}, "scale must be above 0"),
        ({"learning_rate": log_space(max=float("inf"))}, "finite"),
        ({"learning_rate": log_space(min=1.0e-3)}, "lies outside"),
        ({"learning_rate": {"carbs.utils.LogSpace": {"min": 1.0e-5}}}, "max is missing"),
        ({"learning_rate": {"carbs.utils.LogSpace": 3}}, "mapping with min and max"),
        ({"learning_rate": log_space() | {"beside": 1}}, "nothing beside it"),
        ({"learning_rate": 3}, "must be a space"),
        ({"n_step": {"carbs.utils.LinearSpace": {"min": 1, "max": 5}}}, "is_integer"),
        ({"double_q": {"carbs.utils.LinearSpace": {"min": 0, "max": 1}}}, "no number"),
        ({"gamma": {"carbs.utils.LogitSpace": {"min": 0.9, "max": 1.5}}}, "within 0..1"),
        ({"n_step": {"carbs.utils.LinearSpace": {"min": 1, "max": 5, "is_integer": True, "rounding_factor": 8}}},
         "no multiple of 8"),
        ({}, "nothing to search"),
    ],
)  # fmt: skip
def test_bad_files_get_one_line(tmp_path: Path, entries: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace(".", r"\.")) as error:
        read_space(write(tmp_path / "s.yaml", entries), Config())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "!!python/object/apply:os.system [x]", "&a\ntrain: *a", "x: &x {x: *x}", "\x00"]
)
def test_what_is_no_sweep_file_gets_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_space(tmp_path / "s.yaml", Config())
    assert "\n" not in str(error.value)


@pytest.mark.timeout(60)
def test_mappings_of_aliases_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    levels = ["a0: &a0 {k: {}}"]
    levels += [f"a{n}: &a{n} {{{', '.join(f'k{key}: *a{n - 1}' for key in range(26))}}}" for n in range(1, 7)]
    (tmp_path / "s.yaml").write_text("\n".join(levels))
    with pytest.raises(UserError, match="more than"):
        read_space(tmp_path / "s.yaml", Config())


# --- journal ---------------------------------------------------------------------------------------------------------


@given(cut=st.integers(0, 10_000), count=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_a_journal_cut_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, cut: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "trials.jsonl"
    with Journal(path) as journal:
        for number in range(count):
            journal.append("started", trial=number, settings={"x": 0.5})
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    kept = path.read_bytes().count(b"\n")
    assert [fact["trial"] for fact in read_facts(path)] == list(range(kept))
    with Journal(path) as journal:  # goes on in a line of its own
        journal.append("started", trial=99)
        assert [fact["trial"] for fact in journal.read()] == [*range(kept), 99]


def test_a_damaged_line_in_the_middle_is_said(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('{"event": "sweep"}\nrubbish\n{"event": "started"}\n')
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_facts(tmp_path / "trials.jsonl")


def test_trials_are_rebuilt_from_facts() -> None:
    outcome = {"objective": 1.5, "cost": 3.0, "steps": 300, "episodes": 4}
    facts = [
        {"event": "sweep"},
        *({"event": "started", "trial": number, "settings": {"x": number}} for number in range(3)),
        {"event": "finished", "trial": 2, **outcome},
        {"event": "failed", "trial": 0, "reason": "dead"},
    ]
    first, second, third = trials_of(facts)
    assert first.reason == "dead" and not second.ended and third.outcome == Outcome(**outcome)
    with pytest.raises(UserError, match="another version"):
        trials_of([*facts, {"event": "finished", "trial": 1, "objectiv": 1.0}])


STARTED = {"event": "started", "trial": 0, "settings": {"x": 1}}
FINISHED = {"event": "finished", "trial": 0, "objective": 1.5, "cost": 3.0, "steps": 300, "episodes": 4}


@pytest.mark.parametrize(
    "fact",
    [
        {"event": "started", "settings": {"x": 1}},
        *(STARTED | {"trial": number} for number in ("abc", "7", [1], None, True, -1, 1.5, 10**20)),
        *(STARTED | {"settings": settings} for settings in ([], {"x": "1"}, {"x": math.nan}, {"x": 10**400})),
        *(FINISHED | {"trial": number} for number in ([0], {}, True, 5)),
        *(FINISHED | {key: value} for key in ("objective", "cost") for value in ("1.5", math.nan, math.inf, 10**400)),
        *(FINISHED | {"steps": value} for value in (1.5, "300", True)),
        {"event": "failed", "trial": 0, "reason": ["dead"]},
        {"event": "begun\n"},
    ],
)
def test_a_journal_of_wrong_types_gets_one_line(fact: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="journal") as error:
        trials_of([{"event": "sweep"}, STARTED, fact])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"seed": "7"}, {"seed": 1.5}, {"episodes": None}, {"objective": []}, {"more": 1}])
def test_a_plan_of_wrong_types_gets_one_line(wrong: dict[str, Any]) -> None:
    plan = Plan(searcher="random", objective="return", episodes=20, seed=7)
    assert plan_of([{"event": "sweep", **facts_of(plan)}]) == plan
    with pytest.raises(UserError, match="journal"):
        plan_of([{"event": "sweep", **facts_of(plan), **wrong}])


def test_what_a_space_has_no_place_for_is_said(tmp_path: Path) -> None:
    parameters = line(tmp_path)
    settings = {p.name: p.centre for p in parameters}
    check_settings([Trial(number=0, settings=settings)], parameters, tmp_path)
    for name, value in (("learner.learning_rate", -1.0), ("learner.learning_rate", 0), ("learner.gamma", 1.5)):
        with pytest.raises(UserError, match="no place for"):
            check_settings([Trial(number=0, settings=settings | {name: value})], parameters, tmp_path)


# --- measure and results ---------------------------------------------------------------------------------------------


def test_only_the_last_episodes_from_the_true_start_count(tmp_path: Path) -> None:
    rows = ["9,3,A;B;C,", "1,0,A,", "50,8,A;B;C;D,early", "3,1,,", "70,8,A,late"]
    (tmp_path / "episodes.csv").write_text("\n".join(["return_env,badges,milestones_reached,savestate_tag", *rows, ""]))
    assert measure(tmp_path, "return", 2) == (2.0, 2)
    assert measure(tmp_path, "badges", 2) == (0.5, 2) and measure(tmp_path, "milestones", 2) == (0.5, 2)
    assert measure(tmp_path, "return", 20) == (pytest.approx(13 / 3), 3)
    (tmp_path / "episodes.csv").write_text("return_env,badges,milestones_reached,savestate_tag\n1,1,A,early\n")
    with pytest.raises(UserError, match="more --steps"):
        measure(tmp_path, "return", 2)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "text", "", "x" * 200_000])
def test_episodes_that_cannot_be_measured_get_one_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "episodes.csv").write_text(f"return_env,badges,milestones_reached,savestate_tag\n{value},1,A,\n")
    with pytest.raises(UserError, match="cannot be measured"):
        measure(tmp_path, "return", 2)


@pytest.mark.parametrize(
    "text",
    [
        *('{"steps": Infinity, "seconds": 1.0}', '{"steps": 400, "seconds": NaN}', '{"steps": -1, "seconds": 1.0}'),
        *('{"steps": "400", "seconds": 1.0}', '{"steps": 400}', "[]", "[" * 100_000, '{"a":' * 50_000, ""),
    ],
)
def test_an_outcome_that_is_none_gets_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "outcome.json").write_text(text)
    with pytest.raises(UserError, match="cannot be read") as error:
        read_outcome(tmp_path)
    assert "\n" not in str(error.value)


def trial(number: int, objective: float, cost: float, **values: float) -> Trial:
    outcome = Outcome(objective=objective, cost=cost, steps=300, episodes=5)
    return Trial(number=number, settings={"x": 0.5, **values}, outcome=outcome)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=30))
def test_pareto_set_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    trials = [trial(number, *point) for number, point in enumerate(points)]

    def dominated(point: tuple[int, int]) -> bool:
        return any(o >= point[0] and c <= point[1] and (o, c) != point for o, c in points)

    expected = {number for number, point in enumerate(points) if not dominated(point)}
    front = pareto([*trials, Trial(number=100, settings={}, reason="dead"), Trial(number=101, settings={})])
    assert {t.number for t in front} == expected and len(front) == len(expected)
    assert [t.outcome.cost for t in front if t.outcome] == sorted(t.outcome.cost for t in front if t.outcome)
    best = best_trial(trials)
    if points:
        objective, cost = max(points, key=lambda point: (point[0], -point[1]))
        assert best is not None and best.outcome is not None
        assert (best.outcome.objective, best.outcome.cost) == (objective, cost)
    else:
        assert best is None


def test_rank_correlation_is_spearmans() -> None:
    trials = [trial(n, objective=math.exp(n), cost=1.0, up=n, down=-(n**3), same=1.0) for n in range(6)]
    assert rank_correlation(trials, "up") == pytest.approx(1.0)
    assert rank_correlation(trials, "down") == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(trials, "same")) and math.isnan(rank_correlation(trials[:4], "up"))


def test_tables_fit_eighty_columns() -> None:
    parameters = read_space(FILE, load_config(ROOT / "config.yaml"))
    values = {p.name: p.centre for p in parameters}
    trials = [trial(n, objective=n / 7, cost=12345.6 * n + 1, **values) for n in range(30)]
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(console, [*trials, Trial(number=30, settings=values, reason="dead")], parameters, "milestones")
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and "30 trials finished, 1 failed" in lines[0]
    for p in parameters:  # whole names: nothing is broken or cut
        assert any(line.strip().startswith(p.name.rpartition(".")[2] + " ") for line in lines), p.name


# --- searchers -------------------------------------------------------------------------------------------------------


def line(tmp_path: Path) -> tuple[Parameter, ...]:
    entries = {
        "learning_rate": log_space(),
        "gamma": {"carbs.utils.LogitSpace": {"min": 0.5, "max": 0.999, "scale": 0.02}},
        "n_step": {"carbs.utils.LinearSpace": {"min": 1, "max": 9, "is_integer": True, "scale": 4}},
    }
    return read_space(write(tmp_path / "s.yaml", entries), Config())


def judged(number: int, settings: dict[str, Any]) -> Trial:
    """Best at a learning rate of 0.001 and a gamma of 0.9; every fifth trial fails."""
    if number % 5 == 4:
        return Trial(number=number, settings=settings, reason="dead")
    loss = abs(math.log10(settings["learner.learning_rate"]) + 3) + abs(settings["learner.gamma"] - 0.9)
    return trial(number, objective=-loss, cost=10.0 + settings["learner.n_step"], **settings)


def test_random_search_is_the_same_by_seed_and_trial(tmp_path: Path) -> None:
    parameters = line(tmp_path)
    first, again, other = RandomSearch(parameters, 3), RandomSearch(parameters, 3), RandomSearch(parameters, 4)
    forwards = [first.suggest(number) for number in (1, 2, 3)]
    assert [again.suggest(number) for number in (3, 2, 1)] == forwards[::-1] and other.suggest(1) != forwards[0]
    rates = [first.suggest(number)["learner.learning_rate"] for number in range(400)]
    assert 0.4 < sum(rate < 10**-3.5 for rate in rates) / 400 < 0.6, "even along the logarithm"


@pytest.mark.parametrize("name", ["optuna", "carbs"])
def test_searchers_suggest_in_range_and_go_on_from_what_was_seen(tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    parameters = line(tmp_path)
    seen = [judged(0, {p.name: p.centre for p in parameters})]
    searcher = make_searcher(name, parameters, 3, 9, seen)
    for number in range(1, 6):  # CARBS fits its models from the fifth on: seconds each
        suggestion = searcher.suggest(number)
        for p in parameters:
            assert p.space.min <= suggestion[p.name] <= p.space.max
            assert isinstance(suggestion[p.name], int) == p.space.is_integer
        seen.append(judged(number, suggestion))
        searcher.observe(seen[-1])
    again = make_searcher(name, parameters, 3, 9, seen)  # another session
    assert set(again.suggest(6)) == {p.name for p in parameters}


@pytest.mark.parametrize("name", ["optuna", "carbs"])
def test_every_job_of_an_array_gets_settings_of_its_own(tmp_path: Path, name: str) -> None:
    """Each makes a searcher anew; trials 1 and 2 are under way all the time."""
    pytest.importorskip(name)
    parameters = line(tmp_path)
    seen = [judged(0, {p.name: p.centre for p in parameters})]
    for number in range(1, 6):
        suggestion = make_searcher(name, parameters, 3, 12, seen).suggest(number)
        seen.append(Trial(number=number, settings=suggestion) if number < 3 else judged(number, suggestion))
    assert len({tuple(trial.settings.values()) for trial in seen}) == 6


def test_carbs_goes_on_with_what_is_under_way_and_what_was_tried_again(tmp_path: Path) -> None:
    pytest.importorskip("carbs")
    parameters = line(tmp_path)
    chance = RandomSearch(parameters, 3)
    seen = [judged(number, chance.suggest(number)) for number in (0, 1, 2, 3, 5, 6)]
    searcher = make_searcher("carbs", parameters, 3, 12, [*seen, Trial(number=7, settings=chance.suggest(7))])
    assert isinstance(searcher, CarbsSearch) and list(searcher._search.outstanding_suggestions) == ["7"]
    known = [trial.settings for trial in seen]
    first = make_searcher("carbs", parameters, 3, 12, seen).suggest(8)
    assert any(all(first[n] == pytest.approx(other[n], rel=1e-4) for n in first) for other in known), "one is repeated"
    again = make_searcher("carbs", parameters, 3, 12, [*seen, Trial(number=8, settings=first)])
    other = again.suggest(9)
    assert not any(all(other[n] == pytest.approx(old[n], rel=1e-4) for n in other) for old in known), "only once"


def test_optuna_learns_where_it_is_good(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    parameters = line(tmp_path)[:2]
    searcher = make_searcher("optuna", parameters, 1, 60, [])
    losses = []
    for number in range(60):
        settings = searcher.suggest(number)
        loss = abs(math.log10(settings["learner.learning_rate"]) + 3)
        losses.append(loss)
        searcher.observe(trial(number, objective=-loss, cost=10.0, **settings))
    assert sum(losses[-20:]) / 20 < 0.5 * sum(losses[:10]) / 10


def test_another_package_of_the_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carbs").mkdir()
    (tmp_path / "carbs" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "carbs", raising=False)
    for wanted in ("auto", "carbs"):
        with pytest.raises(UserError, match="not imbue's CARBS.*pip install"):
            choose_searcher(wanted)
    assert choose_searcher("random") == "random"


def test_the_extra_that_is_named_pins_imbues_carbs() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extra = re.search(r"^carbs = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert extra is not None and "daddy_puffer[carbs]" in searchers.CARBS_LINE
    assert re.search(r'"carbs @ git\+https://github.com/imbue-ai/carbs@[0-9a-f]{40} ', extra[1])
    assert "allow-direct-references = true" in text, "or hatchling refuses to build"


def test_what_is_installed_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searchers, "check_carbs", lambda: None)
    for installed, expected in ((("carbs", "optuna"), "carbs"), (("optuna",), "optuna"), ((), "random")):
        monkeypatch.setattr(searchers, "find_spec", lambda name, have=installed: object() if name in have else None)
        assert choose_searcher("auto") == expected
    for wanted in ("carbs", "optuna"):
        with pytest.raises(UserError, match="not installed: pip install"):
            choose_searcher(wanted)


def test_returns_under_searched_weights_are_not_compared(tmp_path: Path) -> None:
    plain = line(tmp_path)
    keys = YAML_PATHS["rewards"]
    space = {"badge": {"carbs.utils.LogSpace": {"min": 1.0, "max": 50.0}}}
    weights = read_space(write(tmp_path / "w.yaml", space, keys), Config())
    assert choose_objective("auto", plain) == "return" and choose_objective("auto", weights) == "milestones"
    with pytest.raises(UserError, match="not comparable"):
        choose_objective("return", weights)
    with pytest.raises(UserError, match="one of auto"):
        choose_objective("retrun", plain)
