"""Crops out of plates: where they are cut, how they are mirrored and zoomed, all in the plate's own log space."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats, peak
from training.augmentation import Augmentation

UNZOOMED = 0.5  # share of crops that are not zoomed where that is allowed: resampling softens a plate
TRIES = 8  # windows of one plate, before another one is drawn
Plate = npt.NDArray[np.generic]


def cut(
    random: np.random.Generator,
    plate: Plate,
    unknown: npt.NDArray[np.bool_] | None,
    size: int,
    augmentation: Augmentation,
) -> Floats | None:
    """Cut a crop at a random place of a plate: mirrored, transposed and zoomed as the settings allow.

    Args:
        random: where all choices come from.
        plate: (H, W, 3), float32 or uint16 (65535 is 1.0), a log signal; only the crop is read.
        unknown: bool (H, W), pixels that no crop may hold.
        size: side of the crop in pixels. A plate smaller than what the zoom asks for is zoomed up.
        augmentation: see there.

    Returns:
        float32 (size, size, 3), the log signal; None where all ``TRIES`` windows held unknown pixels.
    """
    zoom = draw_zoom(random, augmentation.zoom)
    side = min(math.ceil(size / zoom), *plate.shape[:2])
    for _ in range(TRIES):
        top, left = (int(random.integers(0, length - side + 1)) for length in plate.shape[:2])
        at = (slice(top, top + side), slice(left, left + side))
        if unknown is None or not unknown[at].any():
            window = _orient(random, as_signal(plate[at]), augmentation)
            return resample(np.ascontiguousarray(window), size)
    return None


def draw_zoom(random: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a scale: exactly 1 for half of the crops if it lies within the limits, else evenly on a log scale."""
    low, high = limits
    unzoomed, position = random.random(2)
    if low <= 1 <= high and unzoomed < UNZOOMED:
        return 1.0
    return low * (high / low) ** position


def as_signal(plate: Plate) -> Floats:
    """Return a stored plate, float32 or uint16 (65535 is 1.0), as a float32 log signal of its own memory."""
    if plate.dtype == np.uint16:
        return np.divide(plate, np.float32(peak(16)), dtype=np.float32)
    return np.array(plate, np.float32)


def resample(window_log: Floats, size: int) -> Floats:
    """Zoom a square to another size: by area where it shrinks, by cubic interpolation where it grows.

    Args:
        window_log: float32 (side, side, 3), contiguous.
        size: new side; the same one changes nothing, bit for bit.

    Returns:
        float32 (size, size, 3). Linear ramps stay linear ramps, up to the border. Edges may overshoot a little.
    """
    side = window_log.shape[0]
    if size == side:
        return window_log
    along = _area if size < side else _cubic
    return along(along(window_log, size, 0), size, 1).astype(np.float32)


def _orient(random: np.random.Generator, window: Floats, augmentation: Augmentation) -> Floats:
    upside, mirrored, transposed = random.random(3) < 0.5
    if augmentation.flip:
        window = window[:: -1 if upside else 1, :: -1 if mirrored else 1]
    return window.swapaxes(0, 1) if augmentation.transpose and transposed else window


def _cubic(plate: npt.NDArray[np.floating], size: int, axis: int) -> npt.NDArray[np.floating]:
    """Return ``size`` values along an axis, by the cubic convolution of Keys 1981 with a = -1/2.

    Torch's "bicubic" has a = -3/4, which does not keep ramps: they get ripples of 0.05 px.
    """
    side = plate.shape[axis]
    places = (np.arange(size) + 0.5) * (side / size) - 0.5
    whole = np.floor(places).astype(np.intp)
    t = (places - whole).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(plate.ndim)])
    # reflected in its last values as well as in its last pixels, a ramp goes on beyond the border
    beyond = [(2, 2) if a == axis else (0, 0) for a in range(plate.ndim)]
    padded = np.pad(plate, beyond, mode="reflect", reflect_type="odd")
    weights = (
        t * (-1 + t * (2 - t)) / 2,
        1 + t * t * (3 * t - 5) / 2,
        t * (1 + t * (4 - 3 * t)) / 2,
        t * t * (t - 1) / 2,
    )
    taps = (padded.take(whole + i + 1, axis) * weight for i, weight in enumerate(weights))
    return functools.reduce(np.add, taps)


def _area(plate: npt.NDArray[np.floating], size: int, axis: int) -> npt.NDArray[np.float64]:
    """Return the mean over each of ``size`` equal stretches of an axis.

    Where two stretches meet inside a pixel, it is divided as if the plate were straight there, with the slope of
    its neighbours (van Leer 1977, "Towards the ultimate conservative difference scheme", IV), so ramps stay ramps.
    Dividing flat pixels would bend them by 0.06 px, and torch's "area", of whole pixels that overlap, by 0.4 px:
    at 6 LSB a pixel both are errors of the truth that a model would have to learn.
    """
    side = plate.shape[axis]
    edges = np.arange(1, size) * (side / size)
    whole = edges.astype(np.intp)  # 1 .. side - 2, as a stretch is longer than a pixel
    part = (edges - whole).reshape([-1 if a == axis else 1 for a in range(plate.ndim)])
    before, divided, after = (plate.take(whole + step, axis) for step in (-1, 0, 1))
    sums = np.cumsum(plate, axis, dtype=np.float64)
    inner = sums.take(whole - 1, axis) + part * divided + part * (part - 1) / 4 * (after - before)
    last = sums.take([-1], axis)
    return np.diff(np.concatenate([np.zeros_like(last), inner, last], axis), axis=axis) * (size / side)
