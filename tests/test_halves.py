"""Half numbers are NumPy's to the bit, whatever converts them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand import compiled
from bitexpand.halves import from_half, to_half

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


@pytest.fixture(params=[False, True])
def converter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(compiled, "instruction_sets", tuple)
    elif len(compiled.instruction_sets()) < 2:
        pytest.skip("nothing of it is compiled")


def same(a: npt.NDArray, b: npt.NDArray) -> bool:
    """NaN is NaN, whichever; all else is equal to the bit."""
    return bool(((a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}")) | (np.isnan(a) & np.isnan(b))).all())


@pytest.mark.usefixtures("converter")
def test_every_half_there_and_back() -> None:
    wide = from_half(HALVES)
    assert wide.dtype == np.float32
    assert same(wide, HALVES.astype(np.float32))
    assert same(to_half(wide), HALVES)


@pytest.mark.usefixtures("converter")
def test_halfway_between_two_to_the_even_one() -> None:
    wide = HALVES[np.isfinite(HALVES)].astype(np.float32)
    between = np.concatenate([(wide[:-1] + wide[1:]) / 2, [65519, 65520, 1e9, -1e9, 1e-9, 5.9e-8]]).astype(
        np.float32
    )
    for values in (between, np.nextafter(between, np.inf), np.nextafter(between, -np.inf)):
        with np.errstate(over="ignore"):
            assert same(to_half(values), values.astype(np.float16))


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(0, 9), st.integers(0, 9))
def test_any_shape_and_layout(seed: int, height: int, width: int) -> None:
    values = (
        np.random.default_rng(seed).normal(0, 100, (width, height, 3)).astype(np.float32).transpose(1, 0, 2)
    )
    assert np.array_equal(to_half(values), values.astype(np.float16))
    assert np.array_equal(from_half(to_half(values)), values.astype(np.float16).astype(np.float32))
