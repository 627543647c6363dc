"""`python -m daddy_puffer.evaluate RUN_OR_CHECKPOINT`: a trained agent against random buttons, and the script.

In: a checkpoint. Out: a table, and the same as JSON. Every player plays whole episodes from the true start of the
game; intervals are bootstrapped over episodes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from daddy_puffer.command_line import run_command
from daddy_puffer.config import Config, load_config
from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint
from daddy_puffer.numerics.stats import bootstrap_difference_interval, bootstrap_interval
from daddy_puffer.rollout import GREEDY_EPSILON, Agent, RandomAgent, is_practice, load_agent, play_episodes, play_script
from daddy_puffer.telemetry import EpisodeRecord
from daddy_puffer.vector import make_vector

MOST_ENVS = 20  # environments played side by side; each takes an emulator's memory


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Scores by player, and how much better the trained one is than the random one."""

    scores: dict[str, Score]
    advantage: float
    advantage_low: float
    advantage_high: float


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
    )


def compare(
    config: Config, checkpoint: Path, episodes: int, epsilon: float = GREEDY_EPSILON, seed: int = 1000
) -> Comparison:
    """Play `episodes` each; the script plays once, it does the same every time."""
    returns: dict[str, list[float]] = {}
    scores: dict[str, Score] = {}
    with make_vector(config.for_evaluation(), num_envs=min(episodes, MOST_ENVS)) as env:
        players: dict[str, Agent] = {
            "trained": load_agent(checkpoint, env.spaces, epsilon, config.train.device, seed),
            "random": RandomAgent(env.num_actions, seed),
        }
        for name, agent in players.items():
            started = time.monotonic()
            records = play_episodes(env, agent, episodes, seed)
            scores[name] = score(records, time.monotonic() - started)
            returns[name] = [record.return_env for record in records]
    if is_practice(config):
        started = time.monotonic()
        scores["scripted"] = score([play_script(config, seed)], time.monotonic() - started)
    low, high = bootstrap_difference_interval(returns["trained"], returns["random"])
    advantage = scores["trained"].mean_return - scores["random"].mean_return
    return Comparison(scores=scores, advantage=advantage, advantage_low=low, advantage_high=high)


def table(scores: Mapping[str, Score]) -> Table:
    """The scores for a person."""
    view = Table(
        title="Whole episodes from the start, return with its 95 % bootstrap interval", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("player", "episodes", "length", "return", "badges", "best", "steps/s"):
        view.add_column(heading, justify="left" if heading == "player" else "right", no_wrap=True)
    for name, s in scores.items():
        interval = f"{s.mean_return:.2f} [{s.return_low:.2f}, {s.return_high:.2f}]"
        badges = (f"{s.mean_badges:.2f}", str(s.best_badges))
        view.add_row(name, str(s.episodes), f"{s.mean_length:.0f}", interval, *badges, f"{s.steps_per_second:.0f}")
    return view


def report(comparison: Comparison, path: Path, console: Console) -> None:
    """Print the table, write it as JSON to `path`."""
    console.print(table(comparison.scores))
    c = comparison
    console.print(f"trained - random: {c.advantage:+.2f} [{c.advantage_low:+.2f}, {c.advantage_high:+.2f}]")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(asdict(comparison), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
    console.print(f"written to {path}", soft_wrap=True)


def evaluate(
    run: Annotated[Path, typer.Argument(help="run folder or checkpoint")],
    episodes: Annotated[int, typer.Option(min=1, help="episodes of each player")] = 20,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="random share of the trained one")] = GREEDY_EPSILON,
    seed: Annotated[int, typer.Option(help="seed of actions and environments")] = 1000,
    rom: Annotated[str | None, typer.Option(help="another ROM than the run's")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file; default: evaluation.json in the checkpoint")] = None,
) -> None:
    """Play a trained agent against random buttons, with intervals."""
    checkpoint = find_checkpoint(run)
    config = load_config(checkpoint / CONFIG_FILE, {"env.gb_path": rom, "train.device": device})
    comparison = compare(config, checkpoint, episodes, epsilon, seed)
    report(comparison, output or checkpoint / "evaluation.json", Console())


def main() -> None:
    """Run the command line."""
    run_command(evaluate)


if __name__ == "__main__":
    main()
