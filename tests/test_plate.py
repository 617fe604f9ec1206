"""What is read from files of every kind, against what was put into them by other means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pytest
from encoded import DPX_ALPHA, METHOD_A, METHOD_B, Samples, dpx, palette_tiff, pillow, pillow_image, unpillow
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bitexpand.code_values import peak
from bitexpand.errors import MissingInputError, PlateError
from bitexpand.plate import Plate, file_digest, pixel_shape, read_plate

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (6, 7, 3), dtype=np.uint8)
RGBA = RANDOM.integers(0, 256, (6, 7, 4), dtype=np.uint8)
RGBA[0, :, 3] = 0  # colour under alpha 0 is data too
GREY = RGB[..., :1]
LOSSLESS = {
    "PNG": (1, 2, 3, 4),
    "TIFF": (1, 2, 3, 4),
    "TGA": (1, 2, 3, 4),
    "BMP": (1, 3, 4),
    "WEBP": (3, 4),
}
OPTIONS: dict[str, dict[str, object]] = {"WEBP": {"lossless": True, "exact": True}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plates")


@pytest.fixture(scope="module")
def read(folder: Path) -> Callable[..., Plate]:
    def read(content: bytes, name: str, bits: int | None = None) -> Plate:
        path = folder / name
        path.write_bytes(content)
        return read_plate(path, bits)

    return read


def samples_of(plate: Plate) -> Samples:
    """Return colour and alpha in one array, as the file had them."""
    return plate.codes if plate.alpha is None else np.concatenate([plate.codes, plate.alpha], axis=2)


def by_openimageio(path: Path, spec: oiio.ImageSpec, samples: npt.NDArray[np.generic]) -> Path:
    """Write a file that Pillow cannot write."""
    writer = oiio.ImageOutput.create(str(path))
    assert writer is not None
    assert writer.open(str(path), spec)
    assert writer.write_image(samples)
    assert writer.close()
    return path


def images(channels: tuple[int, ...], bits: int = 8) -> st.SearchStrategy[Samples]:
    """Return (H, W, C) arrays of code values, with many zeros and full ones."""
    dtype = np.uint8 if bits == 8 else np.uint16
    values = st.sampled_from([0, 1, peak(bits)]) | st.integers(0, peak(bits))
    sides = st.integers(1, 9)
    shapes = st.tuples(sides, sides, st.sampled_from(channels))
    return shapes.flatmap(lambda shape: arrays(dtype, shape, elements=values))


# Code values


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_8_bit_files_come_back_as_stored(kind: str, data: st.DataObject, read: Callable[..., Plate]) -> None:
    stored = data.draw(images(LOSSLESS[kind]))
    if kind == "WEBP":
        stored[0, 0, 3:] = 0  # Pillow leaves alpha away where it is full everywhere
    plate = read(pillow(stored, kind, **OPTIONS.get(kind, {})), f"a.{kind.lower()}")
    np.testing.assert_array_equal(samples_of(plate), stored)
    assert (plate.bits, plate.codes.dtype, plate.info.container) == (8, np.uint16, "uint8")
    assert (plate.alpha is not None) == (stored.shape[2] in (2, 4))
    assert not plate.info.associated_alpha
    assert pixel_shape(plate) == (*stored.shape[:2], plate.codes.shape[2], plate.alpha is not None, 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TGA", "BMP", "WEBP"])
def test_colour_is_never_premultiplied(kind: str, read: Callable[..., Plate]) -> None:
    plate = read(pillow(RGBA, kind, **OPTIONS.get(kind, {})), f"alpha.{kind.lower()}")
    np.testing.assert_array_equal(samples_of(plate), RGBA)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": "4:4:4"}])
@pytest.mark.parametrize("stored", [RGB, GREY], ids=["RGB", "grey"])
def test_a_jpeg_is_what_libjpeg_decodes(
    options: dict[str, object], stored: Samples, read: Callable[..., Plate]
) -> None:
    content = pillow(stored, "JPEG", **options)
    np.testing.assert_array_equal(read(content, "a.jpg").codes, unpillow(content)[..., : stored.shape[2]])


@settings(deadline=None, max_examples=100)
@given(
    data=st.data(),
    bits=st.sampled_from([8, 10, 12]),
    packing=st.sampled_from([METHOD_A, METHOD_B]),
    order=st.sampled_from("<>"),
)
def test_dpx_of_every_layout(
    data: st.DataObject, bits: int, packing: int, order: Literal["<", ">"], read: Callable[..., Plate]
) -> None:
    stored = data.draw(images((1, 3, 4), bits))
    rest = stored.shape[1] * stored.shape[2] % 3
    assume(bits != 10 or rest == 0 or (rest == 2 and stored.shape[2] > 1))
    plate = read(dpx(stored, bits, packing, order), "a.dpx")
    np.testing.assert_array_equal(samples_of(plate), stored)
    assert (plate.bits, plate.info.bits) == (bits, bits)


@pytest.mark.parametrize("packing", [METHOD_A, METHOD_B])
@pytest.mark.parametrize(("width", "channels"), [(7, 1), (8, 1), (7, 4)])
def test_a_dpx_that_openimageio_misreads_is_refused(
    width: int, channels: int, packing: int, read: Callable[..., Plate]
) -> None:
    stored = RANDOM.integers(0, 1024, (5, width, channels))
    with pytest.raises(PlateError, match=rf"odd.dpx: 10-bit DPX with {channels} channels .* or as TIFF"):
        read(dpx(stored, 10, packing), "odd.dpx")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TGA", "TIFF"])
@pytest.mark.parametrize("colors", [2, 4, 16, 200])
def test_palettes_are_resolved(kind: str, colors: int, read: Callable[..., Plate]) -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)).quantize(colors)
    plate = read(pillow_image(image, kind), f"palette.{kind.lower()}")
    np.testing.assert_array_equal(plate.codes, np.asarray(image.convert("RGB")))
    assert (plate.bits, plate.alpha) == (8, None)


@pytest.mark.parametrize("step", [256, 257])
@settings(deadline=None, max_examples=25)
@given(
    palette=arrays(np.uint8, (256, 3), elements=st.integers(2, 255)),
    indices=arrays(np.uint8, (4, 5), elements=st.integers(0, 255)),
)
def test_both_ways_to_store_a_tiff_palette(
    step: int, palette: npt.NDArray[np.uint8], indices: npt.NDArray[np.uint8], read: Callable[..., Plate]
) -> None:
    plate = read(palette_tiff(palette, indices, step), "palette.tif")
    np.testing.assert_array_equal(plate.codes, palette[indices])


def test_a_tiff_palette_that_lost_colours_is_refused(read: Callable[..., Plate]) -> None:
    palette = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    clear, merged = np.array([[2, 255]], np.uint8), np.array([[0, 1]], np.uint8)
    np.testing.assert_array_equal(read(palette_tiff(palette, clear, 256), "p.tif").codes[0, :, 0], [2, 255])
    np.testing.assert_array_equal(read(palette_tiff(palette, merged, 257), "p.tif").codes[0, :, 0], [0, 1])
    with pytest.raises(PlateError, match=r"p.tif: its palette cannot be read exactly; convert it to RGB"):
        read(palette_tiff(palette, merged, 256), "p.tif")


def test_a_transparent_palette_entry_becomes_alpha(read: Callable[..., Plate]) -> None:
    image = Image.fromarray(RGB).quantize(8)
    plate = read(pillow_image(image, "PNG", transparency=3), "palette.png")
    assert plate.alpha is not None
    np.testing.assert_array_equal(plate.codes, np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(plate.alpha[..., 0] == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_tiff(compression: str, read: Callable[..., Plate]) -> None:
    plate = read(pillow(RGBA, "TIFF", compression=compression), "c.tif")
    np.testing.assert_array_equal(samples_of(plate), RGBA)


@pytest.mark.parametrize("layout", [{}, {"planarconfig": "separate"}, {"tiff:bigtiff": 1}])
def test_tiff_layouts(layout: dict[str, str | int], folder: Path) -> None:
    stored = RANDOM.integers(0, 256, (33, 40, 3), dtype=np.uint8)
    spec = oiio.ImageSpec(40, 33, 3, "uint8")
    for name, value in layout.items():
        spec.attribute(name, value)
    np.testing.assert_array_equal(read_plate(by_openimageio(folder / "a.tif", spec, stored)).codes, stored)


def test_tiled_tiff(folder: Path) -> None:
    stored = RANDOM.integers(0, 256, (33, 40, 3), dtype=np.uint8)
    spec = oiio.ImageSpec(40, 33, 3, "uint8")
    spec.tile_width = spec.tile_height = 16
    np.testing.assert_array_equal(read_plate(by_openimageio(folder / "a.tif", spec, stored)).codes, stored)


# Fewer bits than the container


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@settings(deadline=None, max_examples=20)
@given(
    bits=st.integers(2, 12), convention=st.sampled_from(["scaled", "padded", "replicated"]), data=st.data()
)
def test_16_bit_containers_with_bits_given(
    kind: str, bits: int, convention: str, data: st.DataObject, read: Callable[..., Plate]
) -> None:
    codes = data.draw(images((1,), bits)).astype(np.uint16)
    codes[0, 0] = peak(bits)  # zero-padded and scaled are told apart by their peak
    stored = {
        "scaled": np.rint(codes * (65535 / peak(bits))),
        "padded": codes << (16 - bits),
        "replicated": sum((codes.astype(np.uint32) << 16) >> s for s in range(bits, 16 + bits, bits)),
    }[convention]
    plate = read(pillow(np.asarray(stored, np.uint16), kind), f"wide.{kind.lower()}", bits)
    np.testing.assert_array_equal(plate.codes, codes)
    assert (plate.bits, plate.info.bits) == (bits, 16)


@pytest.mark.parametrize(
    ("bits", "stored", "message"),
    [
        (10, RGB, "--bits 10 does not fit its 8-bit samples"),
        (6, RGB, "the values do not fit 6 bits; leave --bits out or name the true bit depth"),
        (10, GREY.astype(np.uint16) * 201, "the values do not fit 10 bits"),
        (
            None,
            GREY.astype(np.uint16) * 257,
            "a 16-bit source has nothing .*`bitexpand inspect` tells.* --bits",
        ),
    ],
)
def test_bits_that_do_not_fit(
    bits: int | None, stored: Samples, message: str, read: Callable[..., Plate]
) -> None:
    with pytest.raises(PlateError, match=rf"depth.png: {message}"):
        read(pillow(stored, "PNG"), "depth.png", bits)


def test_alpha_keeps_the_bits_of_the_file(read: Callable[..., Plate], folder: Path) -> None:
    stored = np.stack([GREY[..., 0].astype(int) * 257, RANDOM.integers(0, 65536, GREY.shape[:2])], -1).astype(
        np.uint16
    )
    spec = oiio.ImageSpec(7, 6, 2, "uint16")
    spec.channelnames, spec.alpha_channel = ("Y", "A"), 1
    spec.attribute("oiio:UnassociatedAlpha", 1)
    plate = read_plate(by_openimageio(folder / "wide.png", spec, stored), 8)
    np.testing.assert_array_equal(plate.codes[..., 0], stored[..., 0] // 257)
    assert plate.alpha is not None
    np.testing.assert_array_equal(plate.alpha[..., 0], stored[..., 1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_files_are_read_as_8_bits(kind: str, read: Callable[..., Plate]) -> None:
    image = Image.fromarray(GREY[..., 0] > 128)
    plate = read(pillow_image(image, kind), f"one.{kind.lower()}")
    np.testing.assert_array_equal(plate.codes[..., 0], np.asarray(image) * 255)
    assert plate.bits == 8


# What is no plate


def cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


REFUSED = {
    "floats.tif": (pillow_image(Image.fromarray(GREY[..., 0].astype(np.float32)), "TIFF"), "float samples"),
    "cmyk.tif": (pillow_image(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "is CMYK; convert it to RGB"),
    "cmyk.jpg": (pillow_image(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "is CMYK; convert it to RGB"),
    "lab.tif": (pillow_image(Image.fromarray(RGB).convert("LAB"), "TIFF"), "is CIELAB; convert it to RGB"),
    "extra.tif": (
        pillow_image(Image.fromarray(RGB).convert("RGBX"), "TIFF"),
        "has channels R, G, B, .*grey or RGB",
    ),
    "matte.dpx": (dpx(GREY, descriptor=DPX_ALPHA), "has channels A; accepted are grey or RGB"),
    "deep.dpx": (dpx(RGB.astype(np.uint16), 16), "a 16-bit source has nothing to expand"),
    "pages.tif": (
        pillow(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]),
        "holds more than one image; extract the one to expand",
    ),
    "moving.webp": (
        pillow(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(255 - RGB)], duration=40),
        "holds more than one image; extract the one to expand",
    ),
    "empty.png": (b"", r"is empty \(0 bytes\); copy or render it again"),
    "text.png": (b"this is a text file\n", "not an image that bitexpand reads; accepted are png, jpeg, tiff"),
    "text.tga": (b"this is a text file\n", "not a readable image"),
    "magic.png": (b"\x89PNG\r\n\x1a\n", "not a readable image"),
    "photo.psd": (b"8BPS" + bytes(100), "not an image that bitexpand reads"),
    "cut.png": (cut(pillow(RGB, "PNG"), 0.9), "pixels cannot be read .* copy or render it again"),
    "cut.jpg": (cut(pillow(RGB, "JPEG"), 0.95), "pixels cannot be read .* copy or render it again"),
    "cut.tif": (cut(pillow(RGB, "TIFF"), 0.97), "pixels cannot be read .* copy or render it again"),
    "cut.bmp": (cut(pillow(RGB, "BMP"), 0.97), "pixels cannot be read .* copy or render it again"),
    "cut.dpx": (cut(dpx(RGB), 0.99), "pixels cannot be read .* copy or render it again"),
    "cut.webp": (cut(pillow(RGB, "WEBP"), 0.9), "not a readable image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plate_is_refused(name: str, read: Callable[..., Plate]) -> None:
    content, message = REFUSED[name]
    with pytest.raises(PlateError, match=rf"{name}: {message}"):
        read(content, name)


def test_an_exr_is_no_source(tmp_path: Path) -> None:
    by_openimageio(tmp_path / "a.exr", oiio.ImageSpec(4, 4, 3, "half"), np.zeros((4, 4, 3), np.float16))
    with pytest.raises(PlateError, match=r"a.exr: a openexr file is no 8 to 12-bit source; accepted are png"):
        read_plate(tmp_path / "a.exr")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"gone.png: no such file"):
        read_plate(tmp_path / "gone.png")
    with pytest.raises(PlateError, match=r"cannot be opened"):
        read_plate(tmp_path)


@pytest.mark.parametrize(
    "content", [pillow(RGB, kind, **OPTIONS.get(kind, {})) for kind in LOSSLESS], ids=LOSSLESS
)
def test_every_truncation_is_an_error_or_changes_nothing(content: bytes, read: Callable[..., Plate]) -> None:
    name = "cut.tga" if not content.startswith((b"\x89PNG", b"II", b"BM", b"RIFF")) else "cut.png"
    for length in range(0, len(content), 7):
        with suppress(PlateError):
            np.testing.assert_array_equal(read(content[:length], name).codes, RGB)


def test_the_digest_is_sha256_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content := RANDOM.bytes((1 << 20) + 17))
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()
