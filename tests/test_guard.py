"""The guard: whatever a model says, what leaves is finite and inside its bin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bitexpand import native
from bitexpand.code_values import Bins, Storage, bins, peak
from bitexpand.errors import GuardError, UsageError
from bitexpand.guard import Guard

quick = settings(deadline=None, max_examples=60)
CPU = torch.device("cpu")
STORAGES: list[Storage] = ["half", "float", "uint16"]


@st.composite
def limits(draw: st.DrawFn) -> Bins:
    bits, storage = draw(st.sampled_from([2, 8, 10, 12])), draw(st.sampled_from(STORAGES))
    bound = draw(st.sampled_from([0.1, 0.5, 0.7, 2.0]))
    try:
        return bins(bits, bound, storage)
    except UsageError:
        assume(False)
        raise


def samples(bits: int, seed: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return code values, black and white among them, and wild estimates of them."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, peak(bits) + 1, (3, 8, 9), np.uint16)
    codes[:, 0, 0], codes[:, 0, 1] = 0, peak(bits)
    estimate_cv = codes + random.normal(0, spread, codes.shape)
    return torch.from_numpy(codes), torch.from_numpy(estimate_cv.astype(np.float32))


@quick
@given(limits(), st.integers(0, 2**32), st.sampled_from([0.2, 1.0, 1e6, 1e37]))
def test_what_leaves_is_inside_its_bin(limits: Bins, seed: int, spread: float) -> None:
    codes, estimate_cv = samples(limits.bits, seed, spread)
    guarded_cv = Guard(limits, CPU)(codes, estimate_cv).numpy()
    assert guarded_cv.dtype == np.float32
    assert (guarded_cv >= limits.lower[codes.numpy()]).all()
    assert (guarded_cv <= limits.upper[codes.numpy()]).all()
    assert guarded_cv.min() >= 0
    assert guarded_cv.max() <= peak(limits.bits)


@pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler")
@quick
@given(limits(), st.integers(0, 2**32), st.sampled_from([0.2, 1.0, 1e6, 1e37]), st.booleans())
def test_compiled_it_is_the_same_to_the_bit(limits: Bins, seed: int, spread: float, planar: bool) -> None:
    codes, estimate_cv = samples(limits.bits, seed, spread)
    if planar:  # as the engine has it
        estimate_cv = estimate_cv.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    guards = [Guard(limits, CPU) for _ in range(2)]
    guarded_cv = guards[0](codes, estimate_cv)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "available", lambda: False)
        assert torch.equal(guards[1](codes, estimate_cv), guarded_cv)
        by_numpy = guards[1].report(codes.numpy(), guarded_cv.numpy())
    compiled = guards[0].report(codes.numpy(), guarded_cv.numpy())
    assert (compiled.clamped_share, compiled.largest_move) == (by_numpy.clamped_share, by_numpy.largest_move)
    assert compiled.mean_move == pytest.approx(by_numpy.mean_move, rel=1e-5)


@quick
@given(limits(), st.integers(0, 2**32))
def test_strength_goes_from_the_source_to_the_clamped_estimate(limits: Bins, seed: int) -> None:
    codes, estimate_cv = samples(limits.bits, seed, 1.0)
    whole_cv = Guard(limits, CPU, 1.0)(codes, estimate_cv)
    half_cv = Guard(limits, CPU, 0.5)(codes, estimate_cv)
    assert torch.equal(Guard(limits, CPU, 0.0)(codes, estimate_cv), codes.float())
    inside = (estimate_cv >= torch.from_numpy(limits.lower[codes.numpy()])) & (
        estimate_cv <= torch.from_numpy(limits.upper[codes.numpy()])
    )
    assert torch.equal(whole_cv[inside], estimate_cv[inside])
    torch.testing.assert_close(half_cv, (codes.float() + whole_cv) / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_result_that_is_not_finite_is_an_error(value: float) -> None:
    codes, estimate_cv = samples(8, 0, 0.3)
    estimate_cv[1, 2, 3] = value
    with pytest.raises(GuardError, match="1 of 216 samples are not finite"):
        Guard(bins(8), CPU)(codes, estimate_cv)


def test_outer_bins_are_open_but_do_not_leave_the_range() -> None:
    codes = torch.tensor([0, 0, 255, 255], dtype=torch.int32)
    guarded_cv = Guard(bins(8), CPU)(codes, torch.tensor([-3.0, 0.3, 254.8, 300.0]))
    torch.testing.assert_close(guarded_cv, torch.tensor([0.0, 0.3, 254.8, 255.0]))


def test_the_report_counts_over_all_tiles() -> None:
    guard = Guard(bins(8), CPU)
    codes = torch.full((1, 2, 2), 100, dtype=torch.uint16)
    first_cv = guard(codes, torch.tensor([[[100.0, 100.2], [107.0, 99.9]]]))
    second_cv = guard(codes, torch.full((1, 2, 2), 100.1))
    report = guard.report(torch.cat([codes, codes]).numpy(), torch.cat([first_cv, second_cv]).numpy())
    assert report.clamped_share == 1 / 8
    assert report.largest_move == pytest.approx(0.499, abs=1e-4)
    assert report.mean_move == pytest.approx((0.2 + 0.499 + 0.1 + 0.4) / 8, abs=1e-4)


def test_an_empty_frame_has_an_empty_report() -> None:
    report = Guard(bins(8), CPU).report(np.empty((0, 0, 3), np.uint16), np.empty((0, 0, 3), np.float32))
    assert (report.clamped_share, report.largest_move, report.mean_move) == (0, 0, 0)
