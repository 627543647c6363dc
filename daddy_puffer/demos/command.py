"""The command lines of demonstrations: `demos record` and `demos verify`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.config import load_config
from daddy_puffer.demos.episode import episode_files, read_episode
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.images import ImageFormat, read_size
from daddy_puffer.demos.players import make_player
from daddy_puffer.demos.record import record_episodes
from daddy_puffer.demos.verify import Verifier
from daddy_puffer.envs import ENV_ID
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint
from daddy_puffer.options import (
    AllowedEnv,
    EnvId,
    EnvKeywords,
    Grey,
    MaxSteps,
    MovedRom,
    PictureSize,
    RandomStartSteps,
    Rom,
)


def record(
    player: Annotated[str, typer.Option(help="scripted, human, checkpoint or python:module:function")],
    out: Annotated[Path, typer.Option(help="folder for episode_0001.npz and so on; numbers go on")],
    episodes: Annotated[int, typer.Option(min=1, help="how many")] = 10,
    env_id: EnvId = ENV_ID,
    env_kwargs: EnvKeywords = "{}",
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings of our game; default: the checkpoint's own")
    ] = None,
    rom: Rom = None,
    state: Annotated[str | None, typer.Option(help="save state to begin from")] = None,
    max_steps: MaxSteps = None,
    until: Annotated[str, typer.Option(help="milestone that ends an episode, as Boulder")] = "",
    random_start_steps: RandomStartSteps = 0,
    size: PictureSize = "72x80",
    grey: Grey = True,
    checkpoint: Annotated[Path | None, typer.Option(help="run folder or checkpoint that plays")] = None,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="random share of its actions")] = 0.0,
    keys: Annotated[str, typer.Option(help="keys of a person, as in left=1,space=0")] = "",
    seed: Annotated[int, typer.Option(min=0, help="an episode's seed is this plus its number")] = 0,
) -> None:
    """Record demonstrations."""
    if player == "checkpoint" and checkpoint is not None and config is None and env_id == ENV_ID:
        config = find_checkpoint(checkpoint) / CONFIG_FILE  # the game that it was trained in
    picture = ImageFormat(**dict(zip(("height", "width"), read_size(size), strict=True)), grey=grey)
    common: dict[str, Any] = {"random_start_steps": random_start_steps, "until": until, "picture": picture}
    recipe = recipe_of(env_id, env_kwargs, config, rom, state, max_steps, common)
    with contextlib.closing(Game(recipe)) as game:
        who = make_player(player, game, checkpoint, epsilon, keys, seed)
        for path in record_episodes(game, who, player, episodes, out, seed):
            print(f"{path}: {describe(path)}", flush=True)


def recipe_of(
    env_id: str,
    env_kwargs: str,
    config: Path | None,
    rom: str | None,
    state: str | None,
    max_steps: int | None,
    common: dict[str, Any],
) -> Recipe:
    """The environment that options name; `common` are the recipe's other fields.

    Raises:
        UserError: the options do not go together.
    """
    if env_id == ENV_ID:
        overrides = {"env.gb_path": rom, "env.init_state": state, "env.max_steps": max_steps}
        return Recipe.of_config(load_config(config, overrides), **common)
    if config or rom or state:
        raise UserError("--config, --rom and --state are for our own game: leave out --env-id, or use --env-kwargs")
    return Recipe(env_id=env_id, settings=_keywords(env_kwargs), max_steps=max_steps or 0, **common)


def describe(path: Path) -> str:
    """What a file holds, in a line."""
    episode = read_episode(path)
    reached = f", milestones {len(episode.facts.milestones)}" if episode.inputs else ""
    shape = "x".join(str(side) for side in episode.observations.shape[1:])
    return f"{len(episode)} steps of {shape}, return {episode.total:.2f}{reached}, {path.stat().st_size / 1e3:.0f} kB"


def verify(
    demos: Annotated[Path, typer.Argument(help="folder of demonstrations, or one of its files")],
    rom: MovedRom = None,
    env_id: AllowedEnv = ENV_ID,
) -> None:
    """Play demonstrations again and compare; exit code 1 if one is damaged or differs."""
    files = [demos] if demos.is_file() else episode_files(demos)
    bad = 0
    with contextlib.closing(Verifier(rom, env_id)) as verifier:
        for path in files:
            try:
                episode = read_episode(path)
                print(f"{path.name}: {verifier.verify(episode)}", flush=True)
            except UserError as error:
                bad += 1
                text = str(error).removeprefix(f"{path.name}: ")
                print(f"{path.name}: BAD: {text}", flush=True)
    print(f"{len(files) - bad} of {len(files)} demonstrations are good")
    if bad:
        raise typer.Exit(1)


def run_one_of(program: str, commands: Mapping[str, Callable[..., None]]) -> None:
    """Call the command named first; `program` is what they belong to."""
    names = " | ".join(commands)
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in ("-h", "--help"):
        print(f"usage: daddy-puffer {program} {names} [OPTIONS]")
        raise SystemExit(0)
    if first not in commands:
        print(f"error: no command {program} {first}: there is {names}".replace("  ", " "), file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"daddy-puffer {program} {first}", *sys.argv[2:]]
    run_command(commands[first])


def _keywords(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--env-kwargs is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"--env-kwargs must be a JSON object, got {text}")
    return found


def main() -> None:
    """Run the command line."""
    run_one_of("demos", {"record": record, "verify": verify})


if __name__ == "__main__":
    main()
