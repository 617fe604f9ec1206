"""What a QC page is made of: pictures in 16 bits, the view, the plots, against what was put into them."""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import PyOpenColorIO as ocio  # noqa: N813
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural
from reports import unpack

from bitexpand import color
from bitexpand.errors import ColorError, UnknownNameError
from bitexpand.report import charts, pictures, view


@given(
    st.integers(2, 12),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_pictures_arrive_as_they_were_packed(
    bits: int, height: int, width: int, channels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 1 << bits, (height, width, channels)).astype(np.uint16)
    moved = random.uniform(-3, 3, codes.shape) * (
        random.random(codes.shape) < 0.5
    )  # some far out of their bins
    result_cv = (codes + moved).clip(0, (1 << bits) - 1).astype(np.float32)
    result_cv[random.random(codes.shape) < 0.1] = random.choice([np.nan, np.inf, -np.inf])
    steps = random.choice([8, 16, pictures.finest(bits)] if bits < 12 else [8, 16])
    source, result = unpack(pictures.pack(codes, result_cv, int(steps)), codes.shape, int(steps))
    assert np.array_equal(source, codes)
    assert np.array_equal(np.isnan(result), ~np.isfinite(result_cv))
    finite = np.isfinite(result_cv)
    assert np.abs(result - result_cv)[finite].max(initial=0) <= 0.5 / steps + 1e-3


def test_a_picture_that_is_too_large_is_thinned_and_never_averaged() -> None:
    codes = natural(100, 180)
    result_cv = codes + np.random.default_rng(0).uniform(-0.5, 0.5, codes.shape).astype(np.float32)
    every = pictures.whole(codes, result_cv, 8, limit=10**6)
    assert (every.stride, every.width, every.height, every.steps) == (1, 180, 100, 256)
    few = pictures.whole(codes, result_cv, 8, limit=len(every.packed) // 8)
    assert few.stride > 1
    assert few.steps == pictures.THINNED_STEPS
    slightly = pictures.whole(codes, result_cv, 8, limit=int(0.5 * len(every.packed)))
    assert 1 <= slightly.stride < few.stride
    assert len(few.packed) <= len(every.packed) // 8
    source, _ = unpack(few.packed, (few.height, few.width, 3), few.steps)
    assert np.array_equal(source, codes[:: few.stride, :: few.stride])
    wide = natural(10, 2 * pictures.WIDEST + 1)
    assert pictures.whole(wide, wide.astype(np.float32), 8, limit=10**6).stride == 3


def test_the_detail_shows_the_worst_banding_pixel_by_pixel() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 255, (600, 1000, 3)).astype(
        np.uint16
    )  # noise, and one corner of slow gradient
    ramp = (100 + np.arange(480) // 16).astype(np.uint16)
    codes[330:, 520:] = ramp[None, :, None]
    found = pictures.detail(codes, codes.astype(np.float32), 8, limit=10**6)
    assert (found.width, found.height, found.stride) == (*pictures.DETAIL, 1)
    assert (found.x + found.width / 2 > 520, found.y + found.height / 2 > 330) == (True, True)
    source, _ = unpack(found.packed, (found.height, found.width, 3), found.steps)
    rows, columns = slice(found.y, found.y + found.height), slice(found.x, found.x + found.width)
    assert np.array_equal(source, codes[rows, columns])
    small = pictures.detail(codes[:5, :7, :1], codes[:5, :7, :1].astype(np.float32), 8, limit=10**6)
    assert (small.width, small.height, small.channels) == (7, 5, 1)
    assert len(pictures.detail(codes, codes.astype(np.float32), 8, limit=9000).packed) <= 9000


@pytest.mark.parametrize("space", ["ACEScct", "sRGB - Texture", "ARRI LogC3 (EI800)", "S-Log3 S-Gamut3.Cine"])
def test_curve_matrix_and_lattice_are_the_view(space: str) -> None:
    config = color.load_config(color.PINNED_CONFIG)
    baked = view.bake(config, space)
    codes = np.random.default_rng(0).random((1, 500, 3), np.float32)
    linear = color.conversion(config, space, "scene_linear").apply(codes)
    grid = np.linspace(0, 1, len(baked.curve))
    found = np.interp(codes, grid, baked.curve) @ baked.matrix.T.astype(np.float64)
    assert (np.abs(found - linear) / (1 + np.abs(linear).max(axis=2, keepdims=True))).max() < 2e-3
    held = ocio.Config.CreateFromFile(color.PINNED_CONFIG)
    shown = view.nodes()[[0, 10, 24, 35, 48]]
    triples = np.stack(np.meshgrid(*[shown] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    transform = ocio.DisplayViewTransform("scene_linear", "sRGB - Display", "ACES 1.0 - SDR Video")
    expected = np.ascontiguousarray(triples)
    cpu = held.getProcessor(transform).getDefaultCPUProcessor()
    cpu.apply(ocio.PackedImageDesc(expected, expected.shape[1], 1, 3))
    at = np.array([0, 10, 24, 35, 48])
    lattice = baked.lattice[at][:, at][:, :, at]  # blue, green, red
    nodes = lattice.transpose(2, 1, 0, 3).reshape(1, -1, 3) / 65535
    assert np.abs(nodes - expected.clip(0, 1)).max() < 1e-4
    assert baked.name == "ACES 1.0 - SDR Video, sRGB - Display"


def test_a_view_that_cannot_be_had_is_refused() -> None:
    config = color.load_config(color.PINNED_CONFIG)
    with pytest.raises(UnknownNameError, match=r"unknown display 'sRGB'; did you mean 'sRGB - Display'"):
        view.bake(config, "ACEScct", "sRGB", None)
    with pytest.raises(UnknownNameError, match=r"unknown view of sRGB - Display 'Rawer'; did you mean 'Raw'"):
        view.bake(config, "ACEScct", "sRGB - Display", "Rawer")
    with pytest.raises(ColorError, match="is no curve and matrix"):
        view.bake(config, "ADX10")


def svg(text: str) -> ElementTree.Element:
    """Return the SVG element of a plot; anything but well-formed XML fails."""
    root = ElementTree.fromstring(text)
    found = root if root.tag == "svg" else root.find("svg")
    assert found is not None
    return found


def test_lines_stand_at_their_values_and_break_where_there_are_none() -> None:
    labels = [str(n) for n in range(1001, 1006)]
    lines = [charts.Line("a < b", [0, 5, math.nan, 10, 2]), charts.Line("c", [1, 1, 1, math.inf, 1])]
    text = charts.plot("Gain & more, dB", labels, lines, faulty=[2])
    drawn = svg(text)
    first, second = (drawn.findall(f"path[@class='line line{i}']")[0].get("d") or "" for i in (0, 1))
    points = [tuple(map(float, p.split())) for p in re.findall(r"[ML]([\d. ]+)", first)]
    assert first.count("M") == 2
    assert second.count("M") == 2
    assert [p[0] for p in points][::3] == [charts.LEFT, charts.WIDTH - charts.RIGHT]
    low, high = charts.HEIGHT - charts.BOTTOM, charts.TOP
    assert [round((low - y) / (low - high) * 10, 1) for _, y in points] == [0, 5, 10, 2]
    assert len(drawn.findall("circle")) == 8
    assert len(drawn.findall("path[@class='fault']")) == 1
    assert "a < b: 0 to 10, mean 4.25" in (drawn.get("aria-label") or "")
    assert "Gain &amp; more" in text


def test_nothing_is_drawn_of_less_than_two_values() -> None:
    assert charts.plot("t", ["1", "2"], [charts.Line("a", [1.0, math.nan])]) == ""
    assert charts.plot("t", ["1"], [charts.Line("a", [1.0])]) == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5))
def test_axes_hold_every_value_and_zero(values: list[float]) -> None:
    drawn = svg(charts.plot("t", [str(i) for i in range(len(values))], [charts.Line("a", values)]))
    ticks = [float((t.text or "").replace(",", "")) for t in drawn.findall("text")[:-2]]
    assert 2 <= len(ticks) <= 7
    slack = 1e-5 * max(map(abs, ticks))  # six digits are printed
    assert min(ticks) - slack <= min(0, *values)
    assert max(ticks) + slack >= max(0, *values)
    ys = [float(c.get("cy") or "nan") for c in drawn.findall("circle")]
    assert all(charts.TOP - 0.1 <= y <= charts.HEIGHT - charts.BOTTOM + 0.1 for y in ys)


def test_the_comb_fills_in() -> None:
    codes = np.repeat(np.arange(60, 140), 50).reshape(40, 100, 1).astype(np.uint16)
    spread = (codes + np.tile(np.linspace(-0.49, 0.49, 50), 80).reshape(codes.shape)).astype(np.float32)
    spread[0, 0] = np.nan
    whole = svg(charts.comb(codes, spread, 8))
    said = whole.get("aria-label") or ""
    assert "24 of 192 parts occur before, 192 of 192 after" in said
    unmoved = svg(charts.comb(codes, codes.astype(np.float32), 8)).get("aria-label") or ""
    assert "24 of 192 parts occur before, 24 of 192 after" in unmoved
    black = (
        svg(charts.comb(np.zeros_like(codes), np.zeros(codes.shape, np.float32), 8)).get("aria-label") or ""
    )
    assert "1 of 192 parts occur before, 1 of 192 after" in black
