"""Updates beside acting, in a process of their own: what `background.py` does in a thread, without Python's one lock.

In: `SequenceBatch`es. Out: `UpdateResult`s. An update is some 2,700 small tensor operations, and each of them takes the
interpreter's lock when it ends. Where another thread plays meanwhile, both wait for it so often that an update takes
twice as long and so does acting; two processes do not meet. Weights come back through shared memory, all else through
a pipe, and what comes of it is equal to the last bit.

The learner here keeps the actor; its own networks and optimiser are brought up to date by `bring_back` only.
"""

from __future__ import annotations

import atexit
import ctypes
import io
import multiprocessing
import os
import pickle
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from daddy_puffer.child import Parent, cause_of_death, signals_held
from daddy_puffer.config import TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.learner.background import BackgroundLearner, LearnerDiedError
from daddy_puffer.learner.learner import Learner, NotFiniteError, UpdateResult
from daddy_puffer.learner.networks import copy_weights
from daddy_puffer.policies.hierq import HierQ
from daddy_puffer.types import SequenceBatch

_UPDATE, _STATE, _CLOSE = b"u", b"s", b"c"  # first byte of what we say
_DONE, _NOT_FINITE, _ERROR = b"d", b"n", b"e"  # and of what the process answers
_CLOSE_SECONDS = 5.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def make_updates(learner: Learner, train: TrainConfig) -> BackgroundLearner | LearnerProcess:
    """The updates of a run as `train.updates_in` has it.

    Raises:
        UserError: a process is asked for where there can be none.
    """
    why_not = _why_no_process(learner, train)
    if train.updates_in == "process" and why_not:
        raise UserError(f"train.updates_in process: {why_not}; set it to thread or auto")
    return BackgroundLearner(learner) if why_not or train.updates_in == "thread" else LearnerProcess(learner)


def _why_no_process(learner: Learner, train: TrainConfig) -> str:
    """Why updates cannot have a process here; empty if they can. A fork does not take threads along, nor a GPU."""
    if not sys.platform.startswith("linux"):
        return "only Linux forks processes that hold tensors"
    if learner.device.type != "cpu":
        return f"the device is {learner.device.type}"
    if train.threads > 1:
        return f"train.threads is {train.threads}"
    return "train.compile is on" if train.compile else ""


class LearnerProcess:
    """Runs the updates of `learner` in a child, from `__enter__` on."""

    def __init__(self, learner: Learner):
        """Give the actor weights of its own; `busy_seconds` counts the time that finished updates took."""
        learner.separate_actor()
        self._learner = learner
        self._running = False
        self.busy_seconds = 0.0

    def __enter__(self) -> LearnerProcess:
        """Start the process: it begins with the learner as it is now."""
        context: Any = multiprocessing.get_context("fork")
        online = self._learner.networks.online
        self._weights = _slices(context.RawArray(ctypes.c_float, _count(online)), online)
        self._pipe, theirs = context.Pipe()
        arguments = (self._learner, self._weights, theirs, self._pipe, os.getpid())
        self.process = context.Process(target=_work, args=arguments, daemon=True, name="updates")
        with signals_held():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        atexit.register(self.__exit__)  # before `multiprocessing` waits for a child that no signal ends
        return self

    def __exit__(self, *_: object) -> None:
        """Let the update in progress end, and the process with it."""
        atexit.unregister(self.__exit__)
        self._running = False
        try:
            self._pipe.send_bytes(_CLOSE)
        except OSError:
            pass  # it has ended already
        self.process.join(_CLOSE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._pipe.close()

    def begin(self, batch: SequenceBatch) -> None:
        """Start an update; the one before it has been finished."""
        assert not self._running
        self._say(_UPDATE + pickle.dumps((batch, self._learner.dials)))
        self._running = True

    def finish(self) -> UpdateResult | None:
        """Wait for the update in progress and show its weights to the actor; None if there is none.

        Raises:
            NotFiniteError: as the learner's `update`.
            LearnerDiedError: the process has ended.
        """
        if not self._running:
            return None
        self._running = False
        result: UpdateResult
        result, seconds = pickle.loads(self._hear())  # from our own child process, not from disk
        self.busy_seconds += seconds
        copy_weights(self._weights, self._learner.networks.actor)
        return result

    def bring_back(self) -> None:
        """Make networks and optimiser of the learner here what they are there; no update is in progress."""
        assert not self._running
        self._say(_STATE)
        state = torch.load(io.BytesIO(self._hear()), weights_only=True)
        learner, dials = self._learner, self._learner.dials  # turned since the last update, perhaps
        learner.load_state_dict({**state, "generator": learner.generator.get_state()})
        learner.turn(dials)

    def _say(self, message: bytes) -> None:
        try:
            self._pipe.send_bytes(message)
        except OSError as error:
            raise self._died() from error

    def _hear(self) -> bytes:
        try:
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if answer[:1] == _NOT_FINITE:
            raise NotFiniteError(answer[1:].decode())
        if answer[:1] == _ERROR:
            raise RuntimeError(f"an update raised:\n{answer[1:].decode()}")
        return answer[1:]

    def _died(self) -> LearnerDiedError:
        cause = cause_of_death(self.process)
        hint = "if it was SIGKILL, the machine may lack memory"
        return LearnerDiedError(f"the process of the updates died: {cause}; {hint}")


def _work(learner: Learner, weights: list[Tensor], pipe: Connection, parents: Connection, parent: int) -> None:
    """Main function of the process: do what the pipe says until it ends, or the parent."""
    parents.close()  # a fork has it too, and while it is open the pipe has no end
    told = Parent(pipe, parent, patient=True)  # it alone has what was learnt: a run that is told to stop saves it first
    torch.set_num_threads(1)
    _keep_memory()
    while (message := told.hear()) is not None and message[:1] != _CLOSE:
        try:
            pipe.send_bytes(_answer(learner, weights, message))
        except ConnectionError:
            return  # the parent is gone


def _keep_memory() -> None:
    """Have the C library keep what is freed: else an update gets its megabytes from the system anew, page by page.

    An update takes a tenth less time. Other libraries than glibc (musl) have no such switch.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, 1 << 30)
        tune(_M_TRIM_THRESHOLD, 1 << 30)


def _answer(learner: Learner, weights: list[Tensor], message: bytes) -> bytes:
    """Do it; what to say of it."""
    try:
        if message[:1] == _STATE:
            file = io.BytesIO()
            torch.save(learner.state_dict(), file)
            return _DONE + file.getvalue()
        started = time.perf_counter()
        batch, dials = pickle.loads(message[1:])
        learner.turn(dials)
        result = learner.update(batch)
        with torch.no_grad():
            torch._foreach_copy_(weights, list(learner.networks.online.parameters()))
        return _DONE + pickle.dumps((result, time.perf_counter() - started))
    except NotFiniteError as error:
        return _NOT_FINITE + str(error).encode()
    except Exception:
        return _ERROR + traceback.format_exc().encode()


def _count(network: HierQ) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _slices(memory: Any, network: HierQ) -> list[Tensor]:
    """Tensors in shared memory, one for each parameter."""
    flat = torch.frombuffer(memory, dtype=torch.float32)
    parameters = list(network.parameters())
    parts = flat.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
