"""`python -m daddy_puffer.evaluate`."""

from daddy_puffer.evaluate import main

if __name__ == "__main__":
    main()
