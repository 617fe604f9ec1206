"""Means over boxes."""

from __future__ import annotations

import numpy as np

from bitexpand.code_values import Floats


def box_mean(plane: Floats, reach: int, axis: int) -> Floats:
    """Return the mean of ``2 * reach + 1`` samples along an axis, the border's repeated beyond it."""
    padding = [(0, 0)] * plane.ndim
    padding[axis] = (reach + 1, reach)
    width = 2 * reach + 1
    sums = np.swapaxes(np.pad(plane, padding, mode="edge").cumsum(axis, dtype=np.float64), 0, axis)
    return np.swapaxes((sums[width:] - sums[:-width]) / width, 0, axis).astype(np.float32)
