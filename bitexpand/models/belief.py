"""Beliefs about where in its bin a value lies, and what the bins make of them; in LSB from the bin's middle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitexpand.code_values import HALF_BIN

LOG_SCALE = (-5.0, 1.0)  # of a belief in widths of the bin: from certainty to a straight line across it
START_LOG_SCALE = -3.5  # nearly certain
# Moves of a tenth of the bin lose a tenth; with less doubt, scales would have no gradient to learn by.
FIRST_LOG_SCALE = -2.3
FAR = 10.0  # scales: beyond the bin by so many, a belief's mean makes no difference, and its densities no numbers


def scale_of(log_scale: Tensor, half_width: float | Tensor = HALF_BIN) -> Tensor:
    """Scale of a belief from what a network tells of it.

    It counts in widths of the bin, so where nothing is known the answer is the middle, however wide the bin is.

    Args:
        log_scale: natural logarithm of the scale in widths of the bin, any shape (N, C, H, W), float32.
        half_width: of the bin in LSB, one for all or (N, 1, 1, 1).

    Returns:
        Same shape, float32, LSB.
    """
    return torch.exp(log_scale.clamp(*LOG_SCALE)) * (2 * half_width)


def belief_head(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 1x1 convolution that tells log scales, of little doubt at first: moves stay nearly the same."""
    head = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, FIRST_LOG_SCALE)  # pyright: ignore[reportArgumentType]
    return head


def posterior_mean(mean: Tensor, scale: Tensor, half_width: float | Tensor = HALF_BIN) -> Tensor:
    """Mean of a logistic distribution cut to the bin.

    The logistic density is near the normal one, has an integral of elementary functions, and tails that let a
    belief be wrong: however far outside of the bin its mean lies, the result stays a scale away from the bin's end.

    Args:
        mean: of the distribution, (N, C, H, W) float32, LSB from the bin's middle.
        scale: same shape, LSB, positive; the standard deviation times sqrt(3) / pi.
        half_width: of the bin in LSB, one for all or (N, 1, 1, 1).

    Returns:
        Same shape, float32, LSB from the bin's middle, within the half-width.
    """
    distance = torch.minimum(mean.abs(), half_width + FAR * scale)
    # e^near and e^far: neither can be too large for float32, as the scale is no less than 1/148 of the bin
    near = torch.exp((half_width - distance) / scale)
    far = torch.exp((-half_width - distance) / scale)
    both = (1 + near) * (1 + far)
    inside = (near - far) / both  # the share of the distribution that lies in the bin
    area = torch.log(1 + (near - far) / (1 + far))  # the integral of the distribution function
    moment = half_width * ((near + far + 2 * near * far) / both) - scale * area  # by parts
    return mean.sign() * moment / inside


def where_bins_meet(residual: Tensor, half_width: float | Tensor = HALF_BIN) -> Tensor:
    """Move the channels of each pixel together, to the middle of how far they can go without leaving a bin.

    If the differences between the channels are known, the bins of all of them tell of each: what is common to the
    channels lies where the bins, shifted by the differences, overlap.

    Args:
        residual: (N, C, H, W) float32, LSB from the bin's middle, within the half-width.
        half_width: of the bins in LSB, one for all or (N, 1, 1, 1).

    Returns:
        Same shape, float32, LSB from the bin's middle, within the half-width.
    """
    lowest = (-half_width - residual).amax(1, keepdim=True)
    highest = (half_width - residual).amin(1, keepdim=True)
    return residual + (lowest + highest) / 2
