"""Clipped crops: flat where they were clipped, untouched elsewhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.clipping import clip

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
        changed = a != b
        if changed.any():
            assert len(np.unique(b[changed])) == 1
            limit = b[changed][0]
            assert (b >= limit).all() or (b <= limit).all()


def test_blacks_and_whites_are_clipped_often_at_whole_code_values() -> None:
    darker, whole = [], []
    for seed in range(200):
        before = crop(seed)
        moved = clip(np.random.default_rng(seed), before) - before
        if moved.any():
            darker.append(moved.min() < 0)
            value = (before + moved)[moved != 0][0]
            whole.append(abs(value - round(float(value))) < 1e-3)
    assert 0.3 < np.mean(darker) < 0.5
    assert 0.3 < np.mean(whole) < 0.5
