"""What one observation says: features `[N, D]` of packed frames, visited cells and structured numbers.

In: frames u8 `[N, stack, 72, 20]` (2 bits a pixel) or `[N, stack, 72, 80]`, visited u8 `[N, 9, 10]`, structured f32
`[N, F]`. Out: f32 `[N, D]`. Knows no time, no game but the grid of its screen.

The screen is a grid of 4x4-pixel tiles, 2x2 of which are one cell the player can stand on; between actions it is
aligned, with the player on cell (4, 4). So the three convolutions have windows that touch but do not overlap: tile by
tile (4x4 pixels), cell by cell (2x2 tiles), block by block (3x3 cells, of which the player's neighbourhood is one; the
10 columns are filled up to 12). That makes each a plain matrix product. A visited cell is two numbers for its 8x8
pixels (been there; how often, as a level), so it enters where a cell is one place; that is the same as constant 8x8
patches of two extra channels.

On a CPU more time goes into moving unpacked frames through main memory than into arithmetic, hence `_Tower`: it takes
a few frames at a time through all three while they are in the cache, and unpacks again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from daddy_puffer.policies.precision import in_float32, without_autocast
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, SCREEN_WIDTH, VISITED_SHAPE

TILE = 4  # pixels of a tile's side, and pixels in a byte
CELL_ROWS, CELL_COLUMNS = VISITED_SHAPE  # of 2x2 tiles
CELLS = CELL_ROWS * CELL_COLUMNS
BLOCK = 3  # cells of a block's side
BLOCK_ROWS = CELL_ROWS // BLOCK
BLOCK_COLUMNS = -(-CELL_COLUMNS // BLOCK)
BLOCKS = BLOCK_ROWS * BLOCK_COLUMNS
CPU_CHUNK_FRAMES = 128  # frames unpacked at a time, 3 MB; measured fastest of 32 to 512
GPU_CHUNK_FRAMES = 16_384
LEVEL_SCALE = 4.0  # of the levels of visited cells: where the player goes to and fro they soon are 3 to 6
EMBEDDING_SIZE = 16  # numbers an id is looked up as

IdFields = tuple[tuple[str, int, int], ...]  # (vocabulary, field of `structured`, number of ids)

assert (2 * TILE * CELL_ROWS, 2 * TILE * CELL_COLUMNS) == (SCREEN_HEIGHT, SCREEN_WIDTH)


def pack_pixels(frames: Tensor) -> Tensor:
    """Grey levels u8 `[..., 80]` as packed 2-bit levels `[..., 20]`, leftmost pixel in the highest bits."""
    levels = (frames >> 6).unflatten(-1, (-1, TILE))
    return (levels[..., 0] << 6) | (levels[..., 1] << 4) | (levels[..., 2] << 2) | levels[..., 3]


def unpack_tiles(frames: Tensor) -> Tensor:
    """Packed u8 `[N, stack, 72, 20]` to ink 0 (white) .. 3, f32 `[2, N, 4 * stack * 4, 180]`.

    Axes: upper or lower half of the cells; frame; pixel column, stacked frame and pixel row within a tile; tile.
    """
    count, stack = frames.shape[:2]
    tiles = (~frames).view(count, stack, CELL_ROWS, 2, TILE, 2 * CELL_COLUMNS).permute(3, 0, 1, 4, 2, 5)
    lines = tiles.reshape(2, count, 1, stack * TILE, 2 * CELLS)
    shifts = torch.arange(6, -1, -2, dtype=torch.uint8, device=frames.device).view(TILE, 1, 1)
    return (lines >> shifts).bitwise_and_(3).float().flatten(2, 3)


def cells_to_blocks(cells: Tensor) -> Tensor:
    """`[N * 90, C]` to `[N * 12, 9 * C]`; blocks are filled up with zeros."""
    grid = cells.view(-1, CELL_ROWS, CELL_COLUMNS, cells.shape[1])
    full = functional.pad(grid, (0, 0, 0, BLOCK_COLUMNS * BLOCK - CELL_COLUMNS))
    parts = full.view(-1, BLOCK_ROWS, BLOCK, BLOCK_COLUMNS, BLOCK, cells.shape[1])
    return parts.transpose(2, 3).reshape(-1, BLOCK**2 * cells.shape[1])


def blocks_to_cells(blocks: Tensor) -> Tensor:
    """The inverse of `cells_to_blocks`."""
    parts = blocks.view(-1, BLOCK_ROWS, BLOCK_COLUMNS, BLOCK, BLOCK, blocks.shape[1] // BLOCK**2)
    full = parts.transpose(2, 3).reshape(-1, CELL_ROWS, BLOCK_COLUMNS * BLOCK, parts.shape[-1])
    return full[:, :, :CELL_COLUMNS].reshape(-1, parts.shape[-1])


class _Tower(torch.autograd.Function):
    """The three convolutions, each with a rectifier: packed frames and `seen` f32 `[N * 90, 2]` to `[N * 12, C3]`.

    Weights: tile `[4 * stack * 4, C1]`, cell `[2, 2 * C1, C2]` (upper, lower half), seen `[2, C2]`,
    block `[9 * C2, C3]`; a bias for each of the three.
    """

    @staticmethod
    @in_float32
    def forward(ctx: Any, frames: Tensor, seen: Tensor, *weights: Tensor) -> Tensor:
        tile, tile_bias, cell, seen_weight, cell_bias, block, block_bias = weights
        count, channels = len(frames), tile.shape[1]
        tiles = tile.new_empty(2, count, 2 * CELLS, channels)
        blocks = tile.new_empty(count * BLOCKS, block.shape[0])
        out = tile.new_empty(count * BLOCKS, block.shape[1])
        for begin, end in _chunks(frames):
            ink = unpack_tiles(frames[begin:end])
            cells = torch.addmm(cell_bias, seen[begin * CELLS : end * CELLS], seen_weight)
            for half in range(2):
                part = tiles[half, begin:end]
                torch.matmul(ink[half].transpose(1, 2), tile, out=part)
                part.add_(tile_bias).relu_()
                cells.addmm_(part.view(-1, 2 * channels), cell[half])
            rows = slice(begin * BLOCKS, end * BLOCKS)
            blocks[rows] = cells_to_blocks(cells.relu_())
            torch.addmm(block_bias, blocks[rows], block, out=out[rows]).relu_()
        ctx.save_for_backward(frames, seen, tiles, blocks, out, cell, block)
        return out

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        frames, seen, tiles, blocks, out, cell, block = ctx.saved_tensors
        channels = tiles.shape[-1]
        inputs = frames.shape[1] * TILE * TILE
        sizes = (
            (inputs, channels),
            (channels,),
            cell.shape,
            (seen.shape[1], cell.shape[2]),
            (cell.shape[2],),
            block.shape,
        )
        total = [grad.new_zeros(size) for size in (*sizes, (block.shape[1],))]
        rectify = torch.ops.aten.threshold_backward
        for begin, end in _chunks(frames):
            rows = slice(begin * BLOCKS, end * BLOCKS)
            through = rectify(grad[rows], out[rows], 0)
            total[5].addmm_(blocks[rows].t(), through)
            total[6] += through.sum(0)
            through = blocks_to_cells(rectify(through @ block.t(), blocks[rows], 0))
            total[3].addmm_(seen[begin * CELLS : end * CELLS].t(), through)
            total[4] += through.sum(0)
            ink = unpack_tiles(frames[begin:end])
            for half in range(2):
                part = tiles[half, begin:end]
                total[2][half].addmm_(part.view(-1, 2 * channels).t(), through)
                to_tiles = rectify((through @ cell[half].t()).view_as(part), part, 0)
                total[0] += torch.bmm(ink[half], to_tiles).sum(0)
                total[1] += to_tiles.sum((0, 1))
        return None, None, *total


def _chunks(frames: Tensor) -> list[tuple[int, int]]:
    limit = CPU_CHUNK_FRAMES if frames.device.type == "cpu" else GPU_CHUNK_FRAMES
    size = max(1, limit // frames.shape[1])
    return [(begin, min(begin + size, len(frames))) for begin in range(0, len(frames), size)]


class ScreenEncoder(nn.Module):
    """Frames and visited cells to `[N, size]`."""

    def __init__(self, stack: int, channels: tuple[int, int, int], size: int):
        """`channels` of the three convolutions, `size` of the result."""
        super().__init__()
        tile, cell, block = channels
        self.tile_weight = _rectifier_weight(TILE * stack * TILE, tile)
        self.tile_bias = nn.Parameter(torch.zeros(tile))
        self.cell_weight = _rectifier_weight(4 * tile, cell)
        self.cell_bias = nn.Parameter(torch.zeros(cell))
        self.visited_weight = nn.Parameter(torch.randn(2, cell))
        self.block_weight = _rectifier_weight(BLOCK**2 * cell, block)
        self.block_bias = nn.Parameter(torch.zeros(block))
        self.merge = nn.Linear(BLOCKS * block, size)
        self.norm = nn.LayerNorm(size)

    def forward(self, frames: Tensor, visited: Tensor) -> Tensor:
        """u8 `[N, stack, 72, 20 or 80]`, u8 `[N, 9, 10]` to f32 `[N, size]`."""
        if frames.shape[-1] != PACKED_WIDTH:
            frames = pack_pixels(frames)
        blocks = _Tower.apply(
            frames,
            torch.stack([visited != 0, visited / LEVEL_SCALE], dim=-1).view(-1, 2),
            self.tile_weight / 3.0,  # ink is 0..3
            self.tile_bias,
            self.cell_weight.view(2, -1, len(self.cell_bias)),
            self.visited_weight,
            self.cell_bias,
            self.block_weight,
            self.block_bias,
        )
        return functional.relu(self.norm(self.merge(blocks.view(len(frames), -1))))


def _rectifier_weight(inputs: int, outputs: int) -> nn.Parameter:
    """He 2015: variance is kept through the rectifier."""
    return nn.Parameter(torch.randn(inputs, outputs) * (2.0 / inputs) ** 0.5)


class StructuredEncoder(nn.Module):
    """Numbers as they are, ids by lookup, then two layers: `[N, F]` to `[N, size]`."""

    def __init__(self, structured_size: int, id_fields: IdFields, size: int):
        """`id_fields` names those of the `structured_size` fields that hold ids; equal vocabularies share a table."""
        super().__init__()
        self.vocabularies: dict[str, list[int]] = {}
        self.counts: dict[str, int] = {}
        for name, field, count in id_fields:
            self.vocabularies.setdefault(name, []).append(field)
            self.counts[name] = max(count, self.counts.get(name, 0))
        self.tables = nn.ModuleDict({name: nn.Embedding(count, EMBEDDING_SIZE) for name, count in self.counts.items()})
        ids = {field for _, field, _ in id_fields}
        numbers = [field for field in range(structured_size) if field not in ids]
        self.numbers: Tensor
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.long), persistent=False)
        self.enter = nn.Linear(len(numbers) + len(id_fields) * EMBEDDING_SIZE, size)
        self.norm = nn.LayerNorm(size)
        self.leave = nn.Linear(size, size)

    def forward(self, structured: Tensor) -> Tensor:
        """F32 `[N, F]` to `[N, size]`."""
        parts = [structured.index_select(1, self.numbers)] if self.vocabularies else [structured]
        for name, fields in self.vocabularies.items():
            ids = structured[:, fields].long().clamp(0, self.counts[name] - 1)
            parts.append(self.tables[name](ids).flatten(1))
        hidden = functional.relu(self.norm(self.enter(torch.cat(parts, dim=1))))
        return functional.relu(self.leave(hidden))


class Encoder(nn.Module):
    """Screen and structured features side by side: `[N, size]`."""

    def __init__(
        self,
        stack: int,
        structured_size: int,
        id_fields: IdFields,
        channels: tuple[int, int, int],
        screen_size: int,
        structured_width: int,
        screen: nn.Module | None = None,
    ):
        """Sizes of both halves; `screen` replaces the one for frames, `(frames, visited) -> [N, screen_size]`."""
        super().__init__()
        self.screen = screen or ScreenEncoder(stack, channels, screen_size)
        self.structured = StructuredEncoder(structured_size, id_fields, structured_width)
        self.size = screen_size + structured_width

    def forward(self, frames: Tensor, visited: Tensor, structured: Tensor) -> Tensor:
        """Features `[N, size]`."""
        return torch.cat([self.screen(frames, visited), self.structured(structured)], dim=1)


class VectorEncoder(nn.Module):
    """For tasks without a screen: one layer over the structured numbers."""

    def __init__(self, structured_size: int, size: int):
        """`[N, structured_size]` to `[N, size]`."""
        super().__init__()
        self.size = size
        self.layer = nn.Linear(structured_size, size)

    def forward(self, frames: Tensor, visited: Tensor, structured: Tensor) -> Tensor:
        """Frames and visited cells are not looked at."""
        return functional.relu(self.layer(structured))
