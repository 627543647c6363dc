"""`daddy-puffer imitate bc|evaluate`: a network learns to do what demonstrations do.

In: a folder of `demos`. Out: a folder of checkpoints, TensorBoard's files, `evaluations.jsonl`.

data (demonstrations as rows) -> impala, students (what learns) -> bc (the algorithm) -> evaluation -> command
"""

from __future__ import annotations


def main() -> None:
    """Command line; imported when called."""
    from daddy_puffer.imitate.command import main as command

    command()
