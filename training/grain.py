"""Grain of known strength: white or blurred as scanned film is, alike in all channels or not, Gaussian or skewed.

Skewed grain is log-normal, light specks on a dark that most samples lie close to: the darkest parts of scanned film
and of long exposures.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats

BLUR = (0.4, 1.2)  # px, smallest and largest sigma of the blur of correlated grain
SHARED = 0.5  # share of grainy crops whose channels have the same grain: black-and-white stock, luma noise
SKEW = (0.3, 1.5)  # sigma of the logarithm of skewed grain: its skewness is 0.9 to 33
BRIGHT = 0.4  # share of uneven grain that is stronger in the lights
_REACH = 3.5  # sigmas of the blur, where its kernel ends


def grain(random: np.random.Generator, size: int, sigma: float, blur: float, shared: bool) -> Floats:
    """Return Gaussian noise of an exact expected strength.

    White noise blurred with a kernel k has sqrt(sum k²) of its sigma left, which is put back. It is drawn larger
    than needed, so that it is as strong at the border as inside.

    Args:
        random: where it comes from.
        size: side in pixels.
        sigma: standard deviation of each sample, in the unit of the result.
        blur: sigma of a Gaussian blur in pixels, 0 for white noise.
        shared: the same in all three channels.

    Returns:
        float32 (size, size, 3), mean 0.
    """
    kernel = _kernel(blur)
    side = size + len(kernel) - 1
    noise = random.standard_normal((side, side, 1 if shared else 3), np.float32)
    for axis in (0, 1):
        shifted = (noise.take(range(i, i + size), axis) * weight for i, weight in enumerate(kernel))
        noise = functools.reduce(np.add, shifted)
    return np.broadcast_to(noise * np.float32(sigma), (size, size, 3))


def skewed(noise: Floats, skew: float) -> Floats:
    """Make Gaussian noise log-normal, with the same mean of 0 and sigma of 1.

    Args:
        noise: float32, any shape, mean 0 and sigma 1.
        skew: sigma of the result's logarithm, above 0.

    Returns:
        float32, same shape; every order among samples is as it was.
    """
    mean = np.exp(skew**2 / 2)
    return ((np.exp(np.float32(skew) * noise) - mean) / (mean * np.sqrt(np.expm1(skew**2)))).astype(
        np.float32
    )


def draw_grain(
    random: np.random.Generator,
    size: int,
    sigmas: tuple[float, float],
    correlated: float,
    skewed_share: float = 0.0,
) -> Floats:
    """Return the grain of one crop: its sigma drawn evenly on a log scale between two, its kind at random.

    Args:
        random: where all choices come from.
        size: side in pixels.
        sigmas: smallest and largest standard deviation, in the unit of the result.
        correlated: share of the crops whose grain is blurred, by ``BLUR``.
        skewed_share: share of the crops whose grain is log-normal, by ``SKEW``.

    Returns:
        float32 (size, size, 3).
    """
    low, high = sigmas
    sigma = low * (high / low) ** random.random()
    blur = random.uniform(*BLUR) if random.random() < correlated else 0.0
    noise = grain(random, size, 1.0, blur, bool(random.random() < SHARED))
    if random.random() < skewed_share:
        noise = skewed(noise, random.uniform(*SKEW))
    return noise * np.float32(sigma)


def draw_unevenness(random: np.random.Generator, truth_cv: Floats) -> Floats:
    """Return how strong the grain is at each sample: sensors' and film's changes with the light.

    Args:
        random: where all choices come from.
        truth_cv: float32 (H, W, 3), any unit.

    Returns:
        float32 (H, W, 3), from a floor of 0 to 0.4 up to that and 1, rising or falling with the value.
    """
    low, high = np.percentile(truth_cv, (1, 99))
    light = np.clip((truth_cv - low) / max(high - low, 1e-3), 0, 1)
    strength = light if random.random() < BRIGHT else 1 - light
    return (random.uniform(0, 0.4) + strength ** random.uniform(0.5, 3.0)).astype(np.float32)


def _kernel(blur: float) -> npt.NDArray[np.float32]:
    """Return a Gaussian kernel whose squares sum to 1, which keeps the variance of white noise."""
    reach = int(np.ceil(_REACH * blur))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / blur) ** 2) if blur else np.ones(1)
    return (weights / np.sqrt(np.sum(weights**2))).astype(np.float32)
