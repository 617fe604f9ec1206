"""Configs, conversions and tags: what OpenColorIO is asked, and what it may not get away with."""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PyOpenColorIO as ocio  # noqa: N813  lower case, as in OpenColorIO's own documentation
import pytest

from bitexpand.color import PINNED_CONFIG, ColorConfig, conversion, interop_id, load_config
from bitexpand.errors import ColorError, MissingInputError, UnknownNameError, UsageError
from bitexpand.shipped import shipped_file

SHOW_CONFIG = """
ocio_profile_version: 2.1
search_path: luts
roles: {aces_interchange: ap0, scene_linear: ACEScg}
file_rules: [!<Rule> {name: Default, colorspace: ap0}]
displays: {d: [!<View> {name: v, colorspace: ap0}]}
colorspaces:
  - !<ColorSpace> {name: ap0}
  - !<ColorSpace>
    name: ACEScg
    to_scene_reference: !<MatrixTransform> {matrix: [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]}
  - !<ColorSpace>
    name: house linear
    to_scene_reference: !<BuiltinTransform> {style: ACEScg_to_ACES2065-1}
  - !<ColorSpace>
    name: graded
    to_scene_reference: !<FileTransform> {src: show.spi1d, interpolation: linear}
  - !<ColorSpace>
    name: lost
    to_scene_reference: !<FileTransform> {src: nowhere.spi1d}
  - !<ColorSpace>
    name: luma
    to_scene_reference: !<MatrixTransform> {matrix: [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1]}
  - !<ColorSpace>
    name: overflow
    to_scene_reference: !<MatrixTransform> {matrix: [1e39, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}
"""
LUT = "Version 1\nFrom 0 1\nLength 3\nComponents 1\n{{\n0\n{middle}\n1\n}}\n"


@pytest.fixture(scope="module")
def pinned() -> ColorConfig:
    return load_config(PINNED_CONFIG)


def write_show(folder: Path, middle: float = 0.25) -> Path:
    (folder / "luts").mkdir(parents=True, exist_ok=True)
    (folder / "luts/show.spi1d").write_text(LUT.format(middle=middle))
    (folder / "show.ocio").write_text(SHOW_CONFIG)
    return folder / "show.ocio"


@pytest.fixture
def show(tmp_path: Path) -> ColorConfig:
    return load_config(str(write_show(tmp_path)))


def plate(seed: int = 0, height: int = 37, width: int = 53) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def flat(*code: float) -> np.ndarray:
    return np.full((1, 1, 3), code, np.float32)


# --- configs ---------------------------------------------------------------------------------------


def test_the_pinned_config_is_what_you_get_without_ocio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCIO", raising=False)
    assert load_config().name == PINNED_CONFIG
    monkeypatch.setenv("OCIO", "")
    assert load_config(None).name == PINNED_CONFIG


def test_a_show_takes_over_through_ocio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_show(tmp_path)
    monkeypatch.setenv("OCIO", str(path))
    assert load_config().name == str(path)
    assert "house linear" in load_config().spaces()
    assert load_config("bitexpand").name == "bitexpand"
    monkeypatch.setenv("OCIO", "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    assert "ARRI LogC4" not in load_config().spaces()


def test_a_path_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone.ocio"
    with pytest.raises(MissingInputError, match=r"no OpenColorIO config at .*gone\.ocio"):
        load_config(str(gone))
    monkeypatch.setenv("OCIO", str(gone))
    with pytest.raises(MissingInputError):
        load_config()


@pytest.mark.parametrize("text", ["", "no config at all", "ocio_profile_version: 99", SHOW_CONFIG[:400]])
def test_a_broken_config_names_the_file_and_the_reason(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.ocio"
    broken.write_text(text)
    with pytest.raises(UsageError, match=r"cannot read the OpenColorIO config .*broken\.ocio: .{20}"):
        load_config(str(broken))


def test_an_unknown_built_in() -> None:
    with pytest.raises(UsageError, match="ocio://nope"):
        load_config("ocio://nope")


def test_an_archive_loads(tmp_path: Path) -> None:
    path = write_show(tmp_path)
    # The space whose table is missing cannot be archived.
    config = ocio.Config.CreateFromFile(str(path))
    config.removeColorSpace("lost")
    config.archive(str(tmp_path / "show.ocioz"))
    archived = load_config(str(tmp_path / "show.ocioz"))
    assert conversion(archived, "graded", "ap0").apply(flat(0.5, 0.5, 0.5))[0, 0, 0] == pytest.approx(0.25)


def test_identity_follows_the_content_and_not_the_path(tmp_path: Path) -> None:
    here, there = write_show(tmp_path / "here"), write_show(tmp_path / "there")
    identity = load_config(str(here)).identity
    assert load_config(str(there)).identity == identity
    write_show(tmp_path / "there", middle=0.26)
    assert load_config(str(there)).identity != identity, "the table changed"
    here.write_text(SHOW_CONFIG.replace("[2, 0, 0, 0,", "[3, 0, 0, 0,"))
    assert load_config(str(here)).identity != identity, "the text changed"


def test_names_aliases_and_roles_in_any_case(pinned: ColorConfig) -> None:
    assert pinned.canonical("srgb_tx") == "sRGB - Texture"
    assert pinned.canonical("acesCCT") == "ACEScct"
    assert pinned.canonical("Scene_Linear") == "ACEScg"
    assert pinned.canonical("sRGB - Display") == "sRGB - Display", "inactive spaces can be named too"
    assert len(pinned.spaces()) == len(set(pinned.spaces())) == 52


@pytest.mark.parametrize(
    ("typo", "meant"), [("sRGB", "srgb_tx"), ("LogC", "ARRI LogC4"), ("acesgc", "ACEScg")]
)
def test_an_unknown_space_suggests_names_and_aliases(pinned: ColorConfig, typo: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        pinned.canonical(typo)
    assert f"'{typo}'" in str(caught.value)
    assert f"'{meant}'" in str(caught.value)
    assert PINNED_CONFIG in str(caught.value)
    with pytest.raises(UnknownNameError):
        conversion(pinned, "ACEScg", typo)
    with pytest.raises(UnknownNameError):
        interop_id(pinned, typo)


def test_a_named_transform_is_no_colour_space(pinned: ColorConfig) -> None:
    with pytest.raises(UsageError, match="curve without primaries"):
        conversion(pinned, "ARRI LogC3 - Curve (EI800)", "ACEScg")


# --- conversions -----------------------------------------------------------------------------------


def test_data_is_not_converted(pinned: ColorConfig) -> None:
    for src, dst in (("Raw", "ACEScg"), ("ACEScg", "Raw"), ("data", "data")):
        with pytest.raises(UsageError, match="'Raw' holds data"):
            conversion(pinned, src, dst)


def test_negatives_and_highlights_are_not_clamped(pinned: ColorConfig) -> None:
    decode = conversion(pinned, "ARRI LogC3 (EI800)", "Linear ARRI Wide Gamut 3")
    assert decode.apply(flat(0, 0, 0))[0, 0] == pytest.approx([-0.017290] * 3, abs=1e-6)
    assert decode.apply(flat(1, 1, 1))[0, 0] == pytest.approx([55.080] * 3, abs=1e-3)
    beyond = flat(-0.1, 0.5, 1.2)
    np.testing.assert_allclose(decode.invert(decode.apply(beyond)), beyond, atol=1e-6)


@pytest.mark.parametrize(
    ("src", "dst", "is_identity", "mixes"),
    [
        ("ACEScg", "lin_ap1", True, False),
        ("ACEScct", "ACEScg", False, False),
        ("ARRI LogC3 (EI800)", "Linear ARRI Wide Gamut 3", False, False),
        ("ARRI LogC3 (EI800)", "ACEScg", False, True),
        ("sRGB - Texture", "ACEScct", False, True),
    ],
)
def test_flags(pinned: ColorConfig, src: str, dst: str, is_identity: bool, mixes: bool) -> None:
    path = conversion(pinned, src, dst)
    assert (path.is_identity, path.mixes_channels) == (is_identity, mixes)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize(
    "src", ["ACEScct", "ARRI LogC3 (EI800)", "S-Log3 S-Gamut3", "V-Log V-Gamut", "srgb_tx"]
)
def test_round_trips_to_acescg(pinned: ColorConfig, src: str, lossless: bool) -> None:
    path = conversion(pinned, src, "ACEScg", lossless=lossless)
    assert path.round_trip_error < 1e-5
    np.testing.assert_allclose(path.invert(path.apply(plate())), plate(), atol=2e-5)


def test_a_path_that_clips_says_so(pinned: ColorConfig, show: ColorConfig) -> None:
    assert conversion(pinned, "ARRI LogC3 (EI800)", "ACEScc").round_trip_error > 0.5
    assert conversion(show, "overflow", "ap0").round_trip_error == float("inf")


@pytest.mark.parametrize("src", ["lost", "luma"])
def test_a_path_that_cannot_be_built_both_ways(show: ColorConfig, src: str) -> None:
    with pytest.raises(
        ColorError, match=rf"cannot convert '{src}' to 'ap0' and back with .*show\.ocio: .{{10}}"
    ):
        conversion(show, src, "ap0")


def test_apply_leaves_its_input_alone_unless_told(pinned: ColorConfig) -> None:
    path = conversion(pinned, "ACEScct", "ACEScg")
    source = plate()
    result = path.apply(source)
    np.testing.assert_array_equal(source, plate())
    assert (result.shape, result.dtype) == (source.shape, np.float32)
    assert path.apply(source, out=source) is source
    np.testing.assert_array_equal(source, result)


def test_strided_input_is_fine_and_strided_output_is_refused(pinned: ColorConfig) -> None:
    path = conversion(pinned, "ACEScct", "ACEScg")
    source = plate()
    np.testing.assert_array_equal(path.apply(source[:, ::2]), path.apply(source)[:, ::2])
    with pytest.raises(AssertionError, match="contiguous"):
        path.apply(source[:, ::2], out=np.empty_like(source)[:, ::2])
    with pytest.raises(AssertionError):
        path.apply(source.astype(np.float64))


def test_threads_on_row_slices_equal_one_call(pinned: ColorConfig) -> None:
    path = conversion(pinned, "ARRI LogC3 (EI800)", "ACEScg")
    source = plate(height=203, width=311)
    sliced = np.empty_like(source)
    rows = [slice(start, start + 13) for start in range(0, 203, 13)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda r: path.apply(source[r], out=sliced[r]), rows))
    np.testing.assert_array_equal(sliced, path.apply(source))


# --- tags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("ACEScg", "lin_ap1_scene"),
        ("ACES2065-1", "lin_ap0_scene"),
        ("scene_linear", "lin_ap1_scene"),
        ("Linear Rec.709 (sRGB)", "lin_rec709_scene"),
        ("Linear P3-D65", "lin_p3d65_scene"),
        ("Linear Rec.2020", "lin_rec2020_scene"),
        ("sRGB - Texture", "srgb_rec709_scene"),
        ("Gamma 2.2 Rec.709 - Texture", "g22_rec709_scene"),
        ("Gamma 1.8 Rec.709 - Texture", "g18_rec709_scene"),
        ("sRGB Encoded AP1 - Texture", "srgb_ap1_scene"),
        ("Gamma 2.2 AP1 - Texture", "g22_ap1_scene"),
        ("sRGB Encoded P3-D65 - Texture", "srgb_p3d65_scene"),
        ("sRGB - Display", "srgb_rec709_display"),
        ("ACEScct", "ocio:acescct_ap1_scene"),
        ("ARRI LogC3 (EI800)", "ocio:arrilogc3_awg3_scene"),
        ("P3-DCI - Display", None),
        ("Raw", None),
    ],
)
def test_interop_ids_of_the_pinned_config(pinned: ColorConfig, space: str, expected: str | None) -> None:
    assert interop_id(pinned, space) == expected


def test_a_space_is_known_by_its_maths_and_not_by_its_name(show: ColorConfig) -> None:
    assert interop_id(show, "ACEScg") is None, "twice as bright as ACEScg"
    assert interop_id(show, "house linear") == "lin_ap1_scene"
    assert interop_id(show, "graded") is None
    assert interop_id(show, "lost") is None, "what cannot be built cannot be known"


def test_a_config_without_interchange_role_has_no_ids(tmp_path: Path) -> None:
    path = write_show(tmp_path)
    path.write_text(SHOW_CONFIG.replace("aces_interchange: ap0, ", ""))
    assert interop_id(load_config(str(path)), "house linear") is None


def test_the_configs_own_statement_counts(tmp_path: Path) -> None:
    path = write_show(tmp_path)
    stated = "  - !<ColorSpace> {name: scan, aliases: ['house:scan'], interop_id: 'house:scan'}\n"
    path.write_text(SHOW_CONFIG.replace("2.1", "2.5", 1) + stated)
    assert interop_id(load_config(str(path)), "scan") == "house:scan"


# --- shipped files ---------------------------------------------------------------------------------


def test_shipped_files_are_found() -> None:
    assert shipped_file("ocio", "bitexpand.ocio").is_file()
    with pytest.raises(MissingInputError, match=r"ocio/nothing\.ocio is missing from this installation"):
        shipped_file("ocio", "nothing.ocio")
