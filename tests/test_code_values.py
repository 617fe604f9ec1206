"""Bins, containers and rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitexpand import code_values as cv
from bitexpand.errors import PlateError, UsageError

BITS = st.integers(cv.MIN_BITS, cv.MAX_BITS)


@given(bits=BITS)
def test_signal_and_back_keeps_every_code(bits: int) -> None:
    codes = np.arange(cv.peak(bits) + 1, dtype=np.uint16)
    signal = cv.to_signal(codes, bits)
    assert signal.min() == 0
    assert signal.max() == 1
    assert np.array_equal(cv.requantise(cv.from_signal(signal, bits)), codes)


@given(
    bits=st.integers(cv.MIN_BITS, 10), storage=st.sampled_from(["half", "float", "uint16"]), t=st.floats(0, 1)
)
def test_any_value_between_the_limits_survives_storage(bits: int, storage: cv.Storage, t: float) -> None:
    bins = cv.bins(bits, 0.5, storage)
    codes = np.arange(cv.peak(bits) + 1)
    between = bins.lower + np.float32(t) * (bins.upper - bins.lower)
    signal = cv.to_signal(between, bits)
    if storage == "uint16":
        back = np.rint(signal * 65535).astype(np.uint16).astype(np.float32) / 65535
    else:
        back = signal.astype(cv.STORAGE_DTYPE[storage]).astype(np.float32)
    assert np.array_equal(cv.requantise(cv.from_signal(back, bits)), codes)
    assert back.min() >= 0
    assert back.max() <= 1


def test_bins_are_wide_where_the_storage_allows() -> None:
    bins = cv.bins(8, 0.5, "float")
    assert np.allclose((bins.upper - bins.lower)[1:-1], 1, atol=3e-3)
    half = cv.bins(8, 0.5, "half")
    assert (half.upper - half.lower)[1:-1].min() > 0.85  # the half step near white is 0.12 LSB


def test_outer_bins_are_open_but_stay_in_range() -> None:
    bins = cv.bins(8, 0.5, "float")
    assert bins.lower[0] == 0
    assert bins.upper[0] > 0.49
    assert bins.upper[255] == 255
    assert bins.lower[255] < 254.51


@given(bits=BITS, bound=st.floats(0.01, 3))
def test_bound_is_never_exceeded(bits: int, bound: float) -> None:
    bins = cv.bins(bits, min(bound, cv.peak(bits)), "float")
    codes = np.arange(cv.peak(bits) + 1)
    assert (codes - bins.lower).max() <= bound
    assert (bins.upper - codes).max() <= bound


@given(truth=st.floats(0, 255, width=32))
def test_source_kinds_bound_what_they_name(truth: float) -> None:
    truth_cv = np.array([truth], np.float32)
    for name, code in (("rounded", cv.requantise(truth_cv)), ("truncated", np.floor(truth_cv))):
        kind = cv.SOURCE_KINDS[name]
        assert -kind.below <= (truth_cv - code)[0] <= kind.above


def test_source_kinds_are_one_table_that_cannot_be_changed() -> None:
    assert {name: (kind.below, kind.above) for name, kind in cv.SOURCE_KINDS.items()} == {
        "rounded": (0.5, 0.5),
        "truncated": (0, 1),
        "dithered": (1, 1),
        "triangular": (1.5, 1.5),
        "lossy": (4, 4),
    }
    assert all(kind.name == name for name, kind in cv.SOURCE_KINDS.items())
    with pytest.raises(TypeError, match="does not support item assignment"):
        cv.SOURCE_KINDS["rounded"] = cv.SourceKind("rounded", 9, 9)  # pyright: ignore[reportIndexIssue]


def test_half_cannot_hold_twelve_bits() -> None:
    with pytest.raises(
        UsageError, match="half samples are too coarse for 12-bit code values; use --depth float"
    ):
        cv.bins(12, 0.5, "half")


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), 1e9])
def test_bad_bound_is_refused(bound: float) -> None:
    with pytest.raises(UsageError, match="--bound"):
        cv.bins(8, bound)


@pytest.mark.parametrize("bits", [0, 1, 13, 16])
def test_bad_bits_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match="2 to 12 bits"):
        cv.bins(bits)


@given(bits=st.integers(8, 12))
def test_both_container_conventions_are_read(bits: int) -> None:
    codes = np.arange(cv.peak(bits) + 1, dtype=np.uint32)
    scaled = np.rint(codes * 65535 / cv.peak(bits)).astype(np.uint16)
    padded = (codes << (16 - bits)).astype(np.uint16)
    replicated = ((codes << (16 - bits)) | (codes >> (2 * bits - 16))).astype(np.uint16)
    for values in (scaled, padded, replicated):
        assert np.array_equal(cv.codes_in_container(values, 16, bits), codes)


def test_values_that_need_more_bits_are_refused() -> None:
    with pytest.raises(PlateError, match="do not fit 8 bits"):
        cv.codes_in_container(np.arange(0, 65535, 97, dtype=np.uint16), 16, 8)
