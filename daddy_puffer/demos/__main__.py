"""`python -m daddy_puffer.demos`."""

from daddy_puffer.demos import main

if __name__ == "__main__":
    main()
