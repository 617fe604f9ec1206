"""Colour fringes: green or purple lines along edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.artefacts.finding import Finding, Region, Verdict, cannot_tell, is_small
from bitexpand.code_values import Floats, requantise

Indices = npt.NDArray[np.intp]

NAME = "colour fringes"
LIMIT = 0.1  # steps, of fringes inside the bins ...
STRONG_LIMIT = 1.0  # ... and of those beyond, which are told from the picture's own colours less surely
_EDGE = 8.0  # steps of luminance across an edge, at least
_FAR, _NEAR = 5, 3  # px from the edge: where its sides are, and how far a line along it reaches
_ALIKE, _SHARE_ALIKE = 1.0, 0.05  # steps, or share of the edge, by which channels may differ on a neutral one
_CELL = 48  # px: edges in one such square are likely the same one, and count as one
_IN_CELL, _CELLS = 8, 8  # lines across edges that a square must have, and squares that a plate must have
_CERTAIN = 5.0  # standard errors
_SPREAD = (
    1.2533 * 1.4826
)  # a median's standard error, sqrt(pi / 2) sigma, where sigma is 1.4826 times the MAD


class _Fringe(NamedTuple):
    """The largest chroma of the mean profile in steps, with its sign; where across the edge; in standard errors."""

    chroma: float
    offset: int
    certainty: float


def color_fringes(plate_cv: Floats, unit: str = "LSB") -> Finding:
    """Look for chroma, G - (R + B) / 2, along edges of 8 steps of luminance and more.

    Pixels are read along lines across each edge, 3 on its dark side to 3 on its light one. Of an expanded plate the
    moves are looked at, the distance of each value from the nearest step. What the truth moves by is a matter of
    chance at an edge and cancels, whatever the colours on both sides; a fringe does not. Only where values were
    moved out of their bins does that say nothing, so in neutral edges the picture itself is looked at too: what
    the colours of both sides do not explain, in proportion to the luminance on the way, counts from one step on.

    Clean plates stay below 0.08 steps, or 5 standard errors. Lenses make fringes too: those of the source show in
    the second way only, so compare with it.

    Args:
        plate_cv: float32 (H, W, C), in steps.
        unit: what a step is called.

    Returns:
        The strength is the largest chroma of the median profile in steps.
    """
    if plate_cv.shape[2] != 3 or is_small(plate_cv):
        why = "the plate has one channel" if plate_cv.shape[2] != 3 else "the plate is too small"
        return cannot_tell(NAME, unit, plate_cv, LIMIT, why)
    lines = _all_lines(plate_cv)
    inside = _fringe(_of_moves(plate_cv, lines), lines)
    if inside is None:
        return cannot_tell(NAME, unit, plate_cv, LIMIT, "too few edges")
    beyond = _fringe(*_unexplained(plate_cv, lines))
    found, limit = inside, LIMIT
    if beyond and abs(beyond.chroma) >= STRONG_LIMIT and beyond.certainty >= _CERTAIN:
        found, limit = beyond, STRONG_LIMIT
    is_certain = abs(found.chroma) >= limit and found.certainty >= _CERTAIN
    verdict: Verdict = "absent" if not is_certain else "present" if limit == LIMIT else "possible"
    hue = "green" if found.chroma > 0 else "purple"
    detail = f"{hue}, {_side(found.offset)}" if verdict != "absent" else ""
    return Finding(NAME, abs(found.chroma), unit, _densest(lines, plate_cv.shape), verdict, limit, detail)


def fringe_map(plate_cv: Floats, limit: float) -> Floats:
    """Return the chroma that a finding of a certain limit was made of, (H, W) in steps; 0 away from its edges."""
    lines = _all_lines(plate_cv)
    chroma = _of_moves(plate_cv, lines)
    if limit >= STRONG_LIMIT:
        chroma, lines = _unexplained(plate_cv, lines)
    near = slice(_FAR - _NEAR, _FAR + _NEAR + 1)
    seen = np.zeros(plate_cv.shape[:2], np.float32)
    seen[lines[:, 0, near], lines[:, 1, near]] = chroma[:, near]
    return seen


def _all_lines(plate_cv: Floats) -> Indices:
    """Return the pixels across the edges of rows and columns."""
    luma = plate_cv.mean(2, dtype=np.float32)
    return np.concatenate([_lines(luma), _lines(luma.T)[:, ::-1]])


def _lines(luma: Floats) -> Indices:
    """Return rows and columns of the 11 pixels across each edge of the rows, from dark to light: (N, 2, 11)."""
    slope = np.abs(luma[:, 2:] - luma[:, :-2])
    width = slope.shape[1] - 2 * _FAR
    inner = slope[:, _FAR:-_FAR]
    steepest = inner >= _EDGE / 2
    for aside in range(1, _FAR):
        steepest &= inner > slope[:, _FAR - aside :][:, :width]
        steepest &= inner >= slope[:, _FAR + aside :][:, :width]
    rows, columns = np.nonzero(steepest)
    columns += _FAR + 1
    rise = luma[rows, columns + _FAR] - luma[rows, columns - _FAR]
    steep = np.abs(rise) >= _EDGE
    along = np.sign(rise[steep]).astype(np.intp)[:, None] * np.arange(-_FAR, _FAR + 1)
    columns = columns[steep, None] + along
    return np.stack([np.broadcast_to(rows[steep, None], columns.shape), columns], axis=1)


def _of_moves(plate_cv: Floats, lines: Indices) -> Floats:
    """Return the chroma of what each value lies from the nearest step, (N, 11)."""
    return _chroma(plate_cv - requantise(plate_cv))[lines[:, 0], lines[:, 1]]


def _chroma(plate_cv: Floats) -> Floats:
    return plate_cv[..., 1] - np.float32(0.5) * (plate_cv[..., 0] + plate_cv[..., 2])


def _unexplained(plate_cv: Floats, lines: Indices) -> tuple[Floats, Indices]:
    """Return the chroma across neutral edges that their sides do not explain, (N, 11), and their lines."""
    ends = plate_cv[lines[:, 0, [0, -1]], lines[:, 1, [0, -1]]]
    step = ends[:, 1] - ends[:, 0]
    alike = np.maximum(_ALIKE, _SHARE_ALIKE * np.abs(step.mean(1)))
    neutral = np.ptp(step, axis=1) <= 2 * alike
    lines, rise = lines[neutral], step[neutral].mean(1)
    pixels = plate_cv[lines[:, 0], lines[:, 1]]
    luma, chroma = pixels.mean(2, dtype=np.float32), _chroma(pixels)
    share = (luma - luma[:, :1]) / rise[:, None]
    return chroma - chroma[:, :1] - share * (chroma[:, -1:] - chroma[:, :1]), lines


def _fringe(profiles: Floats, lines: Indices) -> _Fringe | None:
    """Return what profiles, (N, 11), have in common; None where there are too few edges in too few places."""
    _, cells, counts = np.unique(_cells(lines), return_inverse=True, return_counts=True)
    near = profiles[:, _FAR - _NEAR : _FAR + _NEAR + 1]
    sums = np.stack([np.bincount(cells, each, len(counts)) for each in near.T], axis=1)
    means = (sums / counts[:, None])[counts >= _IN_CELL]
    if len(means) < _CELLS:
        return None
    middle = np.median(means, axis=0)
    error = _SPREAD * np.median(np.abs(means - middle), axis=0) / np.sqrt(len(means))
    at = int(np.argmax(np.abs(middle)))
    certainty = abs(float(middle[at])) / max(float(error[at]), 1e-9)
    return _Fringe(float(middle[at]), at - _NEAR, certainty)


def _cells(lines: Indices) -> Indices:
    rows, columns = lines[:, 0, _FAR] // _CELL, lines[:, 1, _FAR] // _CELL
    return rows * (1 << 20) + columns


def _densest(lines: Indices, shape: tuple[int, ...]) -> Region:
    """Return the square that has most of the edges."""
    cells, counts = np.unique(_cells(lines), return_counts=True)
    row, column = divmod(int(cells[np.argmax(counts)]), 1 << 20)
    y, x = row * _CELL, column * _CELL
    return Region(x, y, min(_CELL, shape[1] - x), min(_CELL, shape[0] - y))


def _side(offset: int) -> str:
    return (
        "on the edge" if offset == 0 else f"{abs(offset)} px on the {'light' if offset > 0 else 'dark'} side"
    )
