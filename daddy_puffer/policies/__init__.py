"""HierQ: encoder, three memories in series, dueling Q head; epsilon-greedy as a distribution. No envs, no replay."""
