"""Learning: networks, one update, the trainer loop, checkpoints. In: sequences out of replay. Out: a better policy."""
