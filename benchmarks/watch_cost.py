"""What being watched costs a run: `nice python benchmarks/watch_cost.py [--envs N]`.

Processor time, which holds on a busy machine too: of a step of the environments (emulators alone, no learning), of what
the run does for `live/` each step, of one look, and of answering a browser that polls twice a second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from daddy_puffer.config import EnvConfig, load_config, save_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.learner.live_samples import look, write_look
from daddy_puffer.telemetry.live import SCREENS_EVERY, LiveReader, LiveWriter
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.watch.moment import Moment
from daddy_puffer.wrappers import EpsilonEnv


def microseconds(work: Callable[[], object], times: int) -> float:
    """Median processor time of `work`."""
    spent = []
    for _ in range(times):
        began = time.process_time_ns()
        work()
        spent.append(time.process_time_ns() - began)
    return float(np.median(spent)) / 1000


def make_batch(envs: int) -> tuple[StepBatch, float]:
    """A step of `envs` environments, and the processor time of one of them in microseconds."""
    env = EpsilonEnv(make_red_env(EnvConfig(), {}), 1)
    observation, _ = env.reset(seed=0)
    step = microseconds(lambda: env.step(np.int64(np.random.randint(7))), 300)
    rows: dict[str, Array] = {name: np.repeat(part[None], envs, axis=0) for name, part in observation.items()}
    nothing = np.zeros(envs, bool)
    return StepBatch(rows, np.zeros(envs, np.float32), nothing, nothing, nothing, np.arange(envs), []), step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=int, default=8)
    envs = parser.parse_args().envs
    batch, env_step = make_batch(envs)
    ids = np.arange(envs)
    interval = load_config().train.live_interval
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_config(load_config(), folder / "config.yaml")
        with LiveWriter(folder / "live", envs, 3600.0) as live:
            live.due()
            idle = microseconds(lambda: [write_look(live, batch, 0, ids) for _ in range(1000)], 20) / 1000
            screens = batch.observation["frames"][: live.num_screens, -1]
            plain = microseconds(lambda: live.write(0, look(batch, ids), None), 400)
            full = microseconds(lambda: live.write(0, look(batch, ids), screens), 400)
        one = plain + (full - plain) / SCREENS_EVERY
        moment = Moment(folder)
        session, _, looks = LiveReader(folder / "live").looks()
        poll = microseconds(lambda: moment.live(session, looks[-1].number - 2, -1), 200)
    print(f"{envs} environments; processor time")
    print(f"  a step of all environments          {env_step * envs:9.1f} us")
    print(f"  asking the clock, each step         {idle:9.2f} us   {idle / env_step / envs:.4%} of the step")
    print(f"  a look, every {interval} s              {one:9.1f} us   {one / interval / 1e6:.4%} of a core")
    print(f"  answering a poll, in its own process {poll:8.1f} us   {2 * poll / 1e6:.4%} of a core at 2 a second")


if __name__ == "__main__":
    main()
