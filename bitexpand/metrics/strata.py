"""Gain over doing nothing, for all pixels and by stratum: what the plate is like around each of them.

Doing nothing scores 58.92 dB on any 8-bit plate, so a bare PSNR says little; the gain over it says what was won.
And a plate's mean hides what matters: skies and walls are won easily, grain not at all, so each is scored apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats

STRATA = ("flat", "smooth", "ramp", "steep", "edge", "grainy")
GRADIENT_LIMITS = (0.1, 0.4, 1.6, 6.4)  # LSB a pixel: the upper limits of flat, smooth, ramp and steep
GRAIN_LIMIT = 0.25  # LSB: noise above it makes a pixel grainy ...
_GRAIN_GRADIENT = 1.6  # LSB a pixel: ... unless the picture below the noise is steep
_WINDOW = 5  # px, of the means
MAX_GAIN = 99.0  # dB, where nothing of the error is left


def strata(truth_cv: Floats) -> npt.NDArray[np.uint8]:
    """Say for every sample what the truth is like around it.

    The gradient is the 5x5 mean of the larger of the two absolute differences to the next pixel, right and below.
    Noise is estimated after Immerkaer 1996 ("Fast noise variance estimation"): the 5x5 mean of the absolute
    response to [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], times sqrt(pi / 2) / 6, which is sigma for Gaussian noise
    and 0 on planes. It makes a sample grainy where the 5x5 mean of the truth has a gradient below 1.6 LSB a pixel.

    Args:
        truth_cv: float32 (H, W, C), code values in LSB, not rounded.

    Returns:
        uint8 (H, W, C), indices into ``STRATA``.
    """
    gradient = _box_mean(_gradient(truth_cv))
    labels = np.searchsorted(np.asarray(GRADIENT_LIMITS, np.float32), gradient, side="right").astype(np.uint8)
    noise = _box_mean(np.abs(_second_difference(truth_cv))) * np.float32(np.sqrt(np.pi / 2) / 6)
    calm = _box_mean(_gradient(_box_mean(truth_cv))) < _GRAIN_GRADIENT
    labels[(noise > GRAIN_LIMIT) & calm] = STRATA.index("grainy")
    return labels


@dataclass(frozen=True)
class Errors:
    """Squared errors before and after, summed by stratum; add two to pool them.

    Attributes:
        before, after: float64 (len(STRATA),), sums of squared errors in LSB².
        samples: int64 (len(STRATA),), how many samples each sum has.
    """

    before: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(STRATA)))
    after: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(STRATA)))
    samples: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(STRATA), np.int64))

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.before + other.before, self.after + other.after, self.samples + other.samples)

    def gain(self, stratum: str | None = None) -> float:
        """Return 10 log10(MSE before / MSE after) in dB, of a stratum or of all samples.

        NaN where there are no samples, or there was no error to begin with; at most ``MAX_GAIN``.
        """
        at = slice(None) if stratum is None else STRATA.index(stratum)
        before, after = float(np.sum(self.before[at])), float(np.sum(self.after[at]))
        if before == 0:
            return float("nan")
        return min(10 * float(np.log10(before / after)), MAX_GAIN) if after > 0 else MAX_GAIN

    def share(self, stratum: str) -> float:
        """Return the share of all samples that lie in a stratum, 0 to 1."""
        return float(self.samples[STRATA.index(stratum)] / max(int(self.samples.sum()), 1))


def errors(
    input_cv: Floats, result_cv: Floats, truth_cv: Floats, known: npt.NDArray[np.bool_] | None = None
) -> Errors:
    """Sum the squared errors of a source and of a result against the truth, by the truth's strata.

    Args:
        input_cv, result_cv, truth_cv: float32 (H, W, C), code values in LSB.
        known: bool (H, W), where the truth is to be trusted; None is everywhere.
    """
    labels = strata(truth_cv)
    used = np.ones(labels.shape, bool) if known is None else np.broadcast_to(known[..., None], labels.shape)
    labels = labels[used]
    before, after = (
        np.bincount(labels, (plate_cv - truth_cv)[used].astype(np.float64) ** 2, len(STRATA)).astype(
            np.float64
        )
        for plate_cv in (input_cv, result_cv)
    )
    return Errors(before, after, np.bincount(labels, minlength=len(STRATA)))


def _gradient(plate_cv: Floats) -> Floats:
    right = np.abs(np.diff(plate_cv, axis=1, append=plate_cv[:, -1:]))
    below = np.abs(np.diff(plate_cv, axis=0, append=plate_cv[-1:]))
    return np.maximum(right, below)


def _second_difference(plate_cv: Floats) -> Floats:
    for axis in (0, 1):
        padding = [(1, 1) if a == axis else (0, 0) for a in range(plate_cv.ndim)]
        plate_cv = np.diff(np.pad(plate_cv, padding, mode="edge"), n=2, axis=axis)
    return plate_cv


def _box_mean(plate: Floats) -> Floats:
    reach = _WINDOW // 2
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(plate.ndim)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(plate, padding, mode="edge"), _WINDOW, axis)
        total = np.zeros_like(plate)
        for i in range(_WINDOW):
            total += windows[..., i]
        plate = np.divide(total, np.float32(_WINDOW), out=total)
    return plate
