"""Records on their way to the sinks, in a thread of their own. In: records. Out: every sink gets every record.

`emit` never waits: it puts a record into a queue. The queue is bounded for sampled step rows: where the sinks cannot
keep up they are dropped and counted. All other records are few and small (an episode 300 bytes): none is ever dropped,
the queue grows. `flush` does wait, at most `FLUSH_SECONDS`; a trainer calls it before a checkpoint is written, so that
a run that is killed later and resumed from there lacks nothing, and says so where that is not certain.

A sink that cannot write because the disk is full gets what it missed later, in order; training goes on meanwhile.
A sink that fails in another way is switched off, and its exception is raised when the context ends.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

from daddy_puffer.telemetry.records import Interval, Record, StepRows
from daddy_puffer.telemetry.sinks import Sink

QUEUE_ROWS = 256  # batches of sampled rows that may wait
RETRY_SECONDS = 10.0  # between two attempts of a sink whose disk is full
FLUSH_SECONDS = 30.0
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EROFS}  # worth another attempt

_log = logging.getLogger(__name__)


class Telemetry:
    """Hands every record to every sink; a context that writes what is left and closes them."""

    def __init__(
        self, sinks: Sequence[Sink], *, queue_rows: int = QUEUE_ROWS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        """Take the sinks; from the start of the context on they belong to another thread."""
        self._ways = [_Way(sink, queue_rows, retry_seconds) for sink in sinks]
        self._queue: deque[Record | _Flush] = deque()
        self._queue_rows, self._waiting_rows = queue_rows, 0
        self._changed = threading.Condition()
        self._closing = False
        self._dropped = 0
        self._emit_seconds = self._busy_seconds = 0.0
        self._before = (time.perf_counter(), 0.0, 0.0)
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)

    @property
    def dropped(self) -> int:
        """Batches of sampled step rows that were lost so far."""
        return self._dropped + sum(way.dropped for way in self._ways)

    @property
    def emit_seconds(self) -> float:
        """What `emit` has cost its caller so far."""
        return self._emit_seconds

    def emit(self, record: Record) -> None:
        """Hand one record over; returns at once. An interval gets the writing's own measurements as well."""
        began = time.perf_counter()
        if isinstance(record, Interval):
            record = self._measured(record, began)
        with self._changed:
            if isinstance(record, StepRows):
                if self._waiting_rows >= self._queue_rows:
                    self._drop()
                    return
                self._waiting_rows += 1
            self._queue.append(record)
            self._changed.notify()
        self._emit_seconds += time.perf_counter() - began

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all that was emitted is written; False when that takes longer, or a sink cannot write.

        A sink that is switched off is not waited for: it has been reported, and will write no more.
        """
        if not self._thread.is_alive():
            return True
        flush = _Flush()
        with self._changed:
            self._queue.append(flush)
            self._changed.notify()
        return flush.done.wait(seconds) and flush.whole

    def __enter__(self) -> Telemetry:
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left and close every sink, also when one of them fails."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self.dropped:
            _log.warning("steps/ lacks %d batches of sampled rows: the disk was too slow or full", self.dropped)
        failures = [way.failure for way in self._ways if way.failure is not None]
        if failures and error is None:
            raise failures[0]

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped == 1:
            _log.warning("the disk is too slow for steps/: sampled rows are dropped (metric telemetry/dropped)")

    def _measured(self, interval: Interval, now: float) -> Interval:
        then, emitting, busy = self._before
        wall = max(now - then, 1e-9)
        self._before = (now, self._emit_seconds, self._busy_seconds)
        return interval.with_values(
            {
                "telemetry/emit": (self._emit_seconds - emitting) / wall,
                "telemetry/busy": (self._busy_seconds - busy) / wall,
                "telemetry/dropped": float(self.dropped),
            }
        )

    def _next(self) -> Record | _Flush | None:
        """The next thing to do; None at the end. Wakes sinks up that wait for another attempt meanwhile."""
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(timeout=1.0)
                if self._queue:
                    record = self._queue.popleft()
                    self._waiting_rows -= isinstance(record, StepRows)
                    return record
                if self._closing:
                    return None
            for way in self._ways:
                way.try_again()

    def _work(self) -> None:
        while (record := self._next()) is not None:
            began = time.perf_counter()
            for way in self._ways:
                if isinstance(record, _Flush):
                    record.whole &= way.flush()
                else:
                    way.take(record)
            self._busy_seconds += time.perf_counter() - began
            if isinstance(record, _Flush):
                record.done.set()
        for way in self._ways:
            way.close()


class _Flush:
    """Stands in the queue behind what is to be written."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.whole = True  # every sink has written everything


class _Way:
    """The way to one sink, with what it could not take yet."""

    def __init__(self, sink: Sink, queue_rows: int, retry_seconds: float) -> None:
        self.sink = sink
        self.failure: Exception | None = None
        self.dropped = 0
        self._missed: deque[Record] = deque()
        self._missed_rows = 0  # how many of them are sampled rows
        self._queue_rows, self._retry_seconds = queue_rows, retry_seconds
        self._retry_at = 0.0

    def take(self, record: Record) -> None:
        """Hand the record on, now or later."""
        if self.failure is not None:
            return
        is_rows = isinstance(record, StepRows)
        if is_rows and self._missed_rows >= self._queue_rows:
            self.dropped += 1
        elif self._missed or not self.guarded(lambda: self.sink.take(record)):
            self._missed.append(record)
            self._missed_rows += is_rows
        self.try_again()

    def try_again(self) -> None:
        """Hand on what was missed, if it is time."""
        if self._missed and time.monotonic() >= self._retry_at:
            self._catch_up()

    def flush(self) -> bool:
        """Hand on what was missed, now; False when something still is."""
        self._catch_up()
        return self.guarded(self.sink.flush) and not self._missed

    def close(self) -> None:
        """One last attempt, then close."""
        self._catch_up()
        if self._missed:
            _log.warning("%s lacks its last %d records: the disk is full", self._name, len(self._missed))
        try:
            self.sink.close()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                _log.warning("%s was closed early: %s", self._name, error)
            else:
                self.failure = self.failure or error

    def guarded(self, act: Callable[[], None]) -> bool:
        """Do it; False when it should be tried again."""
        if self.failure is not None:
            return True
        try:
            act()
        except OSError as error:
            if error.errno not in _PASSING:
                self._switch_off(error)
                return True
            if not self._missed and time.monotonic() >= self._retry_at:
                later = f"training goes on, next attempt in {self._retry_seconds:g} s"
                _log.warning("%s cannot write: %s; %s", self._name, error.strerror, later)
            self._retry_at = time.monotonic() + self._retry_seconds
            return False
        except Exception as error:
            self._switch_off(error)
        return True

    def _catch_up(self) -> None:
        missed = len(self._missed)
        while self._missed and self.failure is None:
            record = self._missed[0]
            if not self.guarded(lambda record=record: self.sink.take(record)):  # type: ignore[misc]
                return
            if self._missed:  # a sink that is switched off has forgotten them
                self._missed_rows -= isinstance(self._missed.popleft(), StepRows)
        if missed and self.failure is None:
            _log.warning("%s can write again: %d records that it missed are there now", self._name, missed)

    def _switch_off(self, error: Exception) -> None:
        self.failure = error
        self._missed.clear()
        _log.error("%s is switched off, training goes on: %r", self._name, error)

    @property
    def _name(self) -> str:
        return type(self.sink).__name__
