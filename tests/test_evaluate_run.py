"""`daddy-puffer evaluate` on a run with several checkpoints: curves over training, films, first times, mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from daddy_puffer.config import Config, EnvConfig, ReplayConfig, TrainConfig, load_config
from daddy_puffer.errors import UserError
from daddy_puffer.evaluate import command, main, over_training
from daddy_puffer.evaluate.comparison import Rate, Score, compare
from daddy_puffer.evaluate.trajectory import MOST_PICTURES, RANDOM, TRAINED, Chart, follow
from daddy_puffer.learner.checkpoint import by_step, step_in_name
from daddy_puffer.report.clock import Clock
from daddy_puffer.report.world import practice_world
from daddy_puffer.rollout import Moment
from daddy_puffer.train import train
from daddy_puffer.types import Action

EPISODES = 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few seconds with three checkpoints."""
    torch.set_num_threads(1)
    config = Config(
        env=EnvConfig(max_steps=40),
        replay=ReplayConfig(capacity=4000, burn_in=2, sequence_length=8, batch_size=4, learning_starts=150),
        train=TrainConfig(
            num_envs=4, total_steps=300, log_interval=100, save_interval=100, keep_checkpoints=9, run_name="run",
            device="cpu", vectorization="serial", runs_dir=str(tmp_path_factory.mktemp("runs")),
        ),
    )  # fmt: skip
    return train(config, film_steps=2).folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(trained, tmp_path / "run", symlinks=True)


def evaluate(run: Path, **options: Any) -> None:
    """As the command line calls it, with little to do."""
    given = {"episodes": EPISODES, "epsilon": 0.5, "seed": 7, "gif_steps": 20, "rom": None, "device": None}
    command.evaluate(run, **{**given, "over_training": False, "no_gif": True, "output": None, **options})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(run: Path) -> list[int]:
    return [step_in_name(path) for path in by_step(run / "checkpoints")]


class Plays:
    """Counts how often episodes are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.count = 0
        self._play = over_training.play_episodes
        monkeypatch.setattr(over_training, "play_episodes", self)

    def __call__(self, *arguments: Any) -> Any:
        self.count += 1
        return self._play(*arguments)

    def since(self) -> int:
        """Since the call before."""
        count, self.count = self.count, 0
        return count


# --- over training


def test_every_checkpoint_and_random_buttons_have_a_row_and_what_compare_measures(run: Path):
    evaluate(run, over_training=True)
    table = rows(run / "over_training.csv")
    steps = steps_of(run)
    assert len(steps) >= 3
    assert [(row["player"], row["step"]) for row in table] == [*(("trained", str(s)) for s in steps), ("random", "")]
    seconds = [float(row["training_seconds"]) for row in table[:-1]]
    assert 0 < seconds[0] and seconds == sorted(set(seconds)) and table[-1]["training_seconds"] == ""
    newest = run / "checkpoints" / "latest"
    whole = compare(load_config(newest / "config.yaml"), newest, EPISODES, epsilon=0.5, seed=7).scores
    for row, score in ((table[-2], whole["trained"]), (table[-1], whole["random"])):
        assert float(row["mean_return"]) == pytest.approx(score.mean_return, rel=1e-5)
        assert float(row["mean_length"]) == score.mean_length == 40
        shares = {name: float(row[name]) for name in list(row)[10:]}
        assert {name: share for name, share in shares.items() if share} == {
            name: pytest.approx(rate.rate, rel=1e-5) for name, rate in score.milestones.items()
        }
    with Image.open(run / "over_training.png") as picture:
        assert picture.width == 1600 and len(picture.convert("L").getcolors()) > 10
    assert not list(run.rglob("*.tmp"))


def test_what_was_played_is_not_played_again(run: Path, monkeypatch: pytest.MonkeyPatch):
    plays = Plays(monkeypatch)
    evaluate(run, over_training=True)
    players = len(steps_of(run)) + 1
    assert plays.since() == players
    before = (run / "over_training.csv").read_bytes()
    evaluate(run, over_training=True)
    assert plays.since() == 0 and (run / "over_training.csv").read_bytes() == before
    evaluate(run, over_training=True, seed=8)
    assert plays.since() == players, "another seed is another result"
    evaluate(run, over_training=True)
    assert plays.since() == 0 and (run / "over_training.csv").read_bytes() == before, "and the first is still known"


def test_it_goes_on_where_it_was_interrupted(run: Path, monkeypatch: pytest.MonkeyPatch):
    plays = Plays(monkeypatch)

    def interrupted(*arguments: Any) -> Any:
        if plays.count == 2:
            raise KeyboardInterrupt
        return plays(*arguments)

    monkeypatch.setattr(over_training, "play_episodes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, over_training=True)
    assert plays.since() == 2
    monkeypatch.setattr(over_training, "play_episodes", plays)
    evaluate(run, over_training=True)
    assert plays.since() == len(steps_of(run)) - 1


def test_a_result_outlives_its_checkpoint_and_another_network_of_that_step_replaces_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    plays = Plays(monkeypatch)
    evaluate(run, over_training=True)
    before, (first, second, *_) = rows(run / "over_training.csv"), by_step(run / "checkpoints")
    shutil.rmtree(first)
    (second / "config.yaml").write_text((second / "config.yaml").read_text() + "\n# changed\n")
    plays.since()
    evaluate(run, over_training=True)
    assert plays.since() == 1 and rows(run / "over_training.csv") == before


def test_damage_costs_what_is_damaged(run: Path, capsys: pytest.CaptureFixture[str]):
    (run / "over_training.json").write_text('{"played": [{"step": 3}]}')
    first, *others = by_step(run / "checkpoints")
    (first / "state.pt").write_bytes(b"rubbish")
    evaluate(run, over_training=True)
    assert (run / "over_training.json.damaged").is_file()
    assert f"left out: {first.resolve()}/state.pt is damaged" in capsys.readouterr().out
    found = [row["step"] for row in rows(run / "over_training.csv")]
    assert found == [*(str(step_in_name(path)) for path in others), ""]
    for path in others:
        (path / "state.pt").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="no checkpoint of .* could be played"):
        evaluate(run, over_training=True, seed=9)


def scored(**rates: float) -> Score:
    shares = {name: Rate(rate=rate, low=0.0, high=1.0) for name, rate in rates.items()}
    return Score(
        episodes=4, mean_length=40.0, mean_return=-1.5, return_low=-2.0, return_high=-1.0, mean_badges=0.5,
        best_badges=1, steps_per_second=9.0, milestones=shares,
    )  # fmt: skip


def test_the_table_has_a_column_for_each_milestone_by_the_first_checkpoint_that_reached_it(tmp_path: Path):
    played = [(100, scored(EVENT_GOT_STARTER=0.25)), (200, scored(Boulder=0.5, EVENT_GOT_STARTER=1.0))]
    clock = Clock(np.array([0.0, 100.0]), np.array([0.0, 20.0]))
    over_training.write_csv(tmp_path / "x.csv", played, scored(Cascade=0.75), clock)
    header, *lines = (tmp_path / "x.csv").read_text().splitlines()
    assert header.split(",")[-3:] == ["EVENT_GOT_STARTER", "Boulder", "Cascade"]
    assert [line.split(",")[-3:] for line in lines] == [["0.25", "0", "0"], ["1", "0.5", "0"], ["0", "0", "0.75"]]
    assert [line.split(",")[:5] for line in lines] == [
        ["trained", "100", "20.0", "4", "-1.5"],
        ["trained", "200", "40.0", "4", "-1.5"],
        ["random", "", "", "4", "-1.5"],
    ]


# --- films


def seconds_of(path: Path) -> float:
    with Image.open(path) as film:
        total = 0.0
        for index in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(index)
            total += film.info["duration"] / 1000
        return total


def last_colours(path: Path) -> set[tuple[int, ...]]:
    """Of the map in the last picture."""
    with Image.open(path) as film:
        assert film.size == (840, 432)
        film.seek(film.n_frames - 1)  # type: ignore[attr-defined]
        return set(map(tuple, np.asarray(film.convert("RGB"))[:, 480:].reshape(-1, 3).tolist()))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_films_of_trained_and_random_are_of_one_length_with_their_ways(run: Path):
    evaluate(run, no_gif=False, episodes=1, output=run / "x.json")
    trained, random = run / "x_trained.gif", run / "x_random.gif"
    assert seconds_of(trained) == pytest.approx(seconds_of(random)) and seconds_of(trained) > 20 / 12
    assert rgb(TRAINED) in last_colours(trained) and rgb(RANDOM) not in last_colours(trained)
    assert rgb(RANDOM) in last_colours(random) and rgb(TRAINED) not in last_colours(random)
    assert set(json.loads((run / "x.json").read_text())["scores"]) == {"trained", "random", "scripted"}


def test_no_film_on_request(run: Path):
    evaluate(run, no_gif=True, episodes=1, output=run / "x.json")
    assert (run / "x.json").is_file() and not list(run.glob("*.gif"))


def moments(count: int, ended: int) -> Generator[Moment, None, None]:
    """A walk to the right in Lowmere; a milestone every 10 steps."""
    for step in range(1, count + 1):
        state = SimpleNamespace(map_id=0, position=(step % 14, 3), badges=0, map_name="PalletTown")
        yield Moment(
            step=step, action=Action.RIGHT, reward=0.0, total=0.0, state=state, frame=np.zeros((144, 160, 3), np.uint8),  # type: ignore[arg-type]
            new_milestones=("Boulder",) * (step % 10 == 0), ended=step == ended, returns={},
        )  # fmt: skip


def test_a_long_episode_is_shown_in_strides_and_a_short_one_to_its_end():
    steps = 3 * MOST_PICTURES
    way = follow("x", TRAINED, moments(steps, 0), steps)
    assert [shot.steps for shot in way.shots] == list(range(3, steps + 1, 3)) and len(way.spots) == steps
    told: list[int] = []
    way = follow("x", TRAINED, moments(steps, 25), steps, told.append)
    assert [shot.steps for shot in way.shots] == [*range(3, 25, 3), 25] and len(way.spots) == 25
    assert way.milestones == [(10, "Boulder"), (20, "Boulder")] and sum(told) == steps


def test_the_way_is_drawn_through_the_cells_and_not_through_walls():
    chart = Chart(practice_world(), {0, 12})
    assert chart.at((200, 1, 1)) is None, "nobody knows where that map lies"
    here, beside, above = chart.at((0, 5, 5)), chart.at((0, 6, 5)), chart.at((12, 5, 17))
    assert here is not None and beside is not None and above is not None
    assert beside == (here[0] + chart.cell, here[1]) and above[1] < here[1], "Path 1 lies north of Lowmere"

    def between(spots: list[tuple[int, int, int]]) -> tuple[int, ...]:
        """The colour halfway from the first spot to the last."""
        a, b = chart.at(spots[0]), chart.at(spots[-1])
        assert a is not None and b is not None
        picture = chart.trail(TRAINED).until(spots)
        return picture.getpixel((round((a[0] + b[0]) / 2), round((a[1] + b[1]) / 2)))  # type: ignore[return-value]

    assert between([(0, x, 5) for x in range(1, 12)]) == rgb(TRAINED)
    assert between([(0, 1, 5), (0, 11, 5)]) != rgb(TRAINED), "that far is no step"


# --- first times


def test_first_times_are_told_without_playing(run: Path, capsys: pytest.CaptureFixture[str]):
    (table,) = [rows(run / "episodes.csv")]
    for row in table:
        row["milestones_reached"] = row["savestate_tag"] = ""
    for row, reached, tag in ((table[1], "Boulder", "state"), (table[3], "Boulder;Cascade", "")):
        row["milestones_reached"], row["savestate_tag"] = reached, tag
    with (run / "episodes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    command.tell_first_reached(run, None, command.Console())
    boulder, cascade = rows(run / "first_reached.csv")
    first, second = table[1]["end_step_global"], table[3]["end_step_global"]
    assert (boulder["milestone"], boulder["step"], boulder["true_start_step"]) == ("Boulder", first, second)
    assert (cascade["milestone"], cascade["step"], cascade["true_start_step"]) == ("Cascade", second, second)
    assert 0 < float(boulder["training_seconds"]) <= float(boulder["true_start_training_seconds"])
    assert Image.open(run / "first_reached.png").width == 1600
    assert "first_reached.png" in capsys.readouterr().out


# --- mistakes


def test_mistakes_are_one_line_before_anything_is_played(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plays = Plays(monkeypatch)
    monkeypatch.setattr(command, "compare", plays)
    alone = shutil.copytree(by_step(run / "checkpoints")[-1], tmp_path / "alone")
    (tmp_path / "file").write_text("")
    mistakes: list[tuple[Path, dict[str, Any], str]] = [
        (alone, {"over_training": True}, "without a run: --over-training needs a run folder"),
        (tmp_path / "nothing", {}, "no checkpoint in .*nothing"),
        (run, {"output": tmp_path}, "is a folder: give the name of a JSON file"),
        (run, {"output": tmp_path / "curve.png"}, "give the name of a JSON file"),
        (run, {"output": tmp_path / "file" / "x.json"}, "cannot be written to .*: give --output"),
        (run, {"over_training": True, "rom": "nowhere.gb"}, "ROM nowhere.gb does not exist"),
    ]
    for path, options, line in mistakes:
        with pytest.raises(UserError, match=line) as error:
            evaluate(path, **options)
        assert "\n" not in str(error.value)
    assert plays.count == 0


def test_help_names_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["program", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    text = capsys.readouterr().out
    for name in ("episodes", "epsilon", "seed", "over-training", "gif-steps", "no-gif", "rom", "device", "output"):
        assert f"--{name} " in text


def test_options_tell_games_apart(trained: Path):
    config = load_config(trained / "config.yaml")
    options = over_training.Options.of(config, 2, 0.05, 1)
    assert options == over_training.Options.of(replace(config, train=replace(config.train, seed=99)), 2, 0.05, 1)
    longer = replace(config, env=replace(config.env, max_steps=41))
    assert options != over_training.Options.of(longer, 2, 0.05, 1)
    assert options != over_training.Options.of(replace(config, rewards={"badge": 1.0}), 2, 0.05, 1)
