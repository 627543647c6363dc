"""What the wrappers cost beside a step of the environment they are around, each alone and all together.

Run: `python benchmarks/wrapper_cost.py [--rounds N]`. Where pokemonred_puffer is importable its environment is measured
too, with the same wrappers as `--wrappers` would give it. Environments take turns on the same buttons; the figures are
process CPU time over that of the bare environment: the median over rounds of the ratio in a round, and the ratio of all
rounds together, which alone counts what is seldom but dear. All play the same game: Curriculum draws no state here, but
keeps what is new, and Patience never loses it. RND has already seen enough to pay and to learn.

The game is played twice. The first time Curriculum keeps a state of nearly every place, 20 ms each, as in the first
minutes of a run; the second time the registry has them, and a state is only renewed now and then, as later in a run.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from omegaconf import OmegaConf

from daddy_puffer import plugin
from daddy_puffer.config import CurriculumConfig, EnvConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.types import Action
from daddy_puffer.wrappers import RND, Bayes, Curriculum, EpsilonEnv, Novelty, Patience, VisitCounts, open_registry

Env = gymnasium.Env[Any, Any]
ROUND_STEPS = 300
WARM_UP_ROUNDS = 2
RND_LOOKS = 1300  # until it pays and learns as it will
FOREVER = 10**9
PASSES = ("first time", "second time")
NAMES = ("Curriculum", "Novelty", "RND", "Patience", "Bayes")  # around EpsilonEnv
OPTIONS: dict[str, dict[str, Any]] = {
    "Patience": {"steps": 100, "reward": -1.0},
    "Curriculum": {"true_start_share": 1.0},
}
TARGETS = {"embedded": 0.12, "pokemonred_puffer": 0.05}


def embedded_wrapper(name: str, env: Env, folder: Path) -> Env:
    """Our own environment's, as `vector.RedFactory` puts them around it."""
    if name == "Curriculum":
        config = CurriculumConfig(mode="mixture", **OPTIONS[name])
        return Curriculum(env, config, open_registry(folder, config, env))
    if name == "Novelty":
        return Novelty(env, 1.0, VisitCounts())
    return {"RND": RND, "Patience": Patience, "Bayes": Bayes}[name](env, **OPTIONS.get(name, {}))


def embedded(names: tuple[str, ...] | None, folder: Path) -> Env:
    """`daddy_puffer/Red-v0` with the keys of training; `names` of wrappers, None = bare."""
    env: Env = make_red_env(EnvConfig(max_steps=FOREVER, random_wait=0), {})
    if names is None:
        return env
    env = EpsilonEnv(env, 1)
    for name in names:
        env = embedded_wrapper(name, env, folder)
    return env


def hosted(names: tuple[str, ...] | None, folder: Path) -> Env:
    """pokemonred_puffer's environment with its default reward."""
    config = OmegaConf.load(packaged("upstream.yaml"))
    start = packaged(PRACTICE_START)
    config.env.state_dir, config.env.init_state, config.env.gb_path = (
        str(start.parent),
        start.stem,
        str(packaged(PRACTICE_ROM)),
    )
    config.env.max_steps, config.env.save_state = FOREVER, False
    reward = plugin._host_reward(plugin.HOST_REWARD)
    env: Env = reward(config.env, config.rewards[plugin.HOST_REWARD].reward)
    if names is None:
        return env
    env = plugin._wrapper("EpsilonEnv")(env, {"frame_stack": 1})
    for name in names:
        options = dict(OPTIONS.get(name, {}))
        if name == "Curriculum":
            options["folder"] = str(folder)
        env = plugin._wrapper(name)(env, options)
    return env


def layers(env: Env) -> Iterator[Env]:
    """The wrappers of an environment."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


def warmed_up() -> Any:
    """State of an `RND` that has looked around."""
    env = RND(EpsilonEnv(make_red_env(EnvConfig(max_steps=FOREVER), {}), 1), stride=1)
    env.reset(seed=0)
    for action in np.random.default_rng(1).integers(0, len(Action), RND_LOOKS):
        env.step(action)
    return env.state_dict()


def measure(
    make: Callable[[tuple[str, ...] | None, Path], Env], curious: Any, rounds: int, folder: Path
) -> dict[str, list[float]]:
    """Seconds of process time a step by name, one number a round; every other round in reverse order."""
    sets = {"bare": None, "EpsilonEnv": (), **{f"EpsilonEnv, {name}": (name,) for name in NAMES}, "all": NAMES}
    envs = {title: make(names, folder / str(number)) for number, (title, names) in enumerate(sets.items())}
    for env in envs.values():
        env.reset(seed=0)
        for layer in layers(env):
            if isinstance(layer, RND):
                layer.load_state_dict(copy.deepcopy(curious))
    rng = np.random.default_rng(0)
    spent: dict[str, list[float]] = {title: [] for title in envs}
    for number in range(rounds + WARM_UP_ROUNDS):
        actions = np.repeat(rng.integers(0, len(Action), ROUND_STEPS), rng.integers(1, 6, ROUND_STEPS))[:ROUND_STEPS]
        for title, env in list(envs.items())[:: 1 if number % 2 else -1]:
            began = time.process_time()
            for action in actions:
                env.step(action)
            if number >= WARM_UP_ROUNDS:
                spent[title].append((time.process_time() - began) / ROUND_STEPS)
    for env in envs.values():
        env.close()
    return spent


def table(passes: list[dict[str, list[float]]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| environment |" + "".join(f" us a step, {title} | over bare, median | all |" for title in PASSES)
    yield "|---|" + "---|---|---|" * len(PASSES)
    for title in passes[0]:
        cells = [title]
        for spent in passes:
            seconds, bare = spent[title], spent["bare"]
            over = statistics.median(a / b - 1 for a, b in zip(seconds, bare, strict=True))
            cells += [f"{1e6 * statistics.median(seconds):.0f}", f"{over:+.1%}", f"{sum(seconds) / sum(bare) - 1:+.1%}"]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    makers = {"embedded": embedded}
    if importlib.util.find_spec(plugin.HOST):
        makers[plugin.HOST] = hosted
    curious = warmed_up()
    for host, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            passes = [measure(make, curious, options.rounds, Path(folder)) for _ in PASSES]
        print(f"{host} (all wrappers: at most {TARGETS[host]:.0%}), {options.rounds} rounds of {ROUND_STEPS} steps\n")
        print(*table(passes), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
