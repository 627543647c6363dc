"""Networks and losses for frames, without actions: tokenizer, dynamics, codebook, structural loss, measures.

In and out: tensors. Knows no game, no emulator, no files but its own checkpoints.
"""
