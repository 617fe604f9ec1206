"""8-bit pictures to look at: text on them, and PNG files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from bitexpand.errors import WriteError
from bitexpand.frames import write_frame
from bitexpand.header import FrameInfo, Window

Bytes = npt.NDArray[np.uint8]


def write_picture(path: Path, pixels: Bytes) -> None:
    """Write an 8-bit PNG to look at, (H, W, 3) uint8, in display space; raises as ``write_frame``."""
    height, width, _ = pixels.shape
    window = Window(0, 0, width, height)
    write_frame(path, pixels, FrameInfo(path, "png", ("R", "G", "B"), "uint8", 8, window, window))


def draw_text(picture: Bytes, x: int, y: int, text: str, size: int) -> Bytes:
    """Return (H, W, 3) ``picture`` with white ``text``, whose baseline begins at ``x`` and ``y``.

    Raises:
        WriteError: OpenImageIO cannot draw, for one because its own fonts are gone.
    """
    height, width, channels = picture.shape
    buffer = oiio.ImageBuf(oiio.ImageSpec(width, height, channels, oiio.UINT8))
    buffer.set_pixels(oiio.ROI(), np.ascontiguousarray(picture))
    # a font of OpenImageIO's own wheel, so that a machine without any fonts draws the same picture
    if not oiio.ImageBufAlgo.render_text(buffer, x, y, text, size, "DroidSans", (1.0, 1.0, 1.0)):
        raise WriteError(f"text cannot be drawn: {buffer.geterror()}")
    return np.asarray(buffer.get_pixels(oiio.UINT8), np.uint8)
