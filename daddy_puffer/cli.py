"""`daddy-puffer <command>`: the same programs as `python -m daddy_puffer.<command>` (replay: `replay_run`).

In: the command line. Out: the exit code of the program called. A command is imported only when it is called, so
that asking for help does not load a deep-learning framework.
"""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train_big": "train a HierQ agent, every setting an option",
    "train_slim": "train a slim HierQ agent with the settings of a file",
    "sweep": "search for hyperparameters with many runs, resumable",
    "evaluate": "compare a trained agent with others, also over training; GIFs",
    "report": "what runs did: one page with curves, maps and videos",
    "debug_rollout": "look at a rollout: a line a step, flags, films",
    "replay": "play recorded buttons again, compare the memory, film",
    "demos": "record demonstrations: script, person, checkpoint; verify them",
    "imitate": "learn from demonstrations: behavioural cloning or DAgger",
    "frames": "collect frames of runs without actions, import films",
    "pretrain": "learn from frames: a tokenizer, what comes next, a reward",
    "watch": "show a run, going on or over, as a live page on this machine",
    "doctor": "what is installed, missing or clashing, with the cure",
    "demo": "train a few minutes on the practice cartridge, evaluate, film",
}
# where the module is not called as the command; for replay, there is a package of that name
MODULES = {"replay": "replay_run", "frames": "pretraining.frames_command", "pretrain": "pretraining.command"}


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<14} {text}" for name, text in COMMANDS.items()]
    return "usage: daddy-puffer COMMAND [OPTIONS]\n\n" + "\n".join(lines) + "\n\ndaddy-puffer COMMAND --help tells more"


def main() -> None:
    """Call the command named first."""
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help") else ""
    if not name:
        print(usage())
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    if name not in COMMANDS:
        print(f"error: no command {sys.argv[1]!r}\n{usage()}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"daddy-puffer {sys.argv[1]}", *sys.argv[2:]]
    import_module(f"daddy_puffer.{MODULES.get(name, name)}").main()


if __name__ == "__main__":
    main()
