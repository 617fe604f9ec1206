"""Losses on colour: do the channels keep step, and would an eye see a difference?"""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.pixel import require_side, slope

SRGB_KNEE = 0.04045  # IEC 61966-2-1: the signal below which sRGB is a straight line
# Light of code value 1 of 8-bit sRGB: below it the cube root, whose slope has no bound, gives way to its chord.
TOE = 1 / (255 * 12.92)
# Linear sRGB to cone responses, and their cube roots to Oklab: Ottosson 2020, as revised in 2021.
TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def color_consistency(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean absolute error of the gradients of R - G, G - B and B - R, in LSB per pixel.

    Channels share their edges: the cross-channel prior of Heide et al. (2013) says that their gradients,
    relative to their values, agree. In a log encoding relative gradients are differences of code values, so the
    prior asks for flat colour differences. Real edges of colour break it, so the truth says what those
    differences should be. Blind to an error that all channels share, and to a constant one in any of them.

    Raises:
        UsageError: a crop without neighbours.
    """
    require_side("color_consistency", expanded_cv, 2)
    residual_cv = expanded_cv - truth_cv
    return slope(residual_cv - residual_cv.roll(-1, 1))


def oklab(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean Euclidean distance in Oklab (Ottosson 2020), where 1 is from black to white.

    The signal is read as sRGB, a log plate too: a log curve spaces its codes about as evenly to the eye as
    sRGB does, which is what this loss needs, while decoded to the light of a scene they would span a range for
    which Oklab was not made. Nor does a batch say which of many curves a crop is in.
    """
    difference = to_oklab(expanded_cv / peak_cv) - to_oklab(truth_cv / peak_cv)
    # unlike a square root's, its gradient is 0 at a difference of 0
    return torch.linalg.vector_norm(difference, dim=1).mean()


def to_oklab(signal: Tensor) -> Tensor:
    """Convert sRGB-encoded signals to Oklab; out of range they go on point-symmetrically, as in scRGB.

    Args:
        signal: (N, 3, H, W), 0 to 1 and beyond.

    Returns:
        (N, 3, H, W): L, a, b. Where a cone response is below ``TOE`` its cube root is replaced by a line
        through black.
    """
    cones = _mix(TO_CONES, _decode_srgb(signal))
    # clamped, as where() would let the infinite slope of the branch not taken through, as NaN
    root = cones.sign() * cones.abs().clamp(min=TOE) ** (1 / 3)
    return _mix(TO_LAB, torch.where(cones.abs() < TOE, cones * TOE ** (-2 / 3), root))


def _decode_srgb(signal: Tensor) -> Tensor:
    magnitude = signal.abs()
    curve = ((magnitude + 0.055) / 1.055) ** 2.4
    return torch.where(magnitude < SRGB_KNEE, signal / 12.92, signal.sign() * curve)


def _mix(matrix: tuple[tuple[float, float, float], ...], colors: Tensor) -> Tensor:
    """Apply a 3x3 matrix to the channels of (N, 3, H, W), not by a product that autocast or TF32 would round."""
    red, green, blue = colors.unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in matrix], 1)
