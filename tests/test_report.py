"""The report: reading runs that are whole, damaged or missing, arithmetic, and the page as a browser sees it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import PROGRAM, Page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from daddy_puffer.config import load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.report.clock import Clock
from daddy_puffer.report.command import report
from daddy_puffer.report.curves import start_shares
from daddy_puffer.report.drawing import compare
from daddy_puffer.report.firsts import First, first_reached
from daddy_puffer.report.groups import group_runs, settings_of
from daddy_puffer.report.lineage import furthest_line, lay_out
from daddy_puffer.report.page import films_of
from daddy_puffer.report.runs import Metrics, StateNode, Steps, load_run, read_episodes, read_metrics, read_steps
from daddy_puffer.report.statistics import across, bin_edges, bin_of, binned, cumulative_distinct, rate_of, within
from daddy_puffer.report.world import practice_world, red_world, visits
from daddy_puffer.telemetry import EpisodeRecord, Event, Interval, ProgressRow, StepRows
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, ProgressCsv
from daddy_puffer.telemetry.step_rows import StepShards

WATCHED = ["EVENT_GOT_STARTER", "Boulder"]
EPISODES = 30
LAST_STEP = 3000


def state(tag: str, parent: str = "", total_steps: int = 10, milestones: Sequence[str] = ()) -> StateNode:
    return StateNode(
        tag=tag, label="Route1", parent=parent, map_id=12, map_name="Route1", milestones=tuple(milestones), badges=0,
        total_steps=total_steps, made=float(total_steps), drawn=1, gained=0,
    )  # fmt: skip


def episode(number: int, seed: int) -> EpisodeRecord:
    """The n-th of a run: returns rise, every third begins at a save state, the last third has a badge."""
    end = (number + 1) * LAST_STEP // EPISODES
    milestones = WATCHED[: number // 10]
    return EpisodeRecord(
        episode_id=number, env_id=number % 2, length_steps=90, return_env=float(number + seed), return_rnd=0.0,
        return_novel=2.0, return_bayes=0.0, return_total=float(number + seed) + 0.6, start_step_global=max(end - 99, 0),
        end_step_global=end, milestones_reached=";".join(milestones),
        savestate_tag="Route1_20260101-000000_aaaaaaaa" if number % 3 == 2 else "", badges=int(number >= 20),
        map="PalletTown", alarm_triggered=number > 25,
    )  # fmt: skip


def step_rows(step: int) -> StepRows:
    here = np.array([0, 12])
    zeros = np.zeros(2, np.float32)
    return StepRows(
        step_global=np.full(2, step), episode_id=here, env_id=np.arange(2), r_env=zeros, r_rnd=zeros, r_novel=zeros,
        r_bayes=zeros, r_total=zeros, milestones=np.zeros((2, 11), np.uint8), map_id=here, x=here, y=here,
        city_id=here, quest_id=here, posterior_mean=np.zeros((2, 2), np.float32),
        alarm_score=np.zeros((2, 2), np.float32),
    )  # fmt: skip


def write_run(folder: Path, seed: int = 0, learning_rate: float = 5e-4, steps_from: int = 300) -> Path:
    """A run as training leaves it, by the sinks that training uses."""
    folder.mkdir(parents=True)
    overrides: dict[str, Any] = {
        "train.seed": seed,
        "train.run_name": folder.name,
        "train.runs_dir": str(folder.parent),
    }
    overrides |= {"learner.learning_rate": learning_rate, "progress.watched": WATCHED}
    save_config(load_config(None, overrides), folder / "config.yaml")
    (folder / "meta.json").write_text(json.dumps({"seconds": 90.0}), encoding="utf-8")
    sinks = [EpisodeCsv(folder / "episodes.csv"), MetricsCsv(folder / "metrics.csv")]
    sinks += [ProgressCsv(folder / "progress.csv"), JsonLines(folder / "events.jsonl")]
    sinks += [StepShards(folder / "steps", WATCHED)]
    for number in range(EPISODES):
        for sink in sinks:
            sink.take(episode(number, seed))
    for step in range(steps_from, LAST_STEP + 1, 300):
        values = {"speed/steps_per_second": 300.0 + seed, "phase/env": 0.7, "phase/act": 0.3}
        values |= {"learner/td_loss": 1 / step, "progress/alarm": float(step > 2000)} if step > 300 else {}
        # as in a run: nothing is noted of an interval in which no episode began
        values |= {"curriculum/true_start_share": 0.6, "curriculum/early_share": 1.0} if step % 600 else {}
        records = [Interval.of(step, values), step_rows(step)]
        for name in WATCHED:
            row = {"alpha": 2.0, "beta": 2.0, "mean": 0.5, "lower": 0.1, "upper": 0.9, "alarm_score": 1.0}
            records.append(ProgressRow(step=step, milestone=name, **row))
        for record in records:
            for sink in sinks:
                sink.take(record)
    sinks[3].take(Event("stop", LAST_STEP, {"reason": "all steps done"}))
    for sink in sinks:
        sink.close()
    write_states(folder / "savestates")
    (folder / "videos").mkdir()
    Image.new("P", (16, 16), 3).save(folder / "videos" / f"rollout_{LAST_STEP}.gif")
    return folder


def write_states(folder: Path) -> None:
    folder.mkdir()
    chain = [("first", "", 40, []), ("second", "first", 90, WATCHED[:1]), ("lost", "gone", 120, WATCHED)]
    for tag, parent, steps, milestones in chain:
        facts = {"tag": tag, "label": "Route1", "parent": parent, "map_id": 12, "map_name": "Route1", "badges": 0}
        facts |= {"milestones": milestones, "total_steps": steps, "made": 1e9 + steps}
        (folder / f"{tag}.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "outcomes").mkdir()
    (folder / "outcomes" / "a.jsonl").write_text('{"drawn": {"first": 3}}\n{"drawn": {"fir', encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one setting, and another setting."""
    root = tmp_path_factory.mktemp("runs")
    other = write_run(root / "fast", seed=1, learning_rate=1e-2)
    return [write_run(root / "base_seed1", seed=1), write_run(root / "base_seed2", seed=2), other]


# --- reading


def test_a_run_is_read_as_it_was_written(runs: list[Path]) -> None:
    run = load_run(runs[0])
    assert run.episodes.return_env.tolist() == [float(number + 1) for number in range(EPISODES)]
    assert int(run.episodes.from_true_start.sum()) == 20
    assert run.metrics.step.tolist() == list(range(300, LAST_STEP + 1, 300))
    loss = run.metrics.get("learner/td_loss")
    assert loss is not None and np.isnan(loss[0]) and loss[1] == pytest.approx(1 / 600, rel=1e-5)
    assert run.metrics.get("no/such") is None
    assert run.progress.names == WATCHED and run.progress.of("Boulder").mean.tolist() == [0.5] * 10
    assert np.bincount(run.steps.map_id).tolist() == [10, *[0] * 11, 10] and run.steps.has_positions
    assert [node.tag for node in run.states] == ["first", "second", "lost"] and run.states[0].drawn == 3
    assert run.config["train.seed"] == 1 and run.config["learner.learning_rate"] == 5e-4
    assert run.last_step == LAST_STEP and run.has_stopped and run.is_practice


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_gives_its_whole_lines(data: st.DataObject, runs: list[Path], tmp_path: Path) -> None:
    whole = (runs[0] / "episodes.csv").read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / "episodes.csv").write_bytes(whole[:cut])
    rows = max(whole[:cut].count(b"\n") - 1, 0)
    found = read_episodes(tmp_path / "episodes.csv")
    assert found.end_step_global.tolist() == [(n + 1) * 100 for n in range(rows)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rubbish=st.binary(max_size=200))
def test_rubbish_is_skipped(rubbish: bytes, runs: list[Path], tmp_path: Path) -> None:
    header, first, rest = (runs[0] / "metrics.csv").read_bytes().split(b"\n", 2)
    (tmp_path / "metrics.csv").write_bytes(header + b"\n" + first + b"\n" + rubbish)
    assert read_metrics(tmp_path / "metrics.csv").step[0] == 300
    (tmp_path / "steps").mkdir(exist_ok=True)
    (tmp_path / "steps" / "000000000001.npz").write_bytes(rubbish)
    assert len(read_steps(tmp_path / "steps")) == 0


def test_positions_are_read_where_a_run_notes_them(tmp_path: Path) -> None:
    columns = {name: np.arange(3) for name in ("step_global", "episode_id", "env_id", "map_id")}
    np.savez(tmp_path / "000000000000.npz", **columns, x=np.array([4, 5, 6]), y=np.array([7, 8, 9]))
    np.savez(tmp_path / "000000000003.npz", **{**columns, "map_id": np.arange(2)})  # columns that do not agree
    steps = read_steps(tmp_path)
    assert steps.x.tolist() == [4, 5, 6] and steps.y.tolist() == [7, 8, 9] and steps.has_positions


@pytest.mark.parametrize("content", [None, "file", "empty"])
def test_what_is_no_run_is_one_clear_line(content: str | None, tmp_path: Path) -> None:
    target = tmp_path / "run"
    if content == "file":
        target.write_text("x")
    if content == "empty":
        target.mkdir()
    with pytest.raises(UserError, match="is no run|is no folder"):
        load_run(target)


# --- groups


def test_seeds_of_one_setting_are_one_group(runs: list[Path]) -> None:
    groups = group_runs([load_run(folder) for folder in runs])
    assert [(group.name, len(group.runs)) for group in groups] == [("base", 2), ("fast", 1)]
    assert groups[0].colour != groups[1].colour
    table = {setting.name: setting for setting in settings_of(groups)}
    assert table["learner.learning_rate"].values == ("0.0005", "0.01") and table["learner.learning_rate"].differs
    assert set(table) == {"learner.learning_rate", "progress.watched"}, "the defaults and the seed are left out"


def test_a_setting_of_another_version_is_shown(runs: list[Path]) -> None:
    run = load_run(runs[0])
    old = replace(run, config={**run.config, "learner.of_old": 3})
    setting = next(found for found in settings_of(group_runs([old])) if found.name == "learner.of_old")
    assert setting.values == ("3",) and "not known" in setting.default


# --- arithmetic


def test_quartiles_within_bins_and_across_runs() -> None:
    edges = bin_edges(20, 2)  # (0, 10], (10, 20]
    steps = np.array([1, 2, 10, 11, 20])
    band = within(steps, np.array([0.0, 2.0, 4.0, 10.0, 30.0]), edges)
    assert band.middle.tolist() == [2.0, (10 + 30) / 2]
    assert band.lower.tolist() == [1.0, 10 + 0.25 * 20] and band.upper.tolist() == [3.0, 10 + 0.75 * 20]
    nothing = float("nan")
    band = across([np.array([1.0, nothing]), np.array([3.0, nothing]), np.array([5.0, 7.0])])
    assert band.middle.tolist() == [3.0, 7.0] and band.lower.tolist() == [2.0, 7.0]


def test_rates() -> None:
    edges = bin_edges(20, 2)
    first = (np.array([1, 2, 11]), np.array([True, False, True]))
    second = (np.array([1, 2, 3, 4]), np.array([True, True, True, False]))
    assert rate_of([first], edges).middle.tolist() == [1 / 2, 1.0]
    assert rate_of([first, second], edges).middle.tolist() == [(1 / 2 + 3 / 4) / 2, 1.0]
    assert cumulative_distinct(np.array([1, 5, 12]), np.array([7, 7, 8]), edges).tolist() == [1.0, 2.0]


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(-1e6, 1e6)), min_size=1, max_size=40), st.integers(1, 12))
def test_bins_as_a_loop_would(rows: list[tuple[int, float]], bins: int) -> None:
    edges = bin_edges(100, bins)
    found = binned(np.array([s for s, _ in rows]), np.array([v for _, v in rows]), edges)
    for index in range(bins):
        inside = [v for s, v in rows if edges[index] < s <= edges[index + 1]]
        assert np.isnan(found[index]) if not inside else found[index] == np.median(inside)
    assert bin_of(np.array([0, 1000]), edges).tolist() == [0, bins - 1]


def test_spawn_shares_add_up_to_one(runs: list[Path]) -> None:
    run = load_run(runs[0])
    shares = start_shares(run, bin_edges(LAST_STEP, 2))
    assert shares is not None and shares.T.tolist() == [pytest.approx([0.6, 0.4, 0.0, 0.0])] * 2
    assert start_shares(replace(run, metrics=replace(run.metrics, columns={})), bin_edges(LAST_STEP, 2)) is None


def test_the_first_episode_with_a_milestone_counts_and_the_first_from_the_true_start(runs: list[Path]) -> None:
    table = load_run(runs[0]).episodes  # number 10 is the first with a milestone, 20 with both; 20 began at a state
    starter, boulder = first_reached([table])
    assert starter == First(milestone="EVENT_GOT_STARTER", step=1100, true_start_step=1100)
    assert boulder == First(milestone="Boulder", step=2100, true_start_step=2200)
    from_states = table.where(~table.from_true_start)
    assert [first.true_start_step for first in first_reached([from_states])] == [None, None]
    assert first_reached([from_states, table]) == [starter, boulder] and first_reached([]) == []


# --- training time


def speeds(steps: Sequence[float], values: Sequence[float]) -> Metrics:
    return Metrics(step=np.array(steps), columns={"speed/steps_per_second": np.array(values, np.float64)})


def test_the_lengths_of_intervals_add_up_to_the_training_time() -> None:
    clock = Clock.of(speeds([100, 300, 400], [50.0, 20.0, 100.0]))
    assert clock is not None
    ends = [0.0, 100 / 50, 100 / 50 + 200 / 20, 100 / 50 + 200 / 20 + 100 / 100]
    assert clock.seconds_at([0, 100, 300, 400]).tolist() == ends
    assert clock.seconds_at(200) == 2 + 100 / 20 and clock.seconds_at(500) == 13 + 100 / 100
    assert clock.steps_at([2.0, 13.0, 14.0]).tolist() == [100, 400, 500]


def test_no_speeds_no_clock_and_gaps_are_bridged() -> None:
    nothing = float("nan")
    assert Clock.of(Metrics(step=np.zeros(0, np.int64), columns={})) is None
    assert Clock.of(speeds([100], [nothing])) is None and Clock.of(speeds([100], [0.0])) is None
    clock = Clock.of(speeds([100, 200, 200, 300], [50.0, nothing, 50.0, 100.0]))
    assert clock is not None and clock.seconds_at(300) == 100 / 50 + 100 / 50 + 100 / 100


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=20), st.floats(0, 5000))
def test_steps_and_seconds_are_inverse(values: list[float], step: float) -> None:
    clock = Clock.of(speeds([100 * (n + 1) for n in range(len(values))], values))
    assert clock is not None and clock.steps_at(clock.seconds_at(step)) == pytest.approx(step, abs=1e-6)


# --- lineage


@given(st.lists(st.integers(-1, 30), max_size=30))
def test_every_state_has_a_row_amid_its_children(parents: list[int]) -> None:
    nodes = [
        state(str(i), "" if p == -1 else str(p) if p < i else "gone", total_steps=i) for i, p in enumerate(parents)
    ]
    placed = {place.node.tag: place for place in lay_out(nodes)}
    assert sorted(placed) == sorted(node.tag for node in nodes)
    leaves = [tag for tag in placed if not any(node.parent == tag for node in nodes)]
    assert sorted(placed[tag].row for tag in leaves) == list(range(len(leaves)))
    for place in placed.values():
        assert place.orphan == (place.node.parent == "gone")
        below = [child.row for child in placed.values() if child.parent is not None and child.parent.node == place.node]
        assert not below or min(below) <= place.row <= max(below)


def test_the_line_to_the_furthest_state() -> None:
    nodes = [state("a", "", 5), state("b", "a", 9, ["x"]), state("c", "a", 7, ["x"]), state("d", "c", 20)]
    assert [node.tag for node in furthest_line(nodes)] == ["a", "c"], "of two with one milestone the quicker"
    loop = [state("a", "b"), state("b", "a")]
    assert len(furthest_line(loop)) == 2, "a damaged registry must not hang"
    assert furthest_line([]) == ()


# --- the world


@pytest.mark.parametrize("picture", [practice_world(), red_world()], ids=["practice", "red"])
def test_maps_lie_on_the_picture(picture: Any) -> None:
    for place in picture.places.values():
        assert 0 <= place.x and place.x + place.width <= picture.width
        assert 0 <= place.y and place.y + place.height <= picture.height


def test_practice_maps_lie_apart_and_touch_where_one_walks_over() -> None:
    picture = practice_world()
    covered = np.zeros((picture.height, picture.width), int)
    for place in picture.places.values():
        covered[place.y : place.y + place.height, place.x : place.x + place.width] += 1
    assert covered.max() == 1
    lowmere, path = picture.places[0], picture.places[12]  # Path 1 leaves Lowmere northward
    assert path.y + path.height == lowmere.y


def test_visits_count_every_sample_once() -> None:
    picture = practice_world()
    n = np.arange(4)
    steps = Steps(
        step_global=n, episode_id=n, env_id=n, map_id=np.array([0, 0, 12, 200]), x=np.array([2, 2, -1, 3]),
        y=np.array([5, 5, -1, 3]),
    )  # fmt: skip
    counts = visits(steps, picture, np.ones(4, bool))
    lowmere, path = picture.places[0], picture.places[12]
    assert counts[lowmere.y + 5, lowmere.x + 2] == 2
    inside = counts[path.y : path.y + path.height, path.x : path.x + path.width]
    assert np.nansum(inside) == pytest.approx(1) and np.isnan(inside[path.ground == 1]).all()
    assert np.nansum(counts) == pytest.approx(3), "map 200 is on no picture"


# --- the page


def write_report(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daddy_puffer.report", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])


@pytest.fixture(scope="module")
def comparison_page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "all.html"
    report(list(runs), output=page, svg=True)
    return page


def test_the_page_has_everything_inside(comparison_page: Path, runs: list[Path]) -> None:
    text = comparison_page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "http://" not in re.sub(r"base64,[^\"]*", "", text)
    for folder in runs:
        assert folder.name in text and str(folder) not in text
    assert text.count('alt="Curriculum lineage: ') == 3
    assert not list(comparison_page.parent.glob("*.tmp"))
    figures = sorted(path.stem for path in (comparison_page.parent / "all_figures").glob("*.svg"))
    drawn = "badges exploration_1 exploration_2 first_reached learner learning lineage_1 lineage_2 lineage_3 maps"
    assert figures == [*drawn.split(), "milestones", "posteriors", "reach", "spawns", "throughput"]


@pytest.mark.parametrize("kept", ["meta.json", "episodes.csv", "steps"])
def test_a_run_with_one_file_has_a_page_that_says_what_is_missing(kept: str, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    source = runs[0] / kept
    if source.is_dir():
        (tmp_path / "part" / kept).mkdir()
        for path in source.iterdir():
            (tmp_path / "part" / kept / path.name).write_bytes(path.read_bytes())
    else:
        (tmp_path / "part" / kept).write_bytes(source.read_bytes()[:-7])  # and its last line is half written
    report([tmp_path / "part"])
    text = (tmp_path / "part" / "report.html").read_text(encoding="utf-8")
    assert ("No finished episode in part." in text) == (kept != "episodes.csv")
    assert ("No progress.csv in part." in text) == (kept != "progress.csv")
    assert ("No config.yaml in part." in text) == (kept != "config.yaml")
    assert ("No metrics.csv with speeds" in text) == (kept != "metrics.csv")
    assert "No save states were kept" in text and "No videos in any run." in text


def test_large_films_are_linked(runs: list[Path]) -> None:
    run = load_run(runs[0])
    (inside,) = films_of(run, runs[0], limit_bytes=10**6)
    assert inside.inlined and inside.source.startswith("data:image/gif;base64,")
    (linked,) = films_of(run, runs[0], limit_bytes=10)
    assert not linked.inlined and linked.source == f"videos/rollout_{LAST_STEP}.gif" and "linked" in linked.title


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("no/such/run",), "error: .*no/such/run is no folder"),
        (("RUN", "--output", "FOLDER"), "error: .* is a folder: give the name of an HTML file"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], line: str, runs: list[Path], tmp_path: Path) -> None:
    given_names = {"RUN": str(runs[0]), "FOLDER": str(tmp_path)}
    done = write_report(*(given_names.get(word, word) for word in arguments))
    assert done.returncode == 1 and re.fullmatch(line + ".*\n", done.stderr), done.stderr


WITNESS = """
window.wrong = [];
window.addEventListener("error", (e) => wrong.push("error " + (e.message || e.target.src)), true);
window.addEventListener("unhandledrejection", (e) => wrong.push("rejection " + e.reason));
document.addEventListener("securitypolicyviolation", (e) => wrong.push("blocked " + e.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(kind + " " + words.join(" "));
"""
OUTSIDE = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"


def seen_by_browser(page: Path, profile: Path) -> tuple[list[str], list[str], int, str, str]:
    """What went wrong, what was asked of elsewhere, images not shown; the slider's words before and after a move."""
    with Page(profile, seconds=60) as tab:
        tab.call("Page.enable")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
        tab.go(page.as_uri())
        tab.wait_for("document.readyState === 'complete' && document.querySelector('.slider output') !== null")
        before = tab.value("document.querySelector('.slider output').textContent")
        tab.value(
            "(r => { r.value = 0; r.dispatchEvent(new Event('input')) })(document.querySelector('.slider input'))"
        )
        after = tab.value("document.querySelector('.slider output').textContent")
        return tab.value("wrong"), tab.value(OUTSIDE), tab.value(BROKEN), before, after


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
def test_a_browser_shows_the_page_and_asks_nobody(comparison_page: Path, tmp_path: Path) -> None:
    wrong, outside, broken, before, after = seen_by_browser(comparison_page, tmp_path / "profile")
    assert (wrong, outside, broken) == ([], [], 0)
    assert before == "2.5k – 3k steps" and after == "0 – 500 steps"
    # the same eyes see a page that asks somebody
    bad = tmp_path / "bad.html"
    text = comparison_page.read_text(encoding="utf-8")
    bad.write_text(text.replace("</main>", '<img src="http://192.0.2.1/x.png"></main>'), encoding="utf-8")
    wrong, _, broken, *_ = seen_by_browser(bad, tmp_path / "profile2")
    assert any(line.startswith("blocked http://192.0.2.1") for line in wrong) and broken == 1


def test_bins_follow_the_episodes(runs: list[Path]) -> None:
    loaded = [load_run(folder) for folder in runs]
    assert len(compare(loaded).edges) - 1 == 8 and len(compare(loaded, bins=5).edges) - 1 == 5
