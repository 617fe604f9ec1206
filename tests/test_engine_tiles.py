"""The engine on large frames: one truth for all tiles, and small ones where memory is short."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_models import Hungry, Nudge, expander_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural

from bitexpand import engine
from bitexpand.code_values import bins, peak, requantise
from bitexpand.engine import Expander
from bitexpand.errors import (
    MemoryShortageError,
)

quick = settings(deadline=None, max_examples=40)


@quick
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([8, 12]), st.sampled_from([68, 80]))
def test_tiles_stay_in_the_bins_to_the_last_digit(height: int, width: int, bits: int, tile: int) -> None:
    expander = expander_of(Nudge(), tile)
    codes = natural(height, width, 3, bits)
    limits = bins(bits)
    expanded_cv = expander.expand_frame(codes, limits).plate_cv
    slack = np.spacing(np.float32(peak(bits)))
    assert (expanded_cv >= limits.lower[codes] - slack).all()
    assert (expanded_cv <= limits.upper[codes] + slack).all()
    assert 0 <= expanded_cv.min() <= expanded_cv.max() <= peak(bits)


def test_tiled_equals_untiled() -> None:
    codes = natural(150, 211).astype(np.uint8)
    whole_cv = expander_of(Nudge(), tile=212).expand(codes)
    tiled_cv = expander_of(Nudge(), tile=68).expand(codes)
    np.testing.assert_allclose(tiled_cv, whole_cv, rtol=0, atol=1e-4)


def test_what_is_seen_from_afar_is_tiled_too() -> None:
    codes = np.full((530, 420, 3), 100, np.uint8)
    codes[:, 200:] += 1
    whole, tiled = Hungry(1 << 20, MemoryError()), Hungry(100 * 100, MemoryError())
    whole.sees_afar = tiled.sees_afar = True
    whole_cv, tiled_cv = expander_of(whole).expand(codes), expander_of(tiled, tile=68).expand(codes)
    assert len(whole.seen) == 2, "the frame, and the view from afar"
    assert max(max(seen.shape) for seen in tiled.seen) <= 80
    np.testing.assert_allclose(tiled_cv, whole_cv, rtol=0, atol=1e-4)


def test_the_shipped_network_shows_no_tiles() -> None:
    codes = natural(290, 1080)[..., :1].astype(np.uint8)
    whole_cv = Expander("pyramid", device="cpu", tile=1152).expand(codes)
    tiled_cv = Expander("pyramid", device="cpu", tile=896).expand(codes)
    assert np.array_equal(requantise(whole_cv), codes)
    assert np.abs(whole_cv - codes).mean() > 0.05
    assert np.abs(tiled_cv - whole_cv).max() < 0.01, "the promise is 0.02"


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_is_tried_once_more_in_smaller_tiles(error: Exception) -> None:
    codes = natural(160, 160).astype(np.uint8)
    module = Hungry(100 * 100, error)
    expanded_cv = expander_of(module).expand(codes)
    sides = [seen.shape[-1] for seen in module.seen]
    assert sides[0] == 160
    assert len(sides) > 4
    assert max(sides[1:]) <= 80
    np.testing.assert_allclose(expanded_cv, expander_of(Nudge()).expand(codes), atol=1e-4)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_in_small_tiles_too_is_an_error(error: Exception) -> None:
    module = Hungry(0, error)
    with pytest.raises(MemoryShortageError, match="frame of 150x160, .* smaller --tile, fewer --threads"):
        expander_of(module).expand(np.zeros((160, 150, 3), np.uint8))
    assert len(module.seen) == 2


def test_out_of_memory_in_the_smallest_tile_is_an_error_at_once() -> None:
    module = Hungry(0, MemoryError())
    with pytest.raises(MemoryShortageError):
        expander_of(module, tile=68).expand(np.zeros((60, 60, 3), np.uint8))
    assert len(module.seen) == 1


@pytest.mark.parametrize("limit", [0, 100 * 100])
def test_other_errors_of_a_model_are_not_taken_for_a_lack_of_memory(limit: int) -> None:
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match") as caught:
        expander_of(Hungry(limit, error)).expand(np.zeros((160, 160, 3), np.uint8))
    assert caught.value.__cause__ is None


def test_a_large_frame_is_cut_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Nudge()
    monkeypatch.setattr(engine, "_ACTIVATION_BUDGET", 6000 * module.bytes_per_pixel)
    expanded_cv = expander_of(module).expand(natural(150, 150).astype(np.uint8))
    assert expanded_cv.shape == (150, 150, 3)
    assert len(module.seen) > 4
    assert max(seen.shape[-1] * seen.shape[-2] for seen in module.seen) <= 6000
