"""No network: an empirical Bayes filter for those who may not use one, and an edge-gated blur.

Around every pixel, estimates of many sizes compete. How well each one fits its surroundings tells how far from
the truth it is; the best become a normal prior for the pixel, and its bin is the likelihood. The posterior mean
is the new value, from which the estimates are made again. Where nothing fits, as in grain and texture, the prior
is wide and the value stays in the middle of its bin: doing nothing is a special case, not an exception.

With priors of no width this is the iterated blur-and-clamp known as POCS, projections onto convex sets
(Youla & Webb 1982), which pulls texture flat. Iterating the posterior mean instead is expectation maximisation
for data known only by their interval (Dempster, Laird & Rubin 1977).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand.models.base import ModelConfig, PlateModel, Units, check_integer, full_precision
from bitexpand.models.fits import correlate, quadratic_fit_kernel

HALF_BIN = 0.5  # LSB
BIN_DEVIATION = math.sqrt(1 / 12)  # LSB: of a value uniform in its bin
VARIANCE_FLOOR = 0.002  # LSB^2: no estimate is ever believed to be perfect
WIDE_VARIANCE = 4.0  # LSB^2: from here on a normal density is a straight line across a bin
OWN_CHANNEL = 0.5  # share of a channel's own error in its error map; the rest is the mean of all channels
FINE_SIGMAS = (0.7, 1.0)  # px
FIT_SIZES = (3, 5)  # px
LEVEL_SIGMA = 2.0  # cells of a level, so 2, 4, 8... px
SMALLEST_WINDOW = 2.0  # px: sigma of the window in which a local fit is judged
GATE = 1.5  # LSB: a band edge is one step high, so two neighbours inside a gradient differ by less


@dataclass(frozen=True)
class SmoothConfig(ModelConfig):
    """Reach of :class:`Smooth`.

    Attributes:
        levels: the largest blur has a sigma of 2**levels px.
        iterations: how often the estimates are renewed.
    """

    levels: int = 6
    iterations: int = 3

    def __post_init__(self) -> None:
        check_integer("SmoothConfig", "levels", self.levels, 1, 8)
        check_integer("SmoothConfig", "iterations", self.iterations, 1, 20)


class Smooth(PlateModel):
    """Interval-censored empirical Bayes over blurs and local fits; code values in LSB, no parameters."""

    config_type = SmoothConfig
    units: Units = "lsb"
    bytes_per_pixel = 360

    def __init__(self, config: SmoothConfig | None = None) -> None:
        config = config if config is not None else SmoothConfig()
        super().__init__(config)
        self.levels, self.iterations = config.levels, config.iterations
        self.multiple = 2 ** (config.levels - 1)
        self.overlap = 24 * self.multiple  # 768 px: tiled and untiled differ by 0.02 LSB at worst

    def forward(self, plate: Tensor) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, whole numbers; H and W multiples of ``multiple``.

        Returns:
            (N, 3, H, W) float32 in LSB, within half an LSB of the plate.
        """
        with full_precision(plate):
            estimate = plate
            for _ in range(self.iterations):
                mean, variance = self._prior(estimate, plate)
                estimate = posterior_mean(mean, variance, plate)
            return estimate

    def _prior(self, estimate: Tensor, plate: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each pixel before its own bin is looked at, (N, 3, H, W), LSB and LSB^2."""
        total, mean, variance = (torch.zeros_like(plate) for _ in range(3))
        for candidate, level, window in self._candidates(estimate):
            error = error_variance(candidate, plate, level, window).add_(VARIANCE_FLOOR)
            weight = (VARIANCE_FLOOR / error).square_().square_()  # the errors to the power of -4
            total += weight
            mean.addcmul_(weight, candidate)
            variance.addcmul_(weight, error)
        return mean.div_(total), variance.div_(total)

    def _candidates(self, estimate: Tensor) -> Iterator[tuple[Tensor, int, float]]:
        """Yield estimates of the plate with the level and the window, in cells, in which to judge them."""
        for size in FIT_SIZES:
            kernel = quadratic_fit_kernel(size)
            fitted = correlate(estimate, kernel)
            yield _leave_one_out(fitted, estimate, kernel[size // 2][size // 2]), 0, SMALLEST_WINDOW
        for sigma in FINE_SIGMAS:
            for blurred in _blurs(estimate, sigma, exclude_self=True):
                yield blurred, 0, sigma
        for level in range(self.levels):
            cells = _pool(estimate, level)
            for blurred in _blurs(cells, LEVEL_SIGMA, exclude_self=level == 0):
                yield _upsample(blurred, estimate), level, LEVEL_SIGMA


def error_variance(candidate: Tensor, plate: Tensor, level: int, window: float) -> Tensor:
    """Estimate how far a candidate is from the truth, from how far it is from the plate.

    The plate is the truth plus a quantisation error of variance 1/12. A candidate that is farther from the
    plate has an error of its own on top. One that is closer follows the plate's steps, and has gone only a part
    of the way from the plate to the truth.

    Args:
        candidate: (N, 3, H, W) float32, LSB.
        plate: (N, 3, H, W) float32, LSB.
        level: the distances are averaged in cells of 2**level px.
        window: sigma of that average, in cells.

    Returns:
        (N, 3, H, W) float32, LSB^2, not negative.
    """
    square = (candidate - plate).square_()
    all_channels = square.mean(1, keepdim=True)
    square.mul_(OWN_CHANNEL).add_(all_channels, alpha=1 - OWN_CHANNEL)
    distance = _blur(_pool(square, level), window)
    # Closer than a bin's deviation b: (b - d)^2, the rest of the way. Farther: d^2 - b^2. In one expression:
    rest = distance.sqrt().neg_().add_(BIN_DEVIATION).clamp_(min=0)
    return _upsample(distance.sub_(BIN_DEVIATION**2).add_(rest, alpha=2 * BIN_DEVIATION), plate)


def posterior_mean(mean: Tensor, variance: Tensor, plate: Tensor) -> Tensor:
    """Mean of a normal prior cut to the bins of a plate (the truncated normal distribution).

    Args:
        mean: of the prior, any shape, float32, LSB.
        variance: of the prior, same shape, LSB^2, positive.
        plate: same shape, code values in LSB, the centres of the bins.

    Returns:
        Same shape, float32, LSB, within half an LSB of the plate.
    """
    offset = mean - plate
    deviation = variance.clamp(max=WIDE_VARIANCE).sqrt()
    # Seen from the prior's mean, the bin runs from its near to its far end, in deviations. With erfcx, the scaled
    # complementary error function, the ratio of density to mass stays exact where both vanish.
    distance = offset.abs()
    near, far = (distance - HALF_BIN) / deviation, (distance + HALF_BIN) / deviation
    drop = torch.exp((near - far) * (near + far) / 2)
    mass = torch.special.erfcx(near / math.sqrt(2)) - drop * torch.special.erfcx(far / math.sqrt(2))
    narrow = offset.sign() * (distance - deviation * math.sqrt(2 / math.pi) * (1 - drop) / mass)
    wide = offset / variance * BIN_DEVIATION**2  # else the difference of two near-equal masses would be noise
    return plate + torch.where(variance < WIDE_VARIANCE, narrow, wide).clamp(-HALF_BIN, HALF_BIN)


def edge_gated_blur(plate: Tensor, sigma: float) -> Tensor:
    """Blur along and across, with neighbours that are within 1.5 LSB of the pixel only.

    A bilateral filter (Tomasi & Manduchi 1998) taken apart into rows and columns (Pham & van Vliet 2005), with
    Tukey's biweight for the range. Ramps pass unchanged, being symmetric, and so does what is steeper than the
    gate. Above 4 px the neighbours are taken further apart, so time does not grow with sigma.

    Args:
        plate: (N, C, H, W) float32, LSB.
        sigma: of the blur, px, above 0.

    Returns:
        (N, C, H, W) float32, LSB; not clamped to any bin.
    """
    for axis in (-1, -2):
        plate = _gated_blur_along(plate, sigma, axis)
    return plate


def _gated_blur_along(plate: Tensor, sigma: float, axis: int) -> Tensor:
    spacing = max(1, math.ceil(sigma / 4))
    reach = max(1, math.ceil(3 * sigma / spacing))
    pad = (reach * spacing, reach * spacing)
    padded = F.pad(plate, (*pad, 0, 0) if axis == -1 else (0, 0, *pad), mode="replicate")
    total, shift = torch.ones_like(plate), torch.zeros_like(plate)
    for i in range(-reach, reach + 1):
        if i == 0:
            continue
        difference = padded.narrow(axis, (reach + i) * spacing, plate.shape[axis]) - plate
        weight = (1 - (difference / GATE) ** 2).clamp_(min=0).square_()
        weight *= math.exp(-((i * spacing / sigma) ** 2) / 2)
        total += weight
        shift.addcmul_(weight, difference)
    return plate + shift / total


def _blurs(x: Tensor, sigma: float, exclude_self: bool) -> Iterator[Tensor]:
    """Yield a Gaussian blur, and its twicing (Tukey 1977): 2G - G*G, which bends with a curved surface."""
    kernel = _gaussian(sigma)
    centre, centre_of_twice = max(kernel) ** 2, sum(weight**2 for weight in kernel) ** 2
    blurred = _blur(x, sigma)
    twiced = _blur(blurred, sigma).neg_().add_(blurred, alpha=2)
    yield _leave_one_out(blurred, x, centre) if exclude_self else blurred
    yield _leave_one_out(twiced, x, 2 * centre - centre_of_twice) if exclude_self else twiced


def _leave_one_out(filtered: Tensor, x: Tensor, centre: float) -> Tensor:
    """Take a pixel's own share out of a filter: a prior must not have seen what it will be weighed against."""
    return filtered.sub_(x, alpha=centre).div_(1 - centre)


def _gaussian(sigma: float) -> tuple[float, ...]:
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-reach, reach + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def _blur(x: Tensor, sigma: float) -> Tensor:
    row = _gaussian(sigma)
    return correlate(correlate(x, (row,)), tuple((weight,) for weight in row))


def _pool(x: Tensor, level: int) -> Tensor:
    return F.avg_pool2d(x, 2**level) if level else x


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
