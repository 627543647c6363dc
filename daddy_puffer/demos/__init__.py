"""`daddy-puffer demos record|verify`: episodes that somebody played, as files that can be learnt from and checked.

In: an environment and a player. Out: `episode_0001.npz`, ... Knows no network but a checkpoint's that plays.

images -> game (what a player sees) -> players, human -> record -> episode (the file) -> verify (plays it again)
"""

from __future__ import annotations


def main() -> None:
    """Command line; imported when called: learning from demonstrations needs none of it."""
    from daddy_puffer.demos.command import main as command

    command()
