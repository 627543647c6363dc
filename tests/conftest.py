"""What all tests begin with."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from daddy_puffer.learner.mkl import use_wide_kernels

use_wide_kernels()  # before any test multiplies matrices: processes that tests start must round alike

# a shell ignores SIGINT for whatever it starts in the background, and programs inherit that: tests that interrupt
# themselves or others would wait for nothing
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
