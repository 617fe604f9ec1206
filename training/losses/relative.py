"""Losses that count decibels: a crop that is nearly right has as much to gain as one that is not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses.pixel import ROUNDING_VARIANCE, require_side

FLOOR = 0.01  # of the error of rounding, 20 dB below it: what is better than that is good enough
PATCH_FLOOR = 0.02  # the same for patches, whose errors differ more by chance
PATCH = 32  # px


def log_l2(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean over crops of the logarithm of their squared error, in units of log 10 / 10 dB, 0 for equal pictures.

    The mean squared error listens to the crops that cannot be helped, such as grain; its logarithm counts the same
    for each: a dB is a dB.
    """
    error = (expanded_cv - truth_cv).square().mean((1, 2, 3)) / ROUNDING_VARIANCE
    return torch.log1p(error / FLOOR).mean()


def harm(expanded_cv: Tensor, truth_cv: Tensor, input_cv: Tensor) -> Tensor:
    """Mean over patches of by how much each got worse than it was, in the unit of :func:`log_l2`.

    0 where no patch of 32 px has a larger squared error than the code values had. Unlike the other losses it must
    know the plate, so it is no entry of ``LOSSES``; a phase has a key of its own for it.

    Args:
        expanded_cv, truth_cv, input_cv: float32 (N, 3, H, W), in LSB.

    Raises:
        UsageError: a crop smaller than a patch.
    """
    require_side("harm", expanded_cv, PATCH)
    return (_by_patch(expanded_cv - truth_cv) - _by_patch(input_cv - truth_cv)).clamp_min(0).mean()


def _by_patch(residual_cv: Tensor) -> Tensor:
    error = F.avg_pool2d(residual_cv.square().mean(1, keepdim=True), PATCH) / ROUNDING_VARIANCE
    return torch.log1p(error / PATCH_FLOOR)
