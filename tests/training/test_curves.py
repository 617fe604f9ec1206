"""Exposure and curves, through OpenColorIO."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from bitexpand.errors import MissingInputError, UsageError
from training import curves
from training.curves import Curves

SIX = ("ACEScct", "ARRI LogC3 (EI800)", "ARRI LogC4", "S-Log3 S-Gamut3", "Cineon", "sRGB - Texture")


def grey(*values: float) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[None, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def all_six() -> Curves:
    return Curves.of("bitexpand", "ACEScct", SIX)


def test_every_curve_resolves_and_rises(all_six: Curves) -> None:
    assert all_six.drawn[4] == "Cineon Rec.709"  # names may be aliases
    greys = grey(*np.linspace(0, 1, 400))
    for curve in all_six.drawn:
        changed = all_six.change(greys.copy(), curve, 0.0)
        assert (np.diff(changed[0], axis=0) > 0).all(), curve
        # 18 % grey, 0.4136 in ACEScct, is a mid tone in all of them
        assert 0.25 < all_six.change(grey(0.4135884), curve, 0.0)[0, 0, 1] < 0.5, curve


@pytest.mark.parametrize("exposure", [-20.0, -3.0, 0.0, 3.0, 20.0])
def test_negative_and_huge_light_stay_finite(all_six: Curves, exposure: float) -> None:
    random = np.random.default_rng(0)
    plate_linear = random.choice([-1e4, -1, -0.01, 0, 1e-6, 0.18, 1e4, 65504, 3e38], (40, 40, 3)).astype(
        np.float32
    )
    for stored in all_six.drawn:
        some = Curves.of("bitexpand", stored, SIX)
        plate_log = curves._to_linear("bitexpand", stored).invert(plate_linear)
        plate_log = plate_log[np.isfinite(plate_log).all(-1)].reshape(1, -1, 3)  # what prepare lets through
        assert plate_log.size
        for curve in some.drawn:
            assert np.isfinite(some.change(plate_log.copy(), curve, exposure)).all(), (stored, curve)


def test_a_stop_is_a_stop(all_six: Curves) -> None:
    """ACEScct is (log2(x) + 9.72) / 17.52 above its toe (S-2016-001): a stop is 1 / 17.52 in every channel."""
    plate_log = np.random.default_rng(0).uniform(0.3, 0.8, (8, 8, 3)).astype(np.float32)
    for stops in (-1.5, 1.0, 3.0):
        exposed = all_six.change(plate_log.copy(), "ACEScct", stops)
        np.testing.assert_allclose(exposed - plate_log, stops / 17.52, atol=2e-6)


def test_a_stop_is_a_stop_in_primaries_of_their_own() -> None:
    cineon = Curves.of("bitexpand", "Cineon", ["Cineon"])
    colors_log = np.random.default_rng(0).uniform(0.2, 0.6, (8, 8, 3)).astype(np.float32)
    brighter = cineon.change(colors_log.copy(), cineon.stored, 1.0)
    black = 10 ** ((95 - 685) * 0.002 / 0.6)  # Kodak 1995, as in the shipped config
    lights = [(10 ** ((1023 * code - 685) * 0.002 / 0.6) - black) for code in (colors_log, brighter)]
    np.testing.assert_allclose(lights[1], 2 * lights[0], rtol=1e-3, atol=1e-5)


def test_a_change_of_curve_can_be_undone(all_six: Curves) -> None:
    plate_log = np.random.default_rng(0).uniform(0.35, 0.45, (8, 8, 3)).astype(np.float32)
    for curve in all_six.drawn:
        changed = all_six.change(plate_log.copy(), curve, 1.0)
        back = Curves.of("bitexpand", curve, ["ACEScct"]).change(changed, "ACEScct", -1.0)
        np.testing.assert_allclose(back, plate_log, atol=1e-5)


def test_without_exposure_the_stored_curve_is_kept_bit_for_bit(all_six: Curves) -> None:
    plate_log = np.array([[[-0.1, 0.5, 1.4]]], np.float32)
    before = plate_log.copy()
    assert all_six.change(plate_log, "ACEScct", 0.0) is plate_log
    assert np.array_equal(plate_log, before)


def test_curves_can_be_sent_and_are_prepared_once(all_six: Curves) -> None:
    sent = pickle.loads(pickle.dumps(all_six))
    assert sent == all_six
    before = curves._to_linear.cache_info().misses
    sent.change(grey(0.5), "ARRI LogC4", 1.0)
    assert curves._to_linear.cache_info().misses == before


def test_an_unknown_curve_is_named_with_its_key() -> None:
    with pytest.raises(
        UsageError, match=r"key 'curves': unknown colour space 'ACESct'; did you mean.*'ACEScct'"
    ):
        Curves.of("bitexpand", "ACEScct", ["ACESct"])


def test_an_unknown_encoding_of_the_plates_is_no_fault_of_the_curves() -> None:
    with pytest.raises(UsageError, match=r"^unknown colour space 'ACESct'"):
        Curves.of("bitexpand", "ACESct", ["ACEScct"])


def test_a_space_of_data_is_refused() -> None:
    with pytest.raises(UsageError, match="'Raw' holds data, not colour"):
        Curves.of("bitexpand", "ACEScct", ["Raw"])


def test_a_config_that_is_gone_is_named() -> None:
    with pytest.raises(MissingInputError, match="no OpenColorIO config at gone.ocio"):
        Curves.of("gone.ocio", "ACEScct", ["ACEScct"])


def test_light_is_changed_between_exposure_and_curve(all_six: Curves) -> None:
    half = all_six.change(np.full((4, 4, 3), 0.4, np.float32), "S-Log3 S-Gamut3", -1.0)
    for exposure in (0.0, 1.0):
        factor = np.float32(0.5 / 2.0**exposure)
        changed = all_six.change(
            np.full((4, 4, 3), 0.4, np.float32),
            "S-Log3 S-Gamut3",
            exposure,
            lambda light, f=factor: light * f,
        )
        assert changed == pytest.approx(half, abs=1e-6)
    dark = all_six.change(np.full((4, 4, 3), 0.4, np.float32), all_six.stored, 0.0, np.zeros_like)
    assert dark * 255 == pytest.approx(18.59, abs=0.01)  # black in ACEScct
