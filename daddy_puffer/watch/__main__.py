"""`python -m daddy_puffer.watch`."""

from daddy_puffer.watch import main

if __name__ == "__main__":
    main()
