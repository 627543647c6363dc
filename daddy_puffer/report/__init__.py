"""`daddy-puffer report RUN...`: what runs did, as one page and as figures.

In: run folders, also old, partial or growing ones. Out: a self-contained HTML page, PNG and SVG figures. Reading
(`runs`), arithmetic (`statistics`, `lineage`, `world`), figures (`curves`, `pictures`) and the page (`page`) are
apart; nothing here knows an emulator or a network.
"""


def main() -> None:
    """Run the command line; what it needs is imported only now, so that `runs` can be had without it."""
    from daddy_puffer.report.command import main as run

    run()
