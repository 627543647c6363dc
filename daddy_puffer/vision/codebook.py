"""Vector quantisation with a codebook that follows the vectors it stands for.

In: vectors f32 `[N, D]`. Out: the nearest code of each, i64 `[N]`. Knows no pictures.

The codebook is no parameter: each code is a moving average of the vectors that chose it (van den Oord 2017, appendix
A.1; Razavi 2019, 3.1), its counts smoothed as there (Laplace), so that no code is divided by zero. A code that nothing
has chosen for a while is dead: it is put onto a vector of the batch, drawn by its squared distance from its own code
(the rule of k-means++, Arthur & Vassilvitskii 2007). Drawn evenly, most would land on blank cells, which have codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SMOOTHING = 1e-5  # of the counts; that of van den Oord's code


class Codebook(nn.Module):
    """Codes f32 `[K, D]` and what is known of how they are used."""

    codes: Tensor  # [K, D]
    counts: Tensor  # [K] moving average of how many vectors of a batch choose the code
    sums: Tensor  # [K, D] moving average of their sum
    idle_updates: Tensor  # i64 [K] since it was last chosen

    def __init__(self, size: int, dimensions: int, decay: float = 0.99, patience_updates: int = 25) -> None:
        """`decay` of the moving averages, by update; a code idle for `patience_updates` is dead."""
        super().__init__()
        self.decay, self.patience_updates = decay, patience_updates
        codes = functional.layer_norm(torch.randn(size, dimensions), (dimensions,))
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", codes.clone())
        self.register_buffer("idle_updates", torch.zeros(size, dtype=torch.int64))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index i64 `[N]` of the code nearest to each vector f32 `[N, D]`."""
        return self.squared_distances(vectors).argmin(1)

    def squared_distances(self, vectors: Tensor) -> Tensor:
        """Of vectors f32 `[N, D]` from every code f32 `[N, K]`."""
        lengths = (vectors**2).sum(1, keepdim=True) + (self.codes**2).sum(1)
        return torch.addmm(lengths, vectors, self.codes.t(), alpha=-2.0)

    def embed(self, tokens: Tensor) -> Tensor:
        """Codes f32 `[..., D]` of tokens i64 `[...]`."""
        return functional.embedding(tokens, self.codes)

    @torch.no_grad()
    def follow(self, vectors: Tensor, tokens: Tensor) -> None:
        """Move each code towards the vectors `[N, D]` that chose it (`tokens` `[N]`)."""
        chosen = torch.bincount(tokens, minlength=len(self.codes)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, tokens, vectors)
        self.counts.mul_(self.decay).add_(chosen, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + SMOOTHING) / (total + len(self.codes) * SMOOTHING) * total
        self.codes.copy_(self.sums / smoothed[:, None])
        self.idle_updates.add_(1).masked_fill_(chosen > 0, 0)

    @torch.no_grad()
    def restart_dead(self, vectors: Tensor, tokens: Tensor) -> int:
        """Put dead codes onto vectors that have no code near them; returns how many."""
        dead = torch.nonzero(self.idle_updates >= self.patience_updates).flatten()
        distances = ((vectors - self.embed(tokens)) ** 2).sum(1)
        dead = dead[: int((distances > 0).sum())]
        if not len(dead):
            return 0
        vectors = vectors[torch.multinomial(distances, len(dead))]
        self.codes[dead] = self.sums[dead] = vectors
        self.counts[dead] = 1.0
        self.idle_updates[dead] = 0
        return len(dead)
