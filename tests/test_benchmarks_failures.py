"""Pictures of failures: the worst crop is found, all parts share a contrast, files stay small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import failures
from benchmarks.quality.trial import Trial

HEIGHT, WIDTH = failures.CROP


def trial(height: int = 400, width: int = 360) -> Trial:
    ramp = 100 + np.arange(width) / 32 + np.arange(height)[:, None] / 64
    return Trial.rounded("a", "ramp", np.repeat(ramp[..., None], 3, 2).astype(np.float32))


def test_the_crop_that_lost_most_is_shown() -> None:
    made = trial()
    result_cv = made.truth_cv.copy()
    result_cv[200 : 200 + HEIGHT, 150 : 150 + WIDTH] += 2
    shown = failures.picture(made, result_cv)
    assert shown.pixels.shape == (HEIGHT, 4 * WIDTH + 3 * failures.GAP, 3)
    assert shown.rise == pytest.approx(4, abs=0.2)
    assert shown.gain == pytest.approx(10 * np.log10(1 / 12 / 4), abs=0.5)
    red = shown.pixels[HEIGHT // 2, -WIDTH // 2]
    assert red[0] > 150 > red[1]


def test_what_won_everywhere_is_blue() -> None:
    made = trial()
    shown = failures.picture(made, made.truth_cv + np.float32(0.1) * (made.untouched_cv - made.truth_cv))
    assert shown.rise < 0
    assert shown.gain == pytest.approx(20, abs=0.1)
    pixels = failures.picture(made, made.truth_cv + np.float32(1e-4)).pixels
    assert pixels[HEIGHT // 2, -WIDTH // 2][2] > pixels[HEIGHT // 2, -WIDTH // 2][0]
    truth, result = pixels[:, :WIDTH], pixels[:, 2 * (WIDTH + failures.GAP) :][:, :WIDTH]
    assert np.abs(truth.astype(int) - result).max() <= 1


def test_a_picture_of_noise_is_a_small_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, 4 * WIDTH, 3)).astype(np.uint8)
    failures.write(tmp_path / "deep" / "noise.png", noise)
    assert (tmp_path / "deep" / "noise.png").stat().st_size <= failures.MOST_BYTES
    with Image.open(tmp_path / "deep" / "noise.png") as written:
        assert written.size == (4 * WIDTH, HEIGHT)


def test_the_slowest_ramp_and_the_plates_are_looked_at() -> None:
    known = list(failures.cases(None))
    assert {case.name for case in known} == {"slow_ramp", "slow_ramp_edge", "clean"}
    assert [case.trial.name for case in known if case.name == "slow_ramp"] == ["256/20"]
