"""Runs at the start of every Python beside which daddy_puffer is installed, through `daddy_puffer.pth`.

Adds one import finder and nothing else: it answers for `pokemonred_puffer.{policies,rewards,wrappers}.daddy_puffer`,
and when `python -m pokemonred_puffer.train` was started with our name among its arguments, it lets
`daddy_puffer/plugin.py` complete the command line before that package is imported. Imports only what Python itself has
imported by then; everything else waits until it is needed.
"""

import sys

TYPE_CHECKING = False  # as typing's, whose import would cost more than all the rest
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

HOST = "pokemonred_puffer"
NAME = "daddy_puffer"
ANSWERED = frozenset(f"{HOST}.{kind}.{NAME}" for kind in ("policies", "rewards", "wrappers"))


class Loader:
    """Fills one of our modules inside the host's packages."""

    def create_module(self, spec: "ModuleSpec") -> None:
        """The usual kind."""

    def exec_module(self, module: "ModuleType") -> None:
        """Names are looked up when they are asked for."""
        from daddy_puffer import plugin

        plugin.fill(module)


class Finder:
    """First in line, since it has to see the host's name before the host is found; it never finds the host itself."""

    def __init__(self) -> None:
        """The command line is completed at most once."""
        self._completed = False

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """A spec for our three names, None for everything else."""
        if not fullname.startswith(HOST):
            return None
        if fullname in ANSWERED:
            return type(sys.__spec__)(fullname, Loader(), origin=NAME)  # type: ignore[arg-type]
        if fullname == HOST and not self._completed:
            self._completed = True
            self._complete()
        return None

    def _complete(self) -> None:
        if started_module() == f"{HOST}.train" and any(NAME in argument for argument in sys.argv[1:]):
            from daddy_puffer import plugin

            plugin.complete_command_line()


def started_module() -> str:
    """The module that `python -m` was started with, or an empty string."""
    original = getattr(sys, "orig_argv", ())
    if sys.argv[:1] != ["-m"] or len(original) < len(sys.argv):
        return ""
    # orig_argv is the interpreter, its own options, `-m module` or `-mmodule`, then what argv has after its first
    return original[len(original) - len(sys.argv)].removeprefix("-m")


def install() -> None:
    """Put the finder in front, once."""
    if not any(type(finder).__name__ == "Finder" and type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


install()
