"""What every command line has in common: options become overrides, a failure becomes an exit code.

In: a function with Typer annotations. Out: a program. A `UserError` is one line on stderr and exit code 1; anything
else is a traceback and exit code 1; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from daddy_puffer.config import Config, load_config
from daddy_puffer.errors import UserError


def run_command(function: Callable[..., None]) -> None:
    """Parse the command line for `function` and call it."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(guarded)
    # click takes a program behind `python -m` for one of its modules; ours may be a command of `daddy-puffer`
    app(prog_name=sys.argv[0] if sys.argv[0].startswith("daddy-puffer ") else None)


def resolve(config: Path | None, resume: Path | None, **options: Any) -> tuple[Config, Path | None]:
    """Configuration and checkpoint of a training command.

    The settings come from `config`, else from the checkpoint to go on from, else from the defaults; an option that
    was given overrides them. Option names are the settings' dotted names with "__" for ".".
    """
    from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint  # commands that train nothing do without

    checkpoint = None if resume is None else find_checkpoint(resume)
    if config is None and checkpoint is not None:
        config = checkpoint / CONFIG_FILE
    return load_config(config, {name.replace("__", "."): value for name, value in options.items()}), checkpoint
