"""Areas at black or white: beside an edge they stay as they are; slow ramps and grain keep their moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitexpand import native
from bitexpand.clipped import CELL, REACH, calm
from bitexpand.code_values import SOURCE_KINDS, bins, peak, source_kind

quick = settings(deadline=None, max_examples=40)
LIMITS = bins(8)
MOVE = 0.375  # LSB, a number that float32 adds to any code value without rounding
SYMMETRIC = [name for name, kind in SOURCE_KINDS.items() if kind.middle == 0]

seeds = st.integers(0, 2**32)
kinds = st.sampled_from(sorted(SOURCE_KINDS))


def areas(seed: int, height: int, width: int, bits: int = 8) -> Tensor:
    """Return int32 (3, H, W) code values: ramps, edges and grain around black or white, and areas beyond."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    plate = np.empty((3, height, width))
    for channel in plate:
        slope = random.choice([0.01, 0.05, 0.2, 1.0])
        channel[:] = random.choice([0, peak(bits)]) + slope * (x * random.normal() + y * random.normal())
        channel += random.choice([0, 0, 0.3, 2.0]) * random.normal(size=channel.shape)
        top, left = random.integers(0, height), random.integers(0, width)
        channel[top : top + height // 2, left : left + width // 2] = random.choice([0, 100, peak(bits)])
    return torch.from_numpy(np.rint(plate.clip(0, peak(bits))).astype(np.int32))


def estimate_of(codes: Tensor, seed: int, spread: float) -> Tensor:
    """Return float32 estimates of code values, off by ``spread`` LSB RMS."""
    noise = np.random.default_rng(seed).normal(0, spread, tuple(codes.shape))
    return codes + torch.from_numpy(noise.astype(np.float32))


def ramp_into(end: int, width: int) -> Tensor:
    """Return int32 (1, 40, 160) codes of a ramp of 1 LSB in ``width`` px that is at the end from column 80 on."""
    steps = torch.div(79 - torch.arange(160), width, rounding_mode="floor") + 1
    return (end - steps.clamp(min=0)).abs().to(torch.int32).expand(1, 40, -1).contiguous()


@quick
@given(seeds, kinds, st.sampled_from([4, 8, 10, 12]), st.sampled_from([0.01, 1.0, 1e6]))
def test_moves_only_get_smaller(seed: int, kind: str, bits: int, spread: float) -> None:
    codes = areas(seed, 61, 90, bits)
    estimate_cv = estimate_of(codes, seed, spread)
    calmed_cv = calm(codes, estimate_cv, bins(bits, kind=source_kind(kind)))
    assert (torch.minimum(codes, estimate_cv) <= calmed_cv).all()
    assert (calmed_cv <= torch.maximum(codes, estimate_cv)).all()
    elsewhere = (codes != 0) & (codes != peak(bits))
    assert torch.equal(calmed_cv[elsewhere], estimate_cv[elsewhere])


@pytest.mark.parametrize("kind", sorted(SOURCE_KINDS))
@pytest.mark.parametrize("end", [0, 255])
def test_beside_an_edge_every_sample_of_the_area_stays_as_it_is(kind: str, end: int) -> None:
    codes = torch.full((3, 64, 64), 120, dtype=torch.int32)
    codes[:, 17:58, 21:50] = end
    estimate_cv = codes + MOVE
    calmed_cv = calm(codes, estimate_cv, bins(8, kind=source_kind(kind)))
    if kind == "truncated" and end == 0:  # code 0 stands for 0 .. 1
        assert torch.equal(calmed_cv, estimate_cv)
        return
    inside = (slice(None), slice(18, 57), slice(22, 49))
    assert torch.equal(calmed_cv[inside], codes[inside].float())
    rim_cv = (calmed_cv - codes)[codes == end]
    assert rim_cv.abs().max() <= MOVE / 4, (
        "of cells that are cut by the rim, the outermost samples keep a part"
    )
    assert torch.equal(calmed_cv[codes != end], estimate_cv[codes != end])


@pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler")
@quick
@given(seeds, kinds, st.integers(1, 70), st.integers(1, 90))
def test_compiled_it_is_the_same(seed: int, kind: str, height: int, width: int) -> None:
    codes, limits = areas(seed, height, width), bins(8, kind=source_kind(kind))
    estimate_cv = estimate_of(codes, seed, 0.3)
    expected_cv = calm(codes, estimate_cv, limits)  # integers are left to PyTorch
    beside = torch.cat([estimate_cv, torch.zeros(3, height, 9)], 2)
    side_by_side = estimate_cv.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for given_cv in (estimate_cv.clone(), beside[..., :width], side_by_side):
        calmed_cv = calm(codes.float(), given_cv, limits)
        torch.testing.assert_close(calmed_cv, expected_cv, atol=1e-4, rtol=0)
    assert not beside[..., width:].any()


@pytest.mark.parametrize("end", [0, 255])
def test_a_frame_that_is_all_black_or_white_stays_so(end: int) -> None:
    codes = torch.full((1, 50, 30), end, dtype=torch.int32)
    assert torch.equal(calm(codes, codes + MOVE, LIMITS), codes.float())


@pytest.mark.parametrize("end", [0, 255])
@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_a_slow_ramp_is_followed_on_its_way_and_ends_clean(end: int, width: int) -> None:
    codes = ramp_into(end, width)
    moves_cv = calm(codes, codes + MOVE, LIMITS) - codes
    assert (moves_cv[..., : 80 + min(width // 3, 30)] == MOVE).all()
    assert (moves_cv[..., 80 + 42 :] == 0).all()


@pytest.mark.parametrize("end", [0, 255])
@pytest.mark.parametrize("width", [5, 8, 13, 16, 32, 64, 128])
def test_moves_fade_out_without_an_edge(end: int, width: int) -> None:
    codes = ramp_into(end, width)
    moves_cv = calm(codes, codes + MOVE, LIMITS) - codes
    assert moves_cv[..., 80:].diff().abs().max() <= MOVE / 12 + 1e-4, "a third of it in a cell of 4 px"


@quick
@given(seeds, kinds, st.sampled_from([0, 255]))
def test_grain_at_an_end_keeps_its_moves(seed: int, kind: str, end: int) -> None:
    random = np.random.default_rng(seed)
    codes = torch.full((3, 48, 52), end, dtype=torch.int32)
    for top in range(0, 48, CELL):
        for left in range(0, 52, CELL):
            codes[:, top + random.integers(CELL), left + random.integers(CELL)] = abs(
                end - random.integers(1, 9)
            )
    estimate_cv = estimate_of(codes, seed, 0.2)
    assert torch.equal(calm(codes, estimate_cv, bins(8, kind=source_kind(kind))), estimate_cv)


@pytest.mark.parametrize("end", [0, 255])
def test_faint_specks_in_an_area_keep_the_moves_around_them(end: int) -> None:
    codes = torch.full((1, 64, 64), end, dtype=torch.int32)
    codes[:, 6::12, 6::12] = abs(end - 1)
    estimate_cv = codes + MOVE
    assert torch.equal(calm(codes, estimate_cv, LIMITS), estimate_cv)


@pytest.mark.parametrize("kind", ["lossy", "triangular", "dithered"])
def test_what_noise_or_loss_may_do_is_no_edge(kind: str) -> None:
    limits = bins(8, kind=source_kind(kind))
    codes = torch.full((1, 64, 64), 255, dtype=torch.int32)
    codes[:, 30, 30] = 254 - int(limits.bound)
    assert calm(codes, codes - MOVE, limits)[0, 40, 30] == 255 - MOVE
    codes[:, 30, 30] -= 1
    assert calm(codes, codes - MOVE, limits)[0, 40, 30] == 255


@quick
@given(seeds, st.sampled_from(SYMMETRIC))
def test_white_is_black_turned_round(seed: int, kind: str) -> None:
    limits = bins(8, kind=source_kind(kind))
    codes = areas(seed, 45, 66)
    moves = torch.from_numpy(np.random.default_rng(seed).integers(-64, 65, (3, 45, 66)) / 128).float()
    turned_cv = 255 - calm(255 - codes, 255 - (codes + moves), limits)
    torch.testing.assert_close(calm(codes, codes + moves, limits), turned_cv, rtol=0, atol=1e-4)


@quick
@given(seeds, kinds, st.integers(0, 12), st.integers(0, 12))
def test_a_tile_says_the_same_as_the_frame(seed: int, kind: str, top: int, left: int) -> None:
    codes = areas(seed, 290, 310)
    estimate_cv = estimate_of(codes, seed, 0.3)
    limits = bins(8, kind=source_kind(kind))
    window = (slice(None), slice(top * CELL, None), slice(left * CELL, 280))
    tiled_cv = calm(codes[window], estimate_cv[window], limits)
    inner = (slice(None), slice(REACH if top else 0, None), slice(REACH if left else 0, -REACH))
    whole_cv = calm(codes, estimate_cv, limits)[window]
    torch.testing.assert_close(tiled_cv[inner], whole_cv[inner], rtol=0, atol=1e-4)


@quick
@given(seeds, st.integers(1, 11), st.integers(1, 11), st.sampled_from([0, 255]))
def test_frames_of_any_size(seed: int, height: int, width: int, end: int) -> None:
    codes = areas(seed, height, width)
    codes[0] = end
    calmed_cv = calm(codes, codes + MOVE, LIMITS)
    assert calmed_cv.shape == codes.shape
    assert calmed_cv.dtype == torch.float32
    assert (calmed_cv[0] == end).all()


def test_channels_do_not_touch_each_other() -> None:
    codes = areas(3, 80, 80)
    estimate_cv = estimate_of(codes, 3, 0.3)
    alone_cv = torch.cat([calm(codes[i : i + 1], estimate_cv[i : i + 1], LIMITS) for i in range(3)])
    torch.testing.assert_close(calm(codes, estimate_cv, LIMITS), alone_cv, rtol=0, atol=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so_for_the_guard_to_see(bad: float) -> None:
    codes = torch.full((1, 32, 32), 255, dtype=torch.int32)
    estimate_cv = codes.float()
    estimate_cv[0, 16, 16] = bad
    assert not torch.isfinite(calm(codes, estimate_cv, LIMITS)[0, 16, 16])


def test_a_frame_without_black_and_white_is_not_touched() -> None:
    codes = areas(0, 40, 40).clamp(1, 254)
    estimate_cv = codes + MOVE
    assert calm(codes, estimate_cv, LIMITS) is estimate_cv
