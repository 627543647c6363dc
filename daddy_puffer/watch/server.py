"""Answers a browser on this machine. In: a `Moment`. Out: HTTP on the loopback address; reads only, no file by name.

    /        the page            /live    looks since the last one, screens if there are newer ones
    /world   where the maps lie  /curves  curves, if they have changed

A request under another host name is refused: a page from elsewhere, open in the same browser, is not to read this one.
"""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from daddy_puffer.errors import UserError
from daddy_puffer.watch.moment import Moment

ADDRESS = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost")
_GZIP_FROM = 2048  # bytes
_JSON, _HTML = "application/json", "text/html; charset=utf-8"
_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
_GONE = (BrokenPipeError, ConnectionResetError, TimeoutError)


class Watcher(ThreadingHTTPServer):
    """Serves one run; a thread for each request, so that a slow browser holds up no other."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, moment: Moment, port: int) -> None:
        """Listen on `port` of the loopback address, 0 = any that is free.

        Raises:
            UserError: the port is taken, or not ours to take.
        """
        self.moment = moment
        self.page = resources.files("daddy_puffer").joinpath("watch/page.html").read_bytes()
        try:
            super().__init__((ADDRESS, port), _Answers)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is in use" if taken else f"cannot be listened on ({error.strerror})"
            raise UserError(f"port {port} {why}: give another --port, 0 for any that is free") from error

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        import sys

        if not isinstance(sys.exc_info()[1], _GONE):
            super().handle_error(request, client_address)


class _Answers(BaseHTTPRequestHandler):
    """One browser's requests."""

    server: Watcher
    protocol_version = "HTTP/1.1"
    timeout = 60.0  # of an idle connection

    def do_GET(self) -> None:
        """Answer."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in _HOSTS:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for its own machine\n")
            return
        target = urlsplit(self.path)
        asked = parse_qs(target.query)
        moment = self.server.moment
        answers: dict[str, Callable[[], Any]] = {
            "/world": moment.world,
            "/live": lambda: moment.live(
                _int(asked, "session", 0), _int(asked, "since", -1), _int(asked, "screens", -1)
            ),
            "/curves": lambda: moment.curves(_int(asked, "version", 0)),
        }
        if target.path == "/":
            self._send(HTTPStatus.OK, _HTML, self.server.page)
        elif target.path in answers:
            body = json.dumps(answers[target.path](), separators=(",", ":"), allow_nan=False)
            self._send(HTTPStatus.OK, _JSON, body.encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        headers = {"Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if kind == _HTML:
            headers["Content-Security-Policy"] = _POLICY
        if len(body) >= _GZIP_FROM and "gzip" in (self.headers.get("Accept-Encoding") or ""):
            body, headers["Content-Encoding"] = gzip.compress(body, compresslevel=1), "gzip"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a browser asks twice a second."""


def _int(asked: dict[str, list[str]], name: str, otherwise: int) -> int:
    """A number of the query; what is none counts as not given."""
    try:
        return int(asked[name][0])
    except (KeyError, ValueError):
        return otherwise
