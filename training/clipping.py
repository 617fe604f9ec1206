"""Blacks and whites that were clipped, by a sensor, by film or by a conversion: flat, whatever was there."""

from __future__ import annotations

import numpy as np

from bitexpand.code_values import Floats

DARKEST, BRIGHTEST = 0, 80  # percentiles of a crop's values between which the limit is drawn
SAME, WHOLE, WHITE = (
    0.7,
    0.4,
    0.4,
)  # shares: one limit for all channels; at a whole code value; whites, not blacks


def clip(random: np.random.Generator, truth_cv: Floats) -> Floats:
    """Clip a crop at a random limit within its range: blacks, or mirrored about the middle of its range, whites.

    Args:
        random: where all choices come from.
        truth_cv: float32 (H, W, 3), in LSB.

    Returns:
        float32 (H, W, 3), in LSB, within the range of ``truth_cv``.
    """
    whites = random.random() < WHITE
    signed_cv = -truth_cv if whites else truth_cv
    limit = np.percentile(signed_cv, random.uniform(DARKEST, BRIGHTEST), axis=(0, 1)).astype(np.float32)
    if random.random() < SAME:
        limit = np.full_like(limit, limit.min())
    if random.random() < WHOLE:
        limit = np.rint(limit)
    clipped_cv = np.maximum(signed_cv, limit)
    return -clipped_cv if whites else clipped_cv
