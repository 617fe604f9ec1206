"""What the README claims of quality, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.command_line import CommandLine
from benchmarks.quality.plates import ACESCCT, cg_trials
from benchmarks.quality.trial import mean_gain, outcomes, worst_gain

CARD_GAIN = {"half": 6.28, "float": 6.36}  # dB, mean of the plates, as the model's card says


@pytest.mark.parametrize("depth", ["half", "float"])
def test_the_default_model_gains_what_its_card_says(depth: str, tmp_path: Path) -> None:
    measured = outcomes(CommandLine("pyramid", tmp_path, "results", depth), cg_trials(ACESCCT))
    assert mean_gain(measured) == pytest.approx(CARD_GAIN[depth], abs=0.02)
    assert worst_gain(measured) > 3
    # Doing nothing: the variance of a value uniform in its bin (Bennett, Bell System Technical Journal 27, 1948).
    before = [o.errors.before.sum() / o.errors.samples.sum() for o in measured]
    assert np.mean(before) == pytest.approx(1 / 12, rel=0.02)
