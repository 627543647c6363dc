"""`daddy-puffer evaluate RUN`: what was learnt, in whole episodes from the true start of the game.

In: a checkpoint or a run folder. Out: tables, JSON, CSV, PNG, GIF. A trained agent against others (`comparison`), films
with the way taken (`trajectory`), every checkpoint of a run (`over_training`), when training got where
(`report.firsts`).
"""


def main() -> None:
    """Run the command line; what it needs is imported only now."""
    from daddy_puffer.evaluate.command import main as run

    run()
