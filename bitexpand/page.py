"""How pictures to look at are laid out: crops that are magnified, gradients that are stretched, pages of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.artefacts.box import box_mean
from bitexpand.pictures import draw_text

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PANEL = (640, 360)  # width and height of one crop on the page
ZOOM = 4
GUTTER, HEADER = 12, 34
BACKGROUND = 24
FRAME_GAIN = 12.0


class Crop(NamedTuple):
    """A rectangle of the plate, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, picture: Float) -> Float:
        """Return this part of an (H, W, 3) picture."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


def stretched(plates: Sequence[Float], lsb: float) -> list[Bytes]:
    """Let pictures span the screen, and amplify what differs from the local mean, so that banding shows.

    Args:
        plates: (H, W, 3) float32 in one encoding. The first alone decides the stretch, which all of them get.
        lsb: one code step, in the same units.

    Returns:
        (H, W, 3) uint8 for display; where little differs from the mean, one step is ``FRAME_GAIN`` of them at
        ``lsb`` 1/255.
    """
    mean = edge_aware_mean(plates[0], radius=PANEL[0] // 24, step=3 * lsb)
    low, high = np.percentile(mean, (0.5, 99.5))
    spread = np.clip((mean - low) / max(float(high - low), lsb), 0, 1)
    # the power gives a flat log plate some of the contrast that a viewer would
    base = 0.05 + 0.85 * spread**1.6
    return [as_bytes(base + (plate - mean) * FRAME_GAIN) for plate in plates]


def edge_aware_mean(plate: Float, radius: int, step: float) -> Float:
    """Average what differs by less than ``step`` or so; beyond that keep edges, so that none grows a halo.

    The guided filter of He, Sun and Tang (ECCV 2010), guided by the plate itself.
    """
    mean = _blur(plate, radius)
    variance = np.maximum(_blur(plate * plate, radius) - mean * mean, 0)
    slope = (variance / (variance + step * step)).astype(np.float32)
    offset = (mean - mean * slope).astype(np.float32)
    return _blur(slope, radius) * plate + _blur(offset, radius)


def fit(picture: Float) -> Float:
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


def magnified(picture: Bytes) -> Bytes:
    """Enlarge by whole pixels, so that none is smoothed."""
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def as_bytes(picture: Float) -> Bytes:
    """Return a display-referred picture, 0 to 1, as 8 bits, clipped."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def outline(picture: Bytes, crop: Crop, plate_width: int, number: str) -> None:
    """Draw where a crop of a plate lies in a picture of all of it, in place."""
    scale = picture.shape[1] / plate_width
    left, right = round(crop.x * scale), min(round((crop.x + crop.width) * scale), picture.shape[1]) - 1
    top, bottom = round(crop.y * scale), min(round((crop.y + crop.height) * scale), picture.shape[0]) - 1
    picture[[top, bottom], left : right + 1] = 255
    picture[top : bottom + 1, [left, right]] = 255
    # beside it, since the crop of an 8K plate is too small to hold a number
    x = right + 6 if right + 20 < picture.shape[1] else max(0, left - 14)
    beside = picture[top : top + 18, x : x + 14]
    beside[:] = draw_text(beside, 0, 12, number, 15)


def paired_page(pairs: Sequence[tuple[Bytes, Bytes]], titles: Sequence[tuple[str, str]]) -> Bytes:
    """Return pairs of pictures, side by side and one pair below the other, with a title above each picture.

    Args:
        pairs: two of (h, w, 3) uint8 each, of one size, at most a panel wide.
        titles: two for each pair.
    """
    height = sum(pair[0].shape[0] + HEADER for pair in pairs) + GUTTER
    page = np.full((height, 2 * PANEL[0] + 3 * GUTTER, 3), BACKGROUND, np.uint8)
    top = 0
    for pair, sides in zip(pairs, titles, strict=True):
        for x, picture, title in zip((GUTTER, 2 * GUTTER + PANEL[0]), pair, sides, strict=True):
            rows, columns = picture.shape[:2]
            strip = page[top : top + HEADER, x : x + PANEL[0]]
            strip[:] = draw_text(strip, 0, HEADER - 11, title, 17)
            page[top + HEADER : top + HEADER + rows, x : x + columns] = picture
        top += HEADER + pair[0].shape[0]
    return page


def _blur(plate: Float, radius: int) -> Float:
    return box_mean(box_mean(plate, radius, axis=0), radius, axis=1)
