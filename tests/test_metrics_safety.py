"""Safety: what is in its bin, what rounds back, and what a second run of the model changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural

from bitexpand.code_values import Floats, peak
from bitexpand.encoding import Encoding
from bitexpand.engine import Expander
from bitexpand.errors import PlateError
from bitexpand.metrics.safety import Safety, idempotence, safety

pytestmark = pytest.mark.usefixtures("one_thread")

quick = settings(deadline=None, max_examples=30)


def moved(bits: int, largest: float, seed: int = 0) -> tuple[Floats, Floats]:
    """A plate whose samples lie up to ``largest`` LSB away from their code values, and these."""
    source_cv = natural(12, 17, bits=bits, seed=seed).astype(np.float32)
    away = np.random.default_rng(seed).uniform(-largest, largest, source_cv.shape)
    return (source_cv + away).astype(np.float32), source_cv


@quick
@given(st.sampled_from([8, 10, 12]), st.floats(0.01, 3), st.integers(0, 99))
def test_every_sample_is_judged_by_its_distance(bits: int, largest: float, seed: int) -> None:
    result_cv, source_cv = moved(bits, largest, seed)
    found = safety(result_cv, source_cv.astype(np.uint16), bits)
    away = np.abs(result_cv - source_cv)
    assert found.samples == result_cv.size
    assert found.in_bin == (away <= 0.5).sum()
    assert found.largest_move == away.max()
    assert found.not_finite == 0
    expected = [round(min(max(math.floor(v + 0.5), 0), peak(bits))) for v in result_cv.flat]
    assert found.matched == (np.array(expected) == source_cv.reshape(-1)).sum()


def test_the_source_itself_is_safe() -> None:
    source_cv = moved(8, 0)[1]
    found = safety(source_cv, source_cv, 8)
    assert (found.in_bin_share, found.match_share, found.largest_move) == (1, 1, 0)


def test_black_and_white_match_beyond_the_range_though_out_of_their_bins() -> None:
    source_cv = np.array([0, 0, 255, 255], np.float32).reshape(2, 2, 1)
    found = safety(source_cv + np.array([-0.4, -0.8, 0.4, 0.8], np.float32).reshape(2, 2, 1), source_cv, 8)
    assert (found.match_share, found.in_bin_share) == (1, 0.5)


def test_the_upper_edge_is_in_the_bin_but_rounds_away() -> None:
    source_cv = np.full((1, 2, 1), 7, np.float32)
    found = safety(source_cv + np.array([-0.5, 0.5], np.float32).reshape(1, 2, 1), source_cv, 8)
    assert (found.in_bin, found.matched) == (2, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_counted_and_match_nothing(value: float) -> None:
    # Inf clips to white, and white is what the source has there
    source_cv = np.full((2, 2, 3), 0 if value < 0 else 255, np.float32)
    result_cv = source_cv.copy()
    result_cv[0, 0] = value
    found = safety(result_cv + np.float32(0.25), source_cv, 8)
    assert found == Safety(samples=12, in_bin=9, matched=9, not_finite=3, largest_move=0.25)
    assert safety(np.full_like(source_cv, value), source_cv, 8) == Safety(12, 0, 0, 12, 0.0)


def test_frames_pool_to_what_their_stack_gives() -> None:
    plates = [moved(8, largest, seed) for seed, largest in enumerate((0.4, 0.9, 2))]
    pooled = sum((safety(*pair, 8) for pair in plates), Safety(0, 0, 0, 0, 0.0))
    result_cv, source_cv = (np.concatenate(side) for side in zip(*plates, strict=True))
    assert pooled == safety(result_cv, source_cv, 8)


def test_another_size_is_refused() -> None:
    result_cv, source_cv = moved(8, 0.4)
    with pytest.raises(PlateError, match=r"the result is 12x17x3 .* and the source 11x17x3"):
        safety(result_cv, source_cv[1:], 8)


# --- idempotence


@pytest.fixture(scope="module")
def expander(tiny: str) -> Expander:
    return Expander(tiny, device="cpu")


@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (8, 1), (10, 3)])
def test_what_the_model_made_it_makes_again(expander: Expander, bits: int, channels: int) -> None:
    codes = natural(20, 24, channels, bits=bits)
    result_cv = expander.expand(codes, bits)
    assert np.abs(result_cv - codes).max() > 0.01  # or there would be nothing to repeat
    assert idempotence(expander, result_cv, bits) == 0


def test_a_half_float_file_is_off_by_its_rounding_only(expander: Expander) -> None:
    codes = natural(20, 24)
    encoding = Encoding(8, "half")
    stored = encoding.encode(expander.expand_frame(codes, encoding.limits()).plate_cv, codes)
    # near white a step of half is an eighth of an LSB, by which its bins are narrower, too
    assert 0 < idempotence(expander, encoding.decode(stored), 8) < 255 * 2**-11


def test_what_was_altered_or_made_by_another_setting_is_found(expander: Expander, tiny: str) -> None:
    result_cv = expander.expand(natural(20, 24), 8)
    altered_cv = result_cv.copy()
    altered_cv[5, 5, 1] += 0.2 if result_cv[5, 5, 1] < np.rint(result_cv[5, 5, 1]) else -0.2
    assert idempotence(expander, altered_cv, 8) == pytest.approx(0.2, abs=1e-4)
    weaker = Expander(tiny, device="cpu", strength=0.5)
    expected = np.abs(result_cv - natural(20, 24)).max() / 2
    assert idempotence(weaker, result_cv, 8) == pytest.approx(expected, rel=1e-3)


def test_the_bound_of_the_run_is_kept(expander: Expander) -> None:
    result_cv = expander.expand(natural(20, 24), 8, bound=0.1)
    assert idempotence(expander, result_cv, 8, bound=0.1) == 0
    assert idempotence(expander, result_cv, 8) > 0.01


def test_idempotence_of_nan_or_of_no_picture_is_refused(expander: Expander) -> None:
    result_cv = expander.expand(natural(20, 24), 8)
    with pytest.raises(PlateError, match=r"the result has shape \(20, 24\)"):
        idempotence(expander, result_cv[..., 0], 8)
    result_cv[0, 0, 0] = np.nan
    with pytest.raises(PlateError, match="the result holds 1 samples that are NaN or Inf"):
        idempotence(expander, result_cv, 8)
