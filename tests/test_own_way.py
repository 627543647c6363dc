"""The run's own best way as its demonstration: found, played in one piece, the same game, learnt from."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import through_a_file

from daddy_puffer.config import Config, load_config
from daddy_puffer.demos.own_way import OwnWay, without_loops
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.game.milestones import milestones_reached
from daddy_puffer.replay import DemoRows
from daddy_puffer.swarm import SavedState
from daddy_puffer.train import train
from daddy_puffer.types import Action
from daddy_puffer.wrappers import Curriculum, EpsilonEnv, open_registry

GOAL, LATER = "Boulder", "Cascade"


def settings(**changes: Any) -> Config:
    curriculum = {"mode": "go_explore", "cell_size": 0, "true_start_share": 0.0, "episode_steps": 80}
    given = {f"curriculum.{name}": value for name, value in curriculum.items()}
    return load_config(None, {"env.max_steps": 400, "demos.own_way": [GOAL, LATER], **given, **changes})


def play_script(folder: Path, episodes: int, detour: int = 0, seed: int = 0) -> list[SavedState]:
    """Let the scripted player play under a curriculum, so that states are kept; first it stands about for a while."""
    config = settings()
    env = EpsilonEnv(make_red_env(config.env, config.rewards), config.env.frame_stack)
    wrapped = Curriculum(env, config.curriculum, open_registry(folder, config.curriculum, env))
    wrapped.registry.refresh(force=True)
    player, memory = ScriptedPlayer(), env.get_wrapper_attr("memory")
    for episode in range(episodes):
        wrapped.reset(seed=seed + episode)
        for step in range(100):
            action = Action.B if episode == 0 and step < detour else player.act(memory)
            if any(wrapped.step(np.int64(action))[2:4]):
                break
    wrapped.reset()
    wrapped.close()
    return wrapped.registry.states()


def play(way: OwnWay) -> tuple[DemoRows | None, int]:
    rows, actions = None, 0
    while way.playing:
        rows, actions = way.advance(), actions + 1
    return rows, actions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which the goal was reached by several episodes, one after the other."""
    found = tmp_path_factory.mktemp("own") / "savestates"
    states = play_script(found, episodes=16, detour=20)
    assert any(GOAL in saved.milestones and saved.parent for saved in states), [s.label for s in states]
    return found


def test_the_shortest_way_to_the_last_milestone_is_played_in_one_piece(folder: Path) -> None:
    way = OwnWay(settings(), folder)
    assert way.look() and way.playing and way.goal == GOAL
    rows, actions = play(way)
    assert rows is not None and actions == len(rows.action)
    registry = open_registry(folder, settings().curriculum, way._env)
    registry.refresh(force=True)
    there = [saved for saved in registry.states() if GOAL in saved.milestones]
    assert actions == min(saved.total_steps for saved in there)
    assert all(len(part) == actions + 1 for part in rows.seen.values()) and not rows.terminated
    flags = [milestones_reached(bits.tobytes()) for bits in rows.seen["milestones"]]
    assert not flags[0] and GOAL in flags[-1]
    # in one piece: what was visited is not forgotten where an episode of the curriculum began
    assert rows.reward.sum() > 0 and not way.look()
    way.close()


def test_a_way_goes_on_where_it_was_when_all_was_written_down(folder: Path) -> None:
    ways = [OwnWay(settings(), folder) for _ in range(2)]
    assert ways[0].look() and all(ways[0].advance() is None for _ in range(30))
    ways[1].set_state(through_a_file(ways[0].get_state()))
    (first, actions), (second, others) = (play(way) for way in ways)
    assert first is not None and second is not None and actions == others == len(first.action) - 30
    for name, array in first.to_arrays().items():
        assert np.array_equal(second.to_arrays()[name], array), name
    third = OwnWay(settings(), folder)
    third.set_state(through_a_file(ways[1].get_state()))
    assert third.goal == GOAL and not third.playing and not third.look(), "it knows that it was played"
    for way in (*ways, third):
        way.close()


def test_of_a_detour_only_the_way_on_is_imitated(folder: Path) -> None:
    assert without_loops("abcbade").tolist() == [False, False, False, False, True, True, True]
    assert without_loops("abc").all() and without_loops([]).tolist() == []
    way = OwnWay(settings(), folder)
    assert way.look()
    rows, actions = play(way)
    assert rows is not None and rows.imitated is not None
    # it stood about for 20 steps at the beginning, and pressed B where it stood: of these at most one leads on
    assert rows.imitated[:20].sum() <= 1 and 0.3 * actions < rows.imitated.sum() < actions
    way.close()


def test_a_way_is_played_anew_when_it_is_much_shorter_or_leads_further(folder: Path, tmp_path: Path) -> None:
    states = tmp_path / "savestates"
    shutil.copytree(folder, states)
    way = OwnWay(settings(), states)
    assert way.look()
    play(way)
    assert not way.look()  # there is nothing better
    sidecars = {path: json.loads(path.read_text()) for path in states.glob("*.json")}
    best = min(
        (path for path in sidecars if GOAL in sidecars[path]["milestones"]),
        key=lambda path: sidecars[path]["total_steps"],
    )
    steps = sidecars[best]["total_steps"]
    other = next(path for path in sidecars if GOAL in sidecars[path]["milestones"] and path != best)

    def say(**facts: Any) -> bool:
        """Let the registry say something else of another state; whether that is played now."""
        other.write_text(json.dumps({**sidecars[other], **facts}))
        fresh = OwnWay(settings(), states)
        fresh._found = way._found
        found = fresh.look()
        fresh.close()
        return found

    assert not say(total_steps=steps - 1)
    assert say(total_steps=steps // 2)
    assert say(milestones=[GOAL, LATER])
    way.close()


def test_before_a_milestone_is_reached_the_way_leads_to_the_furthest_map(folder: Path) -> None:
    way = OwnWay(settings(**{"demos.own_way": ["furthest", LATER]}), folder)
    registry = open_registry(folder, settings().curriculum, way._env)
    registry.refresh(force=True)
    nearest: dict[str, int] = {}
    for saved in registry.states():
        nearest[saved.map_name] = min(saved.total_steps, nearest.get(saved.map_name, saved.total_steps))
    furthest = max(nearest, key=lambda name: nearest[name])
    assert len(nearest) > 3 and way.look() and way.goal == furthest
    rows, actions = play(way)
    assert rows is not None and actions == nearest[furthest]
    assert not way.look()  # the same again
    way.close()
    # a milestone goes before
    way = OwnWay(settings(**{"demos.own_way": ["furthest", GOAL]}), folder)
    assert way.look() and way.goal == GOAL
    way.close()


def test_without_a_way_nothing_is_played(folder: Path, tmp_path: Path) -> None:
    nowhere = OwnWay(settings(**{"demos.own_way": [LATER]}), folder)
    assert not nowhere.look() and not nowhere.playing and nowhere.goal == ""
    nowhere.close()
    empty = OwnWay(settings(), tmp_path / "none")
    assert not empty.look()
    empty.close()
    too_long = OwnWay(settings(**{"env.max_steps": 10}), folder)
    assert not too_long.look()
    too_long.close()


def test_a_way_that_leads_elsewhere_is_not_learnt_from(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    way = OwnWay(settings(), folder)
    assert way.look()
    way.advance()
    way._red.step(int(Action.B))  # somebody else plays, too
    rows, _ = play(way)
    assert rows is None and "leads elsewhere" in caplog.text
    way.close()


def test_unknown_milestones_and_missing_curricula_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no milestone is called 'Bolder'"):
        OwnWay(settings(**{"demos.own_way": ["Bolder"]}), tmp_path)
    with pytest.raises(UserError, match=r"curriculum\.mode"):
        settings(**{"curriculum.mode": "off"})
    with pytest.raises(UserError, match="one of them has to be empty"):
        settings(**{"demos.folder": "somewhere"})
    assert settings().for_evaluation().demos.own_way == []


def test_a_run_learns_from_its_own_way_and_counts_its_steps(folder: Path, tmp_path: Path) -> None:
    given = {
        "train.runs_dir": str(tmp_path),
        "train.run_name": "own",
        "train.vectorization": "serial",
        "train.num_envs": 2,
        "train.total_steps": 900,
        "train.log_interval": 300,
        "replay.learning_starts": 100,
        "replay.capacity": 2_000,
        "demos.ratio": 0.5,
        "demos.refresh_updates": 10,
        "policy.model_size": "slim",
    }
    shutil.copytree(folder, tmp_path / "own" / "savestates")
    config = settings(**given)
    result = train(config, film_steps=2)
    lines = (result.folder / "events.jsonl").read_text().splitlines()
    found = [event for event in map(json.loads, lines) if event["event"] == "own_way"]
    assert [event["goal"] for event in found] == [GOAL]
    with (result.folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["demo/accuracy"]]
    assert rows and float(rows[-1]["demo/bc_loss"]) > 0
    with (result.folder / "episodes.csv").open(newline="") as file:
        lengths = sum(int(row["length_steps"]) for row in csv.DictReader(file))
    # the way's own steps are among those of the run, though no episode of an environment has them
    assert result.steps >= 900 and found[0]["steps"] <= result.steps - lengths
