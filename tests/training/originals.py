"""Pictures to prepare, as files: by OpenImageIO, and by hand where it does not write them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from bitexpand.header import Window

RGB = ("R", "G", "B")
# ACES2065-1 from CIE XYZ, SMPTE ST 2065-1:2012, annex B: a camera that sees like this sees ACES.
XYZ_TO_ACES = (
    (1.0498110175, 0.0, -0.0000974845),
    (-0.4959030231, 1.3733130458, 0.0982400361),
    (0, 0, 0.9912520182),
)


def light(height: int = 40, width: int = 56, seed: int = 0, channels: int = 3) -> npt.NDArray[np.float32]:
    """Return (H, W, C) scene-linear float32 over many stops, with a little below black."""
    random = np.random.default_rng(seed)
    return (2 ** random.uniform(-8, 4, (height, width, channels)) - 0.01).astype(np.float32)


def save(
    path: Path,
    pixels: npt.NDArray[Any],
    channels: Sequence[str] = RGB,
    data: Window | None = None,
    display: Window | None = None,
) -> Path:
    """Write (H, W, C) float, half, double or uint16 samples as EXR, Radiance HDR, PNG or TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = _spec(pixels)
    spec.channelnames = tuple(channels)
    if data and display:
        spec.x, spec.y = data.x, data.y
        spec.full_x, spec.full_y = display.x, display.y
        spec.full_width, spec.full_height = display.width, display.height
    out = oiio.ImageOutput.create(str(path))
    assert out is not None, oiio.geterror()
    assert out.open(str(path), spec), out.geterror()
    assert out.write_image(np.ascontiguousarray(pixels)), out.geterror()
    assert out.close()
    return path


def save_parts(path: Path, parts: Sequence[npt.NDArray[np.float32]]) -> Path:
    """Write several (H, W, 3) pictures as the parts of one EXR."""
    specs = [_spec(part) for part in parts]
    for number, spec in enumerate(specs):
        spec.attribute("oiio:subimagename", f"part{number}")
    out = oiio.ImageOutput.create(str(path))
    assert out is not None, oiio.geterror()
    assert out.open(str(path), specs), out.geterror()
    for number, part in enumerate(parts):
        assert not number or out.open(str(path), specs[number], "AppendSubimage"), out.geterror()
        assert out.write_image(part), out.geterror()
    assert out.close()
    return path


def _spec(pixels: npt.NDArray[Any]) -> oiio.ImageSpec:
    kinds = {"float16": "half", "float32": "float", "float64": "double", "uint16": "uint16"}
    return oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kinds[str(pixels.dtype)])


def luminance_chroma_exr(luma: npt.NDArray[np.float16], chroma: npt.NDArray[np.float16]) -> bytes:
    """Return an EXR of (H, W) luminance and (H/2, W/2) chroma, as the format's first library wrote photographs."""
    height, width = luma.shape
    planes = (("BY", 2, chroma), ("RY", 2, chroma), ("Y", 1, luma))
    channels = (
        b"".join(name.encode() + struct.pack("<xi4x2i", 1, step, step) for name, step, _ in planes) + b"\0"
    )
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = b"v/1\x01\x02\0\0\0"
    for name, kind, content in (
        ("channels", "chlist", channels),
        ("compression", "compression", b"\0"),
        ("dataWindow", "box2i", box),
        ("displayWindow", "box2i", box),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", bytes(8)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ):
        header += f"{name}\0{kind}\0".encode() + struct.pack("<i", len(content)) + content
    header += b"\0"
    rows = [
        b"".join(plane[y // step].tobytes() for _, step, plane in planes if y % step == 0)
        for y in range(height)
    ]
    lines = [struct.pack("<2i", y, len(row)) + row for y, row in enumerate(rows)]
    starts = np.cumsum([len(header) + 8 * height, *map(len, lines[:-1])])
    return header + starts.astype("<u8").tobytes() + b"".join(lines)


def dng(
    samples: npt.NDArray[np.integer[Any]],
    black: int = 0,
    white: int = 65535,
    neutral: Sequence[float] | None = (1.0, 1.0, 1.0),
) -> bytes:
    """Return an uncompressed DNG 1.4 of a camera that sees ACES2065-1.

    Args:
        samples: (H, W), an RGGB mosaic, or (H, W, 3), full colour samples; 0 .. 65535.
        black, white: levels.
        neutral: how the camera sees a neutral; None leaves it out.
    """
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else 3
    body = samples.astype("<u2").tobytes()
    tags: dict[int, tuple[int, bytes]] = {
        254: _longs(0),
        256: _longs(width),
        257: _longs(height),
        258: _shorts(*[16] * channels),
        259: _shorts(1),  # no compression
        262: _shorts(32803 if channels == 1 else 34892),  # colour filter array, linear raw
        271: (2, b"Tests\0"),
        272: (2, b"Camera\0"),
        277: _shorts(channels),
        278: _longs(height),
        279: _longs(len(body)),
        50706: (1, bytes([1, 4, 0, 0])),  # DNG version
        50708: (2, b"Tests Camera\0"),
        50714: _longs(black),
        50717: _longs(white),
        50721: (10, _rationals(np.ravel(XYZ_TO_ACES))),
        50778: _shorts(21),  # D65
    }
    if channels == 1:
        tags |= {33421: _shorts(2, 2), 33422: (1, bytes([0, 1, 1, 2]))}
    if neutral is not None:
        tags[50728] = (5, _rationals(neutral))
    return _tiff(tags, body)


def _tiff(tags: Mapping[int, tuple[int, bytes]], body: bytes) -> bytes:
    """Return a TIFF of one strip; tag 273, where it begins, is added."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
    outside = 8 + 2 + 12 * (len(tags) + 1) + 4
    start = outside + sum(len(content) + len(content) % 2 for _, content in tags.values() if len(content) > 4)
    directory, extra = b"", b""
    for tag, (kind, content) in sorted({**tags, 273: _longs(start)}.items()):
        value = content.ljust(4, b"\0")
        if len(content) > 4:
            value = struct.pack("<I", outside + len(extra))
            extra += content + bytes(len(content) % 2)
        directory += struct.pack("<2HI", tag, kind, len(content) // sizes[kind]) + value
    return b"II*\0" + struct.pack("<IH", 8, len(tags) + 1) + directory + bytes(4) + extra + body


def _longs(*values: int) -> tuple[int, bytes]:
    return 4, struct.pack(f"<{len(values)}I", *values)


def _shorts(*values: int) -> tuple[int, bytes]:
    return 3, struct.pack(f"<{len(values)}H", *values)


def _rationals(values: Sequence[float] | npt.NDArray[np.float64]) -> bytes:
    return b"".join(struct.pack("<2i", round(value * 10**6), 10**6) for value in values)
