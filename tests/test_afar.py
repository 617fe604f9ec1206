"""Wide bands: what is flat is seen from farther away, what is not stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.quality.ramps import ramp
from bitexpand import afar, native
from bitexpand.afar import CELL, SMALLEST, View, view
from bitexpand.code_values import requantise
from bitexpand.engine import Expander
from bitexpand.metrics.fidelity import psnr

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=25)
STEP_REACH = 2 * CELL - CELL // 2  # px beside a step that nothing changes


def blurred(plate_cv: Tensor) -> Tensor:
    """Estimate a plate as a network of a short sight does."""
    return F.avg_pool2d(F.pad(plate_cv, (8, 8, 8, 8), mode="replicate"), 17, 1)


def plateaus(seed: int, height: int, width: int) -> Tensor:
    """Return (1, 3, H, W) code values of a few rectangles."""
    random = np.random.default_rng(seed)
    plate = np.full((3, height, width), 100.0, np.float32)
    for channel in plate:
        for _ in range(random.integers(0, 4)):
            top, left = random.integers(0, height), random.integers(0, width)
            channel[top : top + height // 2, left : left + width // 2] += random.integers(-2, 3)
    return torch.from_numpy(plate)[None]


# Beside an edge bands end before their width can be seen: of 128 px the near view alone mends nearly as much.
@pytest.mark.parametrize(
    ("model", "width", "edge", "gain", "least"),
    [
        ("pyramid", 128, False, 5, 12),
        ("pyramid", 128, True, 0, 8),
        ("pyramid", 256, False, 5, 12),
        ("pyramid", 256, True, 2, 5.5),
        ("dequant-unet", 256, False, 3, 5),
        ("dequant-unet", 256, True, 1.5, 3),
    ],
)
def test_bands_wider_than_the_networks_sight_are_mended(
    model: str, width: int, edge: bool, gain: float, least: float
) -> None:
    truth_cv = ramp(width, 20, edge=edge)
    codes_cv = requantise(truth_cv)
    near, far = Expander(model, device="cpu"), Expander(model, device="cpu")
    near._module.sees_afar = False
    before, after = (
        psnr(e.expand(codes_cv.astype(np.uint8)), truth_cv, 255) - psnr(codes_cv, truth_cv, 255)
        for e in (near, far)
    )
    assert after > before + gain
    assert after > least


@quick
@given(st.integers(0, 999), st.integers(250, 300), st.integers(256, 300))
def test_beside_steps_and_on_small_plates_nothing_changes(seed: int, height: int, width: int) -> None:
    plate_cv = plateaus(seed, height, width)
    estimate_cv = plate_cv + 0.3
    seen = view(plate_cv, blurred)
    if height < SMALLEST:
        assert seen is None
        return
    assert seen is not None
    assert seen.share.min() >= 0
    assert seen.share.max() == 1
    blended_cv = seen.blended(plate_cv, estimate_cv)
    window = 2 * STEP_REACH + 1
    highest, lowest = (F.max_pool2d(s * plate_cv, window, 1, STEP_REACH) for s in (1, -1))
    beside = highest + lowest > 0
    assert torch.equal(blended_cv[beside], estimate_cv[beside])


def test_grain_is_not_looked_at_from_afar() -> None:
    grain_cv = torch.randint(100, 103, (1, 3, 300, 300), generator=torch.Generator().manual_seed(0)).float()

    def refuse(_: Tensor) -> Tensor:
        raise AssertionError

    assert view(grain_cv, refuse) is None


@quick
@given(st.integers(0, 999), st.integers(0, 40), st.integers(0, 40), st.integers(1, 150), st.integers(1, 150))
def test_a_tile_is_a_piece_of_the_whole(seed: int, top: int, left: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    share = torch.rand(1, 3, 75, 76, generator=random) * (torch.rand(1, 1, 75, 1, generator=random) > 0.8)
    seen = View(share, torch.rand(share.shape, generator=random))
    plate_cv = torch.rand(1, 3, 299, 302, generator=random)
    whole_cv = seen.blended(plate_cv, torch.zeros_like(plate_cv))
    window = (..., slice(4 * top, 4 * top + height), slice(4 * left, 4 * left + width))
    piece_cv = seen.blended(plate_cv[window], torch.zeros_like(plate_cv[window]), 4 * top, 4 * left)
    torch.testing.assert_close(piece_cv, whole_cv[window], atol=1e-5, rtol=0)


@pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler")
@quick
@given(st.integers(0, 999), st.integers(0, 40), st.integers(0, 40), st.integers(1, 150), st.integers(1, 150))
def test_compiled_it_is_the_same(seed: int, top: int, left: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    share = torch.rand(1, 3, 75, 76, generator=random) * (torch.rand(1, 1, 75, 1, generator=random) > 0.5)
    seen = View(share, torch.rand(share.shape, generator=random))
    plate_cv, estimate_cv = torch.rand(2, 1, 3, 299, 302, generator=random)
    window = (..., slice(4 * top, 4 * top + height), slice(4 * left, 4 * left + width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "available", lambda: False)
        expected_cv = seen.blended(plate_cv[window], estimate_cv[window].clone(), 4 * top, 4 * left)
    blended_cv = seen.blended(plate_cv[window], estimate_cv[window].clone(), 4 * top, 4 * left)
    torch.testing.assert_close(blended_cv, expected_cv, atol=1e-5, rtol=0)


@pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler")
@quick
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 90), st.integers(1, 4), st.integers(1, 3))
def test_compiled_steps_are_found_where_they_are(
    seed: int, height: int, width: int, channels: int, threads: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    plate_cv = torch.rand(1, channels, height, width, generator=random).gt(0.97).float()
    extremes = plate_cv, plate_cv - torch.rand(plate_cv.shape, generator=random).gt(0.98).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "available", lambda: False)
        expected = afar._share(*extremes)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(afar._share(*extremes), expected)
    finally:
        torch.set_num_threads(before)


@quick
@given(st.integers(0, 999), st.integers(1, 90), st.integers(1, 90))
def test_growth_is_that_of_max_pooling(seed: int, height: int, width: int) -> None:
    cells = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(afar._grown(cells), F.max_pool2d(cells, 3, 1, 1))


class Afar(nn.Module):
    """What exports trace."""

    def forward(self, plate_cv: Tensor) -> Tensor:
        seen = view(plate_cv, blurred)
        return plate_cv if seen is None else seen.blended(plate_cv, plate_cv + 0)


@pytest.mark.filterwarnings("ignore")
def test_a_trace_looks_as_often_as_the_plate_is_large() -> None:
    with torch.no_grad():
        traced: Any = torch.jit.trace(Afar(), torch.zeros(1, 3, 150, 200), check_trace=False)
        for height, width in ((150, 200), (255, 400), (256, 257), (1030, 1024)):
            plate_cv = torch.from_numpy(requantise(ramp(200, 20, side=1030))).permute(2, 0, 1)[None]
            plate_cv = plate_cv[..., :height, :width].contiguous()
            expected_cv = Afar()(plate_cv)
            torch.testing.assert_close(traced(plate_cv), expected_cv, atol=1e-4, rtol=0)
            assert torch.equal(expected_cv, plate_cv) is (height < SMALLEST)
