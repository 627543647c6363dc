"""The command lines `pretrain tokenizer`, `pretrain dynamics` and `pretrain reward-model`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from daddy_puffer.demos.command import run_one_of
from daddy_puffer.learner.networks import choose_device
from daddy_puffer.options import Device, LearningRate, Threads
from daddy_puffer.pretraining.autoencode import AutoencodeSettings, TokenizerTrainer
from daddy_puffer.pretraining.foresee import DynamicsTrainer, ForeseeSettings
from daddy_puffer.pretraining.frames import FrameSet, load_frames
from daddy_puffer.pretraining.loop import Periods, Trainer, learn
from daddy_puffer.pretraining.order import OrderSettings, OrderTrainer
from daddy_puffer.vision.dynamics import DynamicsSettings
from daddy_puffer.vision.progress import ProgressSettings
from daddy_puffer.vision.tokenizer import TokenizerSettings, load_tokenizer

LEARNING, SHAPE, PERIODS = AutoencodeSettings(), TokenizerSettings(), Periods(updates=1)
FORESEEING, MODEL = ForeseeSettings(), DynamicsSettings()
ORDERING, SCORE = OrderSettings(), ProgressSettings()
Updates = Annotated[int, typer.Option(help="in all")]
NetworkSeed = Annotated[int, typer.Option(min=0, help="of network and order")]
EveryUpdates = Annotated[int, typer.Option(help="updates")]
GoOn = Annotated[bool, typer.Option("--resume", help="go on with the run in --out")]
Frames = Annotated[Path, typer.Option(help="folder of `daddy-puffer frames`")]
NetworkFolder = Annotated[Path, typer.Option(help="new folder for network, measurements and pictures")]


def tokenizer(
    frames: Frames,
    out: NetworkFolder,
    kind: Annotated[str, typer.Option(help="vq (tokens) or continuous")] = SHAPE.kind,
    updates: Updates = 1500,
    batch_size: Annotated[int, typer.Option(help="frames in an update")] = LEARNING.batch_size,
    learning_rate: LearningRate = LEARNING.learning_rate,
    codes: Annotated[int, typer.Option(help="of the codebook")] = SHAPE.codes,
    latent_size: Annotated[int, typer.Option(help="numbers a map cell")] = SHAPE.latent_size,
    perceptual: Annotated[str, typer.Option(help="auto, lpips, structural or none")] = LEARNING.perceptual,
    perceptual_weight: Annotated[float, typer.Option(help="of that loss")] = LEARNING.perceptual_weight,
    log_every: EveryUpdates = PERIODS.log_every,
    evaluate_every: EveryUpdates = PERIODS.evaluate_every,
    save_every: EveryUpdates = PERIODS.save_every,
    resume: GoOn = False,
    seed: NetworkSeed = LEARNING.seed,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Learn to give frames back through 9x10 tokens or latents."""
    shape = TokenizerSettings(kind=kind, codes=codes, latent_size=latent_size)
    settings = AutoencodeSettings(
        batch_size=batch_size,
        learning_rate=learning_rate,
        perceptual=perceptual,
        perceptual_weight=perceptual_weight,
        seed=seed,
    )
    periods = Periods(updates=updates, log_every=log_every, evaluate_every=evaluate_every, save_every=save_every)
    torch.set_num_threads(threads)
    where = choose_device(device)
    run(TokenizerTrainer(load(frames), shape, settings, where), out, periods, resume)


def dynamics(
    frames: Frames,
    tokenizer: Annotated[Path, typer.Option(help="folder of `pretrain tokenizer`; it stays as it is")],
    out: Annotated[Path, typer.Option(help="new folder for network, measurements and films")],
    model: Annotated[str, typer.Option(help="transformer or mlp")] = MODEL.model,
    context: Annotated[int, typer.Option(help="frames seen")] = MODEL.context,
    width: Annotated[int, typer.Option(help="numbers a map cell")] = MODEL.width,
    layers: Annotated[int, typer.Option(help="blocks")] = MODEL.layers,
    updates: Updates = 600,
    batch_size: Annotated[int, typer.Option(help="windows in an update")] = FORESEEING.batch_size,
    learning_rate: LearningRate = FORESEEING.learning_rate,
    log_every: EveryUpdates = PERIODS.log_every,
    evaluate_every: EveryUpdates = 200,
    save_every: EveryUpdates = PERIODS.save_every,
    resume: GoOn = False,
    seed: NetworkSeed = FORESEEING.seed,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Learn what frame comes next, beside the guess that nothing changes."""
    shape = DynamicsSettings(model=model, context=context, width=width, layers=layers)
    settings = ForeseeSettings(batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    periods = Periods(updates=updates, log_every=log_every, evaluate_every=evaluate_every, save_every=save_every)
    torch.set_num_threads(threads)
    where = choose_device(device)
    frozen = load_tokenizer(tokenizer, where)
    run(DynamicsTrainer(load(frames), frozen, shape, settings, where), out, periods, resume)


def reward_model(
    frames: Frames,
    out: NetworkFolder,
    model: Annotated[str, typer.Option(help="small, resnet34 or head (on a tokenizer)")] = SCORE.model,
    tokenizer: Annotated[
        Path | None, typer.Option(help="folder of `pretrain tokenizer` under --model head; it stays as it is")
    ] = None,
    updates: Updates = 3000,
    runs: Annotated[int, typer.Option(help="in an update")] = ORDERING.runs,
    frames_of_run: Annotated[int, typer.Option(help="of each of these runs; all their pairs count")] = (
        ORDERING.frames_of_run
    ),
    hard_pairs: Annotated[int, typer.Option(help="that look alike, in an update beside those")] = ORDERING.hard_pairs,
    learning_rate: LearningRate = ORDERING.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="of AdamW")] = ORDERING.weight_decay,
    log_every: EveryUpdates = PERIODS.log_every,
    evaluate_every: EveryUpdates = PERIODS.evaluate_every,
    save_every: EveryUpdates = PERIODS.save_every,
    resume: GoOn = False,
    seed: NetworkSeed = ORDERING.seed,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Learn from the order of frames how far a run has come: a reward for `daddy_puffer.ProgressReward`."""
    shape = ProgressSettings(model=model)
    settings = OrderSettings(
        runs=runs,
        frames_of_run=frames_of_run,
        hard_pairs=hard_pairs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
    )
    periods = Periods(updates=updates, log_every=log_every, evaluate_every=evaluate_every, save_every=save_every)
    torch.set_num_threads(threads)
    where = choose_device(device)
    frozen = None if tokenizer is None else load_tokenizer(tokenizer, where)
    run(OrderTrainer(load(frames), shape, settings, where, frozen), out, periods, resume)


def run(trainer: Trainer, out: Path, periods: Periods, resume: bool) -> None:
    """Learn, and leave with the exit code that a signal asks for."""
    code = learn(trainer, out, periods, resume)
    if code:
        raise typer.Exit(code)
    print(f"written to {out / trainer.file_name}")


def load(folder: Path) -> dict[str, FrameSet]:
    """Frames by split, and a line about them."""
    found = load_frames(folder, lambda line: print(f"warning: {line}", file=sys.stderr))
    counts = ", ".join(f"{len(part)} frames of {len(part.starts)} runs to {name}" for name, part in found.items())
    print(f"{folder}: {counts}", flush=True)
    return found


def main() -> None:
    """Run the command line."""
    run_one_of("pretrain", {"tokenizer": tokenizer, "dynamics": dynamics, "reward-model": reward_model})


if __name__ == "__main__":
    main()
