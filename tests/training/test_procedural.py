"""Procedural scenes: smooth below a step of 8 bits, of every kind, and never quantised."""

from __future__ import annotations

import numpy as np
import pytest

from bitexpand.code_values import from_signal
from bitexpand.metrics.strata import STRATA, strata
from training.procedural import SAME_LIGHT, SLOW, SLOW_RAMPS, scene

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT, SIZE = 160, 64


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([scene(np.random.default_rng(seed), SIZE) for seed in range(COUNT)])


def test_scenes_are_signals(scenes: np.ndarray) -> None:
    assert scenes.dtype == np.float32
    assert scenes.shape == (COUNT, SIZE, SIZE, 3)
    assert scenes.min() >= 0
    assert scenes.max() <= 1
    assert np.mean((scenes == 0) | (scenes == 1)) < 0.02  # clipped parts teach nothing


@pytest.mark.parametrize("size", [16, 37, 200])
def test_any_size_can_be_had(size: int) -> None:
    for seed in range(8):
        assert scene(np.random.default_rng(seed), size).shape == (size, size, 3)


def test_a_seed_is_a_scene(scenes: np.ndarray) -> None:
    assert np.array_equal(scene(np.random.default_rng(7), SIZE), scenes[7])
    assert len({picture.tobytes() for picture in scenes}) == COUNT


def test_nothing_is_quantised(scenes: np.ndarray) -> None:
    scenes_cv = from_signal(scenes, 8)
    fractions = np.histogram(scenes_cv % 1, 8, (0, 1))[0] / scenes_cv.size
    assert fractions == pytest.approx(np.full(8, 1 / 8), abs=0.04)
    levels = [np.unique(picture).size for picture in scenes]
    assert np.median(levels) > 2048


def test_a_fifth_are_ramps_of_at_most_16_steps_a_canvas(scenes: np.ndarray) -> None:
    """A plane has no second differences; channels differ by a tint of up to 40 %."""
    scenes_cv = from_signal(scenes, 8).astype(np.float64)
    bent = [np.abs(np.diff(scenes_cv, 2, axis)).max((1, 2, 3)) for axis in (1, 2)]
    planes = scenes_cv[(bent[0] < 1e-3) & (bent[1] < 1e-3)]
    assert SLOW_RAMPS / 2 * 0.5 < len(planes) / COUNT < SLOW_RAMPS
    slopes = np.hypot(planes[:, -1, 0] - planes[:, 0, 0], planes[:, 0, -1] - planes[:, 0, 0]) / (SIZE - 1)
    assert slopes.min() > SLOW[0] / SIZE * 0.55
    assert slopes.max() < SLOW[1] / SIZE * 1.45
    angles = np.arctan2(planes[:, -1, 0, 0] - planes[:, 0, 0, 0], planes[:, 0, -1, 0] - planes[:, 0, 0, 0])
    assert len(np.unique(np.round(angles))) >= 5


def test_behind_an_edge_of_paint_the_same_ramp_goes_on(scenes: np.ndarray) -> None:
    """Seen in the corners, at most of which there is no edge: one slope, two levels."""
    scenes_cv = from_signal(scenes, 8).astype(np.float64)
    corners = np.stack([scenes_cv[:, y : y + 4, x : x + 4] for y in (0, SIZE - 4) for x in (0, SIZE - 4)], 1)
    down, right = (np.diff(corners, axis=axis).mean((2, 3)) for axis in (2, 3))  # (N, 4, 3) LSB a pixel
    far = (SIZE - 4) * np.array([(y, x) for y in (0, 1) for x in (0, 1)])
    goes_on = np.zeros(COUNT, bool)
    for k in range(4):
        same = [np.isclose(slopes, slopes[:, k : k + 1], atol=1e-5).all(2) for slopes in (down, right)]
        plane = corners[:, k, None, 0, 0] + (far - far[k]) @ np.stack([down[:, k], right[:, k]], 1)
        jumps = np.abs(corners[:, :, 0, 0] - plane).max(2) > 2
        goes_on |= (same[0] & same[1] & jumps).any(1)
    assert SLOW_RAMPS / 2 * SAME_LIGHT / 2 < goes_on.mean() < SLOW_RAMPS


def test_every_stratum_is_there_and_most_is_smooth(scenes: np.ndarray) -> None:
    labels = np.concatenate([strata(from_signal(picture, 8)).ravel() for picture in scenes])
    shares = dict(zip(STRATA, np.bincount(labels, minlength=len(STRATA)) / labels.size, strict=True))
    assert all(share > 0.005 for share in shares.values()), shares
    assert shares["flat"] + shares["smooth"] > 0.35


def test_edges_are_anti_aliased(scenes: np.ndarray) -> None:
    """Nothing jumps over its whole height from one pixel to the next but lines, which are few."""
    flat = from_signal(scenes, 8)[..., 1]
    jumps = np.abs(np.diff(flat, axis=2))
    around = np.abs(flat[:, :, 3:] - flat[:, :, :-3])
    tall = around[:, :, 0:] > 40
    alone = tall & (jumps[:, :, 1:-1] > 0.97 * around)
    assert tall.sum() > 500
    assert alone.sum() / tall.sum() < 0.05
