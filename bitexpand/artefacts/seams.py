"""Tile seams: steps across the lines of a regular grid, where a plate was expanded in tiles that do not agree."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from bitexpand.artefacts.finding import STRONGEST, Finding, Region, Verdict, cannot_tell, is_small, root
from bitexpand.code_values import Floats

LIMIT = 0.05  # steps
_SEGMENT = 32  # px along a line over which its step is averaged
_SLOPE = 3  # px on each side that tell the slope, from one pixel beside the step on
_REACH = 10  # px: what a step is compared with, on each side
_DUST = 0.01  # steps, below which nothing is a seam
_MOST = 4.0  # times what is beside it: no segment counts for more, as real edges have far more
_PROMINENT = 2.0  # mean of that over the segments of a line; without a seam it is 1
_LONE, _FEW = 3.0, 4.0  # the least prominence of a lone line; and, times the root of their number, of several
_STRONGEST_LONE = 0.5  # steps; horizons and walls have more
_CONTENT = 4.0  # steps: no seam has as many
_ORDER: tuple[Verdict, ...] = ("absent", "possible", "present")
_APART = 6  # px between lines
_BORDER = 12  # px at the border of the plate, where filters of all kinds leave steps
_ALONE = 2.0  # times any other line within 10 px, since seams are far apart
_SMALLEST_TILE = 32  # px; what repeats sooner is blocks of a codec, or scan lines
_HELD = 0.6  # share of a grid's lines that are seams: the last tile may be moved to fit the plate


class _Grid(NamedTuple):
    """Seams across one axis: where, how far apart (0 for a lone one), their mean prominence times sqrt(number)."""

    lines: tuple[int, ...]
    tile: int
    prominence: float


def tile_seams(plate_cv: Floats, unit: str = "LSB") -> Finding:
    """Look for steps across a regular grid of lines, of any tile from 32 pixels on and at any offset.

    The step across a line, beyond the slope on both sides, is averaged over segments of 16 pixels and held against
    the same across the lines within 10 pixels. A seam exceeds them in most of its segments, whatever lies under
    it; an edge of the picture does in those that it covers. Of all the lines that do, those count that are
    equally far apart.

    Clean plates have no two such lines.

    Args:
        plate_cv: float32 (H, W, C), in steps.
        unit: what a step is called.

    Returns:
        The strength is the median step across the seams in steps, of the channel that has most. A lone line, as of
        two tiles, is "possible".
    """
    name = "tile seams"
    if is_small(plate_cv):
        return cannot_tell(name, unit, plate_cv, LIMIT, "the plate is too small")
    steps = [_steps(plate_cv), _steps(plate_cv.swapaxes(0, 1))]
    across, down = (_grid(each) for each in steps)
    strengths = [_strength(each, grid.lines) for each, grid in zip(steps, (across, down), strict=True)]
    verdicts: list[Verdict] = [_verdict(*each) for each in zip(strengths, (across, down), strict=True)]
    judged = zip(verdicts, strengths, strict=True)
    verdict, strength = max(judged, key=lambda each: (_ORDER.index(each[0]), each[1]))
    where = _where(plate_cv.shape, across.lines, down.lines)
    return Finding(name, strength, unit, where, verdict, LIMIT, _detail(across, down))


def _verdict(strength: float, grid: _Grid) -> Verdict:
    if strength < LIMIT or (not grid.tile and strength > _STRONGEST_LONE):
        return "absent"
    return "present" if grid.tile and grid.prominence >= _FEW and strength <= STRONGEST else "possible"


def _steps(plate_cv: Floats) -> Floats:
    """Return the step across every vertical line beyond the slope beside it: (segments, W, C), 0 at the border.

    At ``x`` stands the step from ``x - 1`` to ``x``.
    """
    rows = len(plate_cv) // _SEGMENT
    shape = (rows, _SEGMENT, *plate_cv.shape[1:])
    means = plate_cv[: rows * _SEGMENT].reshape(shape).mean(1, dtype=np.float32)
    steps = np.zeros_like(means)
    left, right = _SLOPE + 2, means.shape[1] - _SLOPE - 1

    def pixel(offset: int) -> Floats:
        return means[:, left + offset : right + offset]

    slope = (pixel(_SLOPE + 1) - pixel(1) + pixel(-2) - pixel(-_SLOPE - 2)) / (2 * _SLOPE)
    steps[:, left:right] = pixel(0) - pixel(-1) - slope
    return steps


def _prominence(steps: Floats) -> Floats:
    """Return for every vertical line how far its steps exceed those beside it, the mean of all segments: (W,)."""
    size = np.abs(steps)
    beside = _beside(size)
    share = np.minimum(size / np.maximum(beside, _DUST), _MOST)
    told = beside + size > 0  # clipped and flat segments tell nothing
    prominence = share.sum((0, 2)) / np.maximum(told.sum((0, 2)), 1)
    prominence[:_BORDER], prominence[-_BORDER:] = 0, 0
    return prominence


def _beside(size: Floats) -> Floats:
    """Return the mean of what lies 2 to 10 pixels away on both sides."""
    width = size.shape[1]
    sums = np.pad(size, ((0, 0), (_REACH + 1, _REACH), (0, 0)), mode="reflect").cumsum(1, dtype=np.float64)
    whole = sums[:, 2 * _REACH + 1 :] - sums[:, :width]
    near = sums[:, _REACH + 2 : _REACH + 2 + width] - sums[:, _REACH - 1 : _REACH - 1 + width]
    return ((whole - near) / (2 * _REACH - 2)).astype(np.float32)


def _grid(steps: Floats) -> _Grid:
    """Return the most convincing set of equally distant lines among those that stick out."""
    prominence = _prominence(steps)
    lines = _peaks(prominence, np.median(np.abs(steps), axis=(0, 2)))
    best, best_score = _Grid((), 0, 0.0), 0.0
    if len(lines) == 1 and prominence[lines[0]] >= _LONE:
        return _Grid(lines, 0, float(prominence[lines[0]]))
    for first, second in itertools.combinations(lines, 2):
        tile = second - first
        places = range(first % tile, len(prominence), tile)
        places = [place for place in places if _BORDER <= place < len(prominence) - _BORDER]
        held = tuple(line for line in lines if line in places)
        total = float(prominence[list(held)].sum())
        score = total * len(held) / len(places)
        if len(held) >= _HELD * len(places) and score > best_score:
            best, best_score = _Grid(held, tile, total / len(held) ** 0.5), score
    return best if best.tile >= _SMALLEST_TILE else _Grid((), 0, 0.0)


def _peaks(prominence: Floats, size: Floats) -> tuple[int, ...]:
    """Return the lines that stick out, the largest step of those that touch; a grid needs no more than 64."""
    kept: list[int] = []
    padded = np.pad(size, _REACH)
    around = np.max(
        [padded[_REACH + by :][: len(size)] for by in range(-_REACH, _REACH) if abs(by) > 1], axis=0
    )
    lines = np.flatnonzero((prominence >= _PROMINENT) & (size <= _CONTENT) & (size >= _ALONE * around))
    for line in lines[np.argsort(-size[lines])]:
        if all(abs(line - other) > _APART for other in kept):
            kept.append(int(line))
    return tuple(sorted(kept[:64]))


def _strength(steps: Floats, lines: tuple[int, ...]) -> float:
    """Return the median step across the lines, less what is found beside them, of the channel that has most."""
    if not lines:
        return 0.0
    size = np.abs(steps)
    at = np.median(size[:, lines], axis=(0, 1))
    beside = np.median(_beside(size)[:, lines], axis=(0, 1))
    return max(root(float(a * a - b * b)) for a, b in zip(at, beside, strict=True))


def _where(shape: tuple[int, ...], across: tuple[int, ...], down: tuple[int, ...]) -> Region:
    """Return a square on a seam, on a crossing where there is one."""
    height, width = shape[:2]
    x = across[len(across) // 2] if across else width // 2
    y = down[len(down) // 2] if down else height // 2
    half = _SMALLEST_TILE
    return Region(max(0, x - half), max(0, y - half), min(2 * half, width), min(2 * half, height))


def _detail(across: _Grid, down: _Grid) -> str:
    named = (("columns", across), ("rows", down))
    return ", ".join(
        f"{f'every {grid.tile} {what}' if grid.tile else f'across the {what}'} from {grid.lines[0]}"
        for what, grid in named
        if grid.lines
    )
