"""`python -m daddy_puffer.sweep`."""

from daddy_puffer.sweep import main

if __name__ == "__main__":
    main()
