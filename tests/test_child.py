"""A process of ours and signals to its whole group: none ends it, not even in its first moments."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

import pytest

from daddy_puffer.child import Parent, cause_of_death, signals_held

CONTEXT = multiprocessing.get_context("fork")
BOOT_SECONDS = 0.3


def answer_late(pipe: Connection, parents: Connection, parent: int, patient: bool) -> None:
    """A process that is slow to begin; it sends back what it hears."""
    parents.close()
    time.sleep(BOOT_SECONDS)
    told = Parent(pipe, parent, patient)
    while (message := told.hear()) is not None:
        pipe.send_bytes(message)


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("caught", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_it_listens_does_not_end_it(caught: signal.Signals, patient: bool):
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=answer_late, args=(theirs, ours, os.getpid(), patient), daemon=True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with signals_held():
        process.start()
    theirs.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert process.pid is not None
    os.kill(process.pid, caught)
    ours.send_bytes(b"there?")
    assert ours.poll(10) and ours.recv_bytes() == b"there?"
    if not patient and caught != signal.SIGINT:
        process.join(10)  # it was told to leave, and nothing more is asked of it
        assert cause_of_death(process) == "exit code 0"
    ours.close()
    process.join(10)
    assert process.exitcode == 0


def test_a_signal_to_whoever_starts_it_waits_for_the_end():
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        with signals_held():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            assert heard == []
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
