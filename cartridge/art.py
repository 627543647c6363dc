"""Drawings in letters to Game Boy tiles.

In: strings of data/*.py. Out: 16-byte 2-bit tiles and the tile ids of metatiles. Knows shades and 8x8 tiles, nothing of
maps or banks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BACKGROUND = {".": 0, " ": 0, "-": 1, "+": 2, "#": 3}
SPRITE = {" ": 0, ".": 1, "+": 2, "#": 3}  # colour 0 is transparent; the palette makes 1 white, 2 dark, 3 black

Pixels = list[list[int]]
Tile = bytes


class DataError(Exception):
    """A table of data/*.py is wrong; the message names it."""


def parse(text: str, shades: Mapping[str, int], width: int, height: int, name: str) -> Pixels:
    """`height` lines of `width` letters (shorter lines are filled with spaces) to shades."""
    lines = text.strip("\n").split("\n")
    if len(lines) > height or any(len(line) > width for line in lines):
        raise DataError(f"drawing {name}: {len(lines)} lines of up to {max(map(len, lines))}, at most {height}x{width}")
    try:
        rows = [[shades[letter] for letter in line.ljust(width)] for line in lines]
    except KeyError as error:
        raise DataError(f"drawing {name}: letter {error} is no shade") from None
    return rows + [[0] * width for _ in range(height - len(rows))]


def tile_bytes(pixels: Pixels, x: int = 0, y: int = 0) -> Tile:
    """The 8x8 pixels at (x, y) as 16 bytes: low and high bit plane of each row."""
    out = bytearray()
    for row in pixels[y : y + 8]:
        low = high = 0
        for shade in row[x : x + 8]:
            low = low << 1 | (shade & 1)
            high = high << 1 | (shade >> 1)
        out += bytes((low, high))
    return bytes(out)


def tiles_of(pixels: Pixels) -> list[Tile]:
    """All tiles of a picture, row by row."""
    return [tile_bytes(pixels, x, y) for y in range(0, len(pixels), 8) for x in range(0, len(pixels[0]), 8)]


def metatile_pixels(text: str, name: str) -> Pixels:
    """A 16x16 picture; an 8x8 drawing is repeated four times."""
    if len(text.strip("\n").split("\n")) <= 8:
        small = parse(text, BACKGROUND, 8, 8, name)
        return [row + row for row in small + small]
    return parse(text, BACKGROUND, 16, 16, name)


def build_tileset(
    names: Sequence[str], art: Mapping[str, str], pinned: Mapping[str, Sequence[int]], reserved: Sequence[int]
) -> tuple[list[Tile], list[list[int]]]:
    """Tiles (index = id, at most 128) and the four ids of each metatile in `names`."""
    tiles: dict[int, Tile] = {}
    for name, ids in pinned.items():
        if name not in names:
            continue
        for tile_id, tile in zip(ids, tiles_of(metatile_pixels(art[name], name)), strict=True):
            if tiles.setdefault(tile_id, tile) != tile:
                raise DataError(f"drawing {name}: two different tiles are pinned to {tile_id:#x}")
    pinned_ids = {tile_id for ids in pinned.values() for tile_id in ids}
    free = (tile_id for tile_id in range(128) if tile_id not in reserved and tile_id not in pinned_ids)
    found: dict[Tile, int] = {}
    metatiles = []
    for name in names:
        if name in pinned:
            metatiles.append(list(pinned[name]))
            continue
        ids = []
        for tile in tiles_of(metatile_pixels(art[name], name)):
            if tile not in found:
                found[tile] = next(free, 128)
                tiles[found[tile]] = tile
            ids.append(found[tile])
        metatiles.append(ids)
    if max(tiles) > 127:
        raise DataError("a tileset needs more than 128 tiles")
    return [tiles.get(tile_id, bytes(16)) for tile_id in range(max(tiles) + 1)], metatiles


def glyphs(strips: Sequence[tuple[str, str]], width: int) -> dict[str, Pixels]:
    """Letters as bold 8x8 pictures: strokes two pixels wide survive half resolution."""
    found: dict[str, Pixels] = {}
    for letters, drawing in strips:
        lines = drawing.strip("\n").split("\n")
        for index, letter in enumerate(letters):
            left = index * (width + 1)
            text = "\n".join(line[left : left + width] for line in lines)
            thin = parse(text, BACKGROUND, 8, 8, f"letter {letter}")
            found[letter] = [[max(row[x], row[x - 1] if x else 0) for x in range(8)] for row in thin]
    return found


def bar_piece(filled: int) -> Pixels:
    """A piece of the HP bar with 0..8 columns filled."""
    full, empty = 3, 0
    middle = [full if x < filled else empty for x in range(8)]
    edge = [3] * 8
    return [[0] * 8, edge, edge, middle, middle, edge, edge, [0] * 8]


def person_tiles(head: Mapping[str, str], bodies: Mapping[str, Sequence[str]], hair: str, cloth: str) -> list[Tile]:
    """24 tiles: down, up, left standing, then walking."""
    tiles: list[Tile] = []
    for step in (0, 1):
        for facing in ("down", "up", "left"):
            rows = head[facing].strip("\n").split("\n") + bodies[facing][step].strip("\n").split("\n")
            text = "\n".join(rows).replace("h", hair).replace("c", cloth)
            tiles += tiles_of(parse(text, SPRITE, 16, 16, f"person {facing}"))
    return tiles
