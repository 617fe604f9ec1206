"""The shipped config: each curve against its published formula, written out here a second time."""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib.util
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import OpenImageIO as oiio  # noqa: N813  lower case, as in OpenImageIO's own documentation
import PyOpenColorIO as ocio  # noqa: N813  lower case, as in OpenColorIO's own documentation
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitexpand.color import PINNED_CONFIG, Conversion, conversion, load_config
from bitexpand.shipped import shipped_file

CONFIG_PATH = shipped_file("ocio", "bitexpand.ocio")
CONFIG = load_config("bitexpand")
PINNED = load_config(PINNED_CONFIG)
ADDED = sorted(set(CONFIG.spaces()) - set(PINNED.spaces()))

# ARRI, "ALEXA Log C Curve - Usage in VFX": EI: cut, a, b, c, d, e, f; the last two as printed.
ARRI_TABLE = {
    160: (0.005561, 5.555556, 0.080216, 0.269036, 0.381991, 5.842037, 0.092778),
    200: (0.006208, 5.555556, 0.076621, 0.266007, 0.382478, 5.776265, 0.092782),
    250: (0.006871, 5.555556, 0.072941, 0.262978, 0.382966, 5.710494, 0.092786),
    320: (0.007622, 5.555556, 0.068768, 0.259627, 0.383508, 5.637732, 0.092791),
    400: (0.008318, 5.555556, 0.064901, 0.256598, 0.383999, 5.571960, 0.092795),
    500: (0.009031, 5.555556, 0.060939, 0.253569, 0.384493, 5.506188, 0.092800),
    640: (0.009840, 5.555556, 0.056443, 0.250219, 0.385040, 5.433426, 0.092805),
    800: (0.010591, 5.555556, 0.052272, 0.247190, 0.385537, 5.367655, 0.092809),
    1000: (0.011361, 5.555556, 0.047996, 0.244161, 0.386036, 5.301883, 0.092814),
    1280: (0.012235, 5.555556, 0.043137, 0.240810, 0.386590, 5.229121, 0.092819),
    1600: (0.013047, 5.555556, 0.038625, 0.237781, 0.387093, 5.163350, 0.092824),
}
# The ACES input transform for LogC3 of any EI, IDT.ARRI.Alexa-v3-logC: ALEXA Wide Gamut to ACES2065-1.
AWG3_TO_AP0 = (
    (0.680206, 0.236137, 0.083658),
    (0.085415, 1.017471, -0.102886),
    (0.002057, -0.062563, 1.060506),
)


def logc3(ei: int) -> Callable[[float], float]:
    cut, a, b, c, d, e, f = ARRI_TABLE[ei]
    return lambda t: (10 ** ((t - d) / c) - b) / a if t > e * cut + f else (t - f) / e


def logc4(t: float) -> float:
    """ARRI LogC4 Logarithmic Color Space specification, 2022."""
    a, b, c = (2**18 - 16) / 117.45, (1023 - 95) / 1023, 95 / 1023
    s = 7 * math.log(2) * 2 ** (7 - 14 * c / b) / (a * b)
    return (2 ** (14 * (t - c) / b + 6) - 64) / a if t >= 0 else t * s + (2 ** (14 * -c / b + 6) - 64) / a


def slog3(t: float) -> float:
    """Sony, Technical Summary for S-Gamut3.Cine/S-Log3 and S-Gamut3/S-Log3."""
    if t >= 171.2102946929 / 1023:
        return 10 ** ((t * 1023 - 420) / 261.5) * (0.18 + 0.01) - 0.01
    return (t * 1023 - 95) * 0.01125 / (171.2102946929 - 95)


def acescct(t: float) -> float:
    """Academy S-2016-001."""
    return 2 ** (t * 17.52 - 9.72) if t > 0.155251141552511 else (t - 0.0729055341958355) / 10.5402377416545


def cineon(t: float) -> float:
    """Kodak: 0.002 density per code, gamma 0.6, black at code 95, white at code 685."""
    black = 10 ** ((95 - 685) * 0.002 / 0.6)
    return (10 ** ((1023 * t - 685) * 0.002 / 0.6) - black) / (1 - black)


def dlog(t: float) -> float:
    """DJI, White Paper on D-Log and D-Gamut of DJI Cinema Color System, 2017."""
    return (10 ** (3.89616 * t - 2.27752) - 0.0108) / 0.9892 if t > 0.14 else (t - 0.0929) / 6.025


def bt709(t: float) -> float:
    """ITU-R BT.709-6, item 1.2, inverted."""
    return t / 4.5 if t < 0.081 else ((t + 0.099) / 1.099) ** (1 / 0.45)


def srgb(t: float) -> float:
    """IEC 61966-2-1."""
    return t / 12.92 if t <= 0.04045 else ((t + 0.055) / 1.055) ** 2.4


# Log or display space, linear space of the same primaries, formula, code of 18 % grey, relative tolerance.
# The tolerance is that of the constants as printed: 6 digits of ARRI's, 4 of DJI's. OpenColorIO joins the two
# parts of BT.709 and sRGB smoothly, which takes slopes of 4.514 and 12.923 where they are printed as 4.5 and 12.92.
CURVES: dict[str, tuple[str, Callable[[float], float], float, float]] = {
    **{f"ARRI LogC3 (EI{ei})": ("lin_alexawide", logc3(ei), 400 / 1023, 5e-5) for ei in ARRI_TABLE},
    "ARRI LogC4": ("Linear ARRI Wide Gamut 4", logc4, 0.278396, 1e-5),
    "S-Log3 S-Gamut3": ("Linear S-Gamut3", slog3, 420 / 1023, 1e-5),
    "ACEScct": ("ACEScg", acescct, 0.413588, 1e-5),
    "Cineon Rec.709": ("Linear Rec.709 (sRGB)", cineon, 467.84 / 1023, 1e-5),
    "Cineon AP1": ("ACEScg", cineon, 467.84 / 1023, 1e-5),
    "D-Log D-Gamut": ("Linear D-Gamut", dlog, 0.398765, 1e-3),
    "Camera Rec.709": ("Linear Rec.709 (sRGB)", bt709, 0.4088, 4e-3),
    "sRGB - Texture": ("Linear Rec.709 (sRGB)", srgb, 0.461356, 3e-4),
    "Gamma 2.2 Rec.709 - Texture": ("Linear Rec.709 (sRGB)", lambda t: t**2.2, 0.458657, 1e-5),
    "Gamma 2.4 Rec.709 - Texture": ("Linear Rec.709 (sRGB)", lambda t: t**2.4, 0.489434, 1e-5),
    "Gamma 2.2 Encoded AdobeRGB": ("Linear AdobeRGB", lambda t: t ** (563 / 256), 0.458569, 1e-5),
}
PATHS: dict[str, Conversion] = {space: conversion(CONFIG, space, row[0]) for space, row in CURVES.items()}


def decode(space: str, code: float) -> float:
    return float(PATHS[space].apply(np.full((1, 1, 3), code, np.float32))[0, 0, 0])


@pytest.fixture(scope="module")
def make_config() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_config", CONFIG_PATH.with_name("make_config.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up there while it is being made.
    sys.modules["make_config"] = module
    spec.loader.exec_module(module)
    return module


# --- curves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", CURVES)
def test_black_grey_and_white_are_as_published(space: str) -> None:
    _, formula, grey, tolerance = CURVES[space]
    assert not PATHS[space].mixes_channels, "the linear space has the same primaries"
    for code in (0.0, grey, 1.0):
        assert decode(space, code) == pytest.approx(formula(code), rel=tolerance, abs=2e-6)
    assert formula(grey) == pytest.approx(0.18, rel=2e-3)


@given(space=st.sampled_from(sorted(CURVES)), code=st.floats(0, 1, width=32))
def test_every_code_between_is_as_published(space: str, code: float) -> None:
    _, formula, _, tolerance = CURVES[space]
    assert decode(space, code) == pytest.approx(formula(code), rel=tolerance, abs=2e-5)


@pytest.mark.parametrize("space", sorted({*CURVES, *ADDED}))
def test_every_16_bit_code_comes_back(space: str) -> None:
    path = conversion(CONFIG, space, "ACES2065-1")
    codes = np.repeat(np.linspace(0, 1, 65536, dtype=np.float32), 3).reshape(256, 256, 3)
    np.testing.assert_allclose(path.invert(path.apply(codes)), codes, atol=1e-5)
    if space in ADDED:
        # Of saturated colours a matrix of 32-bit floats leaves a residue at black, where a gamma is steepest.
        assert path.round_trip_error < (1e-3 if space.startswith("Gamma") else 1e-4)


@pytest.mark.parametrize("space", ADDED)
def test_more_code_is_more_light_also_below_black(space: str) -> None:
    codes = np.repeat(np.linspace(-0.25, 1.25, 4096, dtype=np.float32), 3).reshape(1, -1, 3)
    path = conversion(CONFIG, space, "ACES2065-1", lossless=True)
    light = path.apply(codes)
    assert (np.diff(light[0, :, 1]) > 0).all()
    np.testing.assert_allclose(path.invert(light), codes, atol=2e-5)


def test_logc3_is_in_alexa_wide_gamut() -> None:
    colour = np.array([[[0.6, 0.4, 0.2]]], np.float32)
    linear = np.array([logc3(160)(float(code)) for code in colour[0, 0]])
    ap0 = conversion(CONFIG, "ARRI LogC3 (EI160)", "ACES2065-1").apply(colour)[0, 0]
    assert ap0 == pytest.approx(np.array(AWG3_TO_AP0) @ linear, abs=1e-5)


def test_cineon_white_is_white() -> None:
    white = np.full((1, 1, 3), 685 / 1023, np.float32)
    for space in ("Cineon", "cineon_ap1"):
        assert conversion(CONFIG, space, "ACEScg").apply(white)[0, 0] == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("curve", "space"),
    [("crv_cineon", "Cineon"), *[(f"crv_logc3ei{ei}", f"logc3ei{ei}_alexawide") for ei in ARRI_TABLE]],
)
def test_the_curve_alone_is_the_curve_of_the_space(curve: str, space: str) -> None:
    config = ocio.Config.CreateFromFile(str(CONFIG_PATH))
    alone = config.getProcessor(config.getNamedTransform(curve), ocio.TRANSFORM_DIR_FORWARD)
    code = [0.25, 0.5, 0.75]
    expected = [decode(CONFIG.canonical(space), c) for c in code]
    assert alone.getDefaultCPUProcessor().applyRGB(code) == pytest.approx(expected, rel=1e-5)


# --- the file --------------------------------------------------------------------------------------


def test_the_committed_file_is_what_the_command_makes(make_config: ModuleType) -> None:
    # Through the same writer, as another version of OpenColorIO may print a number differently.
    committed = ocio.Config.CreateFromFile(str(CONFIG_PATH)).serialize()
    made = ocio.Config.CreateFromStream(make_config.make_config().serialize()).serialize()
    assert made == committed


def test_ociocheck_passes() -> None:
    ociocheck = shutil.which("ociocheck", path=str(Path(sys.executable).parent))
    assert ociocheck, "it comes with OpenColorIO's wheel"
    done = subprocess.run(
        [ociocheck, "--iconfig", str(CONFIG_PATH)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "Validation: passed" in done.stdout
    assert "ERROR" not in done.stdout + done.stderr


def test_old_libraries_can_read_it() -> None:
    config = ocio.Config.CreateFromFile(str(CONFIG_PATH))
    assert (config.getMajorVersion(), config.getMinorVersion()) == (2, 2)
    text = CONFIG_PATH.read_text(encoding="utf-8")
    assert "interop_id" not in text, "unknown before 2.5"
    assert "FileTransform" not in text, "exact and invertible: no tables"


def test_everything_of_the_pinned_config_is_there_unchanged() -> None:
    codes = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    for space in PINNED.spaces():
        if space == "Raw":
            continue
        ours, theirs = (conversion(c, space, "ACES2065-1", lossless=True) for c in (CONFIG, PINNED))
        np.testing.assert_allclose(
            ours.apply(codes), theirs.apply(codes), rtol=1e-6, atol=1e-6, err_msg=space
        )


def test_added_spaces_are_described_as_the_studio_config_describes_its_own() -> None:
    config = ocio.Config.CreateFromFile(str(CONFIG_PATH))
    readme = CONFIG_PATH.with_name("README.md").read_text(encoding="utf-8")
    assert len(ADDED) == 16
    for name in ADDED:
        space = config.getColorSpace(name)
        assert space.getEncoding() in {"log", "sdr-video", "scene-linear"}
        assert space.getFamily().split("/")[0] in {"Input", "Utility"}
        assert list(space.getAliases()), "a name without spaces, for a shell"
        assert space.getDescription()
        assert name.split(" (EI")[0] in readme


def test_openimageios_own_library_reads_it() -> None:
    config = oiio.ColorConfig(str(CONFIG_PATH))
    assert not config.geterror()
    assert set(ADDED) <= set(config.getColorSpaceNames())
    grey = oiio.ImageBuf(oiio.ImageSpec(1, 1, 3, "float"))
    oiio.ImageBufAlgo.fill(grey, (0.5, 0.5, 0.5))
    converted = oiio.ImageBufAlgo.colorconvert(
        grey, "logc3ei160_alexawide", "lin_alexawide", colorconfig=str(CONFIG_PATH)
    )
    assert converted.getpixel(0, 0)[0] == pytest.approx(logc3(160)(0.5), rel=1e-4)
