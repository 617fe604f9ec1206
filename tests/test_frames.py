"""What is written, read back; how a write fails; which metadata stay; and what OpenImageIO does behind our back."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import OpenImageIO as oiio
import pytest
from encoded import dpx, pillow, png_claiming
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from bitexpand import formats, frames
from bitexpand.errors import (
    BitexpandError,
    DiskFullError,
    GuardError,
    PlateError,
    UnknownNameError,
    UsageError,
    WriteError,
)
from bitexpand.formats import COMPRESSIONS, is_lossy, output_format
from bitexpand.frames import (
    Attribute,
    FrameInfo,
    Pixels,
    Window,
    read_frame,
    read_info,
    write_frame,
)
from bitexpand.pictures import write_picture

CHANNELS = {1: ("Y",), 2: ("Y", "A"), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}
RGB = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (6, 7, 3), dtype=np.uint16)
EXTENSIONS = (".exr", ".png", ".tif", ".dpx")
TIMECODE = Attribute("smpte:TimeCode", "timecode", (0x01020304, 7))
ALL_KINDS = (
    Attribute("PixelAspectRatio", "float", 2.0),
    TIMECODE,
    Attribute("FramesPerSecond", "rational", (24000, 1001)),
    Attribute("smpte:KeyCode", "keycode", (1, 2, 3, 4, 5, 6, 7)),
    Attribute("Artist", "string", "José Ångström 日本"),
    Attribute("camera:settings", "string", "iso 800"),
    Attribute("camera:matrix", "matrix", tuple(map(float, range(16)))),
    Attribute("camera:lens", "float[3]", (1.0, 2.0, 3.5)),
    Attribute("camera:box", "box2i", (0, 1, 2, 3)),
    Attribute("camera:iso", "int", 800),
)


def info_for(pixels: Pixels, **changes: object) -> FrameInfo:
    height, width, channels = pixels.shape
    window = Window(0, 0, width, height)
    given: dict[str, object] = {"channels": CHANNELS[channels], "data": window, "display": window}
    container = {"float16": "half", "float32": "float"}.get(str(pixels.dtype), str(pixels.dtype))
    return FrameInfo(Path("source.png"), "png", container=container, bits=8, **{**given, **changes})  # pyright: ignore


def samples_for(path: Path, channels: int = 3) -> Pixels:
    samples = np.random.default_rng(channels).integers(0, 65536, (6, 7, channels), dtype=np.uint16)
    return (samples / 65535).astype(np.float16) if path.suffix == ".exr" else samples


def dates() -> list[bytes]:
    """Return today as a file might have it, in any time zone, and over midnight."""
    days = [time.gmtime(time.time() + 86400 * offset) for offset in (-1, 0, 1)]
    return [time.strftime(style, day).encode() for style in ("%Y:%m:%d", "%Y-%m-%d") for day in days]


def write(path: Path, *attributes: Attribute, channels: int = 3) -> Path:
    pixels = samples_for(path, channels)
    write_frame(path, pixels, info_for(pixels), attributes)
    return path


# Writing


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@settings(deadline=None, max_examples=40)
@given(
    data=st.data(), channels=st.sampled_from([1, 2, 3, 4]), height=st.integers(1, 40), width=st.integers(1, 9)
)
def test_exr_holds_every_bit_pattern(
    dtype: type[np.floating], data: st.DataObject, channels: int, height: int, width: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    raw = np.uint16 if dtype is np.float16 else np.uint32
    pixels = data.draw(arrays(raw, (height, width, channels))).view(dtype)
    lossless = [name for name in COMPRESSIONS["openexr"] if not is_lossy(name)]
    path = tmp_path_factory.getbasetemp() / "bits.exr"
    write_frame(path, pixels, info_for(pixels), compression=data.draw(st.sampled_from(lossless)))
    stored = read_frame(path)
    np.testing.assert_array_equal(stored.pixels.view(raw), pixels.view(raw))
    assert stored.info.channels == CHANNELS[channels]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("extension", "compression"),
    [(".png", None), (".dpx", None), *itertools.product((".tif", ".tiff"), (None, *COMPRESSIONS["tiff"]))],
)
def test_16_bit_integers(extension: str, channels: int, compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / f"out{extension}"
    pixels = samples_for(path, channels)
    if (extension, channels) == (".dpx", 2):
        with pytest.raises(
            WriteError, match="out.dpx: could not be written .*DPX.*does not support 2 channels"
        ):
            write_frame(path, pixels, info_for(pixels), compression=compression)
        assert list(tmp_path.iterdir()) == []
        return
    write_frame(path, pixels, info_for(pixels), compression=compression)
    stored = read_frame(path)
    np.testing.assert_array_equal(stored.pixels, pixels)
    assert (stored.pixels.dtype, stored.info.channels) == (np.uint16, CHANNELS[channels])


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_another_reader_agrees(extension: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{extension}", channels=1)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), samples_for(path, 1)[..., 0])


def test_only_tiff_says_that_colour_is_premultiplied(tmp_path: Path) -> None:
    pixels = DEEP[..., [0, 1, 2, 0]]
    for name, associated in itertools.product(("a.tif", "a.png"), (False, True)):
        write_frame(tmp_path / name, pixels, info_for(pixels, associated_alpha=associated))
        stored = read_frame(tmp_path / name)
        np.testing.assert_array_equal(stored.pixels, pixels)
        assert stored.info.associated_alpha == (associated and name == "a.tif")


def test_lossy_pixels_need_a_check_that_accepts_them(tmp_path: Path) -> None:
    pixels = samples_for(Path("a.exr"))
    with pytest.raises(WriteError, match="does not read back as what was written"):
        write_frame(tmp_path / "a.exr", pixels, info_for(pixels), compression="b44")
    assert list(tmp_path.iterdir()) == []
    seen: list[Pixels] = []
    write_frame(tmp_path / "a.exr", pixels, info_for(pixels), compression="b44", check=seen.append)
    np.testing.assert_array_equal(seen[0], read_frame(tmp_path / "a.exr").pixels)
    assert not np.array_equal(seen[0], pixels)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_files_depend_on_their_content_alone(extension: str, tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{name}{extension}", TIMECODE).read_bytes() for name in "ab")
    assert first == second
    assert not any(stamp in first for stamp in dates())
    assert b"bitexpand" not in first
    assert str(os.getpid()).encode() not in first


def test_a_picture_to_look_at(tmp_path: Path) -> None:
    write_picture(tmp_path / "look.png", RGB)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "look.png")), RGB)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.exr.gz"])
def test_other_formats_are_not_written(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"cannot write '{name}': give it one of .exr, .png, .tif, .tiff, .dpx"
    ):
        output_format(Path(name))
    assert output_format(Path("A.EXR")) == "openexr"


def test_compressions_are_checked() -> None:
    formats.check_compression("zip:9", "openexr")
    with pytest.raises(UnknownNameError, match="unknown openexr compression 'zipp'; did you mean 'zip'"):
        formats.check_compression("zipp", "openexr")
    with pytest.raises(UnknownNameError, match="unknown tiff compression 'piz'"):
        formats.check_compression("piz", "tiff")
    with pytest.raises(UnknownNameError, match="unknown openexr compression 'zip:high'"):
        formats.check_compression("zip:high", "openexr")


# A write that fails


class _Writer:
    """An ImageOutput that fails at one step as the real one does: by what it returns."""

    def __init__(self, real: oiio.ImageOutput, fault: str) -> None:
        self._real, self._fault = real, fault

    def open(self, path: str, spec: oiio.ImageSpec) -> bool:
        return self._fault != "open" and self._real.open(path, spec)

    def write_image(self, pixels: Pixels) -> bool:
        return self._real.write_image(pixels) and self._fault != "write"

    def close(self) -> bool:
        return self._real.close() and self._fault != "close"

    def geterror(self) -> str:
        return "reason of the library\nmore of it"


def _at_sync(action: Callable[[int], None]) -> Callable[[pytest.MonkeyPatch], None]:
    """Do something to the written file, or raise, between its closing and its being read back."""
    return lambda patch: patch.setattr(os, "fsync", action)


def _library(**changed: object) -> SimpleNamespace:
    """Return OpenImageIO with a class of ours; its own do not take patches."""
    names = ("ImageInput", "ImageOutput", "ImageSpec", "TypeDesc", "geterror")
    return SimpleNamespace(**{name: getattr(oiio, name) for name in names} | changed)


def _writing_with(create: Callable[[str], object]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(frames, "oiio", _library(ImageOutput=SimpleNamespace(create=create)))


def _failing(fault: str) -> Callable[[pytest.MonkeyPatch], None]:
    def create(name: str) -> _Writer:
        writer = oiio.ImageOutput.create(name)
        assert writer is not None
        return _Writer(writer, fault)

    return _writing_with(create)


def _raise(kind: type[BaseException], *arguments: object) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise kind(*arguments)  # a new one each time: an old one would keep what it met alive

    return fail


def _cut(handle: int) -> None:
    os.ftruncate(handle, os.fstat(handle).st_size - 10)


def _flip(handle: int) -> None:
    last = os.fstat(handle).st_size - 1
    os.pwrite(handle, bytes([os.pread(handle, 1, last)[0] ^ 1]), last)


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], type[BaseException], str]] = {
    "no writer": (_writing_with(lambda _: None), WriteError, "could not be written"),
    "open": (
        _failing("open"),
        WriteError,
        r"could not be written \(reason of the library\); nothing was left",
    ),
    "write": (_failing("write"), WriteError, r"could not be written \(reason of the library\)"),
    "close": (_failing("close"), WriteError, r"could not be written \(reason of the library\)"),
    "input/output": (
        _at_sync(_raise(OSError, errno.EIO, "Input/output error")),
        WriteError,
        "Input/output error",
    ),
    "disk full": (
        _at_sync(_raise(OSError, errno.ENOSPC, os.strerror(errno.ENOSPC))),
        DiskFullError,
        "disk is full",
    ),
    "quota": (
        _at_sync(_raise(OSError, errno.EDQUOT, os.strerror(errno.EDQUOT))),
        DiskFullError,
        "disk is full",
    ),
    "cut": (_at_sync(_cut), WriteError, "the written file is not complete"),
    "changed": (_at_sync(_flip), WriteError, "does not read back as what was written"),
    "no rename": (
        lambda patch: patch.setattr(
            Path, "replace", _raise(PermissionError, errno.EACCES, "Permission denied")
        ),
        WriteError,
        "Permission denied",
    ),
    "interrupt": (_at_sync(_raise(KeyboardInterrupt, "stop")), KeyboardInterrupt, "stop"),
}


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_write_leaves_all_as_it_was(
    fault: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.exr"
    before = write(path, TIMECODE).read_bytes() if there else None
    break_it, kind, message = FAULTS[fault]
    pixels = np.zeros((6, 7, 3), np.float16)
    with monkeypatch.context() as patch:
        break_it(patch)
        with pytest.raises(kind, match=message) as raised:
            write_frame(path, pixels, info_for(pixels), compression="none")
    if kind is not KeyboardInterrupt:
        assert str(path) in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == (["a.exr"] if there else [])
    assert not there or path.read_bytes() == before
    write_frame(path, pixels, info_for(pixels))
    np.testing.assert_array_equal(read_frame(path).pixels, pixels)


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_a_check_that_refuses_leaves_all_as_it_was(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    before = write(path).read_bytes() if there else None
    pixels = np.zeros((6, 7, 3), np.float16)
    with pytest.raises(GuardError, match="not good enough"):
        write_frame(path, pixels, info_for(pixels), check=_raise(GuardError, "not good enough"))
    assert [p.name for p in tmp_path.iterdir()] == (["a.exr"] if there else [])
    assert not there or path.read_bytes() == before


def test_a_folder_of_the_targets_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(WriteError, match=r"a.exr: could not be written \(.*Is a directory"):
        write(tmp_path / "a.exr")
    with pytest.raises(WriteError, match=r"b.exr: could not be written \(.*nothing was left in its place"):
        write(tmp_path / "gone" / "b.exr")
    assert [p.name for p in tmp_path.rglob("*")] == ["a.exr"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_full_disk_is_told_from_other_errors(extension: str, small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(256)
    kept = write(folder / f"kept{extension}")
    before = kept.read_bytes()
    pixels = np.random.default_rng(0).integers(0, 31744, (200, 300, 3), dtype=np.uint16)
    pixels = pixels.view(np.float16) if extension == ".exr" else pixels
    for name in ("new", "kept"):
        with pytest.raises(
            DiskFullError, match=rf"{name}\{extension}: the disk is full; free some room and run"
        ):
            write_frame(folder / f"{name}{extension}", pixels, info_for(pixels))
    assert list(folder.iterdir()) == [kept]
    assert kept.read_bytes() == before


# Metadata


@pytest.mark.parametrize("entry", ALL_KINDS, ids=lambda entry: entry.name)
def test_exr_keeps_every_kind(entry: Attribute, tmp_path: Path) -> None:
    assert read_info(write(tmp_path / "a.exr", entry)).attribute(entry.name) == entry.value


def test_other_formats_keep_what_they_know(tmp_path: Path) -> None:
    for extension, names in ((".png", [0, 4, 5]), (".tif", [0, 4]), (".dpx", [0, 1])):
        info = read_info(write(tmp_path / f"a{extension}", *ALL_KINDS))
        for entry in (ALL_KINDS[i] for i in names):
            assert info.attribute(entry.name) == entry.value


def test_windows_survive(tmp_path: Path) -> None:
    pixels = samples_for(Path("a.exr"))
    data, display = Window(-3, 5, 7, 6), Window(0, 0, 100, 50)
    write_frame(tmp_path / "a.exr", pixels, info_for(pixels, data=data, display=display))
    info = read_info(tmp_path / "a.exr")
    assert (info.data, info.display) == (data, display)


STALE = (
    "oiio:ColorSpace", "oiio:UnassociatedAlpha", "png:x", "tiff:PhotometricInterpretation", "jpeg:subsampling",
    "compression", "planarconfig", "Software", "colorInteropID", "chromaticities", "ICCProfile",
    "ICCProfile:profile_description", "CICP", "Exif:ColorSpace", "dpx:Transfer", "dpx:Colorimetric", "dpx:Packing",
    "dpx:HighData", "dpx:LowQuantity", "dpx:WhiteLevel", "screenWindowWidth", "worldToCamera", "whiteLuminance",
)  # fmt: skip


def test_what_is_no_longer_true_is_left_behind() -> None:
    entries = tuple(Attribute(name, "string", "x") for name in STALE)
    info = info_for(DEEP, attributes=(*entries, *ALL_KINDS))
    assert set(info.kept_attributes()) == set(ALL_KINDS)
    assert info.attribute("dpx:Transfer") == "x"
    assert info.attribute("nothing") is None
    assert info.icc_profile() == (Attribute("ICCProfile", "string", "x"),)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_pixel_aspect_is_width_by_height(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pillow(RGB, kind, dpi=(100, 200)))
    info = read_info(tmp_path / "a")
    assert info.pixel_aspect() == pytest.approx(2, rel=1e-3)
    write_frame(tmp_path / "a.exr", samples_for(Path("a.exr")), info, info.kept_attributes())
    assert read_info(tmp_path / "a.exr").attribute("PixelAspectRatio") == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    ("resolution", "aspect"), [((1, 2**31 - 1), 1), ((3780, 3779), 1), ((3780, 3780), None), ((0, 0), None)]
)
def test_a_pixel_aspect_without_sense_is_none(
    resolution: tuple[int, int], aspect: float | None, tmp_path: Path
) -> None:
    content = bytearray(pillow(RGB, "BMP"))
    struct.pack_into("<2i", content, 38, *resolution)
    (tmp_path / "a.bmp").write_bytes(content)
    info = read_info(tmp_path / "a.bmp")
    assert info.pixel_aspect() == aspect
    write_frame(tmp_path / "a.exr", samples_for(Path("a.exr")), info, info.kept_attributes())
    assert read_info(tmp_path / "a.exr").attribute("PixelAspectRatio") == 1


@pytest.mark.parametrize(
    ("rate", "fraction"),
    [
        (24.0, (24, 1)),
        (23.976, (24000, 1001)),
        (29.97, (30000, 1001)),
        (59.94, (60000, 1001)),
        (12.5, (25, 2)),
    ],
)
@pytest.mark.parametrize("at", [1724, 1940], ids=["film", "television"])
def test_dpx_timecode_and_frame_rate_reach_the_exr(
    rate: float, fraction: tuple[int, int], at: int, tmp_path: Path
) -> None:
    content = bytearray(dpx(RGB))
    struct.pack_into(">f", content, at, rate)
    struct.pack_into(">2I", content, 1920, *TIMECODE.value)
    (tmp_path / "a.dpx").write_bytes(content)
    info = read_info(tmp_path / "a.dpx")
    write_frame(tmp_path / "a.exr", samples_for(Path("a.exr")), info, info.kept_attributes())
    written = read_info(tmp_path / "a.exr")
    assert written.attribute("FramesPerSecond") == fraction
    assert written.attribute("smpte:TimeCode") == TIMECODE.value


def test_fields_that_a_dpx_leaves_undefined_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.dpx").write_bytes(dpx(RGB))
    info = read_info(tmp_path / "a.dpx")
    assert [a for a in info.attributes if isinstance(a.value, str) and not a.value.isascii()] == []
    assert info.attribute("FramesPerSecond") is None
    write_frame(tmp_path / "a.exr", samples_for(Path("a.exr")), info, info.kept_attributes())


def test_latin_1_text_is_read_as_such(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "José")
    (tmp_path / "a.png").write_bytes(pillow(RGB, "PNG", pnginfo=text))
    (tmp_path / "a.jpg").write_bytes(pillow(RGB, "JPEG", comment="José".encode("latin-1")))
    for name, key in (("a.png", "Artist"), ("a.jpg", "ImageDescription")):
        info = read_info(tmp_path / name)
        assert info.attribute(key) == "José"
        write_frame(tmp_path / "a.exr", samples_for(Path("a.exr")), info, info.kept_attributes())
        assert read_info(tmp_path / "a.exr").attribute(key) == "José"


# Reading


@pytest.mark.parametrize("name", ["a.png", "a.dpx", "a.exr", "a", "a.tiff"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_a_file_is_what_its_first_bytes_say(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pillow(RGB, kind))
    frame = read_frame(tmp_path / name)
    assert frame.info.format == kind.lower()
    assert frame.pixels.shape == RGB.shape


def test_a_claim_of_a_huge_size_is_refused_at_the_header(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png_claiming(100_000, 100_000))
    for read in (read_info, read_frame):
        with pytest.raises(
            PlateError, match=r"huge.png: not a readable image \(.*28610.2 MB.*; it is larger than any plate"
        ):
            read(tmp_path / "huge.png")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"plate_\xff.png")
    path.write_bytes(pillow(RGB, "PNG"))
    with pytest.raises(PlateError, match="its name is not UTF-8, rename it"):
        read_frame(path)
    with pytest.raises(WriteError, match="its name is not UTF-8, rename it"):
        write(tmp_path / os.fsdecode(b"\xff") / "a.exr")


@pytest.mark.parametrize(
    "name", ["with space.png", "quote'\".png", "br[ack]et.png", "plätte 日本.png", "-o.png"]
)
def test_other_names_are_fine(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pillow(RGB, "PNG"))
    np.testing.assert_array_equal(read_frame(tmp_path / name).pixels, RGB)
    write_frame(tmp_path / name, DEEP, info_for(DEEP))
    np.testing.assert_array_equal(read_frame(tmp_path / name).pixels, DEEP)


def test_memory_that_is_not_there_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(pillow(RGB, "PNG"))
    reader = SimpleNamespace(open=_raise(MemoryError))
    monkeypatch.setattr(frames, "oiio", _library(ImageInput=reader))
    with pytest.raises(BitexpandError, match="a.png: does not fit into memory"):
        read_frame(tmp_path / "a.png")


# OpenImageIO: where a fact changes, the code that leans on it can change too


def _open(path: Path, **hints: int) -> oiio.ImageInput:
    config = oiio.ImageSpec()
    for name, value in hints.items():
        config.attribute(name.replace("_", ":"), value)
    reader = oiio.ImageInput.open(str(path), config)
    assert reader is not None
    return reader


def test_oiio_returns_errors_and_forgets_them_when_asked(tmp_path: Path) -> None:
    assert oiio.ImageInput.open(str(tmp_path / "gone.png")) is None
    assert "gone.png" in oiio.geterror()
    assert oiio.geterror() == ""
    assert oiio.ImageOutput.create("a.tmp") is None
    assert oiio.geterror() != ""
    (tmp_path / "cut.png").write_bytes(pillow(RGB, "PNG")[:-40])
    reader = _open(tmp_path / "cut.png")
    assert reader.read_image(0, 0, 0, 3, "uint8") is None
    assert reader.geterror() != ""
    writer = oiio.ImageOutput.create("openexr")
    assert writer is not None
    assert not writer.open(str(tmp_path / "no/folder.exr"), oiio.ImageSpec(1, 1, 1, "half"))
    assert writer.geterror() != ""


def test_oiio_raises_where_an_error_quotes_what_is_not_utf8(tmp_path: Path) -> None:
    content = write(tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(content.replace(b"chlist", b"\xe6hlist"))
    assert oiio.ImageInput.open(str(tmp_path / "a.exr")) is None
    with pytest.raises(UnicodeDecodeError):
        oiio.geterror()
    with pytest.raises(PlateError, match=r"a.exr: not a readable image \(damaged\)"):
        read_frame(tmp_path / "a.exr")


def test_oiio_premultiplies_png_unless_told_otherwise(tmp_path: Path) -> None:
    stored = np.full((2, 2, 4), (200, 100, 50, 0), np.uint8)
    (tmp_path / "a.png").write_bytes(pillow(stored, "PNG"))
    assert not np.asarray(_open(tmp_path / "a.png").read_image(0, 0, 0, 4, "uint8")).any()
    kept = _open(tmp_path / "a.png", oiio_UnassociatedAlpha=1).read_image(0, 0, 0, 4, "uint8")
    np.testing.assert_array_equal(kept, stored)


def test_oiio_guesses_a_colour_space(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(pillow(RGB, "PNG"))
    assert _open(tmp_path / "a.png").spec().getattribute("oiio:ColorSpace") == "srgb_rec709_scene"
    assert read_info(tmp_path / "a.png").attribute("oiio:ColorSpace") == "srgb_rec709_scene"


@pytest.mark.parametrize(("extension", "dtype"), [(".exr", np.float16), (".tif", np.uint16)])
def test_oiio_stamps_the_time_of_day(extension: str, dtype: type[np.generic], tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    writer = oiio.ImageOutput.create(str(path))
    assert writer is not None
    assert writer.open(str(path), oiio.ImageSpec(7, 6, 3, {".exr": "half", ".tif": "uint16"}[extension]))
    assert writer.write_image(DEEP.astype(dtype))
    assert writer.close()
    assert any(stamp in path.read_bytes() for stamp in dates())


def test_oiio_has_no_second_image_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(pillow(RGB, "PNG"))
    assert not _open(tmp_path / "a.png").seek_subimage(1, 0)


def test_oiio_reads_palettes_of_256_steps_one_low(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "a.tif")
    low = np.asarray(_open(tmp_path / "a.tif").read_image(0, 0, 0, 3, "uint8")).astype(int)
    wanted = np.asarray(image.convert("RGB")).astype(int)
    np.testing.assert_array_equal(low, np.maximum(wanted - 1, 0))


def test_oiio_names_grey_and_alpha_of_a_tga_red_and_green(tmp_path: Path) -> None:
    (tmp_path / "a.tga").write_bytes(pillow(RGB[..., :2], "TGA"))
    assert tuple(_open(tmp_path / "a.tga").spec().channelnames) == ("R", "G")
    assert read_info(tmp_path / "a.tga").channels == ("Y", "A")


def test_oiio_returns_whole_numbers_of_dpx_shifted_or_replicated(tmp_path: Path) -> None:
    codes = np.array([[[0, 2048, 4095]]])
    for packing, full in ((1, 65520), (2, 65535)):
        (tmp_path / "a.dpx").write_bytes(dpx(codes, 12, packing))
        assert np.asarray(_open(tmp_path / "a.dpx").read_image(0, 0, 0, 3, "uint16")).max() == full
