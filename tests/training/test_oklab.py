"""Oklab: published colours, exact greys, and no seam that a gradient could trip over."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.color import TOE, oklab, to_oklab

quick = settings(deadline=None, max_examples=25)


def lab(*signal: float) -> list[float]:
    color = torch.tensor(signal, dtype=torch.float64).reshape(1, 3, 1, 1)
    return to_oklab(color).flatten().tolist()


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        # as in the sample conversions of CSS Color Module Level 4 (W3C)
        ((1, 1, 1), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab_of_the_primaries(signal: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert lab(*signal) == pytest.approx(expected, abs=2e-5)


@quick
@given(st.integers(1, 255))
def test_oklab_of_8_bit_greys_is_the_cube_root_of_their_light(code: int) -> None:
    signal = code / 255
    light = signal / 12.92 if signal <= 0.04045 else ((signal + 0.055) / 1.055) ** 2.4
    assert lab(signal, signal, signal) == pytest.approx([light ** (1 / 3), 0, 0], abs=1e-6)


@quick
@given(st.tuples(*[st.floats(-0.1, 1.1)] * 3))
def test_oklab_goes_on_point_symmetrically_out_of_range(signal: tuple[float, float, float]) -> None:
    assert lab(*(-s for s in signal)) == pytest.approx([-value for value in lab(*signal)], abs=1e-12)


@pytest.mark.parametrize("signal", [TOE * 12.92, 0.04045])
def test_oklab_has_no_step_at_its_seams(signal: float) -> None:
    below, above = lab(*[signal - 1e-9] * 3), lab(*[signal + 1e-9] * 3)
    assert below == pytest.approx(above, abs=1e-6)


def test_the_oklab_loss_is_a_distance_from_black_to_white_of_one() -> None:
    black_cv, white_cv = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 1023.0)
    peak_cv = torch.full((1, 1, 1, 1), 1023.0)
    assert float(oklab(black_cv, white_cv, peak_cv)) == pytest.approx(1, abs=1e-5)
