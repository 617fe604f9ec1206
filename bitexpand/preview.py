"""One picture that shows what an expansion did: the plate before and after, stretched until banding shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.errors import UsageError
from bitexpand.pictures import draw_text

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PANEL = (640, 360)  # width and height of one crop on the page
ZOOM = 4
GUTTER, HEADER = 12, 34
BACKGROUND = 24
FRAME_GAIN = 12.0
MAX_CROP_GAIN = 32.0


class Crop(NamedTuple):
    """A rectangle of the plate, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, picture: Float) -> Float:
        """Return this part of an (H, W, 3) picture."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


def before_after(
    before: Float,
    after: Float,
    labels: tuple[str, str] = ("8-bit source", "bitexpand"),
    lsb: float = 1 / 255,
) -> Bytes:
    """Return a page with ``before`` on the left and ``after`` on the right.

    On top stands the whole frame, its fine contrast amplified; below stand two crops, the source's worst
    banding, magnified without smoothing. Left and right always get one and the same stretch, which is
    computed from ``before`` alone.

    Args:
        before: (H, W, 3) float32 in the plate's encoding, 0 to 1.
        after: the same, expanded.
        labels: what stands above each side.
        lsb: one code step of the source, in the same units.

    Returns:
        The page, (h, w, 3) uint8, ready for display.

    Raises:
        UsageError: the pictures differ in shape or are not (H, W, 3).
    """
    if before.shape != after.shape or before.ndim != 3 or before.shape[2] != 3:
        raise UsageError(f"two RGB frames of one size are needed, not {before.shape} and {after.shape}")
    before, after = before.astype(np.float32, copy=False), after.astype(np.float32, copy=False)
    pairs = [_whole_frames(before, after, lsb)]
    titles = [f"whole frame, fine contrast \u00d7{FRAME_GAIN:g}"]
    for number, crop in enumerate(worst_banding(before, lsb), 1):
        left, right, gain = _crops(before, after, crop, lsb)
        pairs.append((left, right))
        titles.append(f"crop {number}, pixels \u00d7{ZOOM}, contrast \u00d7{gain:g}")
        for picture in pairs[0]:
            _outline(picture, crop, before.shape[1], str(number))
    return _page(pairs, titles, labels)


def worst_banding(plate: Float, lsb: float = 1 / 255, count: int = 2) -> list[Crop]:
    """Return up to ``count`` crops, apart from each other, where (H, W, 3) ``plate`` bands most.

    Banding is steps of one ``lsb`` between long runs of equal values. Grain, which changes by a step at
    every other pixel, and flat areas, which never change, score low.
    """
    height, width = plate.shape[:2]
    size = min(width, PANEL[0] // ZOOM), min(height, PANEL[1] // ZOOM)
    calm, steps = _slow_gradients(plate, lsb)
    xs = np.unique(np.linspace(0, width - size[0], 1 + 4 * (width // size[0])).astype(int))
    ys = np.unique(np.linspace(0, height - size[1], 1 + 4 * (height // size[1])).astype(int))
    share_calm, share_steps = _window_means(calm, xs, ys, size), _window_means(steps, xs, ys, size)
    # Runs of 16 pixels band worst: shorter ones look like texture, longer ones are few.
    runs = np.maximum(share_steps, 1e-9) * 16
    score = share_calm**8 * np.minimum(runs, 1 / runs)
    crops: list[Crop] = []
    for index in np.argsort(-score, axis=None, kind="stable"):
        row, column = np.unravel_index(index, score.shape)
        crop = Crop(int(xs[column]), int(ys[row]), *size)
        if all(abs(crop.x - c.x) >= size[0] or abs(crop.y - c.y) >= size[1] for c in crops):
            crops.append(crop)
        if len(crops) == count:
            break
    return crops


def _slow_gradients(plate: Float, lsb: float) -> tuple[Float, Float]:
    """Return per pixel whether it is at most one step from its neighbours, and how much it steps."""
    height, width = plate.shape[:2]
    calm, steps = np.ones((height, width), np.float32), np.zeros((height, width), np.float32)
    for axis in (0, 1):
        change = np.abs(np.diff(plate, axis=axis)).max(axis=2) / lsb
        here = np.s_[1:, :] if axis == 0 else np.s_[:, 1:]
        calm[here] *= change < 1.5
        steps[here] += (change > 0.5) & (change < 1.5)
    return calm, steps * np.float32(0.5)


def _window_means(
    values: Float, xs: npt.NDArray[np.int_], ys: npt.NDArray[np.int_], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the mean over each window whose corner is at one of ``xs`` and ``ys``."""
    sums = np.pad(values.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))
    right, below = xs + size[0], ys + size[1]
    total = (
        sums[np.ix_(below, right)] - sums[np.ix_(ys, right)] - sums[np.ix_(below, xs)] + sums[np.ix_(ys, xs)]
    )
    return total / (size[0] * size[1])


def stretched(plates: Sequence[Float], lsb: float) -> list[Bytes]:
    """Let pictures span the screen, and amplify what differs from the local mean, so that banding shows.

    Args:
        plates: (H, W, 3) float32 in one encoding. The first alone decides the stretch, which all of them get.
        lsb: one code step, in the same units.

    Returns:
        (H, W, 3) uint8 for display; where little differs from the mean, one step is ``FRAME_GAIN`` of them at
        ``lsb`` 1/255.
    """
    mean = _edge_aware_mean(plates[0], radius=PANEL[0] // 24, step=3 * lsb)
    low, high = np.percentile(mean, (0.5, 99.5))
    spread = np.clip((mean - low) / max(float(high - low), lsb), 0, 1)
    # the power gives a flat log plate some of the contrast that a viewer would
    base = 0.05 + 0.85 * spread**1.6
    return [_bytes(base + (plate - mean) * FRAME_GAIN) for plate in plates]


def _whole_frames(before: Float, after: Float, lsb: float) -> tuple[Bytes, Bytes]:
    left, right = stretched((_fit(before), _fit(after)), lsb)
    return left, right


def _edge_aware_mean(plate: Float, radius: int, step: float) -> Float:
    """Average what differs by less than ``step`` or so; beyond that keep edges, so that none grows a halo.

    The guided filter of He, Sun and Tang (ECCV 2010), guided by the plate itself.
    """
    mean = _box_blur(plate, radius)
    variance = np.maximum(_box_blur(plate * plate, radius) - mean * mean, 0)
    slope = (variance / (variance + step * step)).astype(np.float32)
    offset = (mean - mean * slope).astype(np.float32)
    return _box_blur(slope, radius) * plate + _box_blur(offset, radius)


def _crops(before: Float, after: Float, crop: Crop, lsb: float) -> tuple[Bytes, Bytes, float]:
    mean = crop.of(before).mean(axis=(0, 1))
    low, high = np.percentile(crop.of(before) - mean, (1, 99))
    gain = float(np.clip(round(0.9 / max(float(high - low), lsb)), 1, MAX_CROP_GAIN))
    left, right = (_bytes((crop.of(plate) - mean) * gain + 0.5) for plate in (before, after))
    return _magnified(left), _magnified(right), gain


def _box_blur(plate: Float, radius: int) -> Float:
    for axis in (0, 1):
        padding = [(0, 0)] * plate.ndim
        padding[axis] = (radius + 1, radius)
        sums = np.pad(plate, padding, mode="edge").cumsum(axis, np.float64)
        width = 2 * radius + 1
        upper, lower = (np.s_[width:], np.s_[:-width]) if axis == 0 else (np.s_[:, width:], np.s_[:, :-width])
        plate = ((sums[upper] - sums[lower]) / width).astype(np.float32)
    return plate


def _fit(picture: Float) -> Float:
    """Scale into a panel, at most as high as it is wide.

    Whole boxes are averaged first, which leaves every band in its place; nearest pixels do the rest.
    """
    height, width = picture.shape[:2]
    target = max(1, min(PANEL[0], PANEL[0] * width // height))
    factor = max(1, width // target)
    rows, columns = height // factor, width // factor
    boxes = picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    averaged = boxes.mean(axis=(1, 3), dtype=np.float32)
    down = np.arange(max(1, round(rows * target / columns))) * columns // target
    across = np.arange(target) * columns // target
    return averaged[np.minimum(down, rows - 1)][:, across]


def _magnified(picture: Bytes) -> Bytes:
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _bytes(picture: Float) -> Bytes:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _outline(picture: Bytes, crop: Crop, plate_width: int, number: str) -> None:
    """Draw where ``crop`` lies, in place."""
    scale = picture.shape[1] / plate_width
    left, right = round(crop.x * scale), min(round((crop.x + crop.width) * scale), picture.shape[1]) - 1
    top, bottom = round(crop.y * scale), min(round((crop.y + crop.height) * scale), picture.shape[0]) - 1
    picture[[top, bottom], left : right + 1] = 255
    picture[top : bottom + 1, [left, right]] = 255
    # beside it, since the crop of an 8K plate is too small to hold a number
    x = right + 6 if right + 20 < picture.shape[1] else max(0, left - 14)
    beside = picture[top : top + 18, x : x + 14]
    beside[:] = draw_text(beside, 0, 12, number, 15)


def _page(pairs: list[tuple[Bytes, Bytes]], titles: list[str], labels: tuple[str, str]) -> Bytes:
    height = sum(pair[0].shape[0] + HEADER for pair in pairs) + GUTTER
    page = np.full((height, 2 * PANEL[0] + 3 * GUTTER, 3), BACKGROUND, np.uint8)
    top = 0
    for (left, right), title in zip(pairs, titles, strict=True):
        for x, picture, label in ((GUTTER, left, labels[0]), (2 * GUTTER + PANEL[0], right, labels[1])):
            rows, columns = picture.shape[:2]
            strip = page[top : top + HEADER, x : x + PANEL[0]]
            strip[:] = draw_text(strip, 0, HEADER - 11, f"{label}:  {title}", 17)
            page[top + HEADER : top + HEADER + rows, x : x + columns] = picture
        top += HEADER + left.shape[0]
    return page
