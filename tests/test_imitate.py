"""Behavioural cloning: it learns what was demonstrated, plays it, and leaves checkpoints that the rest can use."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import call

from daddy_puffer.config import load_config
from daddy_puffer.demos.episode import Episode, read_episode, write_episode
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.images import ImageFormat
from daddy_puffer.demos.players import make_player
from daddy_puffer.demos.record import record_episode, record_episodes
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.bc import BcSettings, accuracy_on, action_weights, clone_behaviour
from daddy_puffer.imitate.data import Demonstrations, Goal, load_demonstrations
from daddy_puffer.imitate.evaluation import check_fits, evaluate
from daddy_puffer.imitate.setup import make_hierq, make_impala
from daddy_puffer.imitate.students import Batch, HierQStudent, load_hierq, load_impala, read_imitation
from daddy_puffer.learner.checkpoint import find_checkpoint

BARS = "python:bars_env:Bars"
BARS_PLAYER = "python:bars_env:press_the_lit_one"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small networks are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short episodes of the script on the cartridge."""
    folder = tmp_path_factory.mktemp("walks")
    config = load_config(None, {"env.max_steps": 60, "env.frame_stack": 2})
    game = Game(Recipe.of_config(config, random_start_steps=6, picture=ImageFormat(height=18, width=20)))
    assert len(list(record_episodes(game, make_player("scripted", game), "scripted", 3, folder, seed=0))) == 3
    game.close()
    return folder


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of the game with coloured pictures and ten buttons."""
    folder = tmp_path_factory.mktemp("bars")
    game = Game(Recipe(env_id=BARS, settings={"steps": 20}, picture=ImageFormat(grey=False)))
    assert len(list(record_episodes(game, make_player(BARS_PLAYER, game), BARS_PLAYER, 3, folder, seed=0))) == 3
    return folder


def hierq(folder: Path, sequence_length: int = 8) -> tuple[HierQStudent, Demonstrations, Game]:
    torch.manual_seed(0)
    demos = load_demonstrations(folder, None)
    game = Game(demos.recipe)
    config = load_config(None, {"train.device": "cpu"})
    return make_hierq(demos, demos.recipe, game, config, sequence_length), demos, game


def test_hierq_learns_an_episode_by_heart_and_its_checkpoint_plays_it(
    walks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, demos, game = hierq(walks)
    one = replace(demos, trained=demos.trained[:1])
    assert accuracy_on(student, one, one.trained) < 0.7
    settings = BcSettings(total_training_steps=220, batch_size=24, learning_rate=3e-3)
    losses = [measured.loss for measured in clone_behaviour(student, one, settings)]
    assert accuracy_on(student, one, one.trained) > 0.95 and losses[-1] < 0.2 * losses[0]

    student.save(tmp_path, 220, best=False)
    checkpoint = find_checkpoint(tmp_path)
    assert read_imitation(checkpoint) == (demos.recipe, demos.goal)
    again = load_hierq(checkpoint, game, demos.recipe, demos.goal, "cpu", seed=1)
    for span in demos.trained:
        torch.testing.assert_close(again.episode_logits(demos, span), student.episode_logits(demos, span))
    # the recorder's player of checkpoints is what `evaluate` and `debug_rollout` play with
    episode = read_episode(walks / "episode_0001.npz")
    found = record_episode(game, make_player("checkpoint", game, tmp_path), "checkpoint", episode.seed)
    assert isinstance(found, Episode) and len(found) == len(episode)
    assert (found.actions == episode.actions).mean() > 0.9
    # by the command it plays the game that it was trained in
    record = ["demos", "record", "--player", "checkpoint", "--checkpoint", str(tmp_path), "--episodes", "1"]
    assert call(monkeypatch, *record, "--out", str(tmp_path / "its")) == 0
    assert read_episode(tmp_path / "its" / "episode_0001.npz").facts.recipe.settings == demos.recipe.settings
    score = evaluate([game], again, Goal(milestones=(), lowest_return=0.9 * episode.total), 1, seed=episode.seed)
    assert score.success == 1.0 and score.mean_length == len(episode)
    game.close()


def test_lanes_read_whole_episodes_and_hold_out_the_rest(walks: Path) -> None:
    student, demos, game = hierq(walks)
    game.close()
    demos = load_demonstrations(walks, None, held_out_share=0.34)
    assert len(demos.trained) == 2 and len(demos.held_out) == 1
    batches = student.batches(demos, 16, np.random.default_rng(0))
    taken = [next(batches) for _ in range(60)]
    rows = np.concatenate([batch.rows.reshape(8, 2) for batch in taken])
    first = np.concatenate([batch.first.reshape(8, 2) for batch in taken])
    begins = {begin for begin, _ in demos.trained}
    assert (np.isin(rows, list(begins)) == first).all() and rows.max() < demos.held_out[0][0]
    follows = rows[1:] == rows[:-1] + 1
    assert (follows | first[1:]).all() and first.sum() > 4
    assert set(rows.ravel()) == set(range(demos.held_out[0][0]))


def test_shuffled_sequences_come_from_anywhere_equally_often_without_a_memory(walks: Path) -> None:
    student, demos, game = hierq(walks, sequence_length=5)
    game.close()
    demos = load_demonstrations(walks, None, held_out_share=0.34)
    batches = student.batches(demos, 40, np.random.default_rng(0), shuffled=True)
    taken = [next(batches) for _ in range(400)]
    rows = np.array([batch.rows.reshape(5, 8) for batch in taken])
    first = np.array([batch.first.reshape(5, 8) for batch in taken])
    begins, total = [begin for begin, _ in demos.trained], demos.held_out[0][0]
    assert first[:, 0].all() and (first[:, 1:] == np.isin(rows[:, 1:], begins)).all()
    assert (rows[:, 1:] == (rows[:, :-1] + 1) % total).all()
    counts = np.bincount(rows.ravel(), minlength=demos.held_out[0][1])
    expected = rows.size / total
    assert (counts[total:] == 0).all() and (abs(counts[:total] - expected) < 5 * expected**0.5).all()
    # what was learnt from before makes no difference
    fresh = student.logits(demos, taken[1]).detach()
    student.logits(demos, taken[0])
    torch.testing.assert_close(student.logits(demos, taken[1]).detach(), fresh)


def test_the_learning_rate_falls_to_nothing(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.AdamW] = []

    class Kept(torch.optim.AdamW):
        def __init__(self, *args: Any, **others: Any) -> None:
            super().__init__(*args, **others)
            made.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Kept)
    demos = load_demonstrations(bars, (8, 8))
    student = make_impala(demos, 8, "cpu", seed=0)
    for anneal, wanted in ((False, [0.01] * 4), (True, [0.01, 0.0075, 0.005, 0.0025])):
        settings = BcSettings(total_training_steps=4, batch_size=4, learning_rate=0.01, anneal=anneal)
        rates = [made[-1].param_groups[0]["lr"] for _ in clone_behaviour(student, demos, settings, steps_done=7)]
        assert rates == pytest.approx(wanted)


def test_the_memory_goes_from_batch_to_batch(walks: Path) -> None:
    student, demos, game = hierq(walks, sequence_length=5)
    game.close()
    batches = student.batches(demos, 5, np.random.default_rng(0))
    taken = next(batch for batch in batches if batch.first[0])
    student._memory = None
    parts = [student.logits(demos, batch).detach() for batch in (taken, next(batches), next(batches))]
    begin = int(taken.rows[0])
    whole = student.episode_logits(demos, next(span for span in demos.trained if span[0] == begin))
    torch.testing.assert_close(torch.cat(parts), whole[:15].clone(), rtol=1e-4, atol=1e-4)


def test_impala_learns_coloured_pictures_and_ten_buttons(bars: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    demos = load_demonstrations(bars, (20, 30), held_out_share=0.34)
    assert demos.pictures.shape == (60, 20, 30, 3) and demos.num_actions == 10
    student = make_impala(demos, 32, "cpu", seed=0)
    settings = BcSettings(total_training_steps=120, batch_size=16, learning_rate=3e-3, class_weights="balanced")
    for _ in clone_behaviour(student, demos, settings):
        pass
    assert accuracy_on(student, demos, demos.trained) > 0.95
    games = [Game(demos.recipe), Game(demos.recipe)]
    score = evaluate(games, student, Goal(milestones=(), lowest_return=10.0), 3)
    assert score.mean_return > 10.0 and score.success > 0.5 and score.mean_length == 20 and score.episodes == 3
    again = load_impala(student.save(tmp_path, 7, best=True), "cpu", seed=0)
    torch.testing.assert_close(
        again.episode_logits(demos, demos.held_out[0]), student.episode_logits(demos, demos.held_out[0])
    )
    with pytest.raises(UserError, match="10 actions"):
        check_fits(games[0], 7)


@pytest.mark.parametrize("half", [False, True])
def test_halves_give_the_same_logits_but_for_rounding(bars: Path, half: bool) -> None:
    torch.manual_seed(0)
    demos = load_demonstrations(bars, (20, 30))
    student = make_impala(demos, 32, "cpu", seed=0)
    student._half = half
    rows = np.arange(20)
    learnt = student.logits(demos, Batch(rows=rows, first=rows == 0))
    exact = student.episode_logits(demos, (0, 20))
    assert learnt.dtype == torch.float32 and learnt.requires_grad
    assert torch.equal(learnt, exact) != half  # 8 bits of mantissa are seen
    torch.testing.assert_close(learnt, exact.clone(), rtol=0.0, atol=0.02 * float(exact.abs().max()))


def test_rows_are_taken_equally_often(bars: Path) -> None:
    demos = load_demonstrations(bars, (8, 8))
    student = make_impala(demos, 4, "cpu", seed=0)
    batches = student.batches(demos, 25, np.random.default_rng(1))
    counts = Counter(row for _ in range(12) for row in next(batches).rows.tolist())
    assert set(counts) == set(range(60)) and set(counts.values()) == {5}  # 300 rows of 60


def test_class_weights_are_inverse_to_frequency(bars: Path) -> None:
    demos = load_demonstrations(bars, (8, 8))
    spoilt = replace(demos, actions=np.array([0] * 30 + [1] * 20 + [3] * 10), num_actions=4)
    assert action_weights(spoilt, "balanced").tolist() == pytest.approx([60 / 90, 60 / 60, 0.0, 60 / 30])
    assert action_weights(spoilt, "none").tolist() == [1.0] * 4


def test_success_is_what_every_demonstration_reached(walks: Path) -> None:
    goal = Goal(milestones=("Boulder",), lowest_return=5.0)
    assert goal.reached(["Boulder", "Cascade"], 0.0) and not goal.reached(["Cascade"], 99.0)
    assert Goal(milestones=(), lowest_return=5.0).reached([], 5.0) and not Goal(
        milestones=(), lowest_return=5.0
    ).reached([], 4.9)
    totals = [read_episode(path).total for path in walks.glob("*.npz")]
    assert load_demonstrations(walks, None).goal == Goal(milestones=(), lowest_return=min(totals))


def test_damaged_and_foreign_files(walks: Path, bars: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in walks.glob("*.npz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoilt = bytearray((tmp_path / "episode_0002.npz").read_bytes())
    spoilt[1000] ^= 1
    (tmp_path / "episode_0002.npz").write_bytes(spoilt)
    assert len(load_demonstrations(tmp_path, None).trained) == 2
    assert "skipped episode_0002.npz" in caplog.text
    write_episode(tmp_path, 2, read_episode(bars / "episode_0001.npz"))
    with pytest.raises(UserError, match="episode_0002.npz was recorded with other settings"):
        load_demonstrations(tmp_path, None)
    with pytest.raises(UserError, match="HierQ cannot read the game of python:bars_env:Bars"):
        load_demonstrations(bars, None)


def test_commands_from_demonstrations_to_a_score(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    bc = ["imitate", "bc", "--demos", str(bars), "--out", str(out), "--student", "impala", "--size", "20x30"]
    bc += ["--env-id", BARS]
    short = ["--total-training-steps", "12", "--eval-frequency", "5", "--save-frequency", "3", "--eval-episodes", "2"]
    assert call(monkeypatch, *bc, *short, "--hidden-dim", "16", "--held-out-share", "0.34") == 0
    rows = [json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 12] and all(row["episodes"] == 2 for row in rows)
    assert all(0.0 <= row["held_out_accuracy"] <= 1.0 and row["loss"] > 0.0 for row in rows)
    assert {path.name for path in out.iterdir()} == {
        "best.pt", "impala_6.pt", "impala_9.pt", "impala_12.pt", "tb", "evaluations.jsonl",
    }  # fmt: skip
    capsys.readouterr()
    play = ["imitate", "evaluate", str(out / "best.pt"), "--episodes", "3", "--max-steps", "7"]
    assert call(monkeypatch, *play) == 1 and "say --env-id" in capsys.readouterr().err
    assert call(monkeypatch, *play, "--env-id", BARS) == 0
    score: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert score["episodes"] == 3 and score["mean_length"] == 7.0
    assert call(monkeypatch, *bc) == 1 and "is there already" in capsys.readouterr().err
    assert call(monkeypatch, *play, "--env-id", BARS, "--goal", "Bolder") == 1
    assert "no milestone 'Bolder'" in capsys.readouterr().err
    damaged = tmp_path / "bad.pt"
    damaged.write_bytes((out / "best.pt").read_bytes()[:-100])
    assert call(monkeypatch, "imitate", "evaluate", str(damaged)) == 1
    assert "is damaged" in capsys.readouterr().err
    assert call(monkeypatch, "imitate", "bc", "--demos", str(tmp_path / "none"), "--out", str(tmp_path / "x")) == 1
    assert "record some with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"class_weights": "rare"}, "class weights must be one of none, balanced"),
    ],
)
def test_settings_are_checked(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BcSettings(**setting)
