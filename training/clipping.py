"""Blacks and whites that were clipped, by a sensor, by film or by a conversion: flat, or all but flat."""

from __future__ import annotations

import numpy as np

from bitexpand.code_values import Floats
from training.grain import draw_grain

DARKEST, BRIGHTEST = 0, 80  # percentiles of a crop's values between which the limit is drawn
WHITE = 0.4  # share of clipped whites; the others are blacks
SAME = 0.7  # share with one limit for all channels
WHOLE = 0.4  # share with the limit at a whole code value
SOFT = 0.5  # share with a toe instead of a corner, as noise in light has it once it is in a log curve
TOE = (0.2, 2.0)  # LSB: how long the toe is
CRUSHED = (5, 75)  # percentiles of a crop's light between which the light that becomes black is drawn
NOISE = (
    3e-5,
    2e-3,
)  # scene-linear: sigma of the noise around black; 1 LSB there is 3e-4 to 1e-3 in 8-bit log curves
CORRELATED = 0.5  # share of crops in which that noise is blurred
SKEWED = 0.5  # share in which it is light specks
GLOW = (1e-5, 3e-4)  # scene-linear: how far above black the softest of it stays


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


def crush(random: np.random.Generator, plate_linear: Floats) -> Floats:
    """Put the darkest part of a crop at scene-linear black, and noise around it, as sensors and scans have it.

    In 8 bits of a log curve black lies between two code values, always the same: 0.41 LSB below one in ACEScct.

    Args:
        random: where all choices come from.
        plate_linear: float32 (H, H, 3), scene-linear.

    Returns:
        float32, same shape, not negative.
    """
    black = np.percentile(plate_linear.max(axis=2), random.uniform(*CRUSHED))
    light = np.maximum(plate_linear - np.float32(max(black, 0)), 0)
    light += draw_grain(random, len(light), NOISE, CORRELATED, SKEWED)
    if random.random() < SOFT:
        glow = np.float32(GLOW[0] * (GLOW[1] / GLOW[0]) ** random.random())
        return glow * np.logaddexp(light / glow, np.float32(0))
    return np.maximum(light, 0)
