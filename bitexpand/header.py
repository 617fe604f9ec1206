"""What an image file says of itself, and what of that stays true of the expanded frame."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.location import Location

Pixels = npt.NDArray[np.generic]

# What describes the old file's encoding or a colour it may no longer have must not reach the new file.
_STALE = re.compile(
    r"(?i)^(oiio:|png:|tiff:|jpeg:|bmp:|targa:|webp:|openexr:|exif:colorspace|compression$|planarconfig$|software$"
    r"|colorinteropid$|chromaticities$|iccprofile|cicp$|dpx:(transfer|colorimetric|packing|imagedescriptor"
    r"|signal|version|dittokey|endof|timecode|userbits|(low|high)(data|quantity)|(black|white)level|breakpoint)"
    r"|screenwindow|worldto|adoptedneutral$|whiteluminance$)"
)
_RESOLUTION = re.compile("XResolution$|YResolution$|ResolutionUnit$|PixelAspectRatio$")


class Attribute(NamedTuple):
    """One metadata entry: its name, its OpenImageIO type as text ("string", "timecode"...), its value."""

    name: str
    type: str
    value: Any


@dataclass(frozen=True)
class Window:
    """A rectangle in pixels: origin and size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> str:
        """Width and height as text."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class FrameInfo:
    """What a file says of itself before its pixels are read.

    Attributes:
        path: the file.
        format: OpenImageIO's name of the format, such as "png".
        channels: names in file order, such as ("R", "G", "B", "A").
        container: sample type: "uint8", "uint16", "half" or "float".
        bits: meaningful bits a sample as the header states them (10 for a 10-bit DPX).
        data, display: the windows; equal for most formats.
        attributes: all metadata, in file order.
        associated_alpha: the file says that its colour is premultiplied by alpha.
    """

    path: Location
    format: str
    channels: tuple[str, ...]
    container: str
    bits: int
    data: Window
    display: Window
    attributes: tuple[Attribute, ...] = field(repr=False, default=())
    associated_alpha: bool = False

    def attribute(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  (files hold any type)
        """Return the value of a metadata entry, or ``default``."""
        return next((entry.value for entry in self.attributes if entry.name == name), default)

    def kept_attributes(self) -> tuple[Attribute, ...]:
        """Return the metadata that stays true of an expanded frame."""
        kept = [entry for entry in self.attributes if not _STALE.match(entry.name)]
        aspect = self.pixel_aspect()
        if aspect is not None:  # instead of resolutions, which EXR takes for an aspect the other way round
            kept = [entry for entry in kept if not _RESOLUTION.match(entry.name)]
            kept.append(Attribute("PixelAspectRatio", "float", aspect))
        rates = (self.attribute(name) for name in ("dpx:TemporalFrameRate", "dpx:FrameRate"))
        rate = next((r for r in rates if r and 0 < r < 1000), None)
        if rate is not None and not self.attribute("FramesPerSecond"):
            kept.append(Attribute("FramesPerSecond", "rational", _rational(rate)))
        return tuple(kept)

    def pixel_aspect(self) -> float | None:
        """Return the width of a pixel in heights, 1 where it makes no sense, or None where nothing tells."""
        x, y = self.attribute("XResolution"), self.attribute("YResolution")
        # JPEG's aspect comes from OpenImageIO 3.2 upside down, and BMP's not at all
        aspect = y / x if x and y else self.attribute("PixelAspectRatio")
        if aspect is None or aspect == 1:
            return None
        return aspect if 0.01 < aspect < 100 and abs(aspect - 1) > 0.005 else 1.0

    def icc_profile(self) -> tuple[Attribute, ...]:
        """Return the embedded ICC profile, for a file that keeps the encoding."""
        return tuple(entry for entry in self.attributes if entry.name == "ICCProfile")


@dataclass(frozen=True)
class Frame:
    """One image as stored: ``pixels`` is (H, W, C) in the file's own sample type, nothing premultiplied."""

    pixels: Pixels
    info: FrameInfo


def _rational(rate: float) -> tuple[int, int]:
    """Return a frame rate as a fraction; 23.976 and its kin are 24000/1001 and so on."""
    ntsc = rate * 1.001
    if abs(rate - round(rate)) > 1e-3 and abs(ntsc - round(ntsc)) < 1e-3:
        return round(ntsc) * 1000, 1001
    fraction = Fraction(rate).limit_denominator(1000)
    return fraction.numerator, fraction.denominator


def legible(value: Any) -> Any:  # noqa: ANN401  (files hold any type)
    """Return text that is not UTF-8 as the Latin-1 that old formats mean; None for DPX's undefined 0xFF bytes."""
    if not isinstance(value, str) or value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape")
    if not raw.strip(b"\xff \0"):
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
