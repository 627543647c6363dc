"""`python -m daddy_puffer.debug_rollout --steps 200`: look at a rollout, step by step and as a film.

In: a checkpoint, or none for random buttons, or the script. Out: a line a step, the milestones as they are reached,
and a GIF, an MP4 or both.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.config import Config, load_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint
from daddy_puffer.options import Device, Rom, Settings
from daddy_puffer.rollout import (
    FILM_FPS,
    FILM_STEPS,
    GREEDY_EPSILON,
    Agent,
    Moment,
    RandomAgent,
    ScriptedAgent,
    is_practice,
    load_agent,
    load_beliefs,
    watch,
)
from daddy_puffer.telemetry.video import Film, VideoWriter
from daddy_puffer.vector import AnyEnv, RedFactory, box_spaces


class Video(str, Enum):  # noqa: UP042 (StrEnum needs Python 3.11)
    """Formats to choose from."""

    MP4 = "mp4"
    GIF = "gif"
    BOTH = "both"


def debug_rollout(
    steps: Annotated[int, typer.Option(min=1, help="steps to play")] = 200,
    flags: Annotated[bool, typer.Option("--flags", help="print milestones only, as they are reached")] = False,
    video: Annotated[Video, typer.Option(help="format of the film")] = Video.BOTH,
    video_fps: Annotated[float, typer.Option(min=1, max=60, help="steps shown in a second")] = FILM_FPS,
    max_frames: Annotated[int, typer.Option(min=1, help="the film ends after so many")] = FILM_STEPS,
    frames: Annotated[bool, typer.Option("--frames", help="every frame as PNG too")] = False,
    no_video: Annotated[bool, typer.Option("--no-video", help="no film")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="run folder or checkpoint; none: random buttons")] = None,
    scripted: Annotated[bool, typer.Option("--scripted", help="the player that knows the practice cartridge")] = False,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="random share of a trained one")] = GREEDY_EPSILON,
    config: Settings = None,
    rom: Rom = None,
    state: Annotated[str | None, typer.Option(help="save state to begin from, e.g. savestates/TAG.state")] = None,
    seed: Annotated[int, typer.Option(help="seed of actions and environment")] = 0,
    device: Device = "auto",
    output: Annotated[Path, typer.Option(help="the film's path without ending")] = Path("videos/rollout"),
    quiet: Annotated[bool, typer.Option("--quiet", help="no lines but one in JSON a film")] = False,
) -> None:
    """Look at a rollout: a line a step, milestones, a film."""
    found = None if checkpoint is None else find_checkpoint(checkpoint)
    overrides = {"env.gb_path": rom, "env.init_state": state}
    settings = load_config(found / CONFIG_FILE if found and not config else config, overrides)
    env = RedFactory(settings.for_evaluation())()
    agent = choose_agent(settings, env, found, scripted, epsilon, device, seed)
    formats = ["mp4", "gif"] if video == Video.BOTH else [video.value]
    formats += ["png"] if frames else []
    with contextlib.ExitStack() as stack:
        writer = None
        if not no_video:
            writer = stack.enter_context(VideoWriter(output, formats=formats, fps=video_fps, max_frames=max_frames))
        moments = watch(env, agent, steps, seed, load_beliefs(found) if found else None)
        show(moments, writer, every_step=not (flags or quiet), milestones=not quiet)
    tell(writer.films() if writer else [], quiet)


def choose_agent(
    config: Config, env: AnyEnv, checkpoint: Path | None, scripted: bool, epsilon: float, device: str, seed: int
) -> Agent:
    """The player that the options name.

    Raises:
        UserError: two players are named, or the script does not know the game.
    """
    if scripted and checkpoint is not None:
        raise UserError("--scripted and --checkpoint name two players: give one of them")
    if scripted and not is_practice(config):
        raise UserError("the scripted player knows the practice cartridge only: leave out --rom or --scripted")
    if scripted:
        return ScriptedAgent(env)
    if checkpoint is not None:
        return load_agent(checkpoint, box_spaces(env), epsilon, device, seed)
    return RandomAgent(seed=seed)


def show(moments: Iterable[Moment], writer: VideoWriter | None, every_step: bool, milestones: bool) -> None:
    """Print and film moments as they come; a summary at the end."""
    buttons: Counter[str] = Counter()
    moment = None
    for moment in moments:
        buttons[moment.action.name] += 1
        if writer is not None:
            writer.add(moment.frame, moment.caption())
        if every_step:
            x, y = moment.state.position
            place = f"{moment.state.map_name} ({x}, {y})"
            place += "  battle" if moment.state.battle_kind else ""
            print(f"{moment.step:>6} {moment.action.name:<5} {moment.reward:+8.3f} {moment.total:+9.3f}  {place}")
        if milestones:
            for name in moment.new_milestones:
                print(f"{moment.step:>6} milestone {name}")
    if moment is not None and milestones:
        state = moment.state
        print(f"{moment.step} steps, return {moment.total:+.3f}, badges {state.badges}, party levels {state.levels}")
        print("buttons: " + ", ".join(f"{name} {count}" for name, count in buttons.most_common()))


def tell(films: Sequence[Film], as_json: bool) -> None:
    """A line a film."""
    for film in films:
        size = f"{film.bytes / 1e6:.1f} MB" if film.bytes >= 1e5 else f"{film.bytes / 1e3:.1f} kB"
        line = f"{film.path}: {film.frames} frames, {film.fps:g} a second, {film.seconds:g} s, {size}"
        print(json.dumps(asdict(film)) if as_json else line)


def main() -> None:
    """Run the command line."""
    run_command(debug_rollout)


if __name__ == "__main__":
    main()
