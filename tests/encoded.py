"""Image files as bytes: by Pillow, and by hand where no library here writes them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Samples = npt.NDArray[np.integer]

DPX_LUMA, DPX_ALPHA, DPX_RGB, DPX_RGBA = 6, 4, 50, 51  # descriptors
PACKED, METHOD_A, METHOD_B = 0, 1, 2  # how DPX samples lie in 32-bit words


def pillow(samples: Samples, kind: str, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """Return (H, W, 1 to 4) uint8 samples, or (H, W, 1) uint16 ones, as a file: "PNG", "TIFF", "TGA"..."""
    return pillow_image(
        Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples), kind, **options
    )


def pillow_image(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401
    """Return a Pillow image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def unpillow(content: bytes) -> npt.NDArray[np.uint8]:
    """Return what Pillow reads from a file, as RGB (H, W, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def dpx(
    codes: Samples,
    bits: int = 8,
    packing: int = METHOD_A,
    order: Literal["<", ">"] = ">",
    descriptor: int | None = None,
) -> bytes:
    """Return (H, W, C) code values of 8, 10, 12 or 16 bits as a DPX, SMPTE 268M version 1.

    OpenImageIO writes none of 8 bits in the foreign byte order, none whose unknown fields are set to ones, as
    scanners leave them, and of 10 bits with alpha only what it then misreads.
    """
    height, width, channels = codes.shape
    descriptor = descriptor or {1: DPX_LUMA, 3: DPX_RGB, 4: DPX_RGBA}[channels]
    body = _words(codes, bits, packing, order)
    header = bytearray(b"\xff" * 2048)
    magic = b"SDPX" if order == ">" else b"XPDS"
    struct.pack_into(f"{order}4sI8s4I", header, 0, magic, 2048, b"V1.0", 2048 + len(body), 1, 1664, 384)
    element = struct.pack(f"{order}5I4B2H3I", 0, 0, 0, 0, 0, descriptor, 2, 2, bits, packing, 0, 2048, 0, 0)
    struct.pack_into(f"{order}2H2I", header, 768, 0, 1, width, height)
    header[780 : 780 + len(element)] = element
    return bytes(header) + body


def _words(codes: Samples, bits: int, packing: int, order: str) -> bytes:
    if bits in (8, 16):
        return codes.astype(f"{order}u{bits // 8}").tobytes()
    if bits == 12:
        return (codes.astype(np.uint32) << (4 if packing == METHOD_A else 0)).astype(f"{order}u2").tobytes()
    rows = codes.reshape(codes.shape[0], -1).astype(np.uint32)
    triples = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 3))).reshape(len(rows), -1, 3)
    shifts = np.array([22, 12, 2] if packing == METHOD_A else [20, 10, 0])
    if codes.shape[2] == 1:
        shifts = shifts[::-1]  # a lone channel fills its words from the low end
    return (triples << shifts).sum(2).astype(f"{order}u4").tobytes()


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims a size."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(bytes(100)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def palette_tiff(palette: npt.NDArray[np.uint8], indices: npt.NDArray[np.uint8], step: int) -> bytes:
    """Return a TIFF of (H, W) indices into a (256, 3) palette, whose entries are stored times ``step``."""
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    content = pillow_image(image, "TIFF")
    as_pillow_stores = (palette.T.astype("<u2") * 256).tobytes()
    assert content.count(as_pillow_stores) == 1
    return content.replace(as_pillow_stores, (palette.T.astype("<u2") * step).tobytes())
