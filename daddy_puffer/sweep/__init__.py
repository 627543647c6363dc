"""`python -m daddy_puffer.sweep`: a search for hyperparameters on one machine.

In: a configuration, `sweep.yaml` in upstream's format. Out: a folder of runs, `trials.jsonl`, a table, figures.

space -> searchers -> command (the loop) -> pool (processes, each a `trial`) -> journal -> results, plots
"""

from __future__ import annotations


def main() -> None:
    """Command line; imported when called, for a trial is a process of this package that needs none of it."""
    from daddy_puffer.sweep.command import main as command

    command()
