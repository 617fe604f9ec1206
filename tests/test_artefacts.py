"""Artefacts put into plates at known strengths are found and measured; plates without stay quiet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand import color, frames
from bitexpand.artefacts import DETECTORS, Finding, Region, Verdict, find_artefacts, worst
from bitexpand.artefacts.banding import residual_banding
from bitexpand.artefacts.checkerboard import PERIODS, checkerboard
from bitexpand.artefacts.fringes import STRONG_LIMIT, color_fringes, fringe_map
from bitexpand.artefacts.scanlines import scanlines
from bitexpand.artefacts.seams import tile_seams
from bitexpand.engine import Expander
from bitexpand.plate import read_plate

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[1]
RENDERS = sorted((ROOT / "benchmarks" / "plates").glob("*.exr"))
HEIGHT, WIDTH = 240, 416  # px, of plates that are made here
WITHIN = 0.2  # of the strength that was put in

Plate = npt.NDArray[np.float32]


@cache
def render(number: int) -> Plate:
    """A corner of a render as ACEScct code values of 8 bits, not rounded."""
    return whole_render(number)[-HEIGHT:, -WIDTH:]


@cache
def whole_render(number: int) -> Plate:
    to_log = color.conversion(color.load_config(color.PINNED_CONFIG), "Linear Rec.709 (sRGB)", "ACEScct")
    plate = frames.read_frame(RENDERS[number]).pixels[..., :3].astype(np.float32)
    return np.clip(to_log.apply(plate), 0, 1) * np.float32(255)


def grain(plate_cv: Plate, sigma: float = 1.0, seed: int = 0) -> Plate:
    return plate_cv + np.random.default_rng(seed).normal(0, sigma, plate_cv.shape).astype(np.float32)


def rounded(plate_cv: Plate) -> Plate:
    return np.floor(plate_cv + np.float32(0.5))


def grid(height: int = HEIGHT, width: int = WIDTH) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y, x


def gradient(height: int = HEIGHT, width: int = WIDTH) -> Plate:
    """A sky: three slopes, each of its own direction, that climb a step in 12 pixels and more."""
    y, x = grid(height, width)
    bend = 3 * np.sin(x / 90)
    planes = [120 + y / 13 + x / 97 + bend, 90 + y / 19 - x / 71 + bend, 70 - y / 31 + x / 40 - bend]
    return np.stack(planes, axis=-1).astype(np.float32)


def texture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Plate:
    """Noise of all sizes, as strong as foliage, its spectrum falling with the frequency."""
    random = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(fy, fx), 1 / width) ** 1.2
    spectrum = np.fft.rfft2(random.normal(size=(3, height, width))) * falling
    noise = np.fft.irfft2(spectrum, (height, width)).transpose(1, 2, 0)
    return (100 + 25 * noise / noise.std()).astype(np.float32)


@cache
def shapes(height: int = 360, width: int = 640, seed: int = 0) -> Plate:
    """Anti-aliased discs of all colours, mixed as light is and then encoded as a logarithm."""
    random = np.random.default_rng(seed)
    y, x = grid(height, width)
    light = np.full((height, width, 3), 0.2)
    for _ in range(60):
        cx, cy, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(15, 60)
        cover = np.clip(radius - np.hypot(x - cx, y - cy) + 0.5, 0, 1)[..., None]
        light = light * (1 - cover) + np.exp2(random.uniform(-5, 0, 3)) * cover
    return (140 + 14.5 * np.log2(light)).astype(np.float32)


def fence(plate_cv: Plate, period: float, covers: float = 0.5, slant: float = 0.02) -> Plate:
    """Put posts before the lower part of a plate."""
    height, width = plate_cv.shape[:2]
    y, x = grid(height, width)
    posts = 20 * np.cos(2 * np.pi * (x + slant * y) / period) * (y > height * (1 - covers))
    return plate_cv + posts[..., None].astype(np.float32)


def rms(pattern: npt.NDArray[np.float64]) -> float:
    return float(pattern.std())


def quiet(findings: tuple[Finding, ...]) -> bool:
    return all(finding.severity == 0 for finding in findings)


def named(findings: tuple[Finding, ...], *verdicts: str) -> set[str]:
    return {finding.name for finding in findings if finding.verdict in verdicts}


# What is clean


@pytest.mark.parametrize("number", range(len(RENDERS)))
def test_renders_are_quiet(number: int) -> None:
    findings = find_artefacts(whole_render(number))
    assert quiet(findings), findings


@pytest.mark.parametrize(
    "plate_cv",
    [
        gradient(),
        grain(gradient()),
        grain(gradient(), 0.1),
        texture(),
        shapes(),
        grain(render(0)),
        grain(render(4), 0.3),
        (render(5) / 255).astype(np.float16).astype(np.float32) * 255,
        render(6).mean(2, keepdims=True),
        grain(np.full((300, 400, 3), 128, np.float32)),
    ],
    ids=[
        "sky",
        "grainy sky",
        "fine grain",
        "texture",
        "discs",
        "grainy render",
        "finer",
        "half",
        "grey",
        "noise",
    ],
)
def test_other_clean_plates_are_quiet(plate_cv: Plate) -> None:
    findings = find_artefacts(plate_cv)
    assert quiet(findings), findings


def test_what_the_default_model_makes_of_the_example_is_quiet() -> None:
    codes = read_plate(ROOT / "examples" / "plate" / "dusk_1001.png").codes
    before = find_artefacts(codes.astype(np.float32))
    assert named(before, "present") == {"residual banding"}
    expanded_cv = Expander("pyramid", device="cpu").expand(codes, bits=8)
    after = find_artefacts(expanded_cv)
    assert quiet(after), after


# Checkerboards


def checkers(period: int, kind: str) -> npt.NDArray[np.float64]:
    y, x = grid()
    if kind == "cells":
        return (-1.0) ** (x // (period // 2) + y // (period // 2))
    if kind == "columns":
        return np.cos(2 * np.pi * x / period)
    if kind == "overlap":  # a transposed convolution covers each axis unevenly
        return (1 + 0.5 * np.cos(2 * np.pi * x / period)) * (1 + 0.5 * np.cos(2 * np.pi * y / period))
    tile = np.random.default_rng(3).normal(size=(period, period))  # a pixel shuffle: one channel, one pixel
    return np.tile(tile, (HEIGHT // period, WIDTH // period))


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
    assert f"checkerboard, period {period}" in named(findings, "present")
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
    assert named(findings, "present") == {"scan lines"}
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


def along_edges(plate_cv: Plate, width: int = 1) -> npt.NDArray[np.bool_]:
    """Where the luminance changes most, by a way that is not the detector's: zero crossings of a Laplacian."""
    luma = plate_cv.mean(2)
    gy, gx = np.gradient(luma)
    steep = np.hypot(gy, gx) > 4
    second = (
        np.gradient(gy, axis=0) * gy**2
        + np.gradient(gx, axis=1) * gx**2
        + 2 * np.gradient(gy, axis=1) * gx * gy
    )
    change = (np.sign(second[:-1]) != np.sign(second[1:]))[:, :-1] | (
        np.sign(second[:, :-1]) != np.sign(second[:, 1:])
    )[:-1]
    edge = np.zeros(luma.shape, bool)
    edge[:-1, :-1] = change
    edge &= steep
    for _ in range(width):
        edge[1:] |= edge[:-1]
        edge[:, 1:] |= edge[:, :-1]
    return edge


def fringed(plate_cv: Plate, chroma: float) -> Plate:
    """Put lines along the edges, and keep every value in its bin, as an expansion does."""
    put = chroma * along_edges(plate_cv)[..., None] * np.array([-1 / 3, 2 / 3, -1 / 3], np.float32)
    return np.clip(plate_cv + put, rounded(plate_cv) - 0.499, rounded(plate_cv) + 0.499).astype(np.float32)


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


def tiles(tile: int, x0: int, y0: int) -> npt.NDArray[np.float64]:
    y, x = grid()
    return ((x - x0) // tile + (y - y0) // tile) % 2


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


# Together


def test_each_artefact_is_called_by_its_own_name() -> None:
    y, _ = grid()
    base = render(4)
    put = {
        "checkerboard, period 2": base + 0.3 * checkers(2, "cells")[..., None],
        "scan lines": base + 0.3 * np.cos(np.pi * y / 3)[..., None],
        "tile seams": base + 0.3 * tiles(128, 40, 40)[..., None],
        "colour fringes": fringed(base, 0.4),
        "residual banding": base + 0.7 * (rounded(base) - base),
    }
    for name, plate_cv in put.items():
        findings = find_artefacts(plate_cv.astype(np.float32))
        assert named(findings, "present", "possible") == {name}, findings
        found = worst(findings)
        assert found is not None
        assert found.name == name


def test_the_worst_is_what_is_sure_and_then_what_exceeds_its_limit_most() -> None:
    def finding(name: str, strength: float, verdict: Verdict) -> Finding:
        return Finding(name, strength, "LSB", Region(0, 0, 64, 64), verdict, 0.1)

    absent, possible = finding("a", 9, "absent"), finding("b", 5, "possible")
    weak, strong = finding("c", 0.2, "present"), finding("d", 0.4, "present")
    assert worst((absent, possible, weak, strong)) is strong
    assert worst((absent, possible)) is possible
    assert worst((absent, finding("e", 0, "cannot_tell"))) is None


@pytest.mark.parametrize("detect", DETECTORS)
def test_what_is_too_small_flat_or_grey_is_not_judged(detect: Callable[[Plate, str], Finding]) -> None:
    small = detect(np.zeros((63, 200, 3), np.float32), "LSB")
    assert (small.verdict, small.detail) == ("cannot_tell", "the plate is too small")
    flat = detect(np.full((200, 300, 3), 7, np.float32), "1/255")
    assert flat.severity == 0
    assert flat.unit == "1/255"
    grey = detect(grain(gradient())[..., :1], "LSB")
    assert grey.severity == 0
    assert np.isfinite(grey.strength)


@settings(deadline=None, max_examples=12)
@given(
    st.integers(64, 150),
    st.integers(64, 150),
    st.sampled_from([1, 3]),
    st.sampled_from([1e-6, 1.0, 1e4]),
    st.integers(0, 9),
)
def test_any_plate_gets_an_answer(height: int, width: int, channels: int, size: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    plate_cv = (
        random.normal(0, size, (height, width, channels)) * random.integers(0, 2, (height, 1, 1))
    ).astype("f4")
    kept = plate_cv.copy()
    for found in find_artefacts(plate_cv):
        assert np.isfinite(found.strength)
        assert found.strength >= 0
        assert 0 <= found.where.x < width
        assert 0 <= found.where.y < height
    np.testing.assert_array_equal(plate_cv, kept)
