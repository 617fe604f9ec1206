"""Image files in and out: the only user of OpenImageIO.

OpenImageIO returns errors instead of raising them, premultiplies PNG on read unless told otherwise, and stamps
the time of day into what it writes. Everything here checks every result and asks for pixels as they are stored.
A written frame appears under its name only when it is complete and was read back equal. Remote frames go through
copies, which ``storage`` makes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from bitexpand import sniff, storage
from bitexpand.errors import DiskFullError, MemoryShortageError, MissingInputError, PlateError, WriteError
from bitexpand.formats import COMPRESSIONS, SOURCE_FORMATS, output_format
from bitexpand.header import Attribute, Frame, FrameInfo, Pixels, Window, legible
from bitexpand.location import Location, RemotePath
from bitexpand.temporaries import temporary_name

MAX_IMAGE_MB = 4096  # pixels as stored, 37k x 37k of 8-bit RGB; above, a header is taken for corrupt
_DPX_NAME_AT, _DPX_NAME_BYTES = 36, 100

oiio.attribute("threads", 1)  # frames run in parallel instead, and the model needs the cores
oiio.attribute("exr_threads", -1)
oiio.attribute("limits:imagesize_MB", MAX_IMAGE_MB)


def read_info(path: Location) -> FrameInfo:
    """Read a file's header; of a large remote one its first and last bytes only, if they will do.

    Raises:
        MissingInputError: there is no such file.
        PlateError: the file is empty, no image, corrupt, or claims a size that only corrupt files claim.
        StorageError: the store of a remote one refuses or cannot be reached.
    """
    if isinstance(path, RemotePath):
        with suppress(PlateError), storage.header_fetched(path) as ends:
            return replace(read_info(ends), path=path)
    with storage.fetched(path) as file:
        reader, info = _open(file)
        reader.close()
    return replace(info, path=path)


def read_frame(path: Location) -> Frame:
    """Read a file's header and its pixels, as stored.

    Raises:
        MissingInputError: there is no such file.
        PlateError: as ``read_info``, or the pixels are truncated, or the file holds several images.
        StorageError: the store of a remote one refuses or cannot be reached.
    """
    with storage.fetched(path) as file:
        frame = _read(file)
    return Frame(frame.pixels, replace(frame.info, path=path))


def write_frame(
    path: Location,
    pixels: Pixels,
    info: FrameInfo,
    attributes: Iterable[Attribute] = (),
    compression: str | None = None,
    check: Callable[[Pixels], None] | None = None,
) -> None:
    """Write a frame so that it is seen complete or not at all, and read back before it is seen.

    A remote one is written and read back here, and sent when it is right.

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
    if isinstance(path, RemotePath):
        with storage.uploading(path) as file:
            write_frame(file, pixels, info, attributes, compression, check)
        return
    format_name = output_format(path)
    compression = compression or COMPRESSIONS[format_name][0]
    temporary = path.parent / temporary_name(path.suffix)
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
    except (OSError, UnicodeError, WriteError) as error:
        raise _write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _read(path: Path) -> Frame:
    reader, info = _open(path)
    try:
        _check_misread(info)
        pixels = reader.read_image(0, 0, 0, len(info.channels), reader.spec().format)
        problem = _problem(reader)
        if pixels is None or problem:
            reason = problem or "no reason given"
            raise PlateError(f"{path}: pixels cannot be read ({reason}); copy or render it again")
        if reader.seek_subimage(1, 0):
            raise PlateError(f"{path}: holds more than one image; extract the one to expand")
        reader.geterror()  # the seek beyond the only image is no error of the file's
    except MemoryError as error:
        raise MemoryShortageError(f"{path}: {info.data.size} pixels do not fit into memory") from error
    finally:
        reader.close()
    pixels = np.ascontiguousarray(pixels).reshape(info.data.height, info.data.width, len(info.channels))
    if info.attribute("tiff:ColorSpace") == "palette":
        pixels = sniff.restore_palette(path, pixels)
    return Frame(pixels, info)


def _open(path: Path) -> tuple[Any, FrameInfo]:
    """Open a file by what its first bytes say it is, and describe it; the caller closes the reader."""
    sniff.check_head(path, ", ".join(SOURCE_FORMATS))
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)  # otherwise PNG colour comes premultiplied
    try:
        reader = oiio.ImageInput.open(_utf8(path), config)
        problem = _problem(oiio)
        if reader is None:
            advice = "it is larger than any plate" if "limit" in problem else "copy or render it again"
            raise PlateError(f"{path}: not a readable image ({problem or 'no reason given'}); {advice}")
        return reader, _describe(path, reader)
    except UnicodeError as error:
        raise PlateError(f"{path}: not a readable image ({error})") from error
    except MemoryError as error:
        raise MemoryShortageError(f"{path}: does not fit into memory") from error


def _describe(path: Path, reader: Any) -> FrameInfo:  # noqa: ANN401  (ImageInput)
    spec, format_name = reader.spec(), reader.format_name()
    container = str(spec.format)
    bits = 8 * np.dtype(_dtype(container)).itemsize
    if container == "uint16":  # for bytes it may speak of palette indices, or of a TGA's channels together
        bits = min(spec.getattribute("oiio:BitsPerSample") or bits, bits)
    channels = tuple(spec.channelnames)
    if format_name == "targa" and len(channels) == 2:
        channels = ("Y", "A")  # OpenImageIO 3.2 calls them R and G
    says_associated = format_name in ("tiff", "openexr") and not spec.getattribute("oiio:UnassociatedAlpha")
    return FrameInfo(
        path=path,
        format=format_name,
        channels=channels,
        container=container,
        bits=bits,
        data=Window(spec.x, spec.y, spec.width, spec.height),
        display=Window(spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        attributes=_attributes(spec),
        associated_alpha="A" in channels and says_associated,
    )


def _attributes(spec: Any) -> tuple[Attribute, ...]:  # noqa: ANN401  (ImageSpec)
    entries = [Attribute(legible(a.name), str(a.type), legible(a.value)) for a in spec.extra_attribs]
    return tuple(entry for entry in entries if entry.name and entry.value is not None)


def _check_misread(info: FrameInfo) -> None:
    """Refuse rows of DPX whose last, partly filled word OpenImageIO 3.2 does not read, or in the wrong order."""
    rest = info.data.width * len(info.channels) % 3
    broken = rest == 1 or (rest == 2 and len(info.channels) == 1)
    if info.format == "dpx" and info.bits == 10 and broken and "Filled" in str(info.attribute("dpx:Packing")):
        raise PlateError(
            f"{info.path}: 10-bit DPX with {len(info.channels)} channels at this width cannot be read exactly;"
            " write it without alpha, with 12 bits, or as TIFF"
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
    if format_name == "png":
        spec.attribute("oiio:ColorSpace", "unknown")  # untagged PNG would be marked as sRGB
    _set(spec, attributes)
    spec.attribute("compression", compression)
    # Colour reaches the writer as stored; only TIFF can say that it is premultiplied.
    spec.attribute("oiio:UnassociatedAlpha", 0 if format_name == "tiff" and info.associated_alpha else 1)
    return spec


def _set(spec: Any, attributes: Iterable[Attribute]) -> None:  # noqa: ANN401  (ImageSpec)
    for name, type_name, value in attributes:
        spec.attribute(name, oiio.TypeDesc(type_name), value)


def _write(path: Path, format_name: str, spec: Any, pixels: Pixels) -> None:  # noqa: ANN401  (ImageSpec)
    writer = oiio.ImageOutput.create(format_name)
    if writer is None:
        raise WriteError(_problem(oiio))
    if not writer.open(_utf8(path), spec):
        raise WriteError(_problem(writer))
    written = writer.write_image(np.ascontiguousarray(pixels))
    problem = _problem(writer)
    # PNG on a full disk reports success here and TIFF reports an error without one: the reading back decides.
    if not (writer.close() and written):
        raise WriteError(problem or _problem(writer))
    if format_name == "dpx":  # its header holds the file's own name: the temporary's, another for each run
        with path.open("rb+") as file:
            file.seek(_DPX_NAME_AT)
            file.write(bytes(_DPX_NAME_BYTES))


def _read_back(path: Path, shape: tuple[int, ...]) -> Pixels:
    try:
        stored = read_frame(path)
    except (PlateError, MissingInputError) as error:  # network storage can lose what it took
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
    if "No space left" in reason or "quota" in reason or _is_full(path.parent):
        return DiskFullError(f"{path}: the disk is full; free some room and run the same command again")
    return WriteError(f"{path}: could not be written ({reason}); nothing was left in its place")


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 1 << 16
    except OSError:
        return False  # the folder is gone, say


def _problem(source: Any) -> str:  # noqa: ANN401  (anything of OpenImageIO that has geterror)
    """Return and clear the pending error of OpenImageIO, its first line; "" where there is none."""
    try:
        text = source.geterror()
    except UnicodeDecodeError:  # it quotes a damaged file
        return "damaged"
    return _first_line(text) if text else ""


def _utf8(path: Path) -> str:
    """Return the path as OpenImageIO takes it.

    Raises:
        UnicodeError: it is not UTF-8; OpenImageIO would throw a C++ exception.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UnicodeError("its name is not UTF-8, rename it") from error
    return str(path)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "no reason given"
