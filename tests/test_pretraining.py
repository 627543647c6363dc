"""Learning from frames of the real cartridge: it learns, is measured against copying, stops and goes on."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import call

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.autoencode import AutoencodeSettings, TokenizerTrainer, spread
from daddy_puffer.pretraining.collect import Collecting, collect
from daddy_puffer.pretraining.foresee import DynamicsTrainer, ForeseeSettings, measure, stretches
from daddy_puffer.pretraining.frames import FrameSet, load_frames, unpack
from daddy_puffer.pretraining.loop import Periods, Values, learn
from daddy_puffer.pretraining.order import OrderSettings, OrderTrainer
from daddy_puffer.vision.dynamics import Dynamics, DynamicsSettings, load_dynamics
from daddy_puffer.vision.progress import ProgressSettings
from daddy_puffer.vision.tokenizer import Tokenizer, TokenizerSettings, flat, load_tokenizer

CPU = torch.device("cpu")
SMALL = {"tile_channels": 16, "cell_channels": 24, "block_channels": 8, "codes": 64}
TINY_MODEL = DynamicsSettings(context=2, width=16, layers=1, heads=2)
DOCUMENT = Path(__file__).parents[1] / "docs" / "PRETRAINING.md"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs."""
    path = tmp_path_factory.mktemp("frames")
    collecting = Collecting(frames=140, most_steps=70, test_every=2, random_start_steps=5)
    list(collect(path, collecting, pytest.fail))
    return path


@pytest.fixture(scope="module")
def frames(folder: Path) -> dict[str, FrameSet]:
    return load_frames(folder, pytest.fail)


def autoencoder(frames: dict[str, FrameSet], kind: str = "vq", **settings: object) -> TokenizerTrainer:
    learning = AutoencodeSettings(batch_size=8, learning_rate=3e-3, **settings)  # type: ignore[arg-type]
    return TokenizerTrainer(frames, TokenizerSettings(kind=kind, **SMALL), learning, CPU)


def foreseer(frames: dict[str, FrameSet], kind: str = "vq", learning_rate: float = 1e-3) -> DynamicsTrainer:
    torch.manual_seed(1)
    tokenizer = Tokenizer(TokenizerSettings(kind=kind, **SMALL))
    if tokenizer.codebook is not None:  # as if it were trained: codes where the latents are
        vectors = flat(tokenizer.encode(torch.from_numpy(frames["train"].frames)).raw.detach())
        tokenizer.codebook.codes.copy_(vectors.unique(dim=0)[spread(len(vectors.unique(dim=0)), 64)])
    return DynamicsTrainer(
        frames, tokenizer, TINY_MODEL, ForeseeSettings(batch_size=8, learning_rate=learning_rate), CPU
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    """`metrics.csv` without what depends on the clock."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "speed" not in k} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["vq", "continuous"])
def test_a_few_frames_are_learned_by_heart(kind: str, frames: dict[str, FrameSet]) -> None:
    few = FrameSet(frames["train"].frames[[5, 40, 65]], np.zeros(1, np.int64), ("few",))
    learning = AutoencodeSettings(batch_size=3, learning_rate=3e-3, perceptual="none")
    trainer = TokenizerTrainer({"train": few, "test": few}, TokenizerSettings(kind=kind), learning, CPU)
    before = trainer.evaluate()
    for step in range(150):
        trainer.update(step / 150)
    after = trainer.evaluate()
    of_one_grey = float((unpack(few.frames) / 3).var())  # mean squared error of the best picture without content
    assert after["test/mse"] < 0.4 * of_one_grey
    assert after["test/pixels_right"] > 0.75 > 0.5 > before["test/pixels_right"]
    assert after["test/new_share"] == 0 and np.isnan(after["test/new_pixels_right"])
    if kind == "vq":  # an untrained encoder takes a code or two: dead ones have been put to use
        assert before["test/perplexity"] < 10 and after["test/perplexity"] > 25


class Killed(Exception):
    """What a kill is here."""


def fails_at(trainer: TokenizerTrainer | DynamicsTrainer, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Update `count` never ends."""
    real, done = trainer.update, [0]

    def update(share_done: float) -> Values:
        done[0] += 1
        if done[0] == count:
            raise Killed
        return real(share_done)

    monkeypatch.setattr(trainer, "update", update)


@pytest.mark.parametrize("make", [autoencoder, foreseer])
def test_a_killed_run_goes_on_to_the_same_network(
    make: object, frames: dict[str, FrameSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    periods = Periods(updates=12, log_every=2, evaluate_every=12, save_every=5)
    whole = make(frames)  # type: ignore[operator]
    assert learn(whole, tmp_path / "whole", periods, resume=False) == 0
    killed = make(frames)  # type: ignore[operator]
    fails_at(killed, 9, monkeypatch)
    with pytest.raises(Killed):
        learn(killed, tmp_path / "killed", periods, resume=False)
    again = make(frames)  # type: ignore[operator]
    assert learn(again, tmp_path / "killed", periods, resume=True) == 0
    one, other = whole.state()["network"], again.state()["network"]
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    assert [row["step"] for row in rows_of(tmp_path / "killed")] == ["2", "4", "6", "8", "10", "12"]
    assert rows_of(tmp_path / "killed")[-1] == rows_of(tmp_path / "whole")[-1]
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10, 12]


def test_sigterm_saves_and_leaves_with_its_code(
    frames: dict[str, FrameSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = autoencoder(frames)
    real = trainer.update

    def update(share_done: float) -> Values:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(share_done)

    monkeypatch.setattr(trainer, "update", update)
    assert learn(trainer, tmp_path, Periods(updates=9), resume=False) == 143
    assert learn(autoencoder(frames), tmp_path, Periods(updates=2), resume=True) == 0
    assert [row["step"] for row in rows_of(tmp_path)] == ["2"]


def test_a_run_goes_on_with_the_same_options_only(frames: dict[str, FrameSet], tmp_path: Path) -> None:
    learn(autoencoder(frames), tmp_path / "run", Periods(updates=1), resume=False)
    with pytest.raises(UserError, match="made with seed 0, not 5: resume with the same options"):
        learn(autoencoder(frames, seed=5), tmp_path / "run", Periods(updates=2), resume=True)
    with pytest.raises(UserError, match="made with kind vq, not continuous"):
        learn(autoencoder(frames, "continuous"), tmp_path / "run", Periods(updates=2), resume=True)
    with pytest.raises(UserError, match="is there already: give a new --out"):
        learn(autoencoder(frames), tmp_path / "run", Periods(updates=2), resume=False)
    learn(foreseer(frames), tmp_path / "model", Periods(updates=1), resume=False)
    other = foreseer(frames)
    other.dynamics.tokenizer.encoder[0].weight.data += 1.0
    with pytest.raises(UserError, match="made with another tokenizer"):
        learn(other, tmp_path / "model", Periods(updates=2), resume=True)


def test_a_loss_that_is_no_number_ends_the_run(frames: dict[str, FrameSet], tmp_path: Path) -> None:
    trainer = autoencoder(frames)
    next(trainer.tokenizer.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="the loss of update 1 is nan"):
        learn(trainer, tmp_path, Periods(updates=3), resume=False)


@pytest.mark.parametrize("kind", ["vq", "continuous"])
def test_the_baseline_is_the_newest_frame_as_defined(kind: str, frames: dict[str, FrameSet]) -> None:
    """Everything named copy_ and changed_, worked out again in numpy from whole frames."""
    dynamics = foreseer(frames, kind).dynamics
    packed = stretches(frames["test"], frames["test"].windows(3), 3, 20)
    found = measure(dynamics, packed)
    levels = unpack(packed.numpy()).astype(int)
    last, wanted = levels[:, -2], levels[:, -1]
    cells = (last != wanted).reshape(-1, 9, 8, 10, 8)
    changed = cells.any((2, 4))
    right = 1 - cells.mean((2, 4))
    assert changed.any() and not changed.all()
    assert found["test/changed_share"] == pytest.approx(changed.mean())
    assert found["test/copy_pixels_right"] == pytest.approx((last == wanted).mean())
    assert found["test/changed_copy_pixels_right"] == pytest.approx(right[changed].mean())
    with torch.no_grad():
        one, two = (dynamics.tokenizer.encode(packed[:, place]) for place in (-2, -1))
    if kind == "vq":
        same = (one.tokens == two.tokens).numpy()
        assert found["test/copy_accuracy"] == pytest.approx(same.mean())
        assert found["test/changed_copy_accuracy"] == pytest.approx(same[changed].mean())
        assert found["test/accuracy"] == found["test/copy_accuracy"]  # as it begins
    else:
        error = (one.latents - two.latents).square().mean(1).numpy()
        assert found["test/copy_mse"] == pytest.approx(error.mean(), rel=1e-5)
        assert found["test/changed_copy_mse"] == pytest.approx(error[changed].mean(), rel=1e-5)
        assert found["test/mse"] == pytest.approx(found["test/copy_mse"], rel=1e-5)


@pytest.mark.parametrize("kind", ["vq", "continuous"])
def test_what_can_be_foreseen_is_learned(kind: str, frames: dict[str, FrameSet]) -> None:
    """Two frames in turn: copying is always wrong where they differ."""
    two = frames["train"].frames[[5, 60]]
    turns = FrameSet(np.tile(two, (20, 1, 1)), np.zeros(1, np.int64), ("turns",))
    trainer = foreseer({"train": turns, "test": turns}, kind, learning_rate=1e-2)
    for step in range(200):
        trainer.update(step / 200)
    found = trainer.evaluate()
    if kind == "vq":
        assert found["test/changed_accuracy"] > 0.95 > 0.8 > found["test/changed_copy_accuracy"]
    else:
        assert found["test/changed_mse"] < 0.2 * found["test/changed_copy_mse"]


def test_runs_too_short_to_imagine(frames: dict[str, FrameSet]) -> None:
    short = FrameSet(frames["test"].frames[:20], np.zeros(1, np.int64), ("short",))
    with pytest.raises(UserError, match="no run is 26 frames long"):
        foreseer({"train": frames["train"], "test": short})


def test_both_commands_leave_what_they_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--frames", str(folder), "--batch-size", "4", "--log-every", "1", "--device", "cpu")
    out, model = tmp_path / "vq", tmp_path / "model"
    assert call(monkeypatch, "pretrain", "tokenizer", *few, "--out", str(out), "--updates", "2") == 0
    assert call(monkeypatch, "pretrain", "tokenizer", *few, "--out", str(out), "--updates", "3", "--resume") == 0
    tokenizer = ("--tokenizer", str(out))
    assert call(monkeypatch, "pretrain", "dynamics", *few, *tokenizer, "--out", str(model), "--updates", "2") == 0
    said = capsys.readouterr().out
    assert "perceptual loss: built-in" in said and f"written to {model / 'dynamics.pt'}" in said
    for path in (out, model):
        assert {"metrics.csv", "metrics.jsonl", "tb"} <= {file.name for file in path.iterdir()}
        assert any((path / "tb").iterdir())
    with Image.open(out / "held_out_000003.png") as picture:
        assert picture.size == (2 * (8 * 82 + 2), 2 * (3 * 150))
    with Image.open(model / "rollout_000002.gif") as film:
        assert film.size == (2 * (80 + 4 + 80), 144) and film.n_frames > 20
    assert load_tokenizer(out / "tokenizer.pt").codebook is not None
    dynamics = load_dynamics(model)
    assert isinstance(dynamics, Dynamics) and dynamics.has_tokens and not dynamics.training
    documented = set(re.findall(r"`((?:train|test|rollout|speed)/\w+|loss)`", DOCUMENT.read_text(encoding="utf-8")))
    for path in (out, model):
        assert set(rows_of(path)[-1]) - {"step"} <= documented


def test_documented_names_are_written(frames: dict[str, FrameSet]) -> None:
    documented = set(re.findall(r"`((?:test|rollout)/\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    written: set[str] = set()
    for kind in ("vq", "continuous"):
        written |= set(autoencoder(frames, kind).evaluate()) | set(foreseer(frames, kind).evaluate())
    written |= set(OrderTrainer(frames, ProgressSettings(), OrderSettings(), CPU).evaluate())
    assert written == documented


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("tokenizer", "--kind", "gan"), "--kind must be one of vq, continuous"),
        (("tokenizer", "--perceptual", "vgg"), "--perceptual must be one of auto, lpips"),
        (("tokenizer", "--perceptual", "lpips"), "LPIPS cannot be used"),
        (("tokenizer", "--updates", "0"), "at least 1"),
        (("tokenizer", "--lr", "-1"), "learning rate above 0"),
        (("tokenizer", "--device", "tpu9"), "device must be auto, cpu or cuda, got 'tpu9'"),
        (("tokenizer", "--resume"), "no tokenizer.pt at"),
        (("dynamics", "--tokenizer", "nowhere"), "no tokenizer.pt at nowhere"),
        (("dynamics", "--tokenizer", "nowhere", "--model", "rnn"), "--model must be one of transformer, mlp"),
        (("dynamics", "--tokenizer", "nowhere", "--context", "0"), "context and layers 1 to 64, heads from 1"),
    ],
)
def test_bad_options_are_a_line(
    options: tuple[str, ...], text: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "lpips", None)
    out = str(tmp_path / "out")
    assert call(monkeypatch, "pretrain", *options, "--frames", str(folder), "--out", out) == 1
    error = capsys.readouterr().err
    assert text in error and error.startswith("error: ") and error.count("\n") == 1


def test_no_frames_and_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "pretrain", "tokenizer", "--frames", str(tmp_path), "--out", str(tmp_path / "o")) == 1
    assert "has 0 runs for training and 0 for testing" in capsys.readouterr().err
    assert call(monkeypatch, "pretrain", "everything") == 2
    assert "there is tokenizer | dynamics | reward-model" in capsys.readouterr().err
