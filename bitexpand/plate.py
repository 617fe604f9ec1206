"""What a source frame must be, and the code values in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitexpand import formats, frames
from bitexpand.code_values import MAX_BITS, MIN_BITS, Codes, codes_in_container
from bitexpand.errors import PlateError
from bitexpand.location import Location

_COLOR_CHANNELS = {("Y",): "grey", ("R", "G", "B"): "RGB"}
_READ_AS_RGB = ("palette", "YCbCr")


@dataclass(frozen=True)
class Plate:
    """A source frame as code values.

    Attributes:
        codes: uint16 (H, W, 1) grey or (H, W, 3) RGB, code values 0 .. 2**bits - 1.
        alpha: uint16 (H, W, 1), code values 0 .. 2**info.bits - 1, or None.
        bits: bits of a colour sample.
        info: the file's header.
    """

    codes: Codes
    alpha: Codes | None
    bits: int
    info: frames.FrameInfo


def read_plate(path: Location, bits: int | None = None) -> Plate:
    """Read a source frame of 8, 10 or 12 bits.

    Args:
        path: PNG, JPEG, TIFF, TGA, BMP, WebP or DPX; grey or RGB, with or without alpha, or palette.
        bits: true bit depth of the samples; None takes it from the file.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it cannot be read, or is no plate: 16-bit, float, CMYK, extra channels.
    """
    frame = frames.read_frame(path)
    alpha_at = check_plate(frame.info, bits)
    color_at = [i for i in range(len(frame.info.channels)) if i != alpha_at]
    bits = bits or frame.info.bits
    color = frame.pixels if alpha_at is None else frame.pixels[..., color_at]
    alpha = None if alpha_at is None else frame.pixels[..., alpha_at : alpha_at + 1]
    try:
        codes = _codes(color, frame.info.bits)
        if bits < frame.info.bits:
            codes = codes_in_container(codes, frame.info.bits, bits)
        alpha_codes = None if alpha is None else _codes(alpha, frame.info.bits)
    except PlateError as error:
        raise PlateError(f"{path}: {error}") from error
    return Plate(codes, alpha_codes, bits, frame.info)


def check_plate(info: frames.FrameInfo, bits: int | None) -> int | None:
    """Check by its header that a file is a plate, and return the index of its alpha channel.

    Raises:
        PlateError: it is none; the message says why and what to do.
    """
    name = info.path
    if info.format not in formats.SOURCE_FORMATS:
        accepted = ", ".join(formats.SOURCE_FORMATS)
        raise PlateError(f"{name}: a {info.format} file is no 8 to 12-bit source; accepted are {accepted}")
    if info.container not in ("uint8", "uint16"):
        raise PlateError(f"{name}: {info.container} samples have no bins to expand; give an integer source")
    if bits is None and info.bits > MAX_BITS:
        raise PlateError(
            f"{name}: a {info.bits}-bit source has nothing to expand; if it holds fewer bits"
            " (`bitexpand inspect` tells), say how many with --bits"
        )
    if not MIN_BITS <= (bits or info.bits) <= min(MAX_BITS, info.bits):
        raise PlateError(f"{name}: --bits {bits or info.bits} does not fit its {info.bits}-bit samples")
    space = info.attribute("tiff:ColorSpace") or info.attribute("jpeg:ColorSpace")
    if space not in (None, *_READ_AS_RGB):
        raise PlateError(f"{name}: is {space}; convert it to RGB first")
    alpha_at = info.channels.index("A") if "A" in info.channels else None
    color = tuple(c for c in info.channels if c != "A")
    if color not in _COLOR_CHANNELS:
        raise PlateError(
            f"{name}: has channels {', '.join(info.channels)}; accepted are grey or RGB, with or without A"
        )
    return alpha_at


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal."""
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pixel_shape(plate: Plate) -> tuple[int, int, int, bool, int]:
    """Return what must not change within a sequence: height, width, colour channels, has alpha, bits."""
    height, width, colors = plate.codes.shape
    return height, width, colors, plate.alpha is not None, plate.bits


def _codes(samples: frames.Pixels, bits: int) -> Codes:
    if not np.issubdtype(samples.dtype, np.integer):
        raise AssertionError("check_plate lets integers pass only")
    return codes_in_container(samples, samples.dtype.itemsize * 8, bits)  # pyright: ignore[reportArgumentType]
