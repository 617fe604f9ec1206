"""Blacks and whites that were clipped, by a sensor, by film or by a conversion: flat, or all but flat."""

from __future__ import annotations

import numpy as np

from bitexpand.code_values import Floats

DARKEST, BRIGHTEST = 0, 80  # percentiles of a crop's values between which the limit is drawn
WHITE = 0.4  # share of clipped whites; the others are blacks
SAME = 0.7  # share with one limit for all channels
WHOLE = 0.4  # share with the limit at a whole code value
SOFT = 0.5  # share with a toe instead of a corner, as noise in light has it once it is in a log curve
TOE = (0.2, 2.0)  # LSB: how long the toe is


def clip(random: np.random.Generator, truth_cv: Floats) -> Floats:
    """Clip a crop at a random limit within its range, blacks or whites.

    Args:
        random: where all choices come from.
        truth_cv: float32 (H, W, 3), in LSB.

    Returns:
        float32 (H, W, 3), in LSB; with a toe up to 1.4 LSB beyond the range of ``truth_cv``.
    """
    whites = random.random() < WHITE
    signed_cv = -truth_cv if whites else truth_cv
    limit = np.percentile(signed_cv, random.uniform(DARKEST, BRIGHTEST), axis=(0, 1)).astype(np.float32)
    if random.random() < SAME:
        limit = np.full_like(limit, limit.min())
    if random.random() < WHOLE:
        limit = np.rint(limit)
    over_cv = signed_cv - limit
    if random.random() < SOFT:
        toe = np.float32(TOE[0] * (TOE[1] / TOE[0]) ** random.random())
        over_cv = toe * np.logaddexp(over_cv / toe, np.float32(0))
    clipped_cv = limit + np.maximum(over_cv, 0)
    return -clipped_cv if whites else clipped_cv
