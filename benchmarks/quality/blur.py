"""A Gaussian blur of pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_REACH = 3  # sigmas, where the kernel ends


def gaussian(plate: npt.NDArray[np.floating], sigma: float) -> npt.NDArray[np.floating]:
    """Blur (H, W, C) float, any unit, with a Gaussian of ``sigma`` px above 0; borders are repeated."""
    reach = int(np.ceil(_REACH * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(plate.dtype)
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(plate, padding, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis)
        plate = np.zeros_like(plate)
        for i, weight in enumerate(weights / weights.sum()):
            plate += windows[..., i] * weight
    return plate
