"""`daddy-puffer replay FILE`: plays recorded buttons again from the true start and compares the memory.

What was recorded in another project's environment, which does more to the game than press buttons, is played there.

In: a recording of `wrappers.ActionRecorder` (`recordings/*.npz`), or a state of the curriculum (`savestates/<tag>`, any
of its three files). Out: "same RAM hash" and exit code 0, or where the memory differs first and exit code 1; a film.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.config import Config, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.red import RedEnv
from daddy_puffer.errors import UserError
from daddy_puffer.plugin_replay import RecordedGame, hosted_game, hosted_machine
from daddy_puffer.swarm import Chain, Machine
from daddy_puffer.telemetry.video import Caption, VideoWriter
from daddy_puffer.types import Action
from daddy_puffer.wrappers import machine_of
from daddy_puffer.wrappers.action_recorder import Recording, ram_hash

FILM_FPS = 15.0
FILM_FRAMES = 100_000
_SUFFIXES = (".actions.npz", ".state", ".json")


class Video(str, Enum):  # noqa: UP042 (StrEnum needs Python 3.11)
    """Formats to choose from."""

    MP4 = "mp4"
    GIF = "gif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to play, and what should come of it."""

    chain: Chain
    machine: Machine
    ram_hashes: dict[int, bytes]  # sha256 of the work RAM after so many actions
    state_sha256: str | None  # of the save state at the end, where it is known


def replay(
    file: Annotated[Path, typer.Argument(help="recordings/NAME.npz or savestates/TAG of a run")],
    video: Annotated[Video | None, typer.Option(help="film it, beside the file")] = None,
    until: Annotated[int, typer.Option(min=0, help="stop after so many actions; 0 = play all")] = 0,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; default: the run's")] = None,
    rom: Annotated[str | None, typer.Option(help="ROM file; default: the run's")] = None,
) -> None:
    """Play recorded buttons again and compare the memory."""
    script = read_script(file)
    env = _game_of(script, file, config, rom)
    if not 0 <= until <= len(script.chain.actions):
        raise UserError(f"--until {until}: there are {len(script.chain.actions)} actions")
    with contextlib.closing(env), contextlib.ExitStack() as stack:
        writer = None
        if video is not None:
            stem = file.with_name(file.name.split(".")[0])
            writer = VideoWriter(stem, formats=[video.value], fps=FILM_FPS, max_frames=FILM_FRAMES)
            stack.enter_context(writer)
        print(compare(env, script, until, writer))
    for path in writer.paths if writer else []:
        print(path)


def read_script(file: Path) -> Script:
    """The recording or the curriculum's state that `file` names.

    Raises:
        UserError: there is none, or it is damaged.
    """
    stem = next((file.name.removesuffix(end) for end in _SUFFIXES if file.name.endswith(end)), file.name)
    sidecar = file.with_name(stem + ".json")
    try:
        if sidecar.is_file():
            return _state_script(sidecar, file.with_name(stem + ".actions.npz"))
        recording = Recording.from_bytes(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    hashes = zip(recording.check_steps.tolist(), (bytes(row) for row in recording.check_hashes), strict=True)
    return Script(chain=recording.chain, machine=recording.machine, ram_hashes=dict(hashes), state_sha256=None)


def compare(env: RedEnv | RecordedGame, script: Script, until: int = 0, writer: VideoWriter | None = None) -> str:
    """Play the first `until` actions (0 = all); returns what to say when everything is the same.

    Raises:
        UserError: something differs.
    """
    total, same = 0.0, 0
    last = until or len(script.chain.actions)
    for step, action, reward in play(env, script.chain, last):
        total += reward
        if writer is not None:
            state = env.game_state
            caption = Caption(
                step=step, action=action.name, reward=reward, total=total, badges=state.badges, place=state.map_name
            )
            writer.add(env.render(), caption)
        if step in script.ram_hashes:
            if ram_hash(env.memory) != script.ram_hashes[step]:
                raise UserError(f"the RAM differs after action {step}; it was the same after action {same}")
            same = step
    if script.state_sha256 is not None and last == len(script.chain.actions):
        if hashlib.sha256(env.save_state()).hexdigest() != script.state_sha256:
            raise UserError(f"another save state after all {last} actions")
        return f"same save state after {last} actions"
    checked = sum(step <= last for step in script.ram_hashes)
    return f"same RAM hash after {same} actions ({checked} compared, {last} actions played)"


def play(env: RedEnv | RecordedGame, chain: Chain, until: int) -> Iterator[tuple[int, Action, float]]:
    """Play a chain as `Chain` says; yields actions taken so far, the action and its reward."""
    position = 0
    for wait, length in zip(chain.waits.tolist(), chain.lengths.tolist(), strict=True):
        reached = {"state": env.save_state()} if position else {}
        env.reset(options={"wait": wait, **reached})
        for action in chain.actions[position : position + length]:
            if position == until:
                return
            position += 1
            _, reward, _, _, _ = env.step(np.int64(action))
            yield position, Action(int(action)), float(reward)


def _game_of(script: Script, file: Path, config: Path | None, rom: str | None) -> RedEnv | RecordedGame:
    """The game of the script.

    Raises:
        UserError: ROM, initial state, emulator or the host's settings are others, or the host is not here.
    """
    env: RedEnv | RecordedGame
    if script.machine.host:
        env = hosted_game(script.machine, config, rom)
        ours = hosted_machine(env)
    else:
        env = _own_game(load_config(config or _config_of_run(file), {"env.gb_path": rom}), script)
        ours = machine_of(env)
    for name, value in asdict(script.machine).items():
        if getattr(ours, name) != value:
            env.close()
            raise UserError(
                f"recorded with another {name}: {value}, here {getattr(ours, name)}; see --rom and --config"
            )
    return env


def _own_game(config: Config, script: Script) -> RedEnv:
    steps = len(script.chain.actions) + 1
    settings = replace(config.env, max_steps=steps, action_freq=script.machine.action_freq)
    return make_red_env(settings, config.rewards, progress=config.progress_reward)


def _state_script(sidecar: Path, actions: Path) -> Script:
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        machine = Machine(**{f.name: facts[f.name] for f in fields(Machine) if f.name in facts})
        chain = Chain.from_bytes(actions.read_bytes())
        return Script(chain=chain, machine=machine, ram_hashes={}, state_sha256=str(facts["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"no state of a curriculum, or a damaged one: {error}") from error


def _config_of_run(file: Path) -> Path | None:
    """The settings of the run that `file` lies in; None = the defaults."""
    found = file.resolve().parent.parent / "config.yaml"
    return found if found.is_file() else None


def main() -> None:
    """Run the command line."""
    run_command(replay)


if __name__ == "__main__":
    main()
