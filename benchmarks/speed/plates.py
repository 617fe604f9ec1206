"""Frames to measure with: the example plate, enlarged to any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from benchmarks.speed.figures import Size
from bitexpand.code_values import Codes
from bitexpand.pictures import Bytes, write_picture
from bitexpand.shipped import shipped_file

SIZE: Size = (1536, 864)
FIRST = 1001


def make_frames(folder: Path, count: int, size: Size = SIZE) -> None:
    """Write frames of the example plate, enlarged, as ``plate_1001.png`` and so on."""
    for number in range(FIRST, FIRST + count):
        write_picture(folder / f"plate_{number}.png", plate_pixels(size, number))


def plate_pixels(size: Size, number: int = FIRST) -> Bytes:
    """Return a frame of the example plate, enlarged: uint8 (H, W, 3), code values."""
    source = shipped_file("examples", "plate", f"dusk_{FIRST + (number - FIRST) % 10}.png")
    region = oiio.ROI(0, size[0], 0, size[1])
    large = oiio.ImageBufAlgo.resize(oiio.ImageBuf(str(source)), "cubic", roi=region)
    return np.asarray(large.get_pixels(oiio.UINT8), np.uint8)


def plate_codes(size: Size) -> Codes:
    """Return such a frame as the engine takes it: uint16 (H, W, 3)."""
    return plate_pixels(size).astype(np.uint16)
