"""`python -m daddy_puffer.imitate`."""

from daddy_puffer.imitate import main

if __name__ == "__main__":
    main()
