"""`python -m daddy_puffer.report`."""

from daddy_puffer.report import main

if __name__ == "__main__":
    main()
