"""Any picture that can be truth, read into scene-linear light; what cannot be truth is refused with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitexpand import sniff
from bitexpand.code_values import Floats
from bitexpand.color import ColorConfig, conversion
from bitexpand.errors import PlateError
from bitexpand.frames import Frame, FrameInfo, Pixels, read_frame
from training.raw import read_raw
from training.sources.base import RAW_SUFFIXES

Mask = npt.NDArray[np.bool_]

ACES = "aces_interchange"
"""OpenColorIO's role for ACES2065-1, whatever a config calls it: RAW and decoded integer pictures come in it."""

MIN_VALUES = 1024  # a channel; real pictures of 16 bits have tens of thousands, those of 8 bits at most 256
CEILING_REACH = 16  # px: as far as the ringing of lossy EXR (DWA's blocks are 8 px) reaches
_ACCEPTED = "OpenEXR, Radiance HDR, 16-bit PNG and TIFF, and camera RAW by its extension"


@dataclass(frozen=True)
class Reading:
    """How a source's pictures are read; the fields mean what they do in ``SourceSettings``."""

    space: str
    integer_space: str | None = None
    force: bool = False
    ceiling: float | None = None


@dataclass(frozen=True)
class LinearPlate:
    """A picture in scene-linear light.

    Attributes:
        plate_linear: float32 (H, W, 3) in ``space``; finite, unbounded, negative values too.
        space: OCIO space or role.
        unknown: bool (H, W), True where the truth is not to be trusted; None where all of it is.
        notes: what was done to it that its owner might want to know.
    """

    plate_linear: Floats
    space: str
    unknown: Mask | None = None
    notes: tuple[str, ...] = ()


def read_linear(path: Path, reading: Reading, config: ColorConfig) -> LinearPlate:
    """Read a picture into scene-linear light.

    Of EXR the channels R, G and B of its data window count, or Y alone for grey. Radiance HDR has a shared exponent
    and so only 128 to 256 steps a stop (Ward, "Real Pixels", Graphics Gems II, 1991); it is halved by area, which
    averages four of them. Negative values are kept, unless a ceiling says that the picture rings.

    Args:
        path: OpenEXR, Radiance HDR, 16-bit PNG or TIFF, float TIFF, or camera RAW.
        reading: how to read it.
        config: has the spaces that ``reading`` names.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it cannot be read, or cannot be truth; the message says why and what to do.
        MemoryShortageError: it does not fit into memory.
        UnknownNameError, UsageError, ColorError: the integer space cannot be decoded.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        raw = read_raw(path)
        plate = LinearPlate(raw.plate_linear, ACES, raw.clipped if raw.clipped.any() else None, raw.notes)
        _check_values(path, plate.plate_linear, reading.force)
        return _under_ceiling(plate, reading.ceiling)
    frame = _read(path)
    samples, notes = _color(frame)
    _check_finite(path, samples)
    _check_values(path, samples, reading.force)
    if samples.shape[2] == 1:
        samples = np.repeat(samples, 3, axis=2)
    if frame.info.container == "uint16":
        plate = _decoded(path, samples, reading, config, notes)
    else:
        plate = LinearPlate(samples, reading.space, None, notes)
    plate = _under_ceiling(plate, reading.ceiling)
    return _halved(path, plate) if frame.info.format == "hdr" else plate


def _read(path: Path) -> Frame:
    sniff.check_head(path, _ACCEPTED)
    try:
        return read_frame(path)
    except PlateError as error:
        if "Subsampled" in str(error):
            advice = "has subsampled channels (luminance and chroma); write it as RGB, all channels full size"
            raise PlateError(f"{path}: {advice}") from error
        raise


def _color(frame: Frame) -> tuple[Floats, tuple[str, ...]]:
    """Return the colour samples, float32 (H, W, 1 or 3), integers as a signal in [0, 1], and notes."""
    info, notes = frame.info, []
    _check_container(info)
    names = ("R", "G", "B") if {"R", "G", "B"} <= set(info.channels) else ("Y",)
    if names[0] not in info.channels or {"RY", "BY"} & set(info.channels):
        present = ", ".join(info.channels)
        raise PlateError(f"{info.path}: has channels {present}; needs R, G and B, or Y alone for grey")
    if names == ("Y",):
        notes.append("grey, repeated to three channels")
    if "A" in info.channels:
        notes.append("alpha left out")
    others = [name for name in info.channels if name not in (*names, "A")]
    if others:
        notes.append(f"other channels left out: {', '.join(others[:6])}{', ...' if len(others) > 6 else ''}")
    if info.data != info.display:
        window, display = info.data, info.display
        notes.append(
            f"data window {window.size}{window.x:+}{window.y:+} taken, the display is {display.size}"
        )
    color = frame.pixels[..., [info.channels.index(name) for name in names]]
    return _as_float(color), tuple(notes)


def _check_container(info: FrameInfo) -> None:
    if info.container in ("half", "float", "double"):
        return
    if info.container != "uint16" or info.bits < 16:
        what = f"{info.bits}-bit" if info.container in ("uint8", "uint16") else info.container
        raise PlateError(
            f"{info.path}: {what} samples hold no truth below their own steps; give float EXR, 16 bits, or RAW"
        )
    space = info.attribute("tiff:ColorSpace")
    if space is not None:
        raise PlateError(f"{info.path}: is {space}; convert it to RGB first")


def _as_float(samples: Pixels) -> Floats:
    if samples.dtype == np.uint16:
        return np.divide(samples, np.float32(65535), dtype=np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and is refused as that
        return samples.astype(np.float32)


def _check_finite(path: Path, samples: Floats) -> None:
    bad = np.logical_not(np.isfinite(samples))
    if bad.any():
        row, column, channel = np.unravel_index(int(bad.argmax()), bad.shape)
        name = "RGB"[int(channel)] if samples.shape[2] == 3 else "Y"
        raise PlateError(
            f"{path}: {int(bad.sum())} samples are NaN or infinite, the first in channel {name} at x {column},"
            f" y {row} of the data window; render it again, or fill them"
        )


def _check_values(path: Path, samples: Floats, force: bool) -> None:
    most = max(_distinct(samples[..., channel]) for channel in range(samples.shape[2]))
    if most < MIN_VALUES and not force:
        raise PlateError(
            f"{path}: has {most} different values in a channel, real pictures have {MIN_VALUES} and more: is it an"
            " 8-bit picture in another file, or very small? Set 'force: true' for its source to take it"
        )


def _distinct(channel: Floats) -> int:
    """Count the different values of a channel, from a part of it where that is enough."""
    few = np.unique(channel.reshape(-1)[:: max(channel.size >> 16, 1)]).size
    return few if few >= MIN_VALUES else np.unique(channel).size


def _decoded(
    path: Path, signal: Floats, reading: Reading, config: ColorConfig, notes: tuple[str, ...]
) -> LinearPlate:
    if reading.integer_space is None:
        raise PlateError(
            f"{path}: has 16-bit integer samples, and nothing says what they mean; set 'integer_space' for its"
            " source, such as 'sRGB - Texture'"
        )
    decode = conversion(config, reading.integer_space, ACES, lossless=True)
    return LinearPlate(decode.apply(signal), ACES, None, (*notes, f"decoded from {reading.integer_space}"))


def _under_ceiling(plate: LinearPlate, ceiling: float | None) -> LinearPlate:
    """Mark what is too bright to be trusted, and its surroundings.

    A picture with a ceiling is one that rings around its lights: values above are brought down to it, and negative
    ones, the other side of the ringing, up to 0.
    """
    if ceiling is None:
        return plate
    over = np.logical_or.reduce(plate.plate_linear > ceiling, axis=2)
    unknown = plate.unknown
    if over.any():
        unknown = _grown(over, CEILING_REACH) if unknown is None else _grown(over, CEILING_REACH) | unknown
    note = f"clamped to 0..{ceiling:g}, unknown around the {np.count_nonzero(over)} pixels above"
    return replace(
        plate, plate_linear=plate.plate_linear.clip(0, ceiling), unknown=unknown, notes=(*plate.notes, note)
    )


def _grown(mask: Mask, reach: int) -> Mask:
    """Return where any pixel within ``reach`` px, along rows and columns, is set."""
    for axis in (0, 1):
        padding = [(reach + 1, reach) if a == axis else (0, 0) for a in (0, 1)]
        sums = np.cumsum(np.pad(mask, padding), axis=axis, dtype=np.int32)
        size = mask.shape[axis]
        mask = sums.take(range(2 * reach + 1, 2 * reach + 1 + size), axis) > sums.take(range(size), axis)
    return mask


def _halved(path: Path, plate: LinearPlate) -> LinearPlate:
    height, width = (size // 2 for size in plate.plate_linear.shape[:2])
    if not height or not width:
        raise PlateError(
            f"{path}: a Radiance HDR is halved, and this one has a side of 1 px; give a larger one"
        )
    cells = plate.plate_linear[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
    unknown = plate.unknown
    if unknown is not None:
        unknown = np.logical_or.reduce(
            unknown[: 2 * height, : 2 * width].reshape(height, 2, width, 2), (1, 3)
        )
    notes = (*plate.notes, "halved by area, as RGBE has only 128 to 256 steps a stop")
    return LinearPlate(cells.mean(axis=(1, 3), dtype=np.float32), plate.space, unknown, notes)
