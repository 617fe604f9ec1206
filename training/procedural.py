"""Scenes made of formulas: gradients and piecewise smooth fills with edges, whose truth has no noise at all.

Footage holds few pixels that are both smooth and clean, and those are where banding shows. Here a scene is a stack
of smooth fills (:func:`_fill`) behind anti-aliased shapes (:func:`_distance`), with thin lines over it at times; or
it is a single ramp so slow that a code value lasts for a 16th of the canvas to twice its side, with or without an
edge across, as of paint, beyond which it goes on, or of another surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from bitexpand.code_values import Floats, peak

LSB = 1 / peak(8)  # of the signal
SLOW_RAMPS = 0.4  # share of scenes that are a single slow ramp
SAME_LIGHT = 0.6  # share of edges across one that are painted: the ramp goes on beyond
SLOW = (0.5, 16.0)  # LSB a canvas, so that a large one shows wider bands: of 8 to 256 pixels in one of 128
STEEP = (1 / 8, 6.0)  # LSB a pixel: up to the steep stratum
_STOP = 0.06  # of the signal, in log curves of 14 to 17 stops
_MAX_LAYERS, _MAX_LINES = 4, 5


@dataclass(frozen=True)
class _Canvas:
    """Pixel coordinates around the middle: float32 (1, size) and (size, 1), in pixels."""

    size: int
    x: Floats
    y: Floats

    @staticmethod
    def of(size: int) -> _Canvas:
        along = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        return _Canvas(size, along[None, :], along[:, None])

    def across(self, random: np.random.Generator) -> Floats:
        """Return the position in pixels along a random direction, 0 somewhere in the inner part of the canvas."""
        angle, offset = random.uniform(0, 2 * np.pi), random.uniform(-0.4, 0.4) * self.size
        return self.x * np.float32(np.cos(angle)) + self.y * np.float32(np.sin(angle)) - np.float32(offset)

    def squared_distance(self, random: np.random.Generator, reach: float) -> Floats:
        """Return squared pixels from a random point; ``reach`` is how far it may be out, in half canvases."""
        x, y = random.uniform(-reach, reach, 2).astype(np.float32) * np.float32(self.size / 2)
        return (self.x - x) ** 2 + (self.y - y) ** 2


def scene(random: np.random.Generator, size: int) -> Floats:
    """Return a random scene.

    Args:
        random: where all choices come from.
        size: side in pixels.

    Returns:
        float32 (size, size, 3), a log signal in [0, 1], not quantised.
    """
    canvas = _Canvas.of(size)
    plate = _slow_ramp(random, canvas) if random.random() < SLOW_RAMPS else _layers(random, canvas)
    return np.clip(plate, 0, 1)


def _slow_ramp(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return a ramp, half of the time with an edge across, beyond which is another one or the same light.

    Another paint in the same light has another colour, but as both multiply, the same ramp in log.
    """
    ramp = _ramp(random, canvas, _slow(canvas))
    plate = _base(random) + ramp
    if random.random() < 0.5:
        return plate
    beyond = ramp if random.random() < SAME_LIGHT else _ramp(random, canvas, _slow(canvas))
    return _cover(plate, _base(random) + beyond, _edge(random, canvas.across(random)))


def _layers(random: np.random.Generator, canvas: _Canvas) -> Floats:
    plate = _fill(random, canvas)
    for _ in range(random.integers(0, _MAX_LAYERS + 1)):
        plate = _cover(plate, _fill(random, canvas), _edge(random, _distance(random, canvas)))
    if random.random() < 0.25:
        for _ in range(random.integers(1, _MAX_LINES + 1)):
            plate = _cover(plate, _base(random), _line(random, canvas))
    return plate


def _cover(plate: Floats, above: Floats, coverage: Floats) -> Floats:
    return np.add(plate, (above - plate) * coverage[..., None])


def _base(random: np.random.Generator) -> Floats:
    """Return a colour, (1, 1, 3): more or less grey, away from black and white."""
    return (random.uniform(0.08, 0.9) + random.normal(0, 0.07, (1, 1, 3))).astype(np.float32)


def _tint(random: np.random.Generator) -> Floats:
    """Return how much of something each channel gets, (1, 1, 3), around 1."""
    return random.uniform(0.6, 1.4, (1, 1, 3)).astype(np.float32)


def _even_log(random: np.random.Generator, low: float, high: float) -> np.float32:
    return np.float32(low * (high / low) ** random.random())


def _fill(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return a smooth surface: a colour, a ramp, and some of what light and material add to it."""
    slope = _slow(canvas) if random.random() < 0.6 else STEEP
    plate = _base(random) + _ramp(random, canvas, slope)
    if random.random() < 0.5:
        plate = plate + _field(random, canvas.size, int(random.integers(3, 6))) * _even_log(
            random, LSB / 2, 0.15
        )
    if random.random() < 0.4:
        plate = plate + _light(random, canvas)
    if random.random() < 0.15:
        plate = plate + _glow(random, canvas)
    if random.random() < 0.25:
        plate = plate + _texture(random, canvas)
    # reflected where it would leave [0, 1]: nothing can be learnt from what is clipped
    return 1 - np.abs(1 - np.mod(plate, 2))


def _slow(canvas: _Canvas) -> tuple[float, float]:
    return SLOW[0] / canvas.size, SLOW[1] / canvas.size


def _ramp(random: np.random.Generator, canvas: _Canvas, slopes: tuple[float, float]) -> Floats:
    """Return a plane of so many LSB a pixel, in any direction, a little different in each channel."""
    slope = _even_log(random, *slopes) * np.float32(LSB)
    return canvas.across(random)[..., None] * (slope * _tint(random))


def _light(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return the falloff of a lamp or of a lens, in log: both are powers of cos² = 1 / (1 + (r / h)²).

    A lamp at height h lights a plane by cos³ (the inverse square and Lambert's law), a lens vignettes by cos⁴.
    """
    cosines, height = int(random.integers(3, 5)), _even_log(random, 0.5, 8) * np.float32(canvas.size)
    stops = -cosines / 2 * np.log2(1 + canvas.squared_distance(random, 3) / height**2)
    return stops[..., None] * (_tint(random) * np.float32(_STOP))


def _glow(random: np.random.Generator, canvas: _Canvas) -> Floats:
    width, height = _even_log(random, 0.05, 0.6) * np.float32(canvas.size), _even_log(random, 2 * LSB, 0.4)
    return np.exp(canvas.squared_distance(random, 1.3) / (-2 * width**2))[..., None] * (
        height * _tint(random)
    )


def _texture(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return fine detail without noise: woven waves, or a blotchy field, from a quarter of an LSB up."""
    amplitude = _even_log(random, LSB / 4, 16 * LSB)
    if random.random() < 0.5:
        finest = max(6, canvas.size // 2)
        cells = int(_even_log(random, finest / 4, finest))
        return _field(random, canvas.size, cells) * amplitude
    periods = [_even_log(random, 3, 24) for _ in range(2)]
    waves = [np.sin(canvas.across(random) * (2 * np.pi / period)) for period in periods]
    return (waves[0] * waves[1])[..., None] * (amplitude * _tint(random))


def _field(random: np.random.Generator, size: int, cells: int, channels: int = 3) -> Floats:
    """Return (size, size, channels) of smooth noise: ``cells`` random values a side, cubic between them."""
    coarse = torch.from_numpy(random.standard_normal((1, channels, cells, cells), np.float32))
    grown = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    return grown[0].permute(1, 2, 0).numpy()


def _distance(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return pixels from the outline of a random shape, negative inside."""
    size = np.float32(canvas.size)
    kind = random.integers(0, 5)
    if kind == 0:
        return canvas.across(random)
    if kind == 1:
        radius = _even_log(random, 0.08, 0.6) * size
        return np.sqrt(canvas.squared_distance(random, 1)) - radius
    if kind == 2:
        first, second = (
            np.abs(canvas.across(random)) - _even_log(random, 0.05, 0.4) * size for _ in range(2)
        )
        return np.maximum(first, second)
    if kind == 3:
        period = _even_log(random, 0.06, 0.5) * size
        return np.abs(np.mod(canvas.across(random), period) - period / 2) - period * random.uniform(0.1, 0.4)
    blob = _field(random, canvas.size, int(random.integers(3, 8)), 1)[..., 0]
    down, right = np.gradient(blob)
    return blob / (np.hypot(down, right) + 1 / size)


def _edge(random: np.random.Generator, distance: Floats) -> Floats:
    """Return how much of each pixel a shape covers: as sharp as a renderer's filter, or out of focus."""
    width = _even_log(random, 1.5, 16)
    covered = np.clip(np.float32(0.5) - distance / width, 0, 1)
    return covered * covered * (3 - 2 * covered)


def _line(random: np.random.Generator, canvas: _Canvas) -> Floats:
    """Return how much of each pixel lies under a straight line, at times thinner than a pixel."""
    half, distance = _even_log(random, 0.25, 1.5), canvas.across(random)
    return np.clip(
        np.minimum(distance + np.float32(0.5), half) - np.maximum(distance - np.float32(0.5), -half), 0, 1
    )
