"""Artefacts put into plates at known strengths are found and measured; what looks like them is not."""

from __future__ import annotations

import numpy as np
import pytest

from bitexpand.artefacts import find_artefacts
from bitexpand.artefacts.banding import residual_banding
from bitexpand.artefacts.checkerboard import PERIODS, checkerboard
from bitexpand.artefacts.fringes import STRONG_LIMIT, color_fringes, fringe_map
from bitexpand.artefacts.scanlines import scanlines
from bitexpand.artefacts.seams import tile_seams
from tests.artefact_plates import (
    Plate,
    along_edges,
    checkers,
    fence,
    fringed,
    gradient,
    grain,
    grid,
    render,
    rms,
    rounded,
    shapes,
    tiles,
    whole_render,
)

pytestmark = pytest.mark.usefixtures("one_thread")

WITHIN = 0.2  # of the strength that was put in


# Checkerboards


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("base", [0, 4], ids=["landscape", "sky"])
def test_checkerboards_are_measured(period: int, base: int) -> None:
    pattern = checkers(period, "cells")
    strengths = []
    for strength in (0.05, 0.1, 0.4):
        found = checkerboard(render(base) + (strength * pattern[..., None]).astype(np.float32), period=period)
        assert found.verdict == "present"
        assert found.strength == pytest.approx(strength, rel=WITHIN)
        strengths.append(found.strength)
    assert strengths == sorted(strengths)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("kind", ["columns", "overlap", "shuffle"])
def test_every_way_to_make_a_checkerboard_shows(period: int, kind: str) -> None:
    pattern = checkers(period, kind)
    pattern = 0.2 * (pattern - pattern.mean()) / rms(pattern)
    findings = find_artefacts(gradient() + pattern[..., None].astype(np.float32))
    assert f"checkerboard, period {period}" in [f.name for f in findings if f.verdict == "present"]
    total = sum(f.strength**2 for f in findings if f.name.startswith(("checkerboard", "scan"))) ** 0.5
    # of an overlap, the rows are as strong as the columns, and are counted with neither
    assert total == pytest.approx(0.2 * (np.sqrt(0.53) if kind == "overlap" else 1), rel=WITHIN)


def test_a_checkerboard_is_found_under_grain_and_in_one_channel() -> None:
    pattern = 0.2 * checkers(2, "cells")[..., None] * np.array([0, 1, 0])
    found = checkerboard(grain(gradient()) + pattern.astype(np.float32))
    assert found.verdict == "present"
    assert found.strength == pytest.approx(0.2, rel=WITHIN)


def test_a_checkerboard_that_changes_sign_with_the_picture_is_found() -> None:
    y, x = grid()
    pattern = 0.2 * checkers(2, "cells") * np.sign(np.sin(x / 60) * np.sin(y / 60))
    found = checkerboard(gradient() + pattern[..., None].astype(np.float32))
    assert found.verdict in ("present", "possible")
    assert found.strength == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("period", [2.1, 3.9, 4.2, 4.5, 8])
def test_a_fence_is_no_checkerboard(period: float) -> None:
    for each in PERIODS:
        assert checkerboard(fence(grain(gradient(), 0.1), period, covers=0.4), period=each).severity == 0
        assert (
            checkerboard(fence(grain(gradient(), 0.1), period, covers=1.0), period=each).verdict != "present"
        )


@pytest.mark.parametrize("period", PERIODS)
def test_a_fence_of_exactly_that_period_is_never_sure(period: int) -> None:
    for covers in (0.4, 0.7, 1.0):
        found = checkerboard(fence(grain(gradient(), 0.1), period, covers, slant=0), period=period)
        assert found.verdict != "present"


# Scan lines


@pytest.mark.parametrize("period", [2, 3, 8, 12])
def test_scan_lines_are_measured(period: int) -> None:
    y, _ = grid()
    pattern = np.cos(2 * np.pi * y / period)
    strengths = []
    for strength in (0.06, 0.2, 0.5):
        put = strength * (pattern - pattern.mean()) / rms(pattern)
        found = scanlines(render(6) + put[..., None].astype(np.float32))
        assert found.verdict == "present"
        assert found.detail == f"period {period} rows"
        assert found.strength == pytest.approx(strength, rel=WITHIN)
        strengths.append(found.strength)
    assert strengths == sorted(strengths)


def test_one_darker_row_in_eight_is_measured_with_its_harmonics() -> None:
    y, _ = grid()
    pattern = -0.4 * (y % 8 == 3)
    findings = find_artefacts(render(4) + pattern[..., None].astype(np.float32))
    found = next(f for f in findings if f.name == "scan lines")
    assert [f.name for f in findings if f.severity] == ["scan lines"]
    assert found.detail == "period 8 rows"
    assert found.strength == pytest.approx(rms(pattern), rel=WITHIN)


def test_strong_scan_lines_are_no_content() -> None:
    y, _ = grid()
    found = scanlines(gradient() + (6 * (-1.0) ** y)[..., None].astype(np.float32))
    assert found.strength == pytest.approx(6, rel=WITHIN)


def test_blinds_and_columns_are_no_scan_lines() -> None:
    y, x = grid()
    blinds = 8 * np.cos(2 * np.pi * y / 8) * (x > 380)
    stairs = 8 * np.cos(2 * np.pi * y / 8) * (y > 200)
    for pattern in (blinds, stairs, 0.3 * (-1.0) ** x, 0.3 * checkers(2, "overlap")):
        assert scanlines(grain(gradient(), 0.1) + pattern[..., None].astype(np.float32)).severity == 0


# Colour fringes


@pytest.mark.parametrize("hue", ["green", "purple"])
def test_fringes_are_measured(hue: str) -> None:
    sign = 1 if hue == "green" else -1
    strengths = []
    for strength in (0.15, 0.3, 0.45):
        found = color_fringes(fringed(shapes(), sign * strength))
        assert found.verdict == "present"
        assert found.detail.startswith(hue)
        assert found.strength == pytest.approx(strength, rel=WITHIN)
        strengths.append(found.strength)
    assert strengths == sorted(strengths)


def test_fringes_are_found_in_a_render() -> None:
    found = color_fringes(fringed(whole_render(0), 0.3))
    assert found.verdict == "present"
    assert found.strength == pytest.approx(0.3, rel=2 * WITHIN)  # its edges are soft, and not all have a line


def test_fringes_beyond_the_bins_are_seen_at_neutral_edges() -> None:
    plate_cv = shapes().mean(2, keepdims=True).repeat(3, axis=2)
    put = 3.0 * along_edges(plate_cv)[..., None] * np.array([-1 / 3, 2 / 3, -1 / 3], np.float32)
    found = color_fringes(plate_cv + put.astype(np.float32))
    assert (found.verdict, found.limit) == ("possible", STRONG_LIMIT)
    assert found.strength == pytest.approx(3, rel=WITHIN)


def test_the_map_of_fringes_shows_them_on_edges_only() -> None:
    plate_cv = fringed(shapes(), 0.3)
    found = color_fringes(plate_cv)
    seen = fringe_map(plate_cv, found.limit)
    assert seen[along_edges(shapes())].mean() > 0.1
    assert (seen == 0).mean() > 0.5


# Tile seams


@pytest.mark.parametrize(("tile", "x0", "y0"), [(128, 0, 0), (96, 20, 50), (160, 75, 31)])
@pytest.mark.parametrize("base", [4, 6])
def test_seams_are_measured(tile: int, x0: int, y0: int, base: int) -> None:
    strengths = []
    for strength in (0.1, 0.2, 0.4):
        put = strength * tiles(tile, x0, y0)
        found = tile_seams(render(base) + put[..., None].astype(np.float32))
        assert found.verdict == "present"
        assert f"every {tile} columns" in found.detail
        assert found.strength == pytest.approx(strength, rel=WITHIN)
        strengths.append(found.strength)
    assert strengths == sorted(strengths)


def test_seams_across_one_axis_and_under_grain_are_found() -> None:
    _, x = grid()
    put = np.float32(0.3) * ((x // 128) % 2)[..., None].astype(np.float32)
    for plate_cv in (gradient() + put, grain(gradient(), 0.2) + put):
        found = tile_seams(plate_cv)
        assert (found.verdict, found.detail) == ("present", "every 128 columns from 128")
        turned = tile_seams(np.ascontiguousarray(plate_cv.swapaxes(0, 1)))
        assert (turned.verdict, turned.detail) == ("present", "every 128 rows from 128")
        assert turned.strength == pytest.approx(found.strength)


def test_the_seam_of_two_tiles_is_possible_only() -> None:
    _, x = grid()
    found = tile_seams(gradient() + np.float32(0.3) * (x >= 200)[..., None])
    assert (found.verdict, found.detail) == ("possible", "across the columns from 200")
    assert found.where.x < 200 < found.where.x + found.where.width


def test_horizons_poles_and_windows_are_no_seams() -> None:
    y, x = grid()
    horizon = 20 * (y > 200)
    pole = 15 * ((x > 300) & (x < 312))
    windows = 12 * ((x % 80 < 40) & (y % 90 < 50) & (x > 320))
    for content in (horizon, pole, windows, horizon + pole):
        found = tile_seams((grain(gradient(), 0.1) + content[..., None]).astype(np.float32))
        assert found.verdict == "absent", found


# Residual banding


@pytest.mark.parametrize("plate_cv", [gradient(), render(4), render(6)], ids=["gradient", "sky", "room"])
def test_banding_is_measured(plate_cv: Plate) -> None:
    strengths = []
    for left in (0.4, 0.6, 0.8, 1.0):
        found = residual_banding(plate_cv + np.float32(left) * (rounded(plate_cv) - plate_cv))
        assert found.verdict == "present"
        assert found.strength == pytest.approx(left, rel=WITHIN)
        strengths.append(found.strength)
    assert strengths == sorted(strengths)


def test_8_bits_behind_a_curve_band_at_levels_of_their_own() -> None:
    signal = rounded(gradient()) / 255
    found = residual_banding((255 * np.log1p(20 * signal**2.2) / np.log(21)).astype(np.float32))
    assert found.verdict == "present"


def test_grain_hides_banding_and_says_so() -> None:
    found = residual_banding(rounded(grain(gradient(), 2.0)))
    assert found.severity == 0
