"""Clipped crops: flat where they were clipped, untouched elsewhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.clipping import CRUSHED, NOISE, clip, crush

SEEDS = st.integers(0, 2**32)


def crop(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 60, (16, 16, 3)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_each_channel_is_limited_on_one_side_and_else_as_it_was(seed: int) -> None:
    before = crop(seed)
    after = clip(np.random.default_rng(seed), before)
    assert after.dtype == np.float32
    for channel in range(3):
        a, b = before[..., channel], after[..., channel]
        moved = b - a
        assert (moved >= -1e-4).all() or (moved <= 1e-4).all()
        order = np.argsort(a, axis=None)
        assert (np.diff(b.ravel()[order]) >= -1e-4).all()  # what was brighter still is, or is equal
        limit = b.min() if moved.max() > -moved.min() else b.max()
        far = np.abs(b - limit) > 20
        assert np.abs(moved[far]).max(initial=0) < 0.01


def test_half_of_the_limits_are_corners_and_half_have_a_toe() -> None:
    def has_toe(seed: int) -> bool:
        after = clip(np.random.default_rng(seed), crop(seed))[..., 0]
        ends = (after - after.min(), after.max() - after)
        return any(np.sum((end > 1e-4) & (end < 0.05)) > 2 for end in ends)

    assert 0.2 < np.mean([has_toe(seed) for seed in range(200)]) < 0.6


def test_blacks_and_whites_are_clipped_often_at_whole_code_values() -> None:
    darker, whole = [], []
    for seed in range(200):
        before = crop(seed)
        moved = clip(np.random.default_rng(seed), before) - before
        if np.abs(moved).max() > 12:  # so far below its limit a toe is as flat as a corner
            darker.append(moved.min() < -12)
            value = (before + moved)[np.abs(moved) == np.abs(moved).max()][0]
            whole.append(abs(value - round(float(value))) < 1e-3)
    assert 0.3 < np.mean(darker) < 0.5
    assert 0.3 < np.mean(whole) < 0.5


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([1e-3, 1.0, 100.0]))
def test_the_darkest_part_lies_at_black_and_none_below(seed: int, brightest: float) -> None:
    before = np.random.default_rng(seed).uniform(0, brightest, (32, 32, 3)).astype(np.float32)
    kept = before.copy()
    after = crush(np.random.default_rng(seed), before)
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    assert np.array_equal(before, kept)
    assert after.min() >= 0
    order = np.argsort(before.max(axis=2), axis=None)
    darkest = after.reshape(-1, 3)[order[: order.size * CRUSHED[0] // 100]]
    assert np.median(darkest) < 2 * NOISE[1]


def test_black_is_often_clipped_noise_and_else_as_smooth_as_the_noise() -> None:
    before = np.linspace(0, 0.5, 48 * 48 * 3, dtype=np.float32).reshape(48, 48, 3)
    shares = [np.mean(crush(np.random.default_rng(seed), before) == 0) for seed in range(200)]
    assert 0.3 < np.mean(np.array(shares) > 0.01) < 0.7
