"""Residual banding: small steps between long runs that hardly change, where there should be a gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.artefacts.finding import Finding, Region, Verdict, cannot_tell, is_small
from bitexpand.code_values import Floats

LIMIT = 0.25  # steps; half floats make steps of 0.12 near white by themselves
_RUN = 6  # px on each side of a step
_SOFT = 1  # px that a step may be soft by, on each side
_SMALLEST, _LARGEST = 0.15, 1.5  # steps: below is rounding, above the picture's own edges
_CALM = 0.1  # steps a pixel: the spread of the slope in a run
_STANDS_OUT = 5.0  # times that spread
_MOSTLY, _SOME = 0.25, 0.1  # shares of all the change in gradients that happens in such steps
_TRACE = 0.02  # share below which there are none: so many of the picture's lie in their places by chance
_ON_GRID = 0.2  # mean cosine of their levels' phase: 1 where all lie between two code values, 0 by chance
_EQUAL, _OFF_GRID = 0.1, 0.5  # of steps between other levels: the spread of sizes, and the share of change
_FEWEST = 50  # steps
_EVERY = 2  # rows and columns that are looked at
_ENOUGH = 0.005  # share of a plane that is calm and changes; flat shapes have edges only
_SHOWN = 64  # px


class _Steps(NamedTuple):
    """Steps along one axis of one channel: sizes, the level in the middle of each, rows and columns.

    And the change in all calm gradients, in steps, with the share of the samples that they have.
    """

    sizes: Floats
    levels: npt.NDArray[np.floating]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    change: float
    graded: float


def residual_banding(plate_cv: Floats, unit: str = "LSB") -> Finding:
    """Look for steps of at most 1.5 between runs of 6 pixels and more that hardly change, across rows and columns.

    A step is what the difference of two neighbours, or of four where it is soft, exceeds the slope of the runs by;
    it must be 5 times the spread of that slope, which grain and texture have more of. The picture has such steps
    too, at any level; those that are left of a source's rounding lie halfway between two of its code values. So
    each counts with the cosine of its phase, and those of the picture cancel. Steps between other levels count
    where they are all alike, as those of 8-bit data behind a curve.

    Clean plates stay below 3 % of the change of their gradients, those that the shipped models expanded below 15 %.

    Args:
        plate_cv: float32 (H, W, C), in steps.
        unit: what a step is called.

    Returns:
        The strength is the median size of the steps, of the channel that has most: 1 for a plate that was not
        expanded, 0.5 where every value was moved half of its way.
    """
    name = "residual banding"
    if is_small(plate_cv):
        return cannot_tell(name, unit, plate_cv, LIMIT, "the plate is too small")
    planes = [plate_cv[..., channel] for channel in range(plate_cv.shape[2])]
    found = [(_steps(plane_cv), _turned(_steps(plane_cv.T))) for plane_cv in planes]
    found = [pair for pair in found if max(each.graded for each in pair) >= _ENOUGH]
    if not found:
        return cannot_tell(name, unit, plate_cv, LIMIT, "too little that is a calm gradient")
    strength, share = max((_bands(pair) for pair in found), key=lambda result: result[0] * result[1])
    verdict: Verdict = "absent"
    if strength >= LIMIT and share >= _SOME:
        verdict = "present" if share >= _MOSTLY else "possible"
    detail = f"{share:.0%} of the change in gradients is in steps" if strength else ""
    where = _densest([each for pair in found for each in pair], plate_cv.shape)
    return Finding(name, strength, unit, where, verdict, LIMIT, detail)


def _steps(plane_cv: Floats) -> _Steps:
    """Find the steps along every other row."""
    rows = plane_cv[::_EVERY]
    reach, diffs = _RUN + _SOFT, 2 * _RUN
    count = rows.shape[1] - 2 * reach - 1
    squares = np.pad(np.square(np.diff(rows, axis=1)).cumsum(1, dtype=np.float64), ((0, 0), (1, 0)))

    def between(of: npt.NDArray[np.floating], low: int, high: int) -> npt.NDArray[np.floating]:
        """Return the difference of two pixels, counted from the left of the two that a step is between."""
        return of[:, reach + high :][:, :count] - of[:, reach + low :][:, :count]

    near = between(rows, -_SOFT, 1 + _SOFT)
    slope = (between(rows, -reach, 1 + reach) - near) / diffs
    square = (between(squares, -reach, 1 + reach) - between(squares, -_SOFT, 1 + _SOFT)) / diffs
    spread = np.sqrt(np.maximum(square - slope * slope, 0))
    jump = np.abs(near - (1 + 2 * _SOFT) * slope)
    here = np.abs(between(rows, 0, 1))
    steepest = (here >= np.abs(between(rows, -1, 0))) & (here > np.abs(between(rows, 1, 2)))
    calm = (spread < _CALM) & (jump < _LARGEST)
    is_step = calm & steepest & (jump > np.maximum(_SMALLEST, _STANDS_OUT * spread))
    sizes = jump[is_step].astype(np.float32)
    row, column = np.nonzero(is_step)
    column += reach
    levels = (rows[row, column] + rows[row, column + 1]) / 2
    change = float(sizes.sum() + here[calm & (jump < _SMALLEST)].sum())
    return _Steps(sizes, levels, row * _EVERY, column, change, float((calm & (here > 0)).mean()))


def _turned(steps: _Steps) -> _Steps:
    """Return the steps of a transposed plane where they are in the plane."""
    return steps._replace(rows=steps.columns, columns=steps.rows)


def _bands(pair: tuple[_Steps, _Steps]) -> tuple[float, float]:
    """Return the size of a channel's steps that are banding, and their share of the change in its gradients."""
    sizes, levels = (np.concatenate([getattr(each, name) for each in pair]) for name in ("sizes", "levels"))
    change = sum(each.change for each in pair)
    if len(sizes) < _FEWEST:
        return 0.0, 0.0
    on_grid = np.cos(2 * np.pi * (levels - 0.5))
    if on_grid.mean() >= _ON_GRID:
        strength = _median(sizes, on_grid)
        share = strength * float(on_grid.sum()) / change
        return (strength, share) if share >= _TRACE else (0.0, 0.0)
    middle, share = float(np.median(sizes)), float(sizes.sum()) / change
    alike = np.median(np.abs(sizes - middle)) <= _EQUAL * middle
    return (middle, share) if alike and share >= _OFF_GRID else (0.0, 0.0)


def _median(values: Floats, weights: Floats) -> float:
    """Return the weighted median, where negative weights take off what others have too much."""
    order = np.argsort(values)
    below = np.maximum.accumulate(weights[order].cumsum())
    return float(values[order[np.searchsorted(below, below[-1] / 2)]])


def _densest(every: list[_Steps], shape: tuple[int, ...]) -> Region:
    """Return the square that has most of the steps."""
    columns = shape[1] // _SHOWN + 1
    cells = np.concatenate([each.rows // _SHOWN * columns + each.columns // _SHOWN for each in every])
    row, column = divmod(int(np.bincount(cells, minlength=1).argmax()), columns)
    return Region(column * _SHOWN, row * _SHOWN, _SHOWN, _SHOWN)
