"""Crops: cut where they may be, nothing but moved where they are not zoomed, ramps still ramps where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training import crops
from training.augmentation import Augmentation

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=60)
SEEDS = st.integers(0, 2**32)


def numbered(height: int, width: int) -> np.ndarray:
    """Return a plate that tells where each sample comes from."""
    return np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3)


def ramp(side: int, across: float, down: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.repeat((across * x + down * y)[..., None], 3, axis=2)


@quick
@given(SEEDS, st.integers(8, 40), st.integers(8, 40), st.integers(1, 8), st.booleans(), st.booleans())
def test_an_unzoomed_crop_is_a_piece_of_the_plate(
    seed: int, height: int, width: int, size: int, flip: bool, transpose: bool
) -> None:
    plate = numbered(height, width)
    aug = Augmentation(flip=flip, transpose=transpose)
    crop = crops.cut(np.random.default_rng(seed), plate, None, size, aug)
    assert crop is not None
    assert crop.shape == (size, size, 3)
    rows, columns = np.divmod(crop[..., 0].astype(int) // 3, width)
    pixels = sorted(zip(rows.ravel(), columns.ravel(), strict=True))
    top, left = pixels[0]
    assert pixels == [(y, x) for y in range(top, top + size) for x in range(left, left + size)]
    assert np.array_equal(crop, plate[rows, columns])
    if not flip and not transpose:
        assert np.array_equal(crop, plate[top : top + size, left : left + size])


def test_all_eight_orientations_occur() -> None:
    def seen(aug: Augmentation) -> set[bytes]:
        random = np.random.default_rng(0)
        return {np.asarray(crops.cut(random, numbered(4, 4), None, 4, aug)).tobytes() for _ in range(100)}

    assert len(seen(Augmentation())) == 8
    assert len(seen(Augmentation(transpose=False))) == 4
    assert len(seen(Augmentation(flip=False))) == 2
    assert len(seen(Augmentation(flip=False, transpose=False))) == 1


@quick
@given(
    SEEDS,
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from([1 / 16, 0.5, 1, 3, 16]),
)
def test_a_plate_of_any_size_gives_a_crop(seed: int, height: int, width: int, size: int, zoom: float) -> None:
    plate = np.full((height, width, 3), 0.25, np.float32)
    aug = Augmentation(zoom=(min(zoom, 0.7), max(zoom, 1.3)))
    crop = crops.cut(np.random.default_rng(seed), plate, None, size, aug)
    assert crop is not None
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.float32
    np.testing.assert_allclose(crop, 0.25, atol=1e-6)


def test_integer_plates_are_scaled_and_the_file_is_not_written(tmp_path: Path) -> None:
    np.save(tmp_path / "plate.npy", np.full((9, 9, 3), 65535, np.uint16))
    crop = crops.cut(
        np.random.default_rng(0), np.load(tmp_path / "plate.npy", mmap_mode="r"), None, 4, Augmentation()
    )
    assert crop is not None
    assert (crop == 1).all()
    crop *= 2  # memory of its own: a mapped file would refuse
    np.save(tmp_path / "plate.npy", numbered(4, 4))
    crop = crops.cut(
        np.random.default_rng(0), np.load(tmp_path / "plate.npy", mmap_mode="r"), None, 4, Augmentation()
    )
    assert crop is not None
    crop *= 2


@quick
@given(SEEDS, st.integers(3, 12))
def test_no_crop_holds_unknown_pixels(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    unknown = np.zeros((24, 30), bool)
    unknown[random.integers(0, 24, 3), random.integers(0, 30, 3)] = True
    plate = np.where(unknown[..., None], np.float32(-9), np.float32(0.5)) * np.ones(3, np.float32)
    crop = crops.cut(random, plate, unknown, size, Augmentation(zoom=(0.5, 2)))
    assert crop is None or crop.min() > 0


def test_a_plate_without_a_known_window_gives_none() -> None:
    plate, unknown = numbered(9, 9), np.ones((9, 9), bool)
    assert crops.cut(np.random.default_rng(0), plate, unknown, 4, Augmentation()) is None
    unknown[:4, :4] = False
    drawn = [crops.cut(np.random.default_rng(seed), plate, unknown, 4, Augmentation()) for seed in range(200)]
    found = [crop for crop in drawn if crop is not None]
    assert 0 < len(found) < 200  # 8 tries at 36 places
    assert all(np.array_equal(np.sort(crop, None), np.sort(plate[:4, :4], None)) for crop in found)


def test_half_of_the_crops_are_not_zoomed_and_the_others_even_on_a_log_scale() -> None:
    random = np.random.default_rng(0)
    zooms = np.array([crops.draw_zoom(random, (0.25, 4)) for _ in range(4000)])
    assert np.mean(zooms == 1) == pytest.approx(0.5, abs=0.03)
    drawn = np.log2(zooms[zooms != 1])
    assert -2 <= drawn.min() < -1.9
    assert 1.9 < drawn.max() <= 2
    assert np.histogram(drawn, 4)[0] / drawn.size == pytest.approx(np.full(4, 0.25), abs=0.04)


def test_one_is_not_drawn_where_it_is_not_allowed() -> None:
    random = np.random.default_rng(0)
    assert all(2 <= crops.draw_zoom(random, (2, 4)) <= 4 for _ in range(100))
    assert {crops.draw_zoom(random, (1, 1)) for _ in range(20)} == {1.0}


@quick
@given(st.integers(1, 60), st.integers(1, 60), st.floats(-6, 6), st.floats(-6, 6))
def test_zoomed_by_area_a_ramp_stays_a_ramp(size: int, more: int, across: float, down: float) -> None:
    side = size + more
    zoomed = crops.resample(ramp(side, across, down), size)
    places = ((np.arange(size) + 0.5) * side / size - 0.5).astype(np.float32)
    expected = across * places[None, :] + down * places[:, None]
    np.testing.assert_allclose(zoomed, np.repeat(expected[..., None], 3, 2), atol=1e-3)


@quick
@given(st.integers(1, 40), st.integers(1, 40), SEEDS)
def test_zoomed_by_area_the_mean_stays(size: int, more: int, seed: int) -> None:
    window_log = np.random.default_rng(seed).random((size + more, size + more, 3), np.float32)
    zoomed = crops.resample(window_log, size)
    np.testing.assert_allclose(zoomed.mean((0, 1)), window_log.mean((0, 1)), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_by_whole_factors_area_is_what_torch_does(factor: int) -> None:
    window_log = np.random.default_rng(0).random((6 * factor, 6 * factor, 3), np.float32)
    torchs = F.interpolate(torch.from_numpy(window_log).permute(2, 0, 1)[None], size=(6, 6), mode="area")
    np.testing.assert_allclose(crops.resample(window_log, 6), torchs[0].permute(1, 2, 0).numpy(), atol=1e-6)


@quick
@given(st.integers(2, 40), st.integers(1, 90), st.floats(-6, 6))
def test_zoomed_up_a_ramp_stays_a_ramp(side: int, more: int, slope: float) -> None:
    size = side + more
    zoomed = crops.resample(ramp(side, slope, -slope), size)
    places = ((np.arange(size) + 0.5) * side / size - 0.5).astype(np.float32)
    expected = np.repeat((slope * (places[None, :] - places[:, None]))[..., None], 3, 2)
    np.testing.assert_allclose(zoomed, expected, atol=1e-3)


def test_zoomed_up_three_times_the_pixels_between_stay() -> None:
    window_log = np.random.default_rng(0).random((9, 9, 3), np.float32)
    np.testing.assert_allclose(crops.resample(window_log, 27)[1::3, 1::3], window_log, atol=1e-6)


def test_inside_bicubic_is_keys_as_torch_has_it_elsewhere() -> None:
    """With antialias=True, which changes nothing but a to -1/2 where a plate grows."""
    window_log = np.random.default_rng(0).random((12, 12, 3), np.float32)
    window = torch.from_numpy(window_log).permute(2, 0, 1)[None]
    torchs = F.interpolate(window, size=(29, 29), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(crops.resample(window_log, 29)[6:-6, 6:-6], torchs[6:-6, 6:-6], atol=1e-5)


def test_at_the_same_size_nothing_changes() -> None:
    window_log = np.random.default_rng(0).random((7, 7, 3), np.float32)
    assert crops.resample(window_log, 7) is window_log
