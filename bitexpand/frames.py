"""Image files in and out: the only user of OpenImageIO.

OpenImageIO returns errors instead of raising them, premultiplies PNG on read unless told otherwise, and stamps
the time of day into what it writes. Everything here checks every result and asks for pixels as they are stored.
A written frame appears under its name only when it is complete and was read back equal.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import psutil

from bitexpand.errors import (
    DiskFullError,
    MissingInputError,
    PlateError,
    UnknownNameError,
    UsageError,
    WriteError,
)

Pixels = npt.NDArray[np.generic]

MAX_IMAGE_MB = 4096  # uncompressed, 32 bits a sample: 16k x 16k RGBA; above, a header is taken for corrupt
SOURCE_FORMATS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jpe"),
    "tiff": (".tif", ".tiff"),
    "targa": (".tga",),
    "bmp": (".bmp",),
    "webp": (".webp",),
    "dpx": (".dpx",),
}
SOURCE_EXTENSIONS = frozenset(itertools.chain.from_iterable(SOURCE_FORMATS.values()))
OUTPUT_FORMATS = {".exr": "openexr", ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dpx": "dpx"}
COMPRESSIONS = {
    "openexr": ("zip", "zips", "rle", "piz", "htj2k", "none", "pxr24", "b44", "b44a", "dwaa", "dwab"),
    "tiff": ("zip", "lzw", "packbits", "none"),
    "png": ("zip",),
    "dpx": ("none",),
}
LOSSY_COMPRESSIONS = frozenset({"pxr24", "b44", "b44a", "dwaa", "dwab"})

_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "bmp": (b"BM",),
    "dpx": (b"SDPX", b"XPDS"),
    "openexr": (b"\x76\x2f\x31\x01",),
}
# What describes the old file's encoding or a colour it may no longer have must not reach the new file.
_STALE = re.compile(
    r"(?i)^(oiio:|png:|tiff:|jpeg:|bmp:|targa:|webp:|openexr:|exif:colorspace|compression$|planarconfig$|software$"
    r"|colorinteropid$|chromaticities$|iccprofile|cicp$|dpx:(transfer|colorimetric|packing|imagedescriptor"
    r"|signal|version|dittokey|endof|timecode|userbits)|screenwindow|worldto|adoptedneutral$|whiteluminance$)"
)
_TEMPORARY = re.compile(r"^\.bitexpand-(?P<host>[\w.]+)-(?P<pid>\d+)-\d+\.\w+$")
_HOST = re.sub(r"[^\w.]", "_", socket.gethostname())[:40] or "host"
_serial = itertools.count()

oiio.attribute("threads", 1)  # frames run in parallel instead, and the model needs the cores
oiio.attribute("exr_threads", -1)
oiio.attribute("limits:imagesize_MB", MAX_IMAGE_MB)


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

    path: Path
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
        return tuple(entry for entry in self.attributes if not _STALE.match(entry.name))

    def icc_profile(self) -> tuple[Attribute, ...]:
        """Return the embedded ICC profile, for a file that keeps the encoding."""
        return tuple(entry for entry in self.attributes if entry.name == "ICCProfile")


@dataclass(frozen=True)
class Frame:
    """One image as stored: ``pixels`` is (H, W, C) in the file's own sample type, nothing premultiplied."""

    pixels: Pixels
    info: FrameInfo


def read_info(path: Path) -> FrameInfo:
    """Read a file's header.

    Raises:
        MissingInputError: there is no such file.
        PlateError: the file is empty, no image, corrupt, or claims a size that only corrupt files claim.
    """
    reader, info = _open(path)
    reader.close()
    return info


def read_frame(path: Path) -> Frame:
    """Read a file's header and its pixels, as stored.

    Raises:
        MissingInputError: there is no such file.
        PlateError: as ``read_info``, or the pixels are truncated, or the file holds several images.
    """
    reader, info = _open(path)
    try:
        pixels = reader.read_image(0, 0, 0, len(info.channels), reader.spec().format)
        problem = reader.geterror()
        if pixels is None or problem:
            raise PlateError(
                f"{path}: pixels cannot be read ({_first_line(problem)}); copy or render it again"
            )
        if reader.seek_subimage(1, 0):
            raise PlateError(f"{path}: holds more than one image; extract the one to expand")
        reader.geterror()  # the seek beyond the only image is no error of the file's
    finally:
        reader.close()
    shape = (info.data.height, info.data.width, len(info.channels))
    return Frame(np.ascontiguousarray(pixels).reshape(shape), info)


def output_format(path: Path) -> str:
    """Return OpenImageIO's format name for an output path.

    Raises:
        UsageError: the extension is not one that bitexpand writes.
    """
    name = OUTPUT_FORMATS.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"cannot write '{path.name}': give it one of {', '.join(OUTPUT_FORMATS)}")
    return name


def check_compression(compression: str, format_name: str) -> None:
    """Raise UnknownNameError unless ``compression``, with or without ``:level``, is one of the format's."""
    name, _, level = compression.partition(":")
    if name not in COMPRESSIONS[format_name] or (level and not level.isdigit()):
        raise UnknownNameError(f"{format_name} compression", compression, COMPRESSIONS[format_name])


def is_lossy(compression: str) -> bool:
    """Tell whether an EXR compression changes half or float pixels."""
    return compression.partition(":")[0] in LOSSY_COMPRESSIONS


def prepare_folder(folder: Path) -> None:
    """Make an output folder ready: create it, prove that it can be written, sweep what dead runs left.

    Raises:
        UsageError: it cannot be created or written.
    """
    probe = folder / _temporary_name(".probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to folder '{folder}': {error.strerror}; choose another -o") from error
    for left in folder.glob(".bitexpand-*"):
        match = _TEMPORARY.match(left.name)
        if match and match["host"] == _HOST and not psutil.pid_exists(int(match["pid"])):
            left.unlink(missing_ok=True)


def write_frame(
    path: Path,
    pixels: Pixels,
    info: FrameInfo,
    attributes: Iterable[Attribute] = (),
    compression: str | None = None,
    check: Callable[[Pixels], None] | None = None,
) -> None:
    """Write a frame so that it is seen complete or not at all, and read back before it is seen.

    Args:
        path: the file; its extension chooses the format. Its folder must exist.
        pixels: (H, W, C) float16, float32 or uint16, C as in ``info.channels``; stored as they are.
        info: channels, windows and alpha convention to write.
        attributes: the whole metadata of the new file.
        compression: one of COMPRESSIONS; None is the format's first.
        check: raises if the pixels read back will not do; None demands that they equal ``pixels``.

    Raises:
        DiskFullError: there is no room left.
        WriteError: anything else that keeps the file from being complete and equal to ``pixels``.
    """
    format_name = output_format(path)
    compression = compression or COMPRESSIONS[format_name][0]
    temporary = path.parent / _temporary_name(path.suffix)
    spec = _output_spec(pixels, info, attributes, format_name, compression)
    try:
        _write(temporary, format_name, spec, pixels)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        stored_pixels = _read_back(temporary, pixels.shape)
        if check:
            check(stored_pixels)
        elif not _same_bits(stored_pixels, pixels):
            raise WriteError("the written file does not read back as what was written")
        temporary.replace(path)
    except (OSError, WriteError) as error:
        raise _write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_picture(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an 8-bit PNG to look at, (H, W, 3) uint8, in display space; raises as ``write_frame``."""
    height, width, _ = pixels.shape
    window = Window(0, 0, width, height)
    write_frame(path, pixels, FrameInfo(path, "png", ("R", "G", "B"), "uint8", 8, window, window))


def _open(path: Path) -> tuple[Any, FrameInfo]:
    """Open a file by what its first bytes say it is, and describe it; the caller closes the reader."""
    _check_file(path)
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)  # otherwise PNG colour comes premultiplied
    try:
        reader = oiio.ImageInput.open(str(path), config)
    except (UnicodeEncodeError, RuntimeError) as error:
        raise PlateError(f"{path!r}: the name is not valid UTF-8; rename the file") from error
    problem = oiio.geterror()
    if reader is None:
        advice = "" if "limit" not in problem else "; it is larger than any plate"
        raise PlateError(f"{path}: not a readable image ({_first_line(problem)}){advice}")
    return reader, _describe(path, reader)


def _check_file(path: Path) -> None:
    """Refuse, before OpenImageIO sees it, what is not there or is no image."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise PlateError(f"{path}: cannot be opened ({error})") from error
    if not head:
        raise PlateError(f"{path}: is empty (0 bytes); copy or render it again")
    known = any(head.startswith(magic) for magics in _MAGIC.values() for magic in magics)
    if not (known or (head[:4] == b"RIFF" and head[8:] == b"WEBP") or path.suffix.lower() == ".tga"):
        raise PlateError(
            f"{path}: not an image that bitexpand reads; accepted are {', '.join(SOURCE_FORMATS)}"
        )


def _describe(path: Path, reader: Any) -> FrameInfo:  # noqa: ANN401  (ImageInput)
    spec = reader.spec()
    stated = spec.getattribute("oiio:BitsPerSample")
    container = str(spec.format)
    is_integer = container in ("uint8", "uint16")
    if spec.getattribute("tiff:ColorSpace") == "palette":
        stated = None  # the bits of the index, not of the colours that it points to
    bits = stated if is_integer and stated and stated <= 16 else 8 * np.dtype(_dtype(container)).itemsize
    return FrameInfo(
        path=path,
        format=reader.format_name(),
        channels=tuple(spec.channelnames),
        container=container,
        bits=bits,
        data=Window(spec.x, spec.y, spec.width, spec.height),
        display=Window(spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        attributes=tuple(Attribute(a.name, str(a.type), a.value) for a in spec.extra_attribs),
        associated_alpha=spec.alpha_channel >= 0 and not spec.getattribute("oiio:UnassociatedAlpha"),
    )


def _dtype(container: str) -> str:
    return {"half": "float16", "float": "float32", "double": "float64"}.get(container, container)


def _output_spec(
    pixels: Pixels, info: FrameInfo, attributes: Iterable[Attribute], format_name: str, compression: str
) -> Any:  # noqa: ANN401  (ImageSpec)
    kind = {"float16": "half", "float32": "float"}.get(str(pixels.dtype), str(pixels.dtype))
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    spec.channelnames = info.channels
    spec.alpha_channel = info.channels.index("A") if "A" in info.channels else -1
    spec.x, spec.y = info.data.x, info.data.y
    display = info.display
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = (
        display.x,
        display.y,
        display.width,
        display.height,
    )
    spec.attribute("DateTime", "")  # OpenImageIO would write the time of day, and no two runs were equal
    for name, type_name, value in attributes:
        spec.attribute(name, oiio.TypeDesc(type_name), value)
    spec.attribute("compression", compression)
    # Colour reaches the writer as stored; only TIFF can say that it is premultiplied.
    spec.attribute("oiio:UnassociatedAlpha", 0 if format_name == "tiff" and info.associated_alpha else 1)
    return spec


def _write(path: Path, format_name: str, spec: Any, pixels: Pixels) -> None:  # noqa: ANN401  (ImageSpec)
    writer = oiio.ImageOutput.create(format_name)
    if writer is None:
        raise WriteError(oiio.geterror())
    if not writer.open(str(path), spec):
        raise WriteError(writer.geterror())
    written = writer.write_image(np.ascontiguousarray(pixels))
    problem = writer.geterror()
    # PNG on a full disk reports success here and TIFF reports an error without one: the reading back decides.
    if not (writer.close() and written):
        raise WriteError(problem or writer.geterror())


def _read_back(path: Path, shape: tuple[int, ...]) -> Pixels:
    try:
        stored = read_frame(path)
    except PlateError as error:
        raise WriteError(f"the written file is not complete ({error})") from error
    if stored.pixels.shape != shape:
        raise WriteError("the written file does not read back in the size that was written")
    return stored.pixels


def _same_bits(a: Pixels, b: Pixels) -> bool:
    raw = np.dtype(f"u{a.dtype.itemsize}")
    return a.dtype == b.dtype and all(
        np.array_equal(x.view(raw), y.view(raw)) for x, y in zip(a, b, strict=True)
    )


def _write_error(path: Path, error: Exception) -> WriteError:
    reason = _first_line(str(error))
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    if "No space left" in reason or "quota" in reason or free < 1 << 16:
        return DiskFullError(f"{path}: the disk is full; free some room and run the same command again")
    return WriteError(f"{path}: could not be written ({reason}); nothing was left in its place")


def _temporary_name(suffix: str) -> str:
    return f".bitexpand-{_HOST}-{os.getpid()}-{next(_serial)}{suffix}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "no reason given"
