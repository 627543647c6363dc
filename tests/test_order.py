"""Progress learned from the order of frames: pairs, what they are measured by, the model, its file."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import call

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.collect import Collecting, collect
from daddy_puffer.pretraining.frames import UNKNOWN, FrameSet, load_frames, pack
from daddy_puffer.pretraining.loop import Periods, Values, learn
from daddy_puffer.pretraining.order import OrderSettings, OrderTrainer, measure, order_loss, thinned
from daddy_puffer.pretraining.pairs import (
    CANDIDATES,
    KINDS,
    WINDOW_CORNER,
    Pairs,
    PairSource,
    calibration_error,
    has_window,
    identical,
    kinds_of,
    lookup_scores,
    reliability,
    right,
    within,
)
from daddy_puffer.vision.progress import FrameScore, ProgressModel, ProgressSettings, load_progress, progress_state
from daddy_puffer.vision.saved import save
from daddy_puffer.vision.tokenizer import Tokenizer, TokenizerSettings, network_state

CPU = torch.device("cpu")
SMALL = ProgressSettings(channels=12, hidden=16)
FEW = OrderSettings(runs=2, frames_of_run=6, hard_pairs=4)
TOKENS = TokenizerSettings(tile_channels=8, cell_channels=12, block_channels=4, codes=32)


pytestmark = pytest.mark.usefixtures("one_thread")


def bars(lengths: list[int], step_seconds: float = 1.0) -> FrameSet:
    """Runs in which a bright bar moves from left to right over the whole run, above noise."""
    rng = np.random.default_rng(0)
    frames, seconds = [], []
    for length in lengths:
        levels = rng.integers(0, 4, (length, 72, 80), dtype=np.uint8)
        levels[:, 36:] = 0
        for place, picture in enumerate(levels):
            picture[36:, : 1 + place * 79 // length] = 3
        frames.append(pack(levels))
        seconds.append(np.arange(length, dtype=np.float32) * step_seconds)
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    names = tuple(f"run_{number}" for number in range(len(lengths)))
    scene = np.zeros((sum(lengths), 3), np.uint8)
    return FrameSet(np.concatenate(frames), starts, names, np.concatenate(seconds), scene)


def untrained(kind: str) -> ProgressModel:
    torch.manual_seed(3)
    return ProgressModel(replace(SMALL, model=kind), Tokenizer(TOKENS) if kind == "head" else None)


def trainer_of(kind: str = "small", seed: int = 0) -> OrderTrainer:
    frames = {"train": bars([60, 40, 50]), "test": bars([45, 30])}
    return OrderTrainer(frames, replace(SMALL, model=kind), replace(FEW, seed=seed), CPU, untrained(kind).tokenizer)


# ---- pairs ----


@given(st.lists(st.integers(8, 60), min_size=1, max_size=4), st.sampled_from([0.4, 3.0, 30.0]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_pairs_lie_in_one_run_five_to_three_hundred_seconds_apart(lengths: list[int], step: float, seed: int) -> None:
    runs = bars(lengths, step)
    try:
        source = PairSource(runs)
    except UserError:
        assert max(lengths) * step <= 5 + step
        return
    torch.manual_seed(seed)
    for pairs in (source.draw(50), source.draw_alike(50)):
        apart = runs.seconds[pairs.later] - runs.seconds[pairs.earlier]
        assert (apart >= 5).all() and (apart <= 300).all()
        run_of = np.searchsorted(runs.starts, np.stack([pairs.earlier, pairs.later]), "right")
        assert (run_of[0] == run_of[1]).all()
    groups = source.draw_groups(5, 7)
    assert groups.shape == (5, 7) and (groups.diff(dim=1) >= 0).all()
    run_of = np.searchsorted(runs.starts, groups.numpy(), "right")
    assert (run_of == run_of[:, :1]).all()


def test_every_pair_far_enough_apart_is_drawn_and_no_other() -> None:
    runs = bars([9, 7])
    drawn = PairSource(runs).draw(4000)
    found = set(zip(drawn.earlier.tolist(), drawn.later.tolist(), strict=True))
    assert found == {
        (i, j) for first, last in [(0, 9), (9, 16)] for i in range(first, last) for j in range(i + 5, last)
    }


def test_pairs_of_a_group_by_hand() -> None:
    found = within(torch.tensor([[0.0, 4.0, 6.0, 400.0]]))[0]
    assert found.nonzero().tolist() == [[0, 2]]  # 4 s, 2 s and 394 s and more are none


def test_hard_pairs_look_more_alike_than_others_but_differ() -> None:
    runs = bars([60, 40])
    runs.frames[30:36] = runs.frames[10]  # the same picture again, more than 5 s later
    source = PairSource(runs)
    torch.manual_seed(0)

    def unlike(pairs: Pairs) -> np.ndarray:
        return (runs.frames[pairs.earlier] != runs.frames[pairs.later]).sum((1, 2))

    hard = unlike(source.draw_alike(400))
    assert hard.mean() < unlike(source.draw(400)).mean() and (hard > 0).all()
    assert CANDIDATES > 1


def test_runs_too_short_are_named() -> None:
    with pytest.raises(UserError, match="no run is 5 s long"):
        PairSource(bars([5, 4]))


def test_kinds_of_pairs() -> None:
    runs = bars([8])
    runs.frames[:] = 0
    runs.frames[3, 48:52, 7] = WINDOW_CORNER
    runs.frames[4, 49:53, 7] = WINDOW_CORNER  # on no tile
    runs.scene[:] = [[1, 0, 0], [1, 0, 0], [2, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1], [9, 0, 2], [UNKNOWN] * 3]
    assert has_window(runs.frames).nonzero()[0].tolist() == [3]
    pairs = Pairs(torch.tensor([0, 0, 0, 0, 0, 5, 0]), torch.tensor([1, 2, 3, 4, 5, 6, 7]))
    named = [KINDS[kind] if kind >= 0 else "" for kind in kinds_of(runs, pairs)]
    assert named == ["same_map", "other_map", "menu", "same_map", "other_map", "battle", ""]


def test_right_answers_ties_and_equal_pictures_by_hand() -> None:
    runs = bars([4])
    runs.frames[2] = runs.frames[0]
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]))
    scores = torch.tensor([0.0, 2.0, 0.0, -1.0])
    assert right(scores, pairs).tolist() == [1.0, 0.5, 0.0]
    assert identical(runs, pairs).tolist() == [False, True, False]


def test_memory_of_pictures_by_hand() -> None:
    known, asked = bars([5, 3]), bars([4])
    known.frames[:] = 9
    known.frames[[0, 4, 7]] = np.array([1, 2, 1], np.uint8)[
        :, None, None
    ]  # picture 1 at 0 and at 1 of the runs, picture 2 at 1
    asked.frames[:] = np.array([1, 2, 9, 3], np.uint8)[:, None, None]
    found = lookup_scores(known, asked)
    assert found[:3].tolist() == pytest.approx([(0 + 1) / 2, 1.0, (0.25 + 0.5 + 0.75 + 0 + 0.5) / 5])
    assert found[3].isnan()


def test_reliability_by_hand() -> None:
    sure, unsure = math.log(0.97 / 0.03), math.log(0.62 / 0.38)
    scores = torch.tensor([0.0, sure, unsure, 10.0, 10.0])
    pairs = Pairs(torch.tensor([0, 0, 0, 2, 3]), torch.tensor([1, 1, 2, 0, 4]))
    rows = reliability(scores, pairs)
    assert [(row.pairs, row.said, row.right) for row in rows] == [
        (1, pytest.approx(0.5), 0.5), (2, pytest.approx(0.62, abs=1e-6), 0.5), (2, pytest.approx(0.97, abs=1e-6), 1.0),
    ]  # fmt: skip
    assert calibration_error(rows) == pytest.approx((0 + 2 * 0.12 + 2 * 0.03) / 5, abs=1e-6)


def test_measures_by_distance_and_kind() -> None:
    runs = bars([200])
    runs.scene[100:, 0] = 1
    scores = torch.arange(200.0)
    scores[100:] -= 500  # right on either map, wrong from one to the other
    pairs = PairSource(runs).draw(3000, torch.Generator().manual_seed(1))
    found = measure(runs, scores, pairs, torch.full((200,), torch.nan))
    assert found["test/accuracy_same_map"] == 1 and found["test/accuracy_other_map"] == 0
    assert found["test/accuracy"] == pytest.approx(found["test/share_same_map"])
    assert found["test/accuracy_5_15_s"] > found["test/accuracy_60_120_s"]
    assert found["test/known_share"] == 0 and math.isnan(found["test/known_accuracy"])
    assert found["test/new_accuracy"] == found["test/accuracy"]


def test_a_thinned_set_keeps_runs_and_times() -> None:
    runs = bars([40, 20])
    few = thinned(runs, 13)
    assert len(few) == 13 and len(few.spans()) == 2 and few.names == runs.names
    first, last = few.spans()[1]
    assert few.seconds[first] <= 4 and first == (few.seconds[1:] < few.seconds[:-1]).argmax() + 1 and last == 13


# ---- learning ----


def test_the_loss_is_bradley_terry() -> None:
    gaps = torch.tensor([0.0, 2.0, -1.0])
    expected = -(math.log(0.5) + math.log(1 / (1 + math.exp(-2))) + math.log(1 / (1 + math.exp(1)))) / 3
    assert float(order_loss(gaps)) == pytest.approx(expected)
    assert float(order_loss(torch.zeros(0))) == 0


@pytest.mark.parametrize("kind", ["small", "head"])
def test_order_is_learned_and_holds_for_other_runs(kind: str) -> None:
    trainer = trainer_of(kind)
    before = trainer.evaluate()["test/accuracy"]
    for step in range(80):
        trainer.update(step / 80)
    found = trainer.evaluate()
    assert found["test/accuracy"] > 0.95 > 0.9 > before
    if kind == "small":  # another order is another answer
        frames = {"train": bars([60]), "test": bars([45])}
        frames["train"].frames[:] = frames["train"].frames[::-1].copy()
        backwards = OrderTrainer(frames, SMALL, FEW, CPU)
        for step in range(80):
            backwards.update(step / 80)
        assert backwards.evaluate()["test/accuracy"] < 0.1


class Killed(Exception):
    """What a kill is here."""


@pytest.mark.parametrize("kind", ["small", "head"])
def test_a_killed_run_goes_on_to_the_same_network(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    periods = Periods(updates=8, log_every=4, evaluate_every=8, save_every=3)
    whole, killed, again = (trainer_of(kind) for _ in range(3))
    torch.manual_seed(5)
    learn(whole, tmp_path / "whole", periods, resume=False)
    real, done = killed.update, [0]

    def update(share_done: float) -> Values:
        done[0] += 1
        if done[0] == 6:
            raise Killed
        return real(share_done)

    monkeypatch.setattr(killed, "update", update)
    torch.manual_seed(5)
    with pytest.raises(Killed):
        learn(killed, tmp_path / "killed", periods, resume=False)
    learn(again, tmp_path / "killed", periods, resume=True)
    one, other = whole.state()["network"], again.state()["network"]
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_goes_on_with_the_same_options_only(tmp_path: Path) -> None:
    learn(trainer_of(), tmp_path / "run", Periods(updates=1), resume=False)
    with pytest.raises(UserError, match="made with seed 0, not 4"):
        learn(trainer_of(seed=4), tmp_path / "run", Periods(updates=2), resume=True)
    learn(trainer_of("head"), tmp_path / "head", Periods(updates=1), resume=False)
    other = trainer_of("head")
    assert other.model.tokenizer is not None
    other.model.tokenizer.encoder[0].weight.data += 1
    with pytest.raises(UserError, match="made with another tokenizer"):
        learn(other, tmp_path / "head", Periods(updates=2), resume=True)


# ---- the model ----


@pytest.mark.parametrize("kind", ["small", "resnet34", "head"])
def test_a_saved_model_says_the_same(kind: str, tmp_path: Path) -> None:
    model = untrained(kind)
    model.set_knots(torch.linspace(-3, 2, 50))
    packed = torch.from_numpy(bars([6]).frames)
    model.train()
    model(packed)  # statistics of batches are part of it
    save(tmp_path / "progress.pt", "progress", progress_state(model))
    torch.manual_seed(8)
    drawn = torch.rand(1)
    torch.manual_seed(8)
    loaded = load_progress(tmp_path)
    assert torch.equal(torch.rand(1), drawn)  # to load one takes no random numbers from anybody
    assert torch.equal(loaded.scores(packed), model.scores(packed)) and model.training
    assert torch.equal(loaded.knots, model.knots) and not loaded.training
    one = FrameScore(loaded, bounded=False)(packed[3].numpy())
    assert one == pytest.approx(float(model.scores(packed)[3]), rel=1e-4, abs=1e-5)
    if kind == "resnet34":  # 21.8 million for a thousand classes of coloured pictures (He 2016), here for one number
        assert sum(p.numel() for p in loaded.body.parameters()) == 21_797_672 - 999 * 513 - 2 * 64 * 49


def test_a_share_of_a_run_is_what_share_of_frames_scores_less() -> None:
    model = ProgressModel(SMALL)
    scores = torch.randn(2000, generator=torch.Generator().manual_seed(0)).exp()
    model.set_knots(scores)
    asked = torch.tensor([-5.0, 0.3, 1.0, 4.0, 1e6])
    expected = [float((scores < one).float().mean()) for one in asked]
    assert model.shares(asked).tolist() == pytest.approx(expected, abs=0.02)
    assert model.shares(asked)[[0, -1]].tolist() == [0.0, 1.0]
    model.set_knots(torch.cat([torch.zeros(900), torch.ones(100)]))  # nearly all frames are alike
    assert (model.shares(torch.linspace(-1, 2, 50)).diff() >= 0).all()


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(TOKENS)
    save(tmp_path / "progress.pt", "tokenizer", network_state(tokenizer))
    with pytest.raises(UserError, match="is no progress of format 1"):
        load_progress(tmp_path)
    state = trainer_of().state()
    save(tmp_path / "progress.pt", "progress", {**state, "settings": {**state["settings"], "hidden": 17}})
    with pytest.raises(UserError, match="holds another network"):
        load_progress(tmp_path)
    with pytest.raises(UserError, match=r"no progress\.pt at"):
        load_progress(tmp_path / "nowhere")


# ---- the command ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs of the real cartridge."""
    path = tmp_path_factory.mktemp("frames")
    list(collect(path, Collecting(frames=160, most_steps=80, test_every=2, random_start_steps=5), pytest.fail))
    return path


def test_the_command_leaves_what_it_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    command = ("pretrain", "reward-model", "--frames", str(folder), "--out", str(out), "--log-every", "1")
    command += ("--device", "cpu", "--runs", "2", "--frames-of-run", "8", "--hard-pairs", "4")
    assert call(monkeypatch, *command, "--updates", "2") == 0
    assert call(monkeypatch, *command, "--updates", "4", "--resume") == 0
    assert f"written to {out / 'progress.pt'}" in capsys.readouterr().out
    left = {path.name for path in out.iterdir()}
    assert {"metrics.csv", "metrics.jsonl", "tb", "reliability.csv", "reliability_000004.png"} <= left
    assert any(name.startswith("wrong_") and name.endswith("_000004.png") for name in left)
    with Image.open(out / "curves_000004.png") as picture:
        assert picture.size[0] > 500 and len(set(picture.convert("L").getdata())) > 10
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"] and float(rows[-1]["test/accuracy"]) > 0
    with (out / "reliability.csv").open() as file:
        table = list(csv.DictReader(file))
    assert sum(int(row["pairs"]) for row in table) == 40_000
    assert load_progress(out).settings.model == "small"


def test_times_and_scenes_come_with_the_frames(folder: Path) -> None:
    runs = load_frames(folder, pytest.fail)["test"]
    assert len(runs.seconds) == len(runs) == len(runs.scene) and (np.diff(runs.seconds) > 0).all()
    assert 0.3 < np.diff(runs.seconds).min() < 0.5  # one action of 24 Game Boy frames


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--model", "vit"), "--model must be one of small, resnet34, head"),
        (("--model", "head"), "--model head needs --tokenizer"),
        (("--tokenizer", "nowhere"), "no tokenizer.pt at nowhere"),
        (("--runs", "0"), "runs from 1, frames of a run from 2, hard pairs from 0"),
        (("--lr", "0"), "learning rate above 0"),
    ],
)
def test_bad_options_are_a_line(
    options: tuple[str, ...], text: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ("pretrain", "reward-model", "--frames", str(folder), "--out", str(tmp_path / "out"), *options)
    assert call(monkeypatch, *command) == 1
    error = capsys.readouterr().err
    assert text in error and error.startswith("error: ") and error.count("\n") == 1
