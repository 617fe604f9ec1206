"""Tiles: how a frame is cut into overlapping pieces and blended back without a seam.

Neighbours share a strip of ``overlap`` pixels. Its outer quarters, where a tile lacks its surroundings, carry no
weight; across the middle half one tile fades into the next. The weights at each pixel sum to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bitexpand.code_values import Codes, Floats
from bitexpand.errors import UsageError


class Part(NamedTuple):
    """A part of a stretch.

    Attributes:
        pixels: of the stretch.
        weights: in the blend, float32 (n,), in [0, 1].
        is_first: of those that have a say there, the tile comes first.
        is_last: it comes last.
    """

    pixels: slice
    weights: Floats
    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class Span:
    """A stretch of one axis, in pixels, and how much of it is shared with the neighbours before and after."""

    start: int
    stop: int
    shared_before: int
    shared_after: int

    def parts(self) -> Iterator[Part]:
        """Yield where the tile fades in, where it is alone, and where it fades out; of the rest it has no say."""
        before, after, length = self.shared_before, self.shared_after, self.stop - self.start
        fades_in = slice(before // 4, before - before // 4)
        fades_out = slice(length - after + after // 4, length - after // 4)
        if before:
            yield Part(fades_in, _fade(before), is_first=False, is_last=True)
        alone = slice(fades_in.stop, fades_out.start)
        yield Part(alone, np.ones(alone.stop - alone.start, np.float32), is_first=True, is_last=True)
        if after:
            yield Part(fades_out, 1 - _fade(after), is_first=True, is_last=False)


@dataclass(frozen=True)
class Tile:
    """A rectangle of the frame."""

    rows: Span
    columns: Span

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns as slices into the frame."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    def blend(self, tile_cv: Floats, codes: Codes | Floats, frame_cv: Floats) -> None:
        """Put the tile into its frame; every tile in turn, from left to right and from top to bottom.

        Moves are blended, not values: weights that sum to one only in exact arithmetic would carry a 12-bit value
        out of its bin, and white beyond white.

        Args:
            tile_cv: float32 (h, w, C), its expanded values.
            codes: uint16 or float32 (H, W, C), the values of the frame before.
            frame_cv: float32, same shape; takes the tile's part, whatever it held before the first one.
        """
        codes, frame_cv = codes[self.window], frame_cv[self.window]
        for rows in self.rows.parts():
            for columns in self.columns.parts():
                here = rows.pixels, columns.pixels
                is_first, is_last = rows.is_first and columns.is_first, rows.is_last and columns.is_last
                if is_first and is_last:
                    frame_cv[here] = tile_cv[here]
                    continue
                weights = rows.weights[:, None, None] * columns.weights[:, None]
                moves_cv = (tile_cv[here] - codes[here]) * weights
                if not is_first:
                    moves_cv += frame_cv[here]
                if is_last:
                    moves_cv += codes[here]
                frame_cv[here] = moves_cv


def check_tile(tile: int, overlap: int, multiple: int) -> None:
    """Raise UsageError unless tiles of this size can be cut on the model's grid and blended."""
    smallest = smallest_tile(overlap, multiple)
    if tile < smallest or tile % multiple:
        raise UsageError(
            f"--tile {tile}: give a multiple of {multiple} from {smallest} on"
            f" (two overlaps of {overlap} px and a cell), or auto"
        )


def check_overlap(overlap: int, multiple: int) -> None:
    """Raise UsageError unless the overlap keeps tiles on the model's grid."""
    if overlap < multiple or overlap % multiple:
        raise UsageError(f"--overlap {overlap}: give a multiple of {multiple} px, {multiple} at least")


def smallest_tile(overlap: int, multiple: int) -> int:
    """Return the smallest tile side in which the strips shared with both neighbours stay apart."""
    return 2 * overlap + multiple


def largest_tile(height: int, width: int, pixels: int, overlap: int, multiple: int) -> tuple[int, int]:
    """Choose the height and width of a frame's tiles.

    Args:
        height, width: of the frame, in pixels.
        pixels: most that a tile may hold.
        overlap: pixels that neighbours share, a multiple of ``multiple``.
        multiple: the grid on which tiles start.

    Returns:
        Of all tiles of so many pixels those that compute the fewest pixels twice; the smallest where none holds so
        few.
    """
    rows, columns = (
        [(_computed(length, side, overlap, multiple), side) for side in _sides(length, overlap, multiple)]
        for length in (height, width)
    )
    fitting = [
        (computed_rows * computed_columns, -tile_height * tile_width, tile_height, tile_width)
        for computed_rows, tile_height in rows
        for computed_columns, tile_width in columns
        if tile_height * tile_width <= pixels
    ]
    smallest = smallest_tile(overlap, multiple)
    return min(fitting)[2:] if fitting else (smallest, smallest)


def tiles(height: int, width: int, tile: tuple[int, int], overlap: int, multiple: int) -> Iterator[Tile]:
    """Cut a frame into tiles of nearly equal size, each starting on the grid.

    Args:
        height, width: of the frame, in pixels.
        tile: largest height and width of a tile; ``check_tile`` has passed for both.
        overlap: pixels that neighbours share, a multiple of ``multiple``.
        multiple: the grid on which tiles start, so that a network's pooling cells stay where they were.
    """
    for rows in _spans(height, tile[0], overlap, multiple):
        for columns in _spans(width, tile[1], overlap, multiple):
            yield Tile(rows, columns)


def _sides(length: int, overlap: int, multiple: int) -> Iterator[int]:
    """Yield the smallest sides that cut an axis into one piece, two pieces and so on."""
    smallest, count = smallest_tile(overlap, multiple), 1
    side = -(-length // multiple) * multiple
    while side > smallest:
        yield side
        count += 1
        side = -(-(length - overlap) // (count * multiple)) * multiple + overlap
    yield smallest


def _computed(length: int, tile: int, overlap: int, multiple: int) -> int:
    """Return how many pixels of an axis are computed, those of several tiles several times, in whole cells."""
    sizes = (span.stop - span.start for span in _spans(length, tile, overlap, multiple))
    return sum(-(-size // multiple) * multiple for size in sizes)


def _spans(length: int, tile: int, overlap: int, multiple: int) -> list[Span]:
    if length <= tile:
        return [Span(0, length, 0, 0)]
    count = -(-(length - overlap) // (tile - overlap))
    stride = -(-(length - overlap) // (count * multiple)) * multiple
    count = -(-(length - overlap) // stride)  # rounding the stride up may have saved a tile
    return [
        Span(
            i * stride,
            min(i * stride + stride + overlap, length),
            overlap if i else 0,
            overlap if i + 1 < count else 0,
        )
        for i in range(count)
    ]


def _fade(length: int) -> Floats:
    """Return a rise from 0 to 1 over a strip's middle half: the smoothstep 3t^2 - 2t^3, whose ends have no kink."""
    middle = np.arange(length // 4, length - length // 4, dtype=np.float32)
    t = ((middle + 0.5) / length * 2 - 0.5).clip(0, 1)
    return t * t * (3 - 2 * t)
