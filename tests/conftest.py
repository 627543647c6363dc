"""What all tests begin with."""

from __future__ import annotations

import signal

# a shell ignores SIGINT for whatever it starts in the background, and programs inherit that: tests that interrupt
# themselves or others would wait for nothing
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
