"""The command line `imitate dagger`: a student that an expert corrects. See `dagger.py` for what happens.

The folder has `dagger.json` (settings, to be sure that a run that goes on is the same), `rounds/` (the labelled
episodes), checkpoints, `tb/` and `evaluations.jsonl`. The same command again goes on where the run was stopped; more
`--rounds` make it longer.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from daddy_puffer.config import Config, load_config
from daddy_puffer.demos.command import recipe_of
from daddy_puffer.demos.game import Game
from daddy_puffer.demos.images import ImageFormat, read_size
from daddy_puffer.envs import ENV_ID
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.imitate.dagger import Dagger, DaggerSettings, Table, finished_rounds
from daddy_puffer.imitate.data import Goal
from daddy_puffer.imitate.experts import make_expert
from daddy_puffer.imitate.log import EVALUATIONS, Log
from daddy_puffer.imitate.setup import MOST_GAMES, make_hierq, open_games
from daddy_puffer.imitate.starts import KeptStates
from daddy_puffer.imitate.students import STUDENTS, ImpalaStudent, Student, load_hierq, load_impala
from daddy_puffer.options import (
    BatchRows,
    ClassWeights,
    Device,
    EnvId,
    EnvKeywords,
    Grey,
    HiddenDim,
    LearningRate,
    MaxSteps,
    ModelSize,
    PictureSize,
    RandomStartSteps,
    Rom,
    SequenceLength,
    StudentKind,
    Threads,
    WeightDecay,
)

FACTS = "dagger.json"
LATER = ("rounds",)  # may be other ones when a run goes on
UNKNOWN_GOAL = Goal(milestones=(), lowest_return=math.inf)  # until round 0 has been played


def dagger(
    out: Annotated[Path, typer.Option(help="folder for rounds, checkpoints and logs; a stopped run goes on")],
    expert: Annotated[str, typer.Option(help="scripted or python:module:function")] = "scripted",
    student: StudentKind = "hierq",
    rounds: Annotated[int, typer.Option(help="of roll-outs and learning, the expert's own included")] = 8,
    episodes: Annotated[int, typer.Option(help="roll-outs in a round")] = 8,
    updates: Annotated[int, typer.Option(help="in a round")] = 400,
    batch_size: BatchRows = 512,
    sequence_length: SequenceLength = 32,
    learning_rate: LearningRate = 1e-3,
    weight_decay: WeightDecay = 1e-5,
    class_weights: ClassWeights = "none",
    decay: Annotated[float, typer.Option(help="of the expert's share of the actions, by round")] = 0.5,
    eval_episodes: Annotated[int, typer.Option(help="after each round; 0 = no evaluations")] = 10,
    start_states: Annotated[Path | None, typer.Option(help="savestates/ of a run: begin there, too")] = None,
    start_share: Annotated[float, typer.Option(help="of the episodes that begin there")] = 0.5,
    from_milestone: Annotated[str, typer.Option(help="only at states that have it")] = "",
    until: Annotated[str, typer.Option(help="milestone that ends an episode and is a success")] = "",
    random_start_steps: RandomStartSteps = 50,
    max_steps: MaxSteps = None,
    env_id: EnvId = ENV_ID,
    env_kwargs: EnvKeywords = "{}",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings of our game and of HierQ")] = None,
    rom: Rom = None,
    size: PictureSize = "72x80",
    grey: Grey = True,
    hidden_dim: HiddenDim = 256,
    model_size: ModelSize = None,
    games: Annotated[int, typer.Option(min=1, max=64, help="side by side")] = MOST_GAMES,
    seed: Annotated[int, typer.Option(min=0, help="of network, starts and everything else")] = 0,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Let an expert correct a student."""
    settings = DaggerSettings(
        rounds=rounds,
        episodes=episodes,
        updates=updates,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        class_weights=class_weights,
        decay=decay,
        eval_episodes=eval_episodes,
        start_share=start_share,
        seed=seed,
    )
    picture = ImageFormat(**dict(zip(("height", "width"), read_size(size), strict=True)), grey=grey)
    begin: dict[str, Any] = {"random_start_steps": random_start_steps, "until": until, "picture": picture}
    recipe = recipe_of(env_id, env_kwargs, config, rom, None, max_steps, begin)
    overrides = {"policy.model_size": model_size, "train.seed": seed, "train.device": device}
    network = _Network(
        kind=student,
        config=load_config(config, overrides) if student == "hierq" else None,
        hidden_dim=hidden_dim,
        sequence_length=sequence_length,
        device=device,
        seed=seed,
    )
    if from_milestone and start_states is None:
        raise UserError("--from-milestone is for --start-states")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    goal = Goal(milestones=(until,), lowest_return=math.inf) if until else None
    with contextlib.ExitStack() as stack:
        playing = open_games(stack, recipe, max(episodes, eval_episodes), env_id, games)
        if student == "hierq" and not playing[0].inputs:
            raise UserError(f"HierQ cannot read the game of {env_id}: use --student impala")
        kept = KeptStates(start_states, playing[0], from_milestone, until) if start_states else None
        experts = [make_expert(expert, game) for game in playing]
        who, reload = network.build(playing[0], goal or UNKNOWN_GOAL, out)
        size_wanted = (picture.height, picture.width) if student == "impala" else None
        begun = {"start_states": str(start_states or ""), "from_milestone": from_milestone, "games": games}
        begun |= {"recipe": asdict(playing[0].recipe)}
        claim(out, {"expert": expert, **begun, **network.facts, **asdict(settings)})
        table = Table(games=playing, experts=experts, student=who, kept=kept, picture_size=size_wanted, reload=reload)
        Dagger(settings, table, goal, out).run(stack.enter_context(Log(out)))
    print(f"written to {out}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """What the student is."""

    kind: str
    config: Config | None  # of HierQ
    hidden_dim: int
    sequence_length: int
    device: str
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in STUDENTS:
            raise UserError(f"--student must be one of {', '.join(STUDENTS)}, got {self.kind!r}")

    @property
    def facts(self) -> dict[str, Any]:
        """What must stay the same when a run goes on."""
        facts: dict[str, Any] = {"student": self.kind}
        if self.config is None:
            return {**facts, "hidden_dim": self.hidden_dim}
        return {**facts, "sequence_length": self.sequence_length, "policy": asdict(self.config.policy)}

    def build(self, game: Game, goal: Goal, out: Path) -> tuple[Student, Callable[[int], Student]]:
        """A new student, and how to get the one of so many updates out of a run's folder."""
        if self.config is not None:
            return make_hierq(goal, game.recipe, game, self.config, self.sequence_length), lambda step: load_hierq(
                out / "checkpoints" / f"step_{step}",
                game,
                game.recipe,
                goal,
                self.device,
                self.seed,
                self.sequence_length,
            )
        height, width, channels = game.reset(self.seed).picture.shape
        shape = (height, width, channels)
        new = ImpalaStudent(game.recipe, goal, shape, game.num_actions, self.hidden_dim, self.device, self.seed)
        return new, lambda step: load_impala(out / f"impala_{step}.pt", self.device, self.seed)


def claim(out: Path, facts: Mapping[str, Any]) -> None:
    """Make the folder of a run, or see that what is there is the same one; its log gets what its rounds came to.

    Raises:
        UserError: something else is there.
    """
    path = out / FACTS
    now = json.loads(json.dumps(facts))
    if not path.exists():
        if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
            raise UserError(f"{out} is there already, and no run of DAgger: give a new --out")
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in now if name not in LATER and now[name] != before[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: give a new --out ({error})") from error
    if other:
        name = other[0]
        raise UserError(f"{out} was begun with {name} {before[name]}, not {now[name]}: give a new --out")
    rows = [row for row in finished_rounds(out) if "mean_return" in row]
    with replacing(out / EVALUATIONS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
