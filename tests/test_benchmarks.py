"""What the README claims of quality, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import PLATES, gains

CARD_GAIN = {"half": 5.79, "float": 5.87}  # dB, mean of the plates, as the model's card says


@pytest.mark.parametrize("depth", ["half", "float"])
def test_the_default_model_gains_what_its_card_says(depth: str, tmp_path: Path) -> None:
    errors = np.array(gains(sorted(PLATES.glob("*.exr")), "pyramid", depth, tmp_path))
    gain = 10 * np.log10(errors[:, 0] / errors[:, 1])
    assert gain.mean() == pytest.approx(CARD_GAIN[depth], abs=0.02)
    assert gain.min() > 3
    # Doing nothing: the variance of a value uniform in its bin (Bennett, Bell System Technical Journal 27, 1948).
    assert errors[:, 0].mean() == pytest.approx(1 / 12, rel=0.02)
