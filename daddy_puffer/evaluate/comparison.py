"""A trained agent against random buttons and against the script.

In: a checkpoint. Out: `Comparison`, two tables of it, and the same as JSON. Every player plays whole episodes from the
true start of the game, all with the same seeds; intervals are bootstrapped over episodes (Efron 1979). The scripted
player knows the practice cartridge only: with another ROM it is left out, and said so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from daddy_puffer.config import Config
from daddy_puffer.files import replacing
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.numerics.stats import bootstrap_difference_interval, bootstrap_interval
from daddy_puffer.rollout import GREEDY_EPSILON, Agent, RandomAgent, is_practice, load_agent, play_episodes, play_script
from daddy_puffer.telemetry import EpisodeRecord
from daddy_puffer.telemetry.standing import short_name
from daddy_puffer.vector import make_vector

MOST_ENVS = 20  # environments played side by side; each takes an emulator's memory
MOST_ROWS = 16  # milestones in the table; the JSON has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Share of episodes that reached a milestone, with its 95 % bootstrap interval."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one player's episodes came to; intervals are 95 %."""

    episodes: int
    mean_length: float
    mean_return: float
    return_low: float
    return_high: float
    mean_badges: float
    best_badges: int
    steps_per_second: float
    milestones: dict[str, Rate] = field(default_factory=dict)  # those that some episode reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much greater the trained player's mean return is than another's, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Scores by player, and how much better the trained one is than the random one and than the script."""

    scores: dict[str, Score]
    advantage: float
    advantage_low: float
    advantage_high: float
    over_script: Difference | None = None  # None: there is no script for this game
    note: str = ""


def score(records: list[EpisodeRecord], seconds: float) -> Score:
    """Summarize episodes that took `seconds` together."""
    returns = [record.return_env for record in records]
    low, high = bootstrap_interval(returns)
    lengths = [record.length_steps for record in records]
    badges = [record.badges for record in records]
    return Score(
        episodes=len(records),
        mean_length=sum(lengths) / len(lengths),
        mean_return=sum(returns) / len(returns),
        return_low=low,
        return_high=high,
        mean_badges=sum(badges) / len(badges),
        best_badges=max(badges),
        steps_per_second=sum(lengths) / seconds,
        milestones=completion_rates(records),
    )


def timed(play: Callable[[], list[EpisodeRecord]]) -> tuple[list[EpisodeRecord], Score]:
    """What `play` plays, and its summary."""
    started = time.monotonic()
    records = play()
    return records, score(records, time.monotonic() - started)


def completion_rates(records: list[EpisodeRecord]) -> dict[str, Rate]:
    """How often each milestone was reached, in the order of the game's list; what nobody reached is left out."""
    reached = [set(record.milestones_reached.split(";")) for record in records]
    rates = {}
    for milestone in MILESTONES:
        done = [float(milestone.name in names) for names in reached]
        if any(done):
            low, high = bootstrap_interval(done)
            rates[milestone.name] = Rate(rate=sum(done) / len(done), low=low, high=high)
    return rates


def compare(
    config: Config, checkpoint: Path, episodes: int, epsilon: float = GREEDY_EPSILON, seed: int = 1000
) -> Comparison:
    """Play `episodes` whole ones with each player; the same arguments give the same numbers, speeds apart."""
    players: dict[str, list[EpisodeRecord]] = {}
    scores: dict[str, Score] = {}
    with make_vector(config.for_evaluation(), num_envs=min(episodes, MOST_ENVS)) as env:
        agents: dict[str, Agent] = {
            "trained": load_agent(checkpoint, env.spaces, epsilon, config.train.device, seed),
            "random": RandomAgent(env.num_actions, seed),
        }
        for name, agent in agents.items():
            players[name], scores[name] = timed(partial(play_episodes, env, agent, episodes, seed))
    note = ""
    if is_practice(config):
        played = timed(partial(play_script, config, episodes, seed, MOST_ENVS))
        players["scripted"], scores["scripted"] = played
    else:
        note = f"no scripted player: there is no script for {Path(config.env.gb_path).name}"
    over_random = difference(players["trained"], players["random"])
    return Comparison(
        scores=scores,
        advantage=over_random.mean,
        advantage_low=over_random.low,
        advantage_high=over_random.high,
        over_script=difference(players["trained"], players["scripted"]) if "scripted" in players else None,
        note=note,
    )


def difference(ours: list[EpisodeRecord], theirs: list[EpisodeRecord]) -> Difference:
    """Of the mean returns."""
    first, second = ([record.return_env for record in records] for records in (ours, theirs))
    low, high = bootstrap_difference_interval(first, second)
    return Difference(mean=sum(first) / len(first) - sum(second) / len(second), low=low, high=high)


def table(scores: Mapping[str, Score]) -> Table:
    """The scores for a person."""
    view = Table(title="Whole episodes from the start; return with its 95 % interval", box=None, padding=(0, 2, 0, 0))
    for heading in ("player", "episodes", "length", "return", "badges", "best", "steps/s"):
        view.add_column(heading, justify="left" if heading == "player" else "right", no_wrap=True)
    for name, s in scores.items():
        interval = f"{s.mean_return:.2f} [{s.return_low:.2f}, {s.return_high:.2f}]"
        badges = (f"{s.mean_badges:.2f}", str(s.best_badges))
        view.add_row(name, str(s.episodes), f"{s.mean_length:.0f}", interval, *badges, f"{s.steps_per_second:.0f}")
    return view


def milestone_table(scores: Mapping[str, Score]) -> Table:
    """How often each player reached each milestone, for a person."""
    view = Table(title="Episodes that reached a milestone, with 95 % interval", box=None, padding=(0, 2, 0, 0))
    view.add_column("milestone", no_wrap=True, max_width=26, overflow="ellipsis")
    for name in scores:
        view.add_column(name, justify="right", no_wrap=True)
    reached = [m.name for m in MILESTONES if any(m.name in s.milestones for s in scores.values())]
    for milestone in reached[:MOST_ROWS]:
        view.add_row(short_name(milestone), *(_percent(s.milestones.get(milestone)) for s in scores.values()))
    if len(reached) > MOST_ROWS:
        view.add_row(f"and {len(reached) - MOST_ROWS} more")
    return view


def _percent(rate: Rate | None) -> str:
    return "0%" if rate is None else f"{rate.rate:.0%} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def report(comparison: Comparison, path: Path, console: Console) -> None:
    """Print the tables, write everything as JSON to `path`."""
    c = comparison
    console.print(table(c.scores))
    if any(s.milestones for s in c.scores.values()):
        console.print()
        console.print(milestone_table(c.scores))
    console.print()
    console.print(f"trained - random: {c.advantage:+.2f} [{c.advantage_low:+.2f}, {c.advantage_high:+.2f}]")
    if c.over_script is not None:
        over = c.over_script
        console.print(f"trained - scripted: {over.mean:+.2f} [{over.low:+.2f}, {over.high:+.2f}]")
    if c.note:
        console.print(c.note)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(comparison), indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {path}", soft_wrap=True)
