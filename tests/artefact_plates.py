"""Plates to look for artefacts in, and artefacts to put into them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitexpand import color, frames

ROOT = Path(__file__).parents[1]
RENDERS = sorted((ROOT / "benchmarks" / "plates").glob("*.exr"))
HEIGHT, WIDTH = 240, 416  # px, of plates that are made here

Plate = npt.NDArray[np.float32]


@cache
def render(number: int) -> Plate:
    """Return a corner of a render as ACEScct code values of 8 bits, not rounded."""
    return whole_render(number)[-HEIGHT:, -WIDTH:]


@cache
def whole_render(number: int) -> Plate:
    """Return all of it."""
    to_log = color.conversion(color.load_config(color.PINNED_CONFIG), "Linear Rec.709 (sRGB)", "ACEScct")
    plate = frames.read_frame(RENDERS[number]).pixels[..., :3].astype(np.float32)
    return np.clip(to_log.apply(plate), 0, 1) * np.float32(255)


def grain(plate_cv: Plate, sigma: float = 1.0, seed: int = 0) -> Plate:
    """Add Gaussian noise of so many steps."""
    return plate_cv + np.random.default_rng(seed).normal(0, sigma, plate_cv.shape).astype(np.float32)


def rounded(plate_cv: Plate) -> Plate:
    """Round to whole steps, as the source is."""
    return np.floor(plate_cv + np.float32(0.5))


def grid(height: int = HEIGHT, width: int = WIDTH) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the rows and the columns."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y, x


def gradient(height: int = HEIGHT, width: int = WIDTH) -> Plate:
    """A sky: three slopes, each of its own direction, that climb a step in 12 pixels and more."""
    y, x = grid(height, width)
    bend = 3 * np.sin(x / 90)
    planes = [120 + y / 13 + x / 97 + bend, 90 + y / 19 - x / 71 + bend, 70 - y / 31 + x / 40 - bend]
    return np.stack(planes, axis=-1).astype(np.float32)


def texture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Plate:
    """Noise of all sizes, as strong as foliage, its spectrum falling with the frequency."""
    random = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(fy, fx), 1 / width) ** 1.2
    spectrum = np.fft.rfft2(random.normal(size=(3, height, width))) * falling
    noise = np.fft.irfft2(spectrum, (height, width)).transpose(1, 2, 0)
    return (100 + 25 * noise / noise.std()).astype(np.float32)


@cache
def shapes(height: int = 360, width: int = 640, seed: int = 0) -> Plate:
    """Anti-aliased discs of all colours, mixed as light is and then encoded as a logarithm."""
    random = np.random.default_rng(seed)
    y, x = grid(height, width)
    light = np.full((height, width, 3), 0.2)
    for _ in range(60):
        cx, cy, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(15, 60)
        cover = np.clip(radius - np.hypot(x - cx, y - cy) + 0.5, 0, 1)[..., None]
        light = light * (1 - cover) + np.exp2(random.uniform(-5, 0, 3)) * cover
    return (140 + 14.5 * np.log2(light)).astype(np.float32)


def fence(plate_cv: Plate, period: float, covers: float = 0.5, slant: float = 0.02) -> Plate:
    """Put posts before the lower part of a plate."""
    height, width = plate_cv.shape[:2]
    y, x = grid(height, width)
    posts = 20 * np.cos(2 * np.pi * (x + slant * y) / period) * (y > height * (1 - covers))
    return plate_cv + posts[..., None].astype(np.float32)


def rms(pattern: npt.NDArray[np.float64]) -> float:
    """Return how strong a pattern is around its mean."""
    return float(pattern.std())


def checkers(period: int, kind: str) -> npt.NDArray[np.float64]:
    """Return a pattern that repeats every ``period`` pixels: cells, columns, overlap or shuffle."""
    y, x = grid()
    if kind == "cells":
        return (-1.0) ** (x // (period // 2) + y // (period // 2))
    if kind == "columns":
        return np.cos(2 * np.pi * x / period)
    if kind == "overlap":  # a transposed convolution covers each axis unevenly
        return (1 + 0.5 * np.cos(2 * np.pi * x / period)) * (1 + 0.5 * np.cos(2 * np.pi * y / period))
    tile = np.random.default_rng(3).normal(size=(period, period))  # a pixel shuffle: one channel, one pixel
    return np.tile(tile, (HEIGHT // period, WIDTH // period))


def along_edges(plate_cv: Plate, width: int = 1) -> npt.NDArray[np.bool_]:
    """Where the luminance changes most, by a way that is not the detector's: zero crossings of a Laplacian."""
    luma = plate_cv.mean(2)
    gy, gx = np.gradient(luma)
    steep = np.hypot(gy, gx) > 4
    second = (
        np.gradient(gy, axis=0) * gy**2
        + np.gradient(gx, axis=1) * gx**2
        + 2 * np.gradient(gy, axis=1) * gx * gy
    )
    change = (np.sign(second[:-1]) != np.sign(second[1:]))[:, :-1] | (
        np.sign(second[:, :-1]) != np.sign(second[:, 1:])
    )[:-1]
    edge = np.zeros(luma.shape, bool)
    edge[:-1, :-1] = change
    edge &= steep
    for _ in range(width):
        edge[1:] |= edge[:-1]
        edge[:, 1:] |= edge[:, :-1]
    return edge


def fringed(plate_cv: Plate, chroma: float) -> Plate:
    """Put lines along the edges, and keep every value in its bin, as an expansion does."""
    put = chroma * along_edges(plate_cv)[..., None] * np.array([-1 / 3, 2 / 3, -1 / 3], np.float32)
    return np.clip(plate_cv + put, rounded(plate_cv) - 0.499, rounded(plate_cv) + 0.499).astype(np.float32)


def tiles(tile: int, x0: int, y0: int) -> npt.NDArray[np.float64]:
    """Return tiles of 0 and 1, one beside the other."""
    y, x = grid()
    return ((x - x0) // tile + (y - y0) // tile) % 2
