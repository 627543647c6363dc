"""Updates beside acting: in a process they are those of a thread to the last bit, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_learner import chain_learner, sequences, settings

from daddy_puffer.child import ORPHAN_CHECK_SECONDS
from daddy_puffer.config import Config, TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.learner.background import BackgroundLearner, LearnerDiedError
from daddy_puffer.learner.learner import Learner, NotFiniteError
from daddy_puffer.learner.process import LearnerProcess, make_updates
from daddy_puffer.types import SequenceBatch

UPDATES = 6


def teach(updates: BackgroundLearner | LearnerProcess, learner: Learner) -> list[dict[str, float]]:
    """Updates with learning rates and weights of imitation that change; what was measured in each."""
    said = []
    with updates:
        for number in range(UPDATES):
            learner.anneal(number / UPDATES)
            learner.imitation = 1.0 - number / UPDATES
            updates.begin(sequences(learner, seed=number))
            result = updates.finish()
            assert result is not None and result.priorities.shape == (3,)
            said.append(result.scalars)
        assert updates.finish() is None
        updates.bring_back()
    assert updates.busy_seconds > 0
    return said


@pytest.fixture
def config() -> Config:
    return settings(anneal_from=0.5)


@pytest.fixture
def process(config: Config) -> Iterator[LearnerProcess]:
    with LearnerProcess(chain_learner(config)) as updates:
        yield updates


def test_a_process_learns_what_a_thread_does(config: Config):
    one, other = chain_learner(config), chain_learner(config)
    assert teach(BackgroundLearner(one), one) == teach(LearnerProcess(other), other)
    assert one.updates == other.updates == UPDATES
    ours, theirs = one.state_dict(), other.state_dict()
    for part in ("online", "target"):
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name]), name
    for number, moments in ours["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, theirs["optimizer"]["state"][number][name]), name
    acting = zip(one.networks.actor.parameters(), other.networks.actor.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in acting)


def test_what_explores_goes_on_where_it_was(config: Config):
    learner = chain_learner(config)
    before = learner.generator.get_state()
    teach(LearnerProcess(learner), learner)
    assert torch.equal(learner.generator.get_state(), before)


def test_a_learning_rate_that_was_set_since_the_last_update_stays(process: LearnerProcess, config: Config):
    learner = process._learner
    process.begin(sequences(learner))
    process.finish()
    learner.anneal(0.75)
    process.bring_back()
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(config.learner.learning_rate / 2)


def test_the_actor_sees_an_update_when_it_is_finished(process: LearnerProcess):
    learner = process._learner
    weights = [parameter.clone() for parameter in learner.networks.actor.parameters()]
    process.begin(sequences(learner))
    time.sleep(0.5)  # it has ended by now
    assert all(torch.equal(was, now) for was, now in zip(weights, learner.networks.actor.parameters(), strict=True))
    process.finish()
    changed = zip(weights, learner.networks.actor.parameters(), strict=True)
    assert any(not torch.equal(was, now) for was, now in changed)


def test_a_loss_that_is_no_number_is_reported(process: LearnerProcess):
    batch = sequences(process._learner)
    process.begin(replace(batch, reward=np.full_like(batch.reward, np.nan)))
    with pytest.raises(NotFiniteError, match="loss is nan in update 0"):
        process.finish()
    process.begin(batch)
    assert process.finish() is not None  # nothing was changed


def test_an_update_that_raises_says_where(process: LearnerProcess):
    batch = sequences(process._learner)
    process.begin(replace(batch, action=batch.action + 99))
    with pytest.raises(RuntimeError, match="an update raised:\n.*Traceback"):
        process.finish()


def test_a_process_that_is_killed_is_named(process: LearnerProcess):
    process.begin(sequences(process._learner))
    process.process.kill()
    process.process.join()
    with pytest.raises(LearnerDiedError, match="died: signal SIGKILL"):
        process.finish()
        process.bring_back()  # where the update had just been done
    with pytest.raises(LearnerDiedError):
        process.begin(sequences(process._learner))


@pytest.mark.parametrize("caught", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_everybody_does_not_end_it(process: LearnerProcess, caught: signal.Signals):
    """Not even where nothing is asked of it for long, as before learning begins: the run saves what it has first."""
    pid = process.process.pid
    assert pid is not None
    process.begin(sequences(process._learner))
    os.kill(pid, caught)
    assert process.finish() is not None
    time.sleep(1.5 * ORPHAN_CHECK_SECONDS)
    process.bring_back()


ORPHAN = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from test_background import chain_learner, settings, LearnerProcess
with LearnerProcess(chain_learner(settings())) as updates:
    print(updates.process.pid, flush=True)
    time.sleep(60)
"""


def test_no_process_outlives_its_parent():
    command = [sys.executable, "-c", ORPHAN, str(Path(__file__).parent)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(child)


FORGETFUL = """
import sys
sys.path.insert(0, sys.argv[1])
from test_background import chain_learner, settings, LearnerProcess
updates = LearnerProcess(chain_learner(settings())).__enter__()
print(updates.process.pid, flush=True)
raise SystemExit(3)
"""


def test_a_program_that_ends_without_a_word_ends_its_process():
    command = [sys.executable, "-c", FORGETFUL, str(Path(__file__).parent)]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60, check=False
    )
    assert ended.returncode == 3 and not alive(int(ended.stdout))


def alive(pid: int) -> bool:
    """Whether it runs: a zombie whose new parent is slow to bury it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        (TrainConfig(device="cpu"), LearnerProcess),
        (TrainConfig(device="cpu", updates_in="process"), LearnerProcess),
        (TrainConfig(device="cpu", updates_in="thread"), BackgroundLearner),
        (TrainConfig(device="cpu", threads=2), BackgroundLearner),
        (TrainConfig(device="cpu", compile=True), BackgroundLearner),
    ],
)
def test_where_updates_run(config: Config, train: TrainConfig, kind: type):
    assert type(make_updates(chain_learner(config), train)) is kind


def test_a_process_that_cannot_be_is_refused(config: Config):
    with pytest.raises(UserError, match="train.updates_in process: train.threads is 2; set it to thread or auto"):
        make_updates(chain_learner(config), TrainConfig(device="cpu", threads=2, updates_in="process"))
    with pytest.raises(UserError, match="updates_in must be one of"):
        TrainConfig(updates_in="nowhere")


def test_batches_survive_the_pipe(process: LearnerProcess):
    """What is optional in a batch, too."""
    batch = sequences(process._learner)
    shown: SequenceBatch = replace(batch, demonstrated=np.ones(batch.mask.shape, bool))
    process.begin(shown)
    result = process.finish()
    assert result is not None and "demo/accuracy" in result.scalars
