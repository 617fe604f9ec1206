"""Losses on frequency bands, in LSB: banding is an error of low frequencies, grain one of high ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses.pixel import require_side

BANDS = 4  # of the Laplacian pyramid; what is left has a sixteenth of the side
KERNEL = (
    1 / 16,
    4 / 16,
    6 / 16,
    4 / 16,
    1 / 16,
)  # Burt & Adelson's with a = 3/8: blind to the highest frequency


def laplacian(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Sum over the levels of a Laplacian pyramid of the mean absolute error of each, in LSB.

    The pyramid is Burt & Adelson's (1983): four bands and the low-pass rest, the border repeated. The mean of
    each level is the weight 2**(2 level) that Bojanowski et al. (2018) give to its sum: each octave counts the
    same, though it has a quarter of the coefficients of the one before. A constant error of c LSB costs c.

    Raises:
        UsageError: a crop too small to be halved four times.
    """
    require_side("laplacian", expanded_cv, 2**BANDS)
    rest_cv = expanded_cv - truth_cv  # the pyramid is linear
    total = rest_cv.new_zeros(())
    for _ in range(BANDS):
        height, width = rest_cv.shape[-2:]
        coarse_cv = _halve(_halve(rest_cv).mT).mT
        band_cv = rest_cv - _double(_double(coarse_cv, width).mT, height).mT
        total = total + band_cv.abs().mean()
        rest_cv = coarse_cv
    return total + rest_cv.abs().mean()


def fft(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """Mean absolute error of the spectra's complex values, over the half plane of a real FFT, in LSB.

    As in MIMO-UNet (Cho et al. 2021), with two differences: the transform is orthonormal, so the loss does not
    grow with the crop, and the modulus stands for the sum of real and imaginary part, so that it does not
    matter where in the crop an error lies. White noise of sigma LSB costs sigma * sqrt(pi) / 2.
    """
    return torch.fft.rfft2(expanded_cv - truth_cv, norm="ortho").abs().mean()


def _halve(plate: Tensor) -> Tensor:
    """Blur rows and keep every second pixel, the first among them (REDUCE); (N, C, H, W) to (N, C, H, ceil(W/2)).

    Sums of shifted slices instead of a convolution, which a GPU may compute in TF32.
    """
    width = plate.shape[-1]
    padded = F.pad(plate, (2, 2, 0, 0), mode="replicate")
    taps = [weight * padded[..., k : k + width : 2] for k, weight in enumerate(KERNEL)]
    return torch.stack(taps).sum(0)


def _double(plate: Tensor, width: int) -> Tensor:
    """Interpolate rows to ``width`` pixels, twice as many or one less (EXPAND): zeros between, then blurred."""
    padded = F.pad(plate, (1, 1, 0, 0), mode="replicate")
    before, after = padded[..., :-2], padded[..., 2:]
    even = 2 * (KERNEL[0] * before + KERNEL[2] * plate + KERNEL[4] * after)
    odd = 2 * (KERNEL[1] * plate + KERNEL[3] * after)
    return torch.stack((even, odd), -1).flatten(-2)[..., :width]
