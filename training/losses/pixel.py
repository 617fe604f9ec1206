"""Losses on pixels and on the differences between neighbours, in LSB.

Finite differences and means are linear, so all of these take the difference of the pictures first: a residual of
fractions of an LSB then keeps float32's full precision.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bitexpand.errors import UsageError

ROUNDING_VARIANCE = 1 / 12  # LSB squared: of an error spread evenly over a bin (Bennett 1948)
SCALES = 4  # of the multi-scale gradient: cells of 1, 2, 4 and 8 pixels, as many scales as MegaDepth's


def l1(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean absolute error in LSB; 0.25 is doing nothing to a rounded plate."""
    return (expanded_cv - truth_cv).abs().mean()


def l2(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean squared error, with that of doing nothing to a rounded plate, 1/12 LSB squared, as the unit."""
    return (expanded_cv - truth_cv).square().mean() / ROUNDING_VARIANCE


def gradient(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean absolute error of the finite differences, the mean of horizontal and vertical, in LSB per pixel.

    The first-order gradient difference loss (Mathieu et al. 2016), with signed gradients: a ramp that falls
    where it should rise is an error.

    Raises:
        UsageError: a crop without neighbours.
    """
    require_side("gradient", expanded_cv, 2)
    return slope(expanded_cv - truth_cv)


def multiscale_gradient(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean over four scales of the gradient loss on means of 1, 2, 4 and 8 pixels a side, in LSB per cell.

    The multi-scale gradient matching of MegaDepth (Li & Snavely 2018), on means instead of every second pixel,
    as grain would alias. Between bands many pixels apart, only coarse scales see the ramp. Rows and columns
    beyond the last whole cell count at the finer scales only.

    Raises:
        UsageError: a crop too small to have two cells a side at the coarsest scale.
    """
    require_side("multiscale_gradient", expanded_cv, 2**SCALES)
    residual_cv = expanded_cv - truth_cv
    total = slope(residual_cv)
    for _ in range(SCALES - 1):
        residual_cv = F.avg_pool2d(residual_cv, 2)
        total = total + slope(residual_cv)
    return total / SCALES


def slope(plate: Tensor) -> Tensor:
    """Return the mean absolute finite difference of (N, C, H, W), the mean of horizontal and vertical."""
    horizontal = plate[..., 1:] - plate[..., :-1]
    vertical = plate[..., 1:, :] - plate[..., :-1, :]
    return (horizontal.abs().mean() + vertical.abs().mean()) / 2


def require_side(loss: str, crop_cv: Tensor, least: int) -> None:
    """Refuse crops that are too small for a loss.

    Raises:
        UsageError: naming the loss, the crop's size and the least size.
    """
    height, width = crop_cv.shape[-2:]
    if min(height, width) < least:
        raise UsageError(
            f"loss '{loss}' needs crops of at least {least} pixels a side, not {width}x{height}; "
            "train on larger crops or leave it out"
        )
