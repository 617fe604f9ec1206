"""Pictures for the page in 16 bits, before and after at once, packed so that a browser gets the very values.

A picture of 8 bits a channel would band by itself once it is stretched. So the page carries the expanded values in
65536 steps over the code values' range, the source as what they round to and its (rare) exceptions, and the browser
stretches them in floating point. Of the ways tried on the example plate (PNG's predictors, LOCO-I's, two separate
planes), the difference to the pixel on the left, deflated, is the smallest or within 3 % of it: 3.9 bits a sample.
A frame that would take too much is rounded to 32 steps a LSB, which is still half a display code when stretched 16
times, and thinned to every n-th pixel; never averaged, since an average would hide the bands.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Codes, Floats, peak, to_signal
from bitexpand.preview import worst_banding

NOT_FINITE = 65535
"""The step that stands for NaN and Inf; all others are finite."""

WIDEST = 960
"""Pixels: wider pictures would only be scaled down by the page."""

THINNED_STEPS = 32
"""Steps of one LSB in a picture that is thinned to fit."""

DETAIL = (448, 252)
"""Width and height of a detail."""


@dataclass(frozen=True)
class Picture:
    """Part of a frame, before and after.

    Attributes:
        x, y: its corner in the frame.
        width, height, channels: of the picture.
        stride: every so many-th pixel of the frame is shown.
        bits: of the source.
        steps: of the values that one LSB has.
        packed: base64 of a zlib stream; see ``pack``.
    """

    x: int
    y: int
    width: int
    height: int
    channels: int
    stride: int
    bits: int
    steps: int
    packed: str


def finest(bits: int) -> int:
    """Return how many of the 65536 steps one LSB has: 256 for 8 bits, 16 for 12."""
    return 1 << (16 - bits)


def pack(codes: Codes, result_cv: Floats, steps: int) -> str:
    """Pack a picture before and after.

    The stream holds four planes of bytes, each channel by channel: high and low bytes of the expanded values, as
    differences to the value before; then of the source's differences to what those round to. All of them count
    modulo 65536 and are zigzag: 0, -1, 1, -2 are 0, 1, 2, 3.

    Args:
        codes: uint16 (H, W, C), the source.
        result_cv: float32 (H, W, C) in LSB, any value.
        steps: that one LSB is divided into, a power of 2.

    Returns:
        base64 of a zlib stream.
    """
    values = _in_steps(result_cv, steps).transpose(2, 0, 1)
    rounded = (values + steps // 2) // steps
    exceptions = codes.transpose(2, 0, 1).astype(np.int32) - rounded
    planes = [half for part in (_differences(values), exceptions) for half in _bytes(part)]
    # 2 % larger than the hardest level makes it, in a sixth of the time
    squeezer = zlib.compressobj(6, strategy=zlib.Z_FILTERED)
    return base64.b64encode(squeezer.compress(b"".join(planes)) + squeezer.flush()).decode()


def whole(codes: Codes, result_cv: Floats, bits: int, limit: int) -> Picture:
    """Return a frame as large as ``limit`` characters allow, thinned where it has to be."""
    height, width, channels = codes.shape
    stride = max(1, -(-width // WIDEST))
    coarse = (
        4 * stride
    )  # tells at little cost where to begin; its pixels, less alike, need more than those between
    steps = finest(bits)
    packed = pack(codes[::coarse, ::coarse], result_cv[::coarse, ::coarse], steps)
    estimate = int(0.6 * coarse * (len(packed) / limit) ** 0.5)
    if estimate > stride:
        stride, steps = estimate, min(steps, THINNED_STEPS)
    while True:
        thin_codes = codes[::stride, ::stride]
        packed = pack(thin_codes, result_cv[::stride, ::stride], steps)
        if len(packed) <= limit or stride >= max(height, width):
            rows, columns = thin_codes.shape[:2]
            return Picture(0, 0, columns, rows, channels, stride, bits, steps, packed)
        stride, steps = stride + 1, min(steps, THINNED_STEPS)


def detail(codes: Codes, result_cv: Floats, bits: int, limit: int) -> Picture:
    """Return the source's worst banding, every pixel, at most ``DETAIL`` and ``limit`` characters large."""
    height, width, channels = codes.shape
    signal = to_signal(codes if channels == 3 else codes.repeat(3, axis=2), bits)
    crop = worst_banding(signal, 1 / peak(bits), count=1)[0]
    center = crop.x + crop.width // 2, crop.y + crop.height // 2
    size = min(width, DETAIL[0]), min(height, DETAIL[1])
    while True:
        x, y = (
            min(max(at - length // 2, 0), full - length)
            for at, length, full in zip(center, size, (width, height), strict=True)
        )
        part = np.s_[y : y + size[1], x : x + size[0]]
        packed = pack(codes[part], result_cv[part], finest(bits))
        if len(packed) <= limit or max(size) <= 8:
            return Picture(x, y, *size, channels, 1, bits, finest(bits), packed)
        size = size[0] * 7 // 8, size[1] * 7 // 8


def _in_steps(result_cv: Floats, steps: int) -> npt.NDArray[np.int32]:
    finite = np.isfinite(result_cv)
    values = np.rint(np.where(finite, result_cv, 0) * np.float32(steps))
    return np.where(finite, np.clip(values, 0, NOT_FINITE - 1), NOT_FINITE).astype(np.int32)


def _differences(planes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    flat = planes.reshape(planes.shape[0], -1)
    return np.diff(flat, axis=1, prepend=np.int32(0))


def _bytes(values: npt.NDArray[np.int32]) -> tuple[bytes, bytes]:
    """Return high and low bytes of values modulo 65536, small ones of either sign as small numbers."""
    signed = values.astype(np.int16).astype(np.int32)  # modulo 65536
    zigzag = np.where(signed >= 0, 2 * signed, -2 * signed - 1)
    return (zigzag >> 8).astype(np.uint8).tobytes(), (zigzag & 255).astype(np.uint8).tobytes()
