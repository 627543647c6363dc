"""`daddy-puffer watch RUN`: a local page that shows a run while it goes on, or how it ended.

In: a run folder. Out: a page and its data, for this machine only. Where the maps lie (`world`), what the curves are
(`curves`), the data of one moment (`moment`) and the answers to a browser (`server`) are apart; nothing here knows an
emulator or a network, and nothing is written: the run does not notice.
"""


def main() -> None:
    """Run the command line; what it needs is imported only now."""
    from daddy_puffer.watch.command import main as run

    run()
