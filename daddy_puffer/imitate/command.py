"""The command lines of imitation: `imitate bc` and `imitate evaluate`; that of `imitate dagger` is beside it.

`imitate bc` writes a folder: checkpoints every so often and of the best evaluation, `tb/` for TensorBoard, and
`evaluations.jsonl`, one JSON object a line. A folder of HierQ is one that `daddy-puffer evaluate` takes.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from daddy_puffer.config import load_config
from daddy_puffer.demos.command import run_one_of
from daddy_puffer.demos.game import Game, check_milestone
from daddy_puffer.demos.images import read_size
from daddy_puffer.envs import ENV_ID
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.bc import BcSettings, accuracy_on, clone_behaviour
from daddy_puffer.imitate.dagger_command import dagger
from daddy_puffer.imitate.data import Demonstrations, load_demonstrations
from daddy_puffer.imitate.evaluation import SEED, check_fits, evaluate
from daddy_puffer.imitate.log import Log
from daddy_puffer.imitate.setup import changed, make_hierq, make_impala, open_games
from daddy_puffer.imitate.students import STUDENTS, Student, load_hierq, load_impala, read_imitation
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.options import (
    AllowedEnv,
    BatchRows,
    ClassWeights,
    Device,
    HiddenDim,
    LearningRate,
    MaxSteps,
    ModelSize,
    MovedRom,
    SequenceLength,
    StudentKind,
    Threads,
    WeightDecay,
)


def bc(
    demos: Annotated[Path, typer.Option(help="folder of demonstrations")],
    out: Annotated[Path, typer.Option(help="new folder for checkpoints and logs")],
    student: StudentKind = "hierq",
    total_training_steps: Annotated[int, typer.Option(help="updates")] = 100_000,
    batch_size: BatchRows = 64,
    sequence_length: SequenceLength = 16,
    learning_rate: LearningRate = 1e-4,
    weight_decay: WeightDecay = 1e-5,
    class_weights: ClassWeights = "none",
    hidden_dim: HiddenDim = 256,
    size: Annotated[str, typer.Option(help="of ImpalaCNN's pictures: 84x84, 72x80, native = as recorded")] = "84x84",
    model_size: ModelSize = None,
    eval_frequency: Annotated[int, typer.Option(help="updates between evaluations")] = 5_000,
    eval_episodes: Annotated[int, typer.Option(min=0, help="in an evaluation; 0 = no evaluations")] = 10,
    random_start_steps: Annotated[int | None, typer.Option(min=0, help="in evaluations; default: as recorded")] = None,
    save_frequency: Annotated[int, typer.Option(help="updates between checkpoints")] = 10_000,
    held_out_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="of the episodes, for accuracy")] = 0.1,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings for HierQ")] = None,
    rom: MovedRom = None,
    env_id: AllowedEnv = ENV_ID,
    seed: Annotated[int, typer.Option(min=0, help="of network, order and evaluation")] = 0,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Clone the behaviour of demonstrations."""
    settings = BcSettings(
        total_training_steps=total_training_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        class_weights=class_weights,
        eval_frequency=eval_frequency,
        save_frequency=save_frequency,
        seed=seed,
    )
    if student not in STUDENTS:
        raise UserError(f"--student must be one of {', '.join(STUDENTS)}, got {student!r}")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"{out} is there already: give a new --out")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    with contextlib.ExitStack() as stack:
        data = _load(demos, student, size, held_out_share)
        recipe = changed(data.recipe, rom, random_start_steps)
        games = open_games(stack, recipe, eval_episodes, env_id)
        check_fits(games[0], data.num_actions, data.inputs)
        if student == "impala":
            who: Student = make_impala(data, hidden_dim, device, seed)
        else:
            overrides = {"policy.model_size": model_size, "train.seed": seed, "train.device": device}
            who = make_hierq(data, recipe, games[0], load_config(config, overrides), sequence_length)
        log = stack.enter_context(Log(out))
        learn(who, data, games, settings, eval_episodes, log)


def learn(
    student: Student, demos: Demonstrations, games: list[Game], settings: BcSettings, episodes: int, log: Log
) -> None:
    """Clone, evaluate, save; the best is that of the highest success, then return."""
    best: tuple[float, float] | None = None
    for measured in clone_behaviour(student, demos, settings):
        step, last = measured.step, measured.step == settings.total_training_steps
        log.update(measured)
        if episodes and (last or step % settings.eval_frequency == 0):
            found = evaluate(games, student, demos.goal, episodes, SEED)
            better = best is None or found.rank > best
            if better:
                best = found.rank
                student.save(log.folder, step, best=True)
            log.evaluation(step, accuracy_on(student, demos, demos.held_out), found, better)
        if last or step % settings.save_frequency == 0:
            path = student.save(log.folder, step, best=False)
    print(f"written to {path}")


def _load(demos: Path, student: str, size: str, held_out_share: float) -> Demonstrations:
    """Pictures for ImpalaCNN, what HierQ reads for HierQ."""
    return load_demonstrations(demos, None if student == "hierq" else read_size(size), held_out_share)


def evaluate_student(
    checkpoint: Annotated[
        Path, typer.Argument(help="best.pt or impala_<N>.pt, or a run folder or checkpoint of HierQ")
    ],
    episodes: Annotated[int, typer.Option(min=1, help="how many")] = 20,
    random_start_steps: Annotated[int | None, typer.Option(min=0, help="default: as in the demonstrations")] = None,
    until: Annotated[str | None, typer.Option(help="milestone that ends an episode; default: as there")] = None,
    goal: Annotated[
        list[str] | None, typer.Option(help="milestone of a success; default: as there; repeatable")
    ] = None,
    max_steps: MaxSteps = None,
    rom: MovedRom = None,
    env_id: AllowedEnv = ENV_ID,
    seed: Annotated[int, typer.Option(min=0, help="of the first episode and of the student's chance")] = SEED,
    device: Device = "cpu",
) -> None:
    """Let a student play whole episodes from starts as perturbed as asked for; one JSON object."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pictures = checkpoint.suffix == ".pt"
    impala = load_impala(checkpoint, device, seed) if pictures else None
    folder = checkpoint if pictures else find_checkpoint(checkpoint)
    recipe, wanted = (impala.recipe, impala.goal) if impala else read_imitation(folder)
    if goal:
        for name in goal:
            check_milestone(name)
        wanted = replace(wanted, milestones=tuple(goal))
    with contextlib.ExitStack() as stack:
        recipe = changed(recipe, rom, random_start_steps, until, max_steps)
        games = open_games(stack, recipe, episodes, env_id)
        student: Student = impala or load_hierq(folder, games[0], recipe, wanted, device, seed)
        check_fits(games[0], student.num_actions)
        found = evaluate(games, student, wanted, episodes, seed)
    print(json.dumps({"checkpoint": str(checkpoint), "seed": seed, **asdict(found)}))


def main() -> None:
    """Run the command line."""
    run_one_of("imitate", {"bc": bc, "dagger": dagger, "evaluate": evaluate_student})


if __name__ == "__main__":
    main()
