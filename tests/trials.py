"""Trials of the quality benchmark for tests, and methods whose gains are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.trial import Trial
from bitexpand.code_values import Floats


class Nothing:
    """Leaves every plate as it is."""

    name = "nothing"

    def expand(self, trials: Sequence[Trial]) -> list[Floats]:
        return [trial.untouched_cv for trial in trials]


class Truth:
    """Knows the answer."""

    name = "truth"

    def expand(self, trials: Sequence[Trial]) -> list[Floats]:
        return [trial.truth_cv for trial in trials]


def small_trial(seed: int = 0, height: int = 40, width: int = 56) -> Trial:
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 3))
    plate_cv = (100 + noise.cumsum(0).cumsum(1) / 20).astype(np.float32)
    return Trial.rounded("group", f"folder/plate_{seed}", plate_cv)
