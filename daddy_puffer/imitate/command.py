"""The command lines of imitation: `imitate bc` and `imitate evaluate`.

`imitate bc` writes a folder: checkpoints every so often and of the best evaluation, `tb/` for TensorBoard, and
`evaluations.jsonl`, one JSON object a line. A folder of HierQ is one that `daddy-puffer evaluate` takes.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.utils.tensorboard import SummaryWriter

from daddy_puffer.config import Config, EnvConfig, load_config
from daddy_puffer.demos.command import run_one_of
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.images import read_size
from daddy_puffer.demos.verify import make_game
from daddy_puffer.envs import ENV_ID
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.bc import BcSettings, Measured, accuracy_on, clone_behaviour
from daddy_puffer.imitate.data import Demonstrations, load_demonstrations
from daddy_puffer.imitate.evaluation import SEED, Evaluation, check_fits, evaluate
from daddy_puffer.imitate.students import (
    HierQStudent,
    ImpalaStudent,
    Student,
    load_hierq,
    load_impala,
    read_imitation,
)
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.telemetry.lines import LineFile

STUDENTS = ("hierq", "impala")
LOG_PERIOD = 100  # updates between two points of TensorBoard's curves
MOST_GAMES = 8  # side by side in an evaluation
SHOWN_MILESTONES = 4


@dataclass(slots=True)
class _Log:
    """Where measurements go: TensorBoard, `evaluations.jsonl`, a line on the screen."""

    folder: Path
    _losses: list[float] = field(default_factory=list)
    _accuracies: list[float] = field(default_factory=list)
    _board: Any = None
    _lines: LineFile | None = None

    def __enter__(self) -> _Log:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._board, self._lines = SummaryWriter(str(self.folder / "tb")), LineFile(self.folder / "evaluations.jsonl")
        return self

    def __exit__(self, *error: object) -> None:
        self._board.close()
        if self._lines is not None:
            self._lines.close()

    def update(self, measured: Measured) -> None:
        """Take note of an update."""
        self._losses.append(measured.loss)
        self._accuracies.append(measured.accuracy)
        if measured.step % LOG_PERIOD == 0:
            for name, values in (("loss", self._losses), ("accuracy", self._accuracies)):
                self._board.add_scalar(f"bc/{name}", float(np.mean(values[-LOG_PERIOD:])), measured.step)
            self._board.add_scalar("bc/gradient_norm", measured.gradient_norm, measured.step)

    def evaluation(self, step: int, held_out_accuracy: float, found: Evaluation, best: bool) -> None:
        """Take note of an evaluation; loss and accuracy are means over the updates since the one before."""
        row = {
            "step": step,
            "loss": float(np.mean(self._losses)) if self._losses else None,
            "accuracy": float(np.mean(self._accuracies)) if self._accuracies else None,
            "held_out_accuracy": None if np.isnan(held_out_accuracy) else held_out_accuracy,
            **asdict(found),
        }
        self._losses, self._accuracies = [], []
        if self._lines is not None:
            self._lines.write(json.dumps(row) + "\n")
        for name in ("success", "mean_return", "mean_length"):
            self._board.add_scalar(f"eval/{name}", row[name], step)
        for name, rate in found.milestones.items():
            self._board.add_scalar(f"milestone/{name}", rate, step)
        if row["held_out_accuracy"] is not None:
            self._board.add_scalar("eval/held_out_accuracy", held_out_accuracy, step)
        learnt = ""
        if row["loss"] is not None:
            held_out = "" if np.isnan(held_out_accuracy) else f" (held out {held_out_accuracy:.3f})"
            learnt = f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.3f}{held_out}, "
        print(f"{step:>7} {learnt}{in_words(found)}{' *' if best else ''}", flush=True)


def in_words(found: Evaluation) -> str:
    """An evaluation in a line."""
    rates = [f"{name} {rate:.2f}" for name, rate in list(found.milestones.items())[:SHOWN_MILESTONES]]
    text = f"success {found.success:.2f}, return {found.mean_return:.2f}, length {found.mean_length:.0f}"
    return ", ".join([text, *rates])


def bc(
    demos: Annotated[Path, typer.Option(help="folder of demonstrations")],
    out: Annotated[Path, typer.Option(help="new folder for checkpoints and logs")],
    student: Annotated[str, typer.Option(help="hierq or impala")] = "hierq",
    total_training_steps: Annotated[int, typer.Option(help="updates")] = 100_000,
    batch_size: Annotated[int, typer.Option(help="rows in an update")] = 64,
    sequence_length: Annotated[int, typer.Option(min=1, help="rows of a sequence, HierQ")] = 16,
    learning_rate: Annotated[float, typer.Option("--lr", "--learning-rate")] = 1e-4,
    weight_decay: Annotated[float, typer.Option()] = 1e-5,
    class_weights: Annotated[str, typer.Option(help="none or balanced")] = "none",
    hidden_dim: Annotated[int, typer.Option(min=1, help="of ImpalaCNN")] = 256,
    size: Annotated[str, typer.Option(help="of ImpalaCNN's pictures: 84x84, 72x80, native = as recorded")] = "84x84",
    model_size: Annotated[str | None, typer.Option(help="of HierQ: slim or large")] = None,
    eval_frequency: Annotated[int, typer.Option(help="updates between evaluations")] = 5_000,
    eval_episodes: Annotated[int, typer.Option(min=0, help="in an evaluation; 0 = no evaluations")] = 10,
    random_start_steps: Annotated[int | None, typer.Option(min=0, help="in evaluations; default: as recorded")] = None,
    save_frequency: Annotated[int, typer.Option(help="updates between checkpoints")] = 10_000,
    held_out_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="of the episodes, for accuracy")] = 0.1,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings for HierQ")] = None,
    rom: Annotated[str | None, typer.Option(help="the ROM, if it lies elsewhere now")] = None,
    env_id: Annotated[str, typer.Option(help="another environment that they may run")] = ENV_ID,
    seed: Annotated[int, typer.Option(min=0, help="of network, order and evaluation")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="torch threads")] = 1,
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
        log = stack.enter_context(_Log(out))
        learn(who, data, games, settings, eval_episodes, log)


def learn(
    student: Student, demos: Demonstrations, games: list[Game], settings: BcSettings, episodes: int, log: _Log
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


def make_impala(demos: Demonstrations, hidden_dim: int, device: str, seed: int) -> ImpalaStudent:
    """ImpalaCNN for these pictures."""
    height, width, channels = demos.pictures.shape[1:]
    return ImpalaStudent(
        demos.recipe, demos.goal, (height, width, channels), demos.num_actions, hidden_dim, device, seed
    )


def make_hierq(demos: Demonstrations, recipe: Recipe, game: Game, config: Config, sequence_length: int) -> HierQStudent:
    """HierQ of `config`, in the game of the demonstrations whatever `config` says of that."""
    config = replace(config, env=EnvConfig(**recipe.settings), rewards=dict(recipe.rewards))
    return HierQStudent(recipe, demos.goal, config, game.inputs, demos.num_actions, sequence_length)


def changed(
    recipe: Recipe,
    rom: str | None = None,
    random_start_steps: int | None = None,
    until: str | None = None,
    max_steps: int | None = None,
) -> Recipe:
    """The same game with what a command line says of it; None changes nothing."""
    of_ours = {"gb_path": rom, "max_steps": max_steps}
    if recipe.ours:
        known = {name: value for name, value in of_ours.items() if value is not None}
        recipe = replace(recipe, settings={**recipe.settings, **known})
    elif max_steps is not None:
        recipe = replace(recipe, max_steps=max_steps)
    others: dict[str, Any] = {"random_start_steps": random_start_steps, "until": until}
    return replace(recipe, **{name: value for name, value in others.items() if value is not None})


def open_games(stack: contextlib.ExitStack, recipe: Recipe, episodes: int, trusted: str) -> list[Game]:
    """Games to evaluate in, closed by `stack`; one at least, to ask what it is like."""
    games = [make_game(recipe, trusted) for _ in range(min(MOST_GAMES, max(1, episodes)))]
    for game in games:
        stack.callback(game.close)
    return games


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
    max_steps: Annotated[int | None, typer.Option(min=1, help="actions until an episode is cut off")] = None,
    rom: Annotated[str | None, typer.Option(help="the ROM, if it lies elsewhere now")] = None,
    env_id: Annotated[str, typer.Option(help="another environment that they may run")] = ENV_ID,
    seed: Annotated[int, typer.Option(min=0, help="of the first episode and of the student's chance")] = SEED,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "cpu",
) -> None:
    """Let a student play whole episodes from starts as perturbed as asked for; one JSON object."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pictures = checkpoint.suffix == ".pt"
    impala = load_impala(checkpoint, device, seed) if pictures else None
    folder = checkpoint if pictures else find_checkpoint(checkpoint)
    recipe, wanted = (impala.recipe, impala.goal) if impala else read_imitation(folder)
    if goal:
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
    run_one_of("imitate", {"bc": bc, "evaluate": evaluate_student})


if __name__ == "__main__":
    main()
