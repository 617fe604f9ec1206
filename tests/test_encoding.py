"""The promise itself: what the file holds, taken back and rounded, is the plate; or it is not written."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from plates import natural

from bitexpand import color
from bitexpand.code_values import SOURCE_KINDS, Codes, Floats, Storage, peak
from bitexpand.encoding import Encoding, decode_alpha, encode_alpha
from bitexpand.errors import GuardError, UsageError

quick = settings(deadline=None, max_examples=80)

PATHS = [
    None,
    ("ACEScct", "ACEScg"),
    ("ARRI LogC3 (EI800)", "Linear ARRI Wide Gamut 3"),
    ("ARRI LogC3 (EI800)", "ACEScg"),
    ("ACEScct", "Linear Rec.709 (sRGB)"),
    ("sRGB - Texture", "ACEScg"),
    ("ACEScg", "ACEScct"),
    ("ACEScct", "ACES2065-1"),
    ("sRGB - Texture", "ACEScct"),
]
STORAGES: list[Storage] = ["half", "float", "uint16"]


@functools.cache
def conversion(path: tuple[str, str] | None) -> color.Conversion | None:
    return path and color.conversion(color.load_config(color.PINNED_CONFIG), *path)


def moved(encoding: Encoding, codes: Codes, seed: int) -> Floats:
    """Return values anywhere inside the bins, their very limits included."""
    limits, random = encoding.limits(), np.random.default_rng(seed)
    lower, upper = limits.lower[codes], limits.upper[codes]
    share = random.uniform(-0.3, 1.3, codes.shape).clip(0, 1).astype(np.float32)
    return (lower + share * (upper - lower)).clip(lower, upper)


def saturated(bits: int, seed: int) -> Codes:
    """Return pixels whose channels are black, white or anything."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, peak(bits) + 1, (13, 17, 3))
    extreme = random.uniform(size=codes.shape)
    codes[extreme < 0.3], codes[extreme > 0.7] = 0, peak(bits)
    return codes.astype(np.uint16)


def returned(encoding: Encoding, pixels: np.ndarray) -> np.ndarray:
    """Take file samples back to code values by other means than ``Encoding``'s, as float64."""
    signal = pixels.astype(np.float64) / (65535 if pixels.dtype == np.uint16 else 1)
    if encoding.conversion:
        signal = encoding.conversion.invert(signal.astype(np.float32)).astype(np.float64)
    return signal * peak(encoding.bits)


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    storage, path = draw(st.sampled_from(STORAGES)), draw(st.sampled_from(PATHS))
    encoding = Encoding(draw(st.sampled_from([8, 10, 12])), storage, conversion=conversion(path))
    try:
        encoding.limits()
    except UsageError:
        assume(False)
    return encoding


@quick
@given(encodings(), st.integers(0, 2**32), st.sampled_from(["natural", "saturated"]))
def test_every_sample_comes_back_or_nothing_is_written(encoding: Encoding, seed: int, kind: str) -> None:
    make = functools.partial(natural, 13, 17, 3) if kind == "natural" else saturated
    codes = make(bits=encoding.bits, seed=seed)
    try:
        pixels = encoding.encode(moved(encoding, codes, seed), codes)
    except GuardError:
        event(f"{kind} refused")
        assert encoding.conversion is not None, "without a conversion every file can hold its bins"
        return
    event(f"{kind} written")
    assert np.isfinite(pixels).all()
    back_cv = returned(encoding, pixels)
    assert np.array_equal(np.floor(back_cv + 0.5).clip(0, peak(encoding.bits)), codes)
    assert np.abs(back_cv - codes).max() <= 1, "open bins do not end anywhere"
    faults = encoding.compare(pixels, codes)
    assert (faults.samples, faults.mismatched, faults.not_finite) == (codes.size, 0, 0)
    assert faults.largest_move == pytest.approx(np.abs(back_cv - codes).max(), abs=1e-3)


@quick
@given(
    st.sampled_from(PATHS[:3]),
    st.sampled_from([8, 10]),
    st.sampled_from(["half", "float"]),
    st.integers(0, 99),
)
def test_log_and_the_cameras_own_linear_never_refuse(
    path: tuple[str, str] | None, bits: int, storage: Storage, seed: int
) -> None:
    encoding = Encoding(bits, storage, conversion=conversion(path))
    assert not (encoding.conversion and encoding.conversion.mixes_channels)
    for codes in (natural(13, 17, 3, bits, seed), saturated(bits, seed)):
        assert not encoding.compare(encoding.encode(moved(encoding, codes, seed), codes), codes).mismatched


@quick
@given(st.sampled_from([p for p in PATHS if p]), st.sampled_from([8, 10, 12]), st.integers(0, 99))
def test_natural_plates_are_never_refused_in_float(path: tuple[str, str], bits: int, seed: int) -> None:
    encoding = Encoding(bits, "float", conversion=conversion(path))
    codes = natural(13, 17, 3, bits, seed)
    assert not encoding.compare(encoding.encode(moved(encoding, codes, seed), codes), codes).mismatched


@quick
@given(
    st.sampled_from([0.1, 0.3, 0.7, 1.5, 4.0]),
    st.sampled_from([8, 10]),
    st.sampled_from(["half", "float"]),
    st.sampled_from(PATHS[:3]),
    st.integers(0, 99),
)
def test_any_bound_is_kept_in_the_file(
    bound: float, bits: int, storage: Storage, path: tuple[str, str] | None, seed: int
) -> None:
    encoding = Encoding(bits, storage, bound, conversion(path))
    codes = natural(13, 17, 3, bits, seed)
    try:
        expanded_cv = moved(encoding, codes, seed)
    except UsageError:
        assume(False)
    pixels = encoding.encode(expanded_cv, codes)
    back_cv = returned(encoding, pixels)
    assert np.abs(back_cv - codes).max() <= bound + 0.011
    faults = encoding.compare(pixels, codes)
    assert (faults.mismatched, faults.not_finite) == (0, 0)
    # the plate moved further than a narrower bound allows
    assert replace(encoding, bound=bound / 2).compare(pixels, codes).mismatched


@quick
@given(encodings(), st.sampled_from(["truncated", "dithered", "triangular", "lossy"]), st.integers(0, 2**32))
def test_every_source_kind_is_kept_in_the_file(encoding: Encoding, name: str, seed: int) -> None:
    kind = SOURCE_KINDS[name]
    encoding = replace(encoding, kind=kind, bound=kind.half_width)
    codes = natural(13, 17, 3, encoding.bits, seed)
    codes[:2], codes[2:4] = 0, peak(encoding.bits)
    try:
        pixels = encoding.encode(moved(encoding, codes, seed), codes)
    except GuardError:
        return
    assert encoding.compare(pixels, codes).mismatched == 0
    back_cv = returned(encoding, pixels)
    slack = 0.02
    assert (back_cv >= codes.astype(float) - max(kind.below, 0.5 * (name == "truncated")) - slack).all()
    assert (back_cv <= codes + kind.above + slack).all()
    if name == "truncated":
        whole = codes < peak(encoding.bits)
        assert np.array_equal(np.floor(back_cv.clip(0)[whole] + 1e-4), codes[whole])


def test_a_bound_below_the_bin_also_asks_for_equal_code_values() -> None:
    encoding, codes = Encoding(8, "float", 0.495), np.full((1, 1, 1), 100, np.uint16)
    pixels = np.full((1, 1, 1), 100.501 / 255, np.float32)  # beyond the bin, within the bound's tolerance
    assert encoding.compare(pixels, codes).mismatched == 1


def test_a_grey_plate_stays_one_channel_unless_the_conversion_mixes() -> None:
    codes = natural(13, 17, 1)
    for path, channels in ((None, 1), (("ACEScct", "ACEScg"), 1), (("ACEScct", "Linear Rec.709 (sRGB)"), 3)):
        encoding = Encoding(8, "float", conversion=conversion(path))
        pixels = encoding.encode(moved(encoding, codes, 1), codes)
        assert pixels.shape == (13, 17, channels) == (13, 17, encoding.channels(1))
        assert np.array_equal(
            np.floor(returned(encoding, np.repeat(pixels, 3, 2)[..., :3]) + 0.5)[..., :1], codes
        )


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_each_channel_of_a_grey_plate_is_compared(channel: int) -> None:
    encoding = Encoding(8, "float", conversion=conversion(("ACEScct", "Linear Rec.709 (sRGB)")))
    codes = natural(13, 17, 1)
    pixels = encoding.encode(codes.astype(np.float32), codes)
    pixels[5, 6, channel] *= 1.5
    assert encoding.compare(pixels, codes).mismatched >= 1


def test_many_rows_are_encoded_as_few_are() -> None:
    encoding, codes = Encoding(8, "half", conversion=conversion(("ACEScct", "ACEScg"))), natural(300, 9)
    expanded_cv = moved(encoding, codes, 0)
    whole = encoding.encode(expanded_cv, codes)
    rows = [encoding.encode(expanded_cv[i : i + 1], codes[i : i + 1]) for i in range(300)]
    assert np.array_equal(whole, np.concatenate(rows))


def test_what_half_cannot_hold_after_mixing_moves_back_towards_the_source() -> None:
    encoding = Encoding(8, "half", conversion=conversion(("sRGB - Texture", "ACEScg")))
    codes = (
        np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(1, -1, 3)[:, :, :].astype(np.uint16)
    )
    expanded_cv = encoding.limits().upper[codes]
    with np.errstate(all="raise"):
        naive = conversion(("sRGB - Texture", "ACEScg"))
        assert naive is not None
        unrepaired = naive.apply(expanded_cv / np.float32(255)).astype(np.float16)
    broken = encoding.compare(unrepaired, codes).mismatched
    assert broken > 0, "otherwise there is nothing to repair"
    fits = [
        i for i in range(codes.shape[1]) if _fits(encoding, expanded_cv[:, i : i + 1], codes[:, i : i + 1])
    ]
    kept, kept_cv = codes[:, fits], expanded_cv[:, fits]
    assert encoding.compare(unrepaired[:, fits], kept).mismatched > 0
    assert encoding.compare(encoding.encode(kept_cv, kept), kept).mismatched == 0


def _fits(encoding: Encoding, expanded_cv: Floats, codes: Codes) -> bool:
    try:
        encoding.encode(expanded_cv, codes)
    except GuardError:
        return False
    return True


def test_an_overflow_of_half_is_never_written() -> None:
    # White in LogC4 is 469.8, and in this space a hundred times that: beyond 65504.
    encoding = Encoding(8, "half", conversion=_Amplify())  # pyright: ignore[reportArgumentType]
    codes = np.full((2, 2, 3), 255, np.uint16)
    with pytest.raises(GuardError, match="4 pixels do not come back .* half samples; use --depth float"):
        encoding.encode(codes.astype(np.float32), codes)
    assert encoding.compare(np.full((2, 2, 3), np.inf, np.float16), codes).not_finite == 12
    assert replace(encoding, storage="float").encode(codes.astype(np.float32), codes).max() == 1e6


class _Amplify(color.Conversion):
    """Multiplies by a million, and clips on the way back, as a display transform would."""

    def __init__(self) -> None:
        self.is_identity, self.mixes_channels = False, False

    def apply(self, plate: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return plate * np.float32(1e6)

    def invert(self, plate: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return (plate / np.float32(1e6)).clip(0, 1)


def test_scene_linear_does_not_fit_integers() -> None:
    encoding, codes = Encoding(8, "uint16", conversion=conversion(("ACEScct", "ACEScg"))), natural(13, 17)
    with pytest.raises(GuardError, match=re.escape("uint16 samples; integers hold 0 to 1 only: write .exr")):
        encoding.encode(codes.astype(np.float32), codes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 5.0, -0.01])
@pytest.mark.parametrize("code", [0, 100, 255])
def test_foul_samples_are_seen_in_every_bin(value: float, code: int) -> None:
    codes = np.full((3, 4, 3), code, np.uint16)
    pixels = (codes / 255).astype(np.float32)
    pixels[1, 2, 0] = value
    for bound in (0.3, 0.5, 2.0):
        faults = Encoding(8, "float", bound).compare(pixels, codes)
        assert faults.mismatched == 1
        assert faults.not_finite == (not np.isfinite(value))
        assert np.isfinite(faults.largest_move)


@quick
@given(st.sampled_from([8, 10, 12, 16]), st.sampled_from(STORAGES), st.integers(0, 2**32))
def test_alpha_comes_back_or_is_refused(bits: int, storage: Storage, seed: int) -> None:
    alpha = np.random.default_rng(seed).integers(0, peak(bits) + 1, (9, 7, 1)).astype(np.uint16)
    alpha[0, 0], alpha[0, 1] = 0, peak(bits)
    if storage == "half" and bits > 11:
        with pytest.raises(GuardError, match=f"too coarse for a {bits}-bit alpha; use --depth float"):
            encode_alpha(alpha, bits, storage)
        return
    pixels = encode_alpha(alpha, bits, storage)
    assert np.array_equal(decode_alpha(pixels, bits), alpha)
    assert pixels[0, 0] == 0
    assert pixels[0, 1] == (65535 if storage == "uint16" else 1)


def test_foul_alpha_is_not_the_source() -> None:
    foul = np.array([[[np.nan], [np.inf], [3e38], [-1.0]]], np.float32)
    assert not np.isin(decode_alpha(foul, 8), np.arange(256)).any()
