"""How close a result is to its truth, sample by sample: PSNR, SSIM, and the error in LSB."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitexpand.code_values import Floats
from bitexpand.errors import PlateError
from bitexpand.metrics.checks import check_pair, check_range

MAX_DB = 150.0  # what float32 can tell from no error at all: 24 bits of mantissa are 144.5 dB
WINDOW = 11  # px, of SSIM
_SIGMA = 1.5  # px
_K1, _K2 = 0.01, 0.03
_BAND_ROWS = 64  # what a band needs stays in the cache, which makes SSIM twice as fast


class LsbErrors(NamedTuple):
    """Absolute errors in LSB of the source: their mean, 99.9th percentile and maximum."""

    mean: float
    percentile_999: float
    max: float


def psnr(result: Floats, truth: Floats, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, 20 log10(data_range) - 10 log10(MSE), of all channels pooled.

    At most ``MAX_DB``, which equal pictures get: a table then needs no infinity. Of a constant truth (see
    ``is_constant``), such as a black frame, it says only how far away from that constant the result is.

    Args:
        result, truth: float32 (H, W, C), in one encoding and unit.
        data_range: distance from black to white in that unit: 1 of a signal, 255 of 8-bit code values. Scene-linear
            light has no white; its largest value in the truth is a choice that depends on nothing else.

    Raises:
        PlateError: another shape, or NaN or Inf.
        UsageError: a range that is not above 0.
    """
    check_pair(result, truth)
    check_range(data_range)
    squares = float(np.mean(np.square(result - truth, dtype=np.float64)))
    if squares == 0:
        return MAX_DB
    return min(20 * math.log10(data_range) - 10 * math.log10(squares), MAX_DB)


def is_constant(plate: Floats) -> bool:
    """Tell whether all samples of a channel are equal, in each channel of (H, W, C), as in a black frame."""
    return bool((plate == plate[:1, :1]).all())


def lsb_errors(result_cv: Floats, truth_cv: Floats) -> LsbErrors:
    """Return the mean, the 99.9th percentile and the maximum of the absolute errors, in LSB.

    Args:
        result_cv, truth_cv: float32 (H, W, C), code values in LSB, not rounded.

    Raises:
        PlateError: another shape, or NaN or Inf.
    """
    check_pair(result_cv, truth_cv)
    error_cv = np.abs(result_cv - truth_cv)
    return LsbErrors(
        float(error_cv.mean(dtype=np.float64)), float(np.percentile(error_cv, 99.9)), float(error_cv.max())
    )


def ssim(result: Floats, truth: Floats, data_range: float) -> float:
    """Return the structural similarity, at most 1, which equal pictures have; the mean of the channels.

    Wang, Bovik, Sheikh & Simoncelli 2004 ("Image quality assessment: from error visibility to structural
    similarity"): Gaussian window of 11x11 px with sigma 1.5, K1 = 0.01, K2 = 0.03, population variances, at the
    pixels whose window lies inside of the picture.

    Args:
        result, truth: float32 (H, W, C), in one encoding and unit.
        data_range: distance from black to white in that unit; see ``psnr``.

    Raises:
        PlateError: another shape, NaN or Inf, or a side of fewer than 11 px.
        UsageError: a range that is not above 0.
    """
    check_pair(result, truth)
    check_range(data_range)
    height, width = truth.shape[:2]
    if min(height, width) < WINDOW:
        raise PlateError(f"SSIM needs pictures of at least {WINDOW}x{WINDOW} px, not {width}x{height}")
    planes = [
        torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1), np.float32)) for p in (result, truth)
    ]
    total = 0.0
    for top in range(0, height - WINDOW + 1, _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS + WINDOW - 1)
        total += float(_ssim_map(planes[0][:, band], planes[1][:, band], data_range).sum(dtype=torch.float64))
    return total / ((height - WINDOW + 1) * (width - WINDOW + 1) * truth.shape[2])


@torch.inference_mode()
def _ssim_map(result: Tensor, truth: Tensor, data_range: float) -> Tensor:
    """Return the index at every whole window of two (C, h, w) planes."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    # Variances do not depend on where 0 is, and near it float32 is finest.
    middle = truth.mean((1, 2), keepdim=True)
    x, y = result - middle, truth - middle
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variances = _window_mean(x * x + y * y) - (mean_x * mean_x + mean_y * mean_y)
    covariance = _window_mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + middle, mean_y + middle
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _window_mean(planes: Tensor) -> Tensor:
    """Return the Gaussian mean of (C, h, w) at every whole window: (C, h - 10, w - 10)."""
    reach = WINDOW // 2
    weights = [math.exp(-(offset**2) / (2 * _SIGMA**2)) for offset in range(reach + 1)]
    scale = 1 / (weights[0] + 2 * sum(weights[1:]))
    for axis in (1, 2):
        size = planes.shape[axis] - 2 * reach
        total = planes.narrow(axis, reach, size) * (weights[0] * scale)
        for offset in range(1, reach + 1):  # the window is symmetric: half of the products suffice
            pair = planes.narrow(axis, reach - offset, size) + planes.narrow(axis, reach + offset, size)
            total.add_(pair, alpha=weights[offset] * scale)
        planes = total
    return planes
