"""The connection to a Ray cluster, or to a Ray of this machine alone that is started and ended with it.

In: the environment variable RAY_ADDRESS ("10.0.0.1:6379", or "auto" for the cluster of this node). Out: the `ray`
module, connected. Knows no environment.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daddy_puffer.errors import UserError

ADDRESS = "RAY_ADDRESS"
_OBJECT_STORE_BYTES = 256 << 20  # of a local Ray: a step of a thousand environments is some 10 MB
_WATCHED = (signal.SIGINT, signal.SIGTERM)


class RayCluster:
    """Connects; `close` disconnects, and ends a Ray that was started here. One that was connected before stays so."""

    def __init__(self, num_workers: int) -> None:
        """Connect to where RAY_ADDRESS says, else start a Ray with room for `num_workers`.

        Raises:
            UserError: there is no Ray, nobody answers at the address, or the cluster is too small.
        """
        self.ray = _import_ray()
        address = os.environ.get(ADDRESS, "")
        if "://" in address:  # the client protocol has no shared memory, and other failures
            raise UserError(f"{ADDRESS} {address} is for Ray's client: start on a node of the cluster, with host:port")
        self._connected_here = not self.ray.is_initialized()
        self._folder: Path | None = None
        try:
            if self._connected_here:
                with _handlers_kept():
                    self._join(address) if address else self._start(num_workers)
            cpus = int(self.ray.cluster_resources().get("CPU", 0))
            if cpus < num_workers:
                raise UserError(f"the Ray cluster has {cpus} CPUs for {num_workers} workers: lower train.num_workers")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave nothing of ours; may be called twice."""
        if self._connected_here:
            with _handlers_kept():
                self.ray.shutdown()
        self._connected_here = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _join(self, address: str) -> None:
        try:
            self.ray.init(address=address, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"no Ray cluster at {ADDRESS} {address}: {reason}") from error

    def _start(self, num_workers: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a training run is reported anywhere
        # its sockets lie there, and a socket's path must be short
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() else None))
        self.ray.init(
            address="local",  # not whatever else runs on this machine
            num_cpus=num_workers,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,
            _temp_dir=str(self._folder),
        )


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("train.vectorization ray needs Ray: pip install ray (or daddy_puffer[ray])") from error


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself and exits at once; the run's own handlers write a checkpoint first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.getsignal(number)) for number in _WATCHED]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
