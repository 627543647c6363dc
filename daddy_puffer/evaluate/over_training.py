"""Every checkpoint of a run plays whole episodes from the true start, and random buttons once.

In: a run folder. Out: `Played`s, kept in a JSON file that is written after each of them: what was played with the same
options is not played again, and outlives its checkpoint. A table, a CSV file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from daddy_puffer.config import Config
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.errors import UserError
from daddy_puffer.evaluate.comparison import MOST_ENVS, Rate, Score, timed
from daddy_puffer.evaluate.progress import steps_bar
from daddy_puffer.files import put_aside, replacing
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner.checkpoint import CONFIG_FILE, STATE_FILE, by_step, step_in_name
from daddy_puffer.report.clock import Clock
from daddy_puffer.rollout import Agent, RandomAgent, load_agent, play_episodes
from daddy_puffer.telemetry.standing import clock_text
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.vector import VectorEnv, make_vector

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the episodes are played."""

    episodes: int  # of each player
    epsilon: float  # random share of a trained one
    seed: int
    game: str  # sha256 of ROM, start and rules

    @classmethod
    def of(cls, config: Config, episodes: int, epsilon: float, seed: int) -> Options:
        """Those of a game."""
        played = config.for_evaluation()
        rom = find_rom(played.env.gb_path)
        rules = asdict(replace(played.env, gb_path="", init_state="")), asdict(played.progress_reward), played.rewards
        words = json.dumps(rules, sort_keys=True)
        start = find_state(played.env.init_state, rom) or b""
        game = hashlib.sha256(rom.path.read_bytes() + start + words.encode()).hexdigest()
        return cls(episodes=episodes, epsilon=epsilon, seed=seed, game=game)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What one player's episodes came to."""

    step: int | None  # of the checkpoint; None: random buttons
    network: str  # sha256 of the checkpoint's files; empty: random buttons
    options: Options
    score: Score


class Results:
    """All that was played of a run, in a file."""

    def __init__(self, path: Path):
        """Read what is there; what cannot be read is put aside."""
        self._path = path
        self._all: list[Played] = []
        if path.is_file():
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))["played"]
                self._all = [_played(row) for row in rows]
            except (ValueError, KeyError, TypeError, AttributeError):
                _log.warning("%s is damaged: it is put aside as %s and begun anew", path, put_aside(path).name)

    def has(self, step: int | None, network: str, options: Options) -> bool:
        """Whether exactly this was played."""
        return any((p.step, p.network, p.options) == (step, network, options) for p in self._all)

    def add(self, played: Played) -> None:
        """Keep it, instead of what another network of that step did under the same options."""
        others = [p for p in self._all if (p.step, p.options) != (played.step, played.options)]
        self._all = [*others, played]
        with replacing(self._path) as temporary:
            text = json.dumps({"played": [asdict(p) for p in self._all]}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")

    def of(self, options: Options) -> tuple[list[tuple[int, Score]], Score | None]:
        """Steps and scores of the checkpoints, the oldest first, and the score of random buttons."""
        found = [p for p in self._all if p.options == options]
        trained = [(p.step, p.score) for p in found if p.step is not None]
        return sorted(trained, key=lambda pair: pair[0]), next((p.score for p in found if p.step is None), None)


def play_run(folder: Path, config: Config, options: Options, results: Results) -> None:
    """Let every checkpoint in `folder`/checkpoints play, and random buttons, unless they have.

    A checkpoint that cannot be read is left out with a line: a run under way deletes old ones.

    Raises:
        UserError: no checkpoint could be played.
    """
    players = _players(folder / "checkpoints")
    waiting = {key: path for key, path in players.items() if not results.has(*key, options)}
    if len(players) > len(waiting):
        print(f"{len(players) - len(waiting)} of {len(players)} players have played already")
    if not waiting:
        return
    envs = min(options.episodes, MOST_ENVS)
    steps = math.ceil(options.episodes / envs) * (config.env.max_steps + 1)  # of a player, at most
    played = config.for_evaluation()
    with make_vector(played, num_envs=envs) as env, steps_bar("playing", steps * len(waiting)) as bar:
        for (step, network), path in waiting.items():
            try:
                agent = _Counted(_agent(path, env, played, options), bar.advance)
            except UserError as error:
                bar.say(f"left out: {error}")
                bar.advance(steps)
                continue
            _, found = timed(partial(play_episodes, env, agent, options.episodes, options.seed))
            results.add(Played(step=step, network=network, options=options, score=found))
            bar.advance(steps - agent.steps)
            bar.say(_line(step, found))
    if not results.of(options)[0]:
        raise UserError(f"no checkpoint of {folder} could be played")


def table(trained: Sequence[tuple[int, Score]], random: Score | None, clock: Clock | None) -> Table:
    """For a person."""
    view = Table(title="Whole episodes from the start, by checkpoint", box=None, padding=(0, 2, 0, 0))
    for heading in ("step", "training time", "return, 95 % interval", "badges", "best"):
        view.add_column(heading, justify="right", no_wrap=True)
    rows: list[tuple[str, str, Score]] = []
    for step, found in trained:
        rows.append((f"{step:,}", "" if clock is None else clock_text(float(clock.seconds_at(step))), found))
    rows += [("random", "", random)] if random is not None else []
    for step_text, seconds, s in rows:
        interval = f"{s.mean_return:.2f} [{s.return_low:.2f}, {s.return_high:.2f}]"
        view.add_row(step_text, seconds, interval, f"{s.mean_badges:.2f}", str(s.best_badges))
    return view


def reached_by_any(trained: Sequence[tuple[int, Score]], random: Score | None) -> list[str]:
    """Milestones that some player reached, by the first checkpoint that did, then in the game's order."""
    scores = [found for _, found in trained] + ([random] if random is not None else [])
    first: dict[str, int] = {}
    for index, found in enumerate(scores):
        for name in found.milestones:
            first.setdefault(name, index)
    names = [m.name for m in MILESTONES if m.name in first]
    return sorted(names, key=lambda name: first[name])


def write_csv(path: Path, trained: Sequence[tuple[int, Score]], random: Score | None, clock: Clock | None) -> None:
    """A row a player; a column for every milestone that some player reached, the share of episodes that did."""
    names = reached_by_any(trained, random)
    numbers = ("episodes", "mean_return", "return_low", "return_high", "mean_length", "mean_badges", "best_badges")
    rows: list[tuple[str, int | None, Score]] = [("trained", step, found) for step, found in trained]
    rows += [("random", None, random)] if random is not None else []
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["player", "step", "training_seconds", *numbers, *names])
        for player, step, found in rows:
            seconds = "" if clock is None or step is None else f"{float(clock.seconds_at(step)):.1f}"
            shares = [f"{found.milestones[n].rate:.6g}" if n in found.milestones else "0" for n in names]
            values = [f"{getattr(found, number):.6g}" for number in numbers]
            writer.writerow([player, "" if step is None else step, seconds, *values, *shares])


class _Counted:
    """An agent whose steps are told."""

    def __init__(self, agent: Agent, advance: Callable[[int], None]):
        self.steps = 0
        self._agent, self._advance = agent, advance

    def act(self, batch: StepBatch) -> Array:
        self.steps += 1
        self._advance(1)
        return self._agent.act(batch)


def _agent(path: Path | None, env: VectorEnv, config: Config, options: Options) -> Agent:
    if path is None:
        return RandomAgent(env.num_actions, options.seed)
    return load_agent(path, env.spaces, options.epsilon, config.train.device, options.seed)


def _line(step: int | None, found: Score) -> str:
    player = "random buttons" if step is None else f"step {step:,}"
    return f"{player}: return {found.mean_return:.2f}, badges {found.mean_badges:.2f}"


def _players(folder: Path) -> dict[tuple[int | None, str], Path | None]:
    """Checkpoints by step and sha256 of their files, the oldest first; before them None, random buttons."""
    found: dict[tuple[int | None, str], Path | None] = {(None, ""): None}
    for path in by_step(folder):
        try:
            files = b"".join((path / name).read_bytes() for name in (STATE_FILE, CONFIG_FILE))
        except OSError:
            continue  # it was removed meanwhile
        found[step_in_name(path), hashlib.sha256(files).hexdigest()] = path
    return found


def _played(row: dict[str, Any]) -> Played:
    """What `Results` wrote."""
    rates = {name: Rate(**rate) for name, rate in row["score"].pop("milestones").items()}
    found = Score(**row["score"], milestones=rates)
    return Played(step=row["step"], network=row["network"], options=Options(**row["options"]), score=found)
