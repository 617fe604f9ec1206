"""How many bits data really have, and whether their levels were stretched: told from the values that occur."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import MAX_BITS, MIN_BITS, codes_in_container, peak
from bitexpand.errors import PlateError

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
Layout: TypeAlias = Literal["scaled", "zero-padded"]

_MIN_DISTINCT = 8  # fewer values than this, the ends of the range left aside, tell nothing
_MIN_EVIDENCE = 32.0  # a bit depth is claimed where chance would produce it once in 2**32
_ON_GRID = 1.01  # container steps: what ``codes_in_container`` lets pass as scaled
_MIN_PADDED = 8  # nobody pads fewer bits than these with zeros: there the levels were stretched
_REGULAR = 0.9  # share of equal distances that makes gaps a comb


@dataclass(frozen=True)
class Depth:
    """How many bits the values need.

    Attributes:
        bits: true bit depth; None where too few values occur to tell, or where float values are on no grid.
        can_tell: False where too few distinct values occur.
        layout: how fewer bits lie in more; None where they do not, or where both would look the same.
    """

    bits: int | None
    can_tell: bool = True
    layout: Layout | None = None


def narrowed(values: Integers, width: int, depths: Iterable[int]) -> tuple[Integers, int]:
    """Return values of ``width`` bits as code values of the last of ``depths`` up to which all fit, and it."""
    for bits in depths:
        try:
            values, width = codes_in_container(values, width, bits), bits
        except PlateError:
            break
    return values, width


def integer_depth(codes: Integers, width: int) -> Depth:
    """Return the bit depth of integer data.

    Args:
        codes: the distinct values of all colour channels, (N,), 0 .. ``peak(width)``.
        width: bits a sample as the header states them.
    """
    inner = codes[(codes > 0) & (codes < peak(width))]  # the ends of the range are on every grid
    if len(inner) < _MIN_DISTINCT:
        return Depth(None, can_tell=False)
    can_tell = True
    # 7 bits in 8 are not looked for: every 8-bit value is within a rounding of them, as with 15 in 16.
    for bits in range(MIN_BITS, width - 1):
        layout, evidence = _layout(codes, width, bits)
        if len(inner) * evidence >= _MIN_EVIDENCE:
            return Depth(bits, layout=layout)
        can_tell &= evidence == 0
    return Depth(width if can_tell else None, can_tell)


def float_depth(values: npt.NDArray[np.floating[Any]]) -> Depth:
    """Return the bit depth n of float data that are ``k / (2**n - 1)``, rounded to half or to float32.

    Args:
        values: the distinct finite values of all colour channels, (N,), ascending.
    """
    inner = values[(values > 0) & (values < 1)].astype(np.float64)
    on_no_grid = Depth(None, can_tell=len(values) >= _MIN_DISTINCT)
    if not _MIN_DISTINCT <= len(inner) <= peak(MAX_BITS) or values[0] < 0 or values[-1] > 1:
        return on_no_grid
    reach = _rounding(inner)
    for bits in range(MIN_BITS, MAX_BITS + 1):
        off = np.abs(np.rint(inner * peak(bits)) / peak(bits) - inner)
        # Near white a 12-bit grid is finer than half itself: there every value is on it and proves nothing.
        chance = np.minimum(2 * reach * peak(bits), 1)
        if (off <= reach).all() and -np.log2(chance).sum() >= _MIN_EVIDENCE:
            return Depth(bits)
    return on_no_grid


def stretch_of(counts: Integers) -> float | None:
    """Return the factor by which levels were stretched, or None where the unused values form no comb.

    Args:
        counts: how often each code value occurs, (2**bits,).
    """
    inner = counts[1:-1]  # clipping piles up at the ends
    below = np.cumsum(inner)
    first, last = np.searchsorted(below, below[-1] * np.array([0.01, 0.99]))  # gaps in the tails are chance
    is_used = inner[first : last + 1] > 0
    steps = np.diff(np.flatnonzero(is_used))
    if len(steps) < _MIN_DISTINCT or steps.max() == 1:
        return None
    if steps.mean() >= 1.5:
        return _regular(steps)
    lone = np.flatnonzero(~is_used[1:-1] & is_used[:-2] & is_used[2:])
    period = _regular(np.diff(lone))
    return period and period / (period - 1)


def _layout(codes: Integers, width: int, bits: int) -> tuple[Layout | None, float]:
    """Return how ``bits`` lie in ``width``, and the evidence in bits that each value is; 0 where they do not."""
    narrow, found = narrowed(codes, width, [bits])
    off = np.abs(narrow * (peak(width) / peak(bits)) - codes).max()
    is_scaled, is_padded = off <= _ON_GRID, not (codes & peak(width - bits)).any()
    if found != bits or not (is_scaled or bits >= _MIN_PADDED):
        return None, 0.0
    layout = None if is_scaled and is_padded else "scaled" if is_scaled else "zero-padded"
    near = 3 if is_scaled and off > 0.5 else 1  # where bits are replicated, values beside the grid count too
    return layout, max(width - bits - float(np.log2(near)), 0.0)


def _rounding(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far rounding may have moved each value, in half where all are half, else in float32."""
    as_half = values.astype(np.float16)
    if np.array_equal(as_half, values):
        return np.spacing(as_half).astype(np.float64) * 0.51
    # A product with 1/255 in float32 misses the quotient by up to one ulp.
    return np.spacing(values.astype(np.float32)).astype(np.float64) * 1.01


def _regular(distances: Integers) -> float | None:
    """Return the mean distance where nearly all are the whole numbers next to it, else None."""
    if len(distances) < 4:
        return None
    mean = distances[np.abs(distances - np.median(distances)) <= 1].mean()
    return float(mean) if (np.abs(distances - mean) < 1).mean() >= _REGULAR else None
