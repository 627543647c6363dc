"""DAgger: the expert labels what the student visits, the labels add up, the student learns what it needs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ridge_env import walk_the_ridge
from support import call

from daddy_puffer.config import CurriculumConfig, load_config
from daddy_puffer.demos.episode import UNLABELLED, Episode, episode_files, read_episode
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.images import ImageFormat
from daddy_puffer.demos.verify import Verifier
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.bc import BcSettings, accuracy_on, action_weights, clone_behaviour, cross_entropy
from daddy_puffer.imitate.dagger import expert_share
from daddy_puffer.imitate.data import Goal, as_demonstrations, merged
from daddy_puffer.imitate.evaluation import evaluate
from daddy_puffer.imitate.experts import make_expert
from daddy_puffer.imitate.mixture import Limits, RollOut, count_labels, longest_wait, play_mixture
from daddy_puffer.imitate.setup import make_hierq
from daddy_puffer.imitate.starts import NO_MILESTONE, TRUE_START, KeptStates, Start, by_stage, starts_of
from daddy_puffer.imitate.students import ImpalaStudent, load_impala
from daddy_puffer.swarm import Chain, SavedState, StateFacts
from daddy_puffer.wrappers.curriculum import open_registry

RIDGE, RIDGE_EXPERT = "python:ridge_env:Ridge", "python:ridge_env:walk_the_ridge"
NO_GOAL = Goal(milestones=(), lowest_return=math.inf)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small networks are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ridge(**settings: Any) -> Game:
    return Game(Recipe(env_id=RIDGE, settings=settings, picture=ImageFormat(grey=False)))


def untaught(game: Game) -> ImpalaStudent:
    torch.manual_seed(0)
    return ImpalaStudent(game.recipe, NO_GOAL, (7, 10, 3), game.num_actions, 16, "cpu", seed=0)


def play(game: Game, student: ImpalaStudent, expert: str, share: float, episodes: int, seed: int = 0) -> list[Episode]:
    experts = [make_expert(expert, game)]
    todo = [roll_out(seed + number, share) for number in range(episodes)]
    return [play_mixture([game], experts, student, [one], Limits())[0] for one in todo]


def roll_out(seed: int, share: float, start: Start = TRUE_START) -> RollOut:
    return RollOut(seed=seed, start=start, expert_share=share)


# ---- labels ----


def test_the_expert_labels_every_state_whoever_acted() -> None:
    game = ridge()
    episodes = play(game, untaught(game), RIDGE_EXPERT, 0.3, 6)
    for episode in episodes:
        assert episode.labels is not None and episode.by_expert is not None
        infos = [game.reset(episode.seed).info, *episode.infos]
        for picture, info, label in zip(episode.observations, infos, episode.labels, strict=False):
            assert label == walk_the_ridge(picture, info)
        assert (episode.actions == episode.labels)[episode.by_expert].all()
    counts = count_labels(episodes)
    assert counts.rows == counts.labelled == 240 and counts.skipped == 0
    assert 0.2 < counts.expert_share < 0.4  # 240 coins of 0.3: 3 standard deviations are 0.09
    own = [(a == b) for e in episodes for a, b, x in zip(e.actions, e.labels, e.by_expert, strict=True) if not x]  # type: ignore[arg-type]
    assert counts.agreement is not None and counts.agreement == pytest.approx(np.mean(own))


def test_what_the_expert_does_not_know_is_skipped_and_counted() -> None:
    game = ridge()
    episodes = play(game, untaught(game), "python:ridge_env:know_the_middle_only", 0.5, 4)
    counts = count_labels(episodes)
    off = sum(int((episode.observations[:, 3, 0, 0] == 0).sum()) for episode in episodes)
    assert counts.skipped == off > 0 and counts.labelled == 160 - off
    demos = as_demonstrations({str(i): episode for i, episode in enumerate(episodes)}, (0, 0))
    assert (demos.actions == UNLABELLED).sum() == off
    student = untaught(game)
    batches = student.batches(demos, 20, np.random.default_rng(0))
    taken = np.concatenate([next(batches).rows for _ in range(8)])
    assert (demos.actions[taken] != UNLABELLED).all()
    assert 0.0 <= accuracy_on(student, demos, demos.trained) <= 1.0
    counted = np.bincount(demos.actions[demos.actions >= 0], minlength=3)
    assert action_weights(demos, "balanced") @ counted == pytest.approx(160 - off)


def test_an_expert_that_knows_nothing_at_all_is_named() -> None:
    game = ridge()
    episodes = play(game, untaught(game), RIDGE_EXPERT, 0.5, 1)
    silent = [replace(episode, labels=np.full(len(episode), UNLABELLED, np.int32)) for episode in episodes]
    demos = as_demonstrations({str(i): episode for i, episode in enumerate(silent)}, (0, 0))
    with pytest.raises(UserError, match="the expert named no action"):
        next(clone_behaviour(untaught(game), demos, BcSettings()))


def test_rows_without_a_label_teach_nothing() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    wanted, weights = torch.tensor([2, UNLABELLED, 0, UNLABELLED, 1]), torch.tensor([1.0, 2.0, 3.0])
    loss = cross_entropy(logits, wanted, weights)
    known = wanted != UNLABELLED
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[known], wanted[known], weights))
    loss.backward()
    assert logits.grad is not None and (logits.grad[~known] == 0).all() and (logits.grad[known] != 0).all()
    assert cross_entropy(logits, torch.full((5,), UNLABELLED), weights).item() == 0.0


def test_labelled_episodes_are_ordinary_demonstrations(tmp_path: Path) -> None:
    game = ridge()
    (episode,) = play(game, untaught(game), RIDGE_EXPERT, 0.3, 1)
    again = Episode.from_bytes(episode.to_bytes())
    for name in ("labels", "by_expert"):
        np.testing.assert_array_equal(getattr(again, name), getattr(episode, name))
    assert "same rewards" in Verifier(trusted=RIDGE).verify(again)
    for change in (
        {"labels": None},
        {"labels": np.full(40, 3, np.int32)},
        {"labels": np.full(40, -2, np.int32)},
        {"by_expert": np.zeros(39, np.bool_)},
        {"start_visited": np.zeros((2, 2), np.uint8)},
    ):
        with pytest.raises(UserError, match="damaged"):
            Episode.from_bytes(replace(episode, **change).to_bytes())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 3))
def test_merged_rows_are_those_of_the_parts(lengths: list[int], width: int) -> None:
    game = ridge(steps=9)
    student = untaught(game)
    parts = []
    for number, length in enumerate(lengths):
        (episode,) = play_mixture(
            [game],
            [make_expert(RIDGE_EXPERT, game)],
            student,
            [roll_out(number + width, 1.0)],
            Limits(steps=length),
        )
        assert len(episode) == length
        parts.append(as_demonstrations({"": episode}, (0, 0)))
    whole = merged(parts)
    assert [b - a for a, b in whole.trained] == lengths
    for (begin, end), part in zip(whole.trained, parts, strict=True):
        np.testing.assert_array_equal(whole.pictures[begin:end], part.pictures)
        np.testing.assert_array_equal(whole.actions[begin:end], part.actions)
        assert (whole.starts[begin:end] == begin).all()


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_a_wait_lasts_until_the_return_is_higher_than_ever(rewards: list[int]) -> None:
    returns = [0, *np.cumsum(rewards)]
    waits = [0]
    for step in range(1, len(returns)):
        waits.append(0 if returns[step] > max(returns[:step]) else waits[-1] + 1)
    assert longest_wait(np.array(rewards, np.float32)) == max(waits)


@pytest.mark.parametrize("waiting", [1, 4])
def test_a_roll_out_that_waits_too_long_is_cut_off(waiting: int) -> None:
    games = [ridge() for _ in range(4)]
    experts = [make_expert(RIDGE_EXPERT, game) for game in games]
    todo = [roll_out(seed, share) for seed, share in enumerate((0.0, 0.0, 0.5, 1.0))]
    episodes = play_mixture(games, experts, untaught(games[0]), todo, Limits(waiting=waiting))
    for episode in episodes:
        ended = len(episode) == 40
        assert longest_wait(episode.rewards) == waiting or ended
        assert longest_wait(episode.rewards[:-1]) < waiting
    assert len(episodes[0]) < 40 == len(episodes[3])  # who does as signalled is paid at every step


# ---- on the cartridge ----


def red(**others: Any) -> Recipe:
    config = load_config(None, {"env.max_steps": 60, "env.frame_stack": 2})
    return Recipe.of_config(config, **{"picture": ImageFormat(height=18, width=20), "random_start_steps": 9, **others})


@pytest.fixture(scope="module")
def red_game() -> Iterator[Game]:
    game = Game(red())
    yield game
    game.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, red_game: Game) -> Path:
    """Three states of two stages, one of them of another machine."""
    folder = tmp_path_factory.mktemp("savestates")
    game = Game(red())
    registry = open_registry(folder, CurriculumConfig(), game.env)
    player = ScriptedPlayer()
    game.reset(0)
    for number, (milestones, machine) in enumerate([([], ""), (["Boulder"], ""), (["Boulder"], "PyBoy 0")]):
        for _ in range(15):
            game.step(int(player.act(game.memory)))
        facts = StateFacts(
            label="x", cell=str(number), map_id=0, map_name="", milestones=milestones, badges=0,
            episode_steps=15, total_steps=15 * (number + 1), parent="", maker="",
        )  # fmt: skip
        state = game.env.get_wrapper_attr("save_state")()
        visited = game.env.get_wrapper_attr("visited_cells")()
        registry.machine = replace(registry.machine, emulator=machine or registry.machine.emulator)
        registry.register(state, facts, Chain.empty().then(0, b"", visited))
    game.close()
    return folder


def test_the_script_labels_what_an_untaught_network_gets_into(red_game: Game) -> None:
    torch.manual_seed(0)
    student = make_hierq(NO_GOAL, red_game.recipe, red_game, load_config(None, {"train.device": "cpu"}), 8)
    (episode,) = play_mixture([red_game], [make_expert("scripted", red_game)], student, [roll_out(7, 0.3)], Limits())
    counts = count_labels([episode])
    assert counts.rows == counts.labelled == len(episode) and counts.agreement is not None and counts.agreement < 0.6
    assert "same rewards" in Verifier().verify(Episode.from_bytes(episode.to_bytes()))
    # asking does nothing and is not remembered: a player that was never asked says the same
    asked, game = ScriptedPlayer(detours=False), red_game
    game.reset(7)
    for row, action in enumerate(episode.actions.tolist()):
        assert [asked.plan(game.memory) for _ in range(3)] == [episode.labels[row]] * 3  # type: ignore[index]
        game.step(action)


def test_episodes_begin_at_kept_states_of_the_stage_asked_for(kept: Path, red_game: Game) -> None:
    files = sorted(kept.iterdir())
    every, later, earlier = (
        KeptStates(kept, Game(red()), *asked) for asked in (("", ""), ("Boulder", ""), ("", "Boulder"))
    )
    assert list(every.stages) == [NO_MILESTONE, "Boulder"] and list(later.stages) == ["Boulder"]
    assert list(earlier.stages) == [NO_MILESTONE]
    with pytest.raises(UserError, match="has 3 states, 2 of this game, none with Cascade"):
        KeptStates(kept, Game(red()), "Cascade", "")
    with pytest.raises(UserError, match="no folder"):
        KeptStates(kept / "none", Game(red()), "", "")
    assert sorted(kept.iterdir()) == files  # states of another emulator are left alone
    drawn = starts_of(every, 0.75, 80, [1, 2])
    assert [start.stage for start in drawn] == [start.stage for start in starts_of(every, 0.75, 80, [1, 2])]
    stages = [start.stage for start in drawn if start.state]
    assert 50 <= len(stages) <= 70 and 20 <= stages.count("Boulder") <= 40  # 60 and 30 of 80, 2.5 deviations

    start = later.draw(np.random.default_rng(0))
    assert start.stage == "Boulder" and len(start.visited) > 5
    torch.manual_seed(0)
    student = make_hierq(NO_GOAL, red_game.recipe, red_game, load_config(None, {"train.device": "cpu"}), 8)
    (episode,) = play_mixture(
        [red_game], [make_expert("scripted", red_game)], student, [roll_out(7, 1.0, start)], Limits(steps=12)
    )
    assert len(episode) == 12 and episode.start_state == start.state
    there = Episode.from_bytes(episode.to_bytes())
    np.testing.assert_array_equal(there.start_visited, start.visited)
    assert "same rewards" in Verifier().verify(there)  # the blocks around count as visited in both
    score = evaluate([red_game], student, Goal(milestones=(), lowest_return=-99.0), 2, 0, [start, TRUE_START], 5)
    assert score.stages == {"Boulder": 1.0, NO_MILESTONE: 1.0} and score.mean_length == 5.0


def test_the_stage_of_a_state_is_the_milestone_that_took_longest() -> None:
    def state(steps: int, *milestones: str) -> SavedState:
        facts: dict[str, Any] = dict.fromkeys(SavedState.__dataclass_fields__, "")
        return SavedState(**{**facts, "total_steps": steps, "milestones": list(milestones)})

    # "late" was reached by 80 at the latest here, and by 50 elsewhere; "early" by 10
    states = [state(5), state(80, "late", "early"), state(10, "early"), state(90, "early"), state(50, "early", "late")]
    assert {name: [s.total_steps for s in found] for name, found in by_stage(states).items()} == {
        NO_MILESTONE: [5],
        "early": [10, 90],
        "late": [80, 50],
    }


# ---- the schedule ----


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_expert_hands_over(number: int, success: float, less: float, decay: float) -> None:
    assert expert_share(0, success, decay) == 1.0
    share = expert_share(number, success, decay)
    assert 0.0 <= share <= decay**number  # its mean over the rounds goes to 0 whatever the student can do
    assert expert_share(number, 1.0, decay) == 0.0
    assert expert_share(number, min(success, less), decay) >= share >= expert_share(number + 1, success, decay)


# ---- runs ----


def dagger(out: Path, rounds: int, *others: str) -> list[str]:
    """A short run on the ridge."""
    short = ["--rounds", str(rounds), "--episodes", "4", "--updates", "30", "--batch-size", "32", "--hidden-dim", "16"]
    where = ["--env-id", RIDGE, "--expert", RIDGE_EXPERT, "--student", "impala", "--size", "native", "--rgb"]
    more = ["--eval-episodes", "4", "--random-start-steps", "0", "--games", "2", "--device", "cpu"]
    return ["imitate", "dagger", "--out", str(out), *where, *short, *more, *others]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three rounds."""
    out = tmp_path_factory.mktemp("dagger") / "out"
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, *dagger(out, 3)) == 0
    return out


def evaluations(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines()]


def test_a_run_leaves_rounds_checkpoints_and_counts(finished: Path) -> None:
    rows = evaluations(finished)
    assert [row["round"] for row in rows] == [0, 1, 2] and [row["step"] for row in rows] == [30, 60, 90]
    assert rows[0]["expert_share"] == 1.0 and rows[0]["agreement"] is None
    assert all(row["rows"] == row["labelled"] == 160 and 0.0 <= row["agreement"] <= 1.0 for row in rows[1:])
    for number in range(3):
        episodes = [read_episode(path) for path in episode_files(finished / "rounds" / f"round_{number:03d}")]
        assert len(episodes) == 4 and len({episode.seed for episode in episodes}) == 4
        alone = [not episode.by_expert.any() for episode in episodes if episode.by_expert is not None]
        assert alone == [False] * 4 if number == 0 else alone[1] and alone[3]
        counts = asdict(count_labels(episodes))
        assert counts == {name: rows[number][name] for name in counts}
    assert {path.name for path in finished.glob("*.pt")} == {"best.pt", "impala_30.pt", "impala_60.pt", "impala_90.pt"}
    # round 0 is the expert's: what all of it reached is the goal
    first = [read_episode(path) for path in episode_files(finished / "rounds" / "round_000")]
    assert load_impala(finished / "best.pt", "cpu", 0).goal == Goal(milestones=(), lowest_return=40.0)
    assert all(episode.total == 40.0 for episode in first)


def test_nobody_is_watched_who_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "python:ridge_env:walk_what_is_seen"
    assert call(monkeypatch, *dagger(tmp_path / "out", 2, "--expert", late)) == 0
    waits = []
    for number in range(2):
        folder = tmp_path / "out" / "rounds" / f"round_{number:03d}"
        waits.append([longest_wait(read_episode(path).rewards) for path in episode_files(folder)])
    longest = math.ceil(1.5 * max(waits[0]))
    assert 3 <= max(waits[0]) < 12 and max(waits[1]) == longest, waits


@pytest.mark.parametrize("killed", ["between rounds", "in roll-outs", "in learning"])
def test_a_killed_run_ends_as_if_nothing_had_happened(
    finished: Path, killed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    last = out / "rounds" / "round_002"
    (out / "impala_90.pt").unlink()
    (last / "done.json").unlink()
    if killed == "between rounds":
        shutil.rmtree(last)
    elif killed == "in roll-outs":
        (last / "episode_0004.npz").unlink()
        (last / "episode_0002.npz").write_bytes(b"half of it")
    assert call(monkeypatch, *dagger(out, 3)) == 0
    assert evaluations(out) == evaluations(finished)
    for path in episode_files(finished / "rounds" / "round_002"):
        assert (last / path.name).read_bytes() == path.read_bytes()
    now, then = (load_impala(folder / "impala_90.pt", "cpu", 0).network.state_dict() for folder in (out, finished))
    for name, weights in then.items():
        torch.testing.assert_close(now[name], weights, rtol=0, atol=0)


def test_a_run_is_gone_on_with_by_the_same_command_only(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = (out / "evaluations.jsonl").read_bytes()
    assert call(monkeypatch, *dagger(out, 3)) == 0 and (out / "evaluations.jsonl").read_bytes() == before
    assert call(monkeypatch, *dagger(out, 3, "--decay", "0.9")) == 1
    assert "was begun with decay 0.5, not 0.9" in capsys.readouterr().err
    (out / "rounds" / "round_001" / "done.json").write_text("[]")
    assert call(monkeypatch, *dagger(out, 3)) == 1 and "remove it" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("here")
    assert call(monkeypatch, *dagger(tmp_path, 3)) == 1 and "no run of DAgger" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "from 1"),
        (["--decay", "1.5"], "are 0..1"),
        (["--lr", "0"], "learning rate above 0"),
        (["--student", "resnet"], "--student must be one of hierq, impala"),
        (["--student", "hierq"], "HierQ cannot read the game of python:ridge_env"),
        (["--expert", "human"], "no expert 'human': known are scripted"),
        (["--expert", "scripted"], "practice cartridge only"),
        (["--expert", "python:ridge_env:nobody"], "write python:module:function"),
        (["--expert", "python:ridge_env:press_too_far"], "gave action 3, there are 0..2"),
        (["--expert", "python:bars_env:press_nonsense"], "gave 'up', which is no action"),
        (["--from-milestone", "Boulder"], "is for --start-states"),
        (["--start-states", "."], "are no states of python:ridge_env"),
        (["--until", "Boulder"], "no milestones that are known here"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *dagger(tmp_path / "out", 1, *options)) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


# ---- what it is good for ----


def taught(shares: list[float], updates: int) -> float:
    """Mean return of a student after a round with each share of the expert's actions, of as many labels."""
    games = [ridge() for _ in range(10)]
    experts = [make_expert(RIDGE_EXPERT, game) for game in games]
    student, parts = untaught(games[0]), []
    for number, share in enumerate(shares):
        student.reseed(number)
        todo = [roll_out(100 * number + seed, share) for seed in range(5)]
        episodes = play_mixture(games[:5], experts[:5], student, todo, Limits())
        parts.append(as_demonstrations({str(i): episode for i, episode in enumerate(episodes)}, (0, 0)))
        how = BcSettings(total_training_steps=updates, batch_size=32, learning_rate=1e-3, seed=number)
        for _ in clone_behaviour(student, merged(parts), how):
            pass
    student.reseed(9)
    return evaluate(games, student, NO_GOAL, 30).mean_return


def test_dagger_finds_back_where_cloning_drifts_off() -> None:
    """As many labels and updates for both; cloning has seen nobody off the ridge, so one slip costs the rest.

    On one step in 15 nobody can know what to do: 15 steps until the first slip, 3 that each costs who walks back.
    """
    cloning, corrected = taught([1.0] * 4, 40), taught([1.0, 0.25, 0.0, 0.0], 40)
    assert corrected > 29.0 and cloning < corrected - 7.0, (cloning, corrected)
