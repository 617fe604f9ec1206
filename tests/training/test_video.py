"""H.264 there and back, by a real ffmpeg."""

from __future__ import annotations

import numpy as np
import pytest

from bitexpand.errors import BitexpandError
from training.video import h264_frame


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.rint(np.stack([x / 3 + 40, y / 4 + 60, (x + y) / 9 + 50], -1)).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (37, 51)])
def test_a_frame_comes_back_near_what_it_was_and_without_bias(size: tuple[int, int]) -> None:
    plate = ramp(*size)
    for crf, near in ((10, 1.0), (23, 2.0)):
        decoded = h264_frame(plate, crf)
        assert decoded.shape == plate.shape
        assert decoded.dtype == np.float32
        assert np.array_equal(decoded, np.rint(decoded))
        error = decoded - plate
        assert 0 < np.abs(error).mean() < near
        assert np.abs(error.mean((0, 1))).max() < 0.5


def test_a_coarser_rate_factor_loses_more() -> None:
    plate = np.random.default_rng(0).integers(80, 120, (64, 64, 3)).astype(np.uint8)
    fine, coarse = (np.abs(h264_frame(plate, crf) - plate).mean() for crf in (1, 40))
    assert coarse > 1.2 * fine


def test_what_ffmpeg_says_is_told() -> None:
    with pytest.raises(BitexpandError, match="ffmpeg, which makes crops of kind 'h264', failed: "):
        h264_frame(ramp(16, 16)[:, :0], 20)
