"""`python -m daddy_puffer <command>`."""

from daddy_puffer.cli import main

main()
