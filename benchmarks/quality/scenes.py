"""Pictures made of formulas: slow gradients, a soft sky, a film-like frame without grain. No model's data has them.

All are float32 (H, W, 3) code values in LSB of 8 bits within 0 .. 255, not rounded; ACEScct where light is meant.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from benchmarks.quality.blur import gaussian
from benchmarks.quality.plates import ACESCCT, RENDERED_IN
from benchmarks.quality.trial import BITS, Trial
from bitexpand import color
from bitexpand.code_values import Floats, from_signal

HEIGHT, WIDTH = 432, 768
SUPERSAMPLING = 2  # the film-like frame's samples a pixel, along each side
_LENS = 0.6  # px: sigma of the blur that a lens leaves on what is sharpest

Light = npt.NDArray[np.floating]


def scene_trials() -> list[Trial]:
    """Return the sky and the film-like frame."""
    return [
        Trial.rounded("scenes", "sky", sky(HEIGHT, WIDTH)),
        Trial.rounded("scenes", "film-like", film_like(HEIGHT, WIDTH)),
    ]


def smooth_plates(side: int) -> dict[str, Floats]:
    """Return two square plates without any detail, by name, at most ``HEIGHT`` px a side: what grain is laid on."""
    return {"gradients": gradients(side), "sky": sky(HEIGHT, WIDTH)[:side, :side]}


def gradients(side: int) -> Floats:
    """Return a curved surface a channel, none steeper than 0.15 LSB a pixel."""
    y, x = np.mgrid[0:side, 0:side] / 384
    surfaces = (
        90 + 22 * x + 9 * y - 8 * x * y,
        120 - 6 * x + 21 * y + 7 * x**2,
        70 + 12 * np.sin(1.9 * x + 0.4) + 15 * y**2,
    )
    return np.stack(surfaces, axis=-1).astype(np.float32)


def sky(height: int, width: int) -> Floats:
    """Return a clear sky at dusk: it darkens and turns blue with height, and glows around a sun below the frame.

    No clouds and no grain: up to 0.4 LSB a pixel, most of it below 0.1, so a code value lasts for 3 to 50 pixels.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    up = height / max(height, width) - y
    glow, haze = np.exp(-5 * np.hypot(x - 0.62, up + 0.06)), np.exp(-5 * up)
    parts = (1 - 0.9 * up, (0.12, 0.22, 0.5)), (haze, (0.5, 0.36, 0.2)), (glow, (5, 2, 0.5))
    return _acescct(sum((part[..., None] * _rgb(*light) for part, light in parts), _rgb(0, 0, 0)))


def film_like(height: int, width: int) -> Floats:
    """Return a clean frame as a camera would see it: textures and edges, but all of it through a lens.

    A lamp-lit wall, lights out of focus, a striped cloth in perspective, a shaded ball, and something dark and
    blurred in front. Composed in scene-linear light at 2x2 samples a pixel, blurred by the lens and averaged: steep
    in a third of its samples and yet smooth from pixel to pixel, as footage is.
    """
    size = height * SUPERSAMPLING, width * SUPERSAMPLING
    random = np.random.default_rng(7)
    y, x = (np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32) + 0.5) / size[0]
    lamp = 1 / (1 + ((x - 0.45) ** 2 + (y - 0.2) ** 2) / 0.35) ** 1.5
    plaster = np.exp(0.8 * _texture(random, size, 1.7))
    light = (0.02 + 0.5 * lamp * plaster)[..., None] * _rgb(1, 0.82, 0.6)
    for center_x, center_y, radius, brightness in random.uniform(
        (0, 0.05, 0.02, 0.3), (1.75, 0.5, 0.06, 3), (14, 4)
    ):
        disc = _coverage(np.hypot(x - center_x, y - center_y) - radius, 0.006)
        light = light + disc[..., None] * _rgb(*random.uniform(0.3, 1, 3) * brightness)
    light = _over(light, _cloth(x, y, lamp, random), _coverage(0.62 + 0.05 * np.sin(4 * x) - y, 0.001))
    light = _over(light, _ball(x, y), _coverage(np.hypot(x - 1.25, y - 0.62) - 0.22, 0.001))
    light = _over(light, _rgb(0.012, 0.011, 0.014), _coverage(0.9 - y + 0.4 * (x - 0.3) ** 2, 0.05))
    light = gaussian(light, _LENS * SUPERSAMPLING)
    return _acescct(light.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean((1, 3)))


def _cloth(x: Light, y: Light, lamp: Light, random: np.random.Generator) -> Light:
    """Return a woven cloth that lies away from us: its stripes get finer with distance."""
    depth = 1 / np.maximum(y - 0.35, 0.05)
    stripes = 0.5 + 0.5 * np.tanh(2.5 * np.sin((x - 0.9) * depth * 60) * np.cos(depth * 14))
    folds = 0.7 + 0.4 * np.sin(9 * x + 5 * y + 0.8 * _texture(random, x.shape, 2.2))
    return (stripes * folds * lamp)[..., None] * _rgb(0.9, 0.2, 0.16) + (0.06 * lamp)[..., None]


def _ball(x: Light, y: Light) -> Light:
    """Return a shaded ball with a soft highlight."""
    across, down = (x - 1.25) / 0.22, (y - 0.62) / 0.22
    towards = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
    lambert = np.clip(-0.6 * across - 0.5 * down + 0.62 * towards, 0, None)
    return (0.03 + 0.5 * lambert)[..., None] * _rgb(0.2, 0.35, 0.6) + (1.5 * lambert**24)[..., None]


def _texture(random: np.random.Generator, size: tuple[int, ...], falloff: float) -> Light:
    """Return noise whose amplitudes fall with frequency to a power, as natural pictures' do; mean 0, variance 1."""
    fy, fx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    amplitudes = 1 / np.maximum(np.hypot(fy, fx), 2 / size[0]) ** falloff
    waves = np.fft.rfft2(random.standard_normal(size)) * amplitudes
    waves[0, 0] = 0
    noise = np.fft.irfft2(waves, size)
    return (noise / noise.std()).astype(np.float32)


def _coverage(distance: Light, softness: float) -> Light:
    """Return 1 where a distance is below 0, 0 where it is above, and a soft step between; in picture heights."""
    return 1 / (1 + np.exp(np.clip(distance / softness, -40, 40)))


def _over(below: Light, above: Light, coverage: Light) -> Light:
    return below + (above - below) * coverage[..., None]


def _rgb(*light: float) -> Light:
    return np.array(light, np.float32)[None, None]


@functools.cache
def _to_acescct() -> color.Conversion:
    return color.conversion(color.load_config(color.SHIPPED_CONFIG), RENDERED_IN, ACESCCT, lossless=True)


def _acescct(light: Light) -> Floats:
    plate_log = _to_acescct().apply(np.ascontiguousarray(light, np.float32))
    return np.clip(from_signal(plate_log, BITS), 0, 255)
