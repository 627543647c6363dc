"""Records on their way to the sinks, in a thread of their own. In: records. Out: every sink gets every record.

`emit` never waits: it puts a record into a queue. The queue is bounded: where the sinks cannot keep up, sampled step
rows are soon dropped and counted. All other records are few and small: they are dropped only where `QUEUE_RECORDS` of
them wait. `flush` does wait, at most `FLUSH_SECONDS`; a trainer calls it before a checkpoint is written, so that a run
that is killed later and resumed from there lacks nothing, and says so where that is not certain. The context's end
waits for the sinks as long as they get on.

A sink that cannot write because the disk is full gets what it missed later, in order; training goes on meanwhile.
A sink that fails in another way is switched off, and its exception is raised when the context ends.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from daddy_puffer.telemetry.records import Interval, Record, StepRows
from daddy_puffer.telemetry.sinks import Sink

QUEUE_ROWS = 256  # batches of sampled rows that may wait
QUEUE_RECORDS = 100_000  # other records that may: about 100 MB
RETRY_SECONDS = 10.0  # between two attempts of a sink whose disk is full
FLUSH_SECONDS = 30.0
CLOSE_SECONDS = 120.0  # that a sink may take over one thing at the end
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EROFS}  # worth another attempt

_log = logging.getLogger(__name__)
_Waiting = TypeVar("_Waiting")


class Telemetry:
    """Hands every record to every sink; a context that writes what is left and closes them."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        queue_rows: int = QUEUE_ROWS,
        queue_records: int = QUEUE_RECORDS,
        retry_seconds: float = RETRY_SECONDS,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        """Take the sinks; from the start of the context on they belong to another thread."""
        self._ways = [_Way(sink, _Queue(queue_rows, queue_records), retry_seconds) for sink in sinks]
        self._queue: _Queue[Record | _Flush] = _Queue(queue_rows, queue_records)
        self._close_seconds = close_seconds
        self._changed = threading.Condition()
        self._closing = False
        self._at = ""  # the sink that the thread is busy with, or was
        self._emit_seconds = self._busy_seconds = 0.0
        self._before = (time.perf_counter(), 0.0, 0.0)
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)

    @property
    def dropped(self) -> int:
        """Records that were lost so far, a batch of sampled step rows being one."""
        return sum(queue.dropped_rows + queue.dropped_records for queue in self._queues)

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
            if not self._queue.append(record):
                self._warn_of_drop(record)
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
        """Write what is left and close every sink, also when one of them fails; one that is stuck is left."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._wait_for_the_end()
        if rows := sum(queue.dropped_rows for queue in self._queues):
            _log.warning("steps/ lacks %d batches of sampled rows: the disk was too slow or full", rows)
        if records := sum(queue.dropped_records for queue in self._queues):
            _log.warning("the logs lack %d records: the disk was too slow or full for too long", records)
        failures = [way.failure for way in self._ways if way.failure is not None]
        if failures and error is None:
            raise failures[0]

    def _warn_of_drop(self, record: Record) -> None:
        """Once for each kind."""
        if isinstance(record, StepRows):
            if self._queue.dropped_rows == 1:
                _log.warning("the disk is too slow for steps/: sampled rows are dropped (metric telemetry/dropped)")
        elif self._queue.dropped_records == 1:
            _log.warning("the logs are too slow or stuck: records are dropped (metric telemetry/dropped)")

    @property
    def _queues(self) -> list[_Queue[Any]]:
        return [self._queue, *(way.missed for way in self._ways)]

    def _wait_for_the_end(self) -> None:
        """Return when the thread has ended, or has been at the same thing for too long."""
        before, since = -1, 0.0
        while self._thread.is_alive():
            attempts = sum(way.attempts for way in self._ways)
            if attempts != before or any(way.sink.waits for way in self._ways):
                before, since = attempts, time.monotonic()
            elif time.monotonic() - since >= self._close_seconds:
                stuck, wait = f"{self._at} has been stuck for {self._close_seconds:g} s", len(self._queue)
                _log.warning("%s: the run ends without it, %d records still wait", stuck, wait)
                return
            self._thread.join(min(1.0, self._close_seconds))

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
                    return self._queue.popleft()
                if self._closing:
                    return None
            for way in self._each_way():
                way.try_again()

    def _each_way(self) -> Iterator[_Way]:
        for way in self._ways:
            self._at = way.name
            yield way

    def _work(self) -> None:
        while (record := self._next()) is not None:
            began = time.perf_counter()
            for way in self._each_way():
                if isinstance(record, _Flush):
                    record.whole &= way.flush()
                else:
                    way.take(record)
            self._busy_seconds += time.perf_counter() - began
            if isinstance(record, _Flush):
                record.done.set()
        for way in self._each_way():
            way.close()


class _Flush:
    """Stands in the queue behind what is to be written."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.whole = True  # every sink has written everything


class _Queue(Generic[_Waiting]):
    """What waits, oldest first; a record for which there is no room is dropped and counted."""

    def __init__(self, most_rows: int, most_records: int) -> None:
        self.dropped_rows = self.dropped_records = 0
        self._most_rows, self._most_records = most_rows, most_records
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0  # how many of them are sampled rows

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, record: _Waiting) -> bool:
        """False where it was dropped."""
        if isinstance(record, StepRows):
            if self._rows >= self._most_rows:
                self.dropped_rows += 1
                return False
            self._rows += 1
        elif len(self._waiting) - self._rows >= self._most_records and not isinstance(record, _Flush):
            self.dropped_records += 1
            return False
        self._waiting.append(record)
        return True

    def first(self) -> _Waiting:
        return self._waiting[0]

    def popleft(self) -> _Waiting:
        record = self._waiting.popleft()
        self._rows -= isinstance(record, StepRows)
        return record

    def clear(self) -> None:
        self._waiting.clear()
        self._rows = 0


class _Way:
    """The way to one sink, with what it could not take yet."""

    def __init__(self, sink: Sink, missed: _Queue[Record], retry_seconds: float) -> None:
        self.sink, self.missed = sink, missed
        self.failure: Exception | None = None
        self.attempts = 0
        self._retry_seconds = retry_seconds
        self._retry_at = 0.0

    def take(self, record: Record) -> None:
        """Hand the record on, now or later."""
        if self.failure is not None:
            return
        if self.missed or not self.guarded(lambda: self.sink.take(record)):
            self.missed.append(record)
        self.try_again()

    def try_again(self) -> None:
        """Hand on what was missed, if it is time."""
        if self.missed and time.monotonic() >= self._retry_at:
            self._catch_up()

    def flush(self) -> bool:
        """Hand on what was missed, now; False when something still is."""
        self._catch_up()
        return self.guarded(self.sink.flush) and not self.missed

    def close(self) -> None:
        """One last attempt, then close."""
        self._catch_up()
        if self.missed:
            _log.warning("%s lacks its last %d records: the disk is full", self.name, len(self.missed))
        try:
            self.sink.close()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                _log.warning("%s was closed early: %s", self.name, error)
            else:
                self.failure = self.failure or error

    def guarded(self, act: Callable[[], None]) -> bool:
        """Do it; False when it should be tried again."""
        if self.failure is not None:
            return True
        self.attempts += 1
        try:
            act()
        except OSError as error:
            if error.errno not in _PASSING:
                self._switch_off(error)
                return True
            if not self.missed and time.monotonic() >= self._retry_at:
                later = f"training goes on, next attempt in {self._retry_seconds:g} s"
                _log.warning("%s cannot write: %s; %s", self.name, error.strerror, later)
            self._retry_at = time.monotonic() + self._retry_seconds
            return False
        except Exception as error:
            self._switch_off(error)
        return True

    def _catch_up(self) -> None:
        missed = len(self.missed)
        while self.missed and self.failure is None:
            record = self.missed.first()
            if not self.guarded(lambda record=record: self.sink.take(record)):  # type: ignore[misc]
                return
            if self.missed:  # a sink that is switched off has forgotten them
                self.missed.popleft()
        if missed and self.failure is None:
            _log.warning("%s can write again: %d records that it missed are there now", self.name, missed)

    def _switch_off(self, error: Exception) -> None:
        self.failure = error
        self.missed.clear()
        _log.error("%s is switched off, training goes on: %r", self.name, error)

    @property
    def name(self) -> str:
        return type(self.sink).__name__
