"""The command line of `daddy-puffer watch`. In: a run folder and a port. Out: a page until Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.watch.moment import Moment
from daddy_puffer.watch.server import Watcher

PORT = 8765


def watch(
    run: Annotated[Path, typer.Argument(help="run folder; the run may go on, be over, or begin anew")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of this machine; 0 = any that is free")] = PORT,
) -> None:
    """Show a run as a live page on this machine, until Ctrl-C."""
    with Watcher(Moment(run), port) as server:
        for number in (signal.SIGINT, signal.SIGTERM):  # also where a script started it with Ctrl-C ignored
            signal.signal(number, signal.default_int_handler)
        print(f"watching {run} at {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> None:
    """Run the command line."""
    run_command(watch)
