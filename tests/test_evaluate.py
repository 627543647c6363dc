"""A trained agent against random buttons and against the script: numbers, tables, the same again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from daddy_puffer.config import Config, EnvConfig, TrainConfig
from daddy_puffer.evaluate.comparison import (
    Comparison,
    Difference,
    Rate,
    Score,
    compare,
    completion_rates,
    difference,
    report,
)
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner.checkpoint import save_checkpoint
from daddy_puffer.learner.learner import Learner
from daddy_puffer.telemetry import EpisodeRecord
from daddy_puffer.types import Action
from daddy_puffer.vector import RedFactory, box_spaces


def episode(gained: float = 0.0, reached: str = "") -> EpisodeRecord:
    return EpisodeRecord(
        episode_id=0, env_id=0, length_steps=10, return_env=gained, return_rnd=0.0, return_novel=0.0,
        return_bayes=0.0, return_total=gained, start_step_global=0, end_step_global=10, milestones_reached=reached,
        savestate_tag="", badges=0, map="", alarm_triggered=False,
    )  # fmt: skip


def test_completion_rates_are_shares_of_episodes_in_the_games_order():
    rates = completion_rates([episode(reached=text) for text in ("EVENT_GOT_STARTER;Boulder", "Boulder", "", "")])
    assert [(name, rate.rate) for name, rate in rates.items()] == [("Boulder", 0.5), ("EVENT_GOT_STARTER", 0.25)]
    assert 0.0 <= rates["Boulder"].low < 0.5 < rates["Boulder"].high <= 1.0
    assert completion_rates([episode()]) == {}
    assert completion_rates([episode(reached="Boulder")] * 5)["Boulder"] == Rate(rate=1.0, low=1.0, high=1.0)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.sampled_from(["", "Boulder", "Boulder;Cascade"]), min_size=1, max_size=12))
def test_rates_are_plain_arithmetic(reached: list[str]):
    rates = completion_rates([episode(reached=text) for text in reached])
    for name in ("Boulder", "Cascade"):
        share = sum(name in text for text in reached) / len(reached)
        assert (rates[name].rate if name in rates else 0.0) == share
        if name in rates:
            assert 0.0 <= rates[name].low <= share <= rates[name].high <= 1.0


def test_difference_of_means():
    found = difference([episode(3.0), episode(5.0)], [episode(1.0)] * 4)
    assert found == Difference(mean=3.0, low=2.0, high=4.0)


def score(rates: dict[str, Rate], **changes: Any) -> Score:
    values = {"episodes": 1000, "mean_length": 20_480, "mean_return": -1234.56, "return_low": -2345.67}
    more = {"return_high": 1234.56, "mean_badges": 0.35, "best_badges": 8, "steps_per_second": 1234.0}
    return Score(**{**values, **more, "milestones": rates, **changes})  # type: ignore[arg-type]


def test_tables_fit_into_80_columns_and_cut_no_number(tmp_path: Path):
    rates = {m.name: Rate(rate=1.0, low=1.0, high=1.0) for m in MILESTONES}
    scores = {"trained": score(rates), "random": score({}), "scripted": score(rates)}
    comparison = Comparison(
        scores=scores, advantage=1.5, advantage_low=-1.0, advantage_high=2.0, note="no script",
        over_script=Difference(mean=-2.0, low=-3.0, high=-1.0),
    )  # fmt: skip
    console = Console(record=True, width=80)
    report(comparison, tmp_path / "evaluation.json", console)
    text = console.export_text()
    tables = text[: text.index("written to")]
    assert max(map(len, tables.splitlines())) <= 80
    assert tables.count("-1234.56 [-2345.67, 1234.56]") == 3
    assert "Boulder" in text and text.count("100% [100, 100]") == 2 * 16 and f"and {len(MILESTONES) - 16} more" in text
    assert "trained - scripted: -2.00 [-3.00, -1.00]" in text and "no script" in text
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["scores"]["trained"]["milestones"]["Boulder"] == {"rate": 1.0, "low": 1.0, "high": 1.0}
    assert len(written["scores"]["trained"]["milestones"]) == len(MILESTONES)
    assert written["over_script"] == {"mean": -2.0, "low": -3.0, "high": -1.0}


@pytest.fixture(scope="module")
def config() -> Config:
    return Config(env=EnvConfig(max_steps=60), train=TrainConfig(device="cpu", vectorization="serial"))


@pytest.fixture(scope="module")
def checkpoint(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing."""
    torch.set_num_threads(1)
    env = RedFactory(config)()
    learner = Learner(config, box_spaces(env), len(Action))
    env.close()
    return save_checkpoint(
        tmp_path_factory.mktemp("run") / "checkpoints", 5, {"learner": learner.state_dict()}, config, 1
    )


def numbers(comparison: Comparison) -> Comparison:
    """Without the speeds."""
    slow = {name: replace(found, steps_per_second=0.0) for name, found in comparison.scores.items()}
    return replace(comparison, scores=slow)


def test_the_same_seed_gives_the_same_numbers_and_the_script_plays_as_many(config: Config, checkpoint: Path):
    once, again, other = (compare(config, checkpoint, 3, epsilon=0.5, seed=seed) for seed in (3, 3, 4))
    assert numbers(once) == numbers(again) and numbers(once) != numbers(other)
    assert {name: found.episodes for name, found in once.scores.items()} == dict.fromkeys(once.scores, 3)
    assert list(once.scores) == ["trained", "random", "scripted"] and once.note == ""
    assert once.over_script is not None and once.over_script.mean < 0  # nothing was learnt
    assert once.scores["scripted"].mean_return > once.scores["random"].return_high


def test_there_is_no_script_for_another_game(config: Config, checkpoint: Path, tmp_path: Path):
    data = resources.files("daddy_puffer") / "data"
    with resources.as_file(data / "practice.gb") as rom, resources.as_file(data / "practice_start.state") as start:
        shutil.copy(rom, tmp_path / "other.gb")
        shutil.copy(start, tmp_path / "other.state")
    game = replace(config.env, gb_path=str(tmp_path / "other.gb"), init_state=str(tmp_path / "other.state"))
    comparison = compare(replace(config, env=game), checkpoint, 1)
    assert list(comparison.scores) == ["trained", "random"] and comparison.over_script is None
    console = Console(record=True, width=80)
    report(comparison, tmp_path / "evaluation.json", console)
    assert re.search("no scripted player: there is no script for other.gb", console.export_text())
