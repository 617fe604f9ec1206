"""Gaussian grain of known strength on smooth plates, and the most that anyone can win there: the oracle's gain.

The oracle knows the plate without its grain, and that the sum lay in the bin. Its best guess is the mean of the
Gaussian around the noiseless value, cut to the bin. With white grain nothing that sees the code values alone can do
better; correlated grain tells a little more by its neighbours, which this oracle leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.quality import scenes
from benchmarks.quality.trial import Trial
from bitexpand.code_values import HALF_BIN, Floats
from bitexpand.metrics.strata import Errors
from training.grain import grain

SIGMAS = (0.1, 0.2, 0.35, 0.5, 1.0)  # LSB
BLURS = {"white": 0.0, "blurred 0.8 px": 0.8}  # px
SIDE = 384  # px


@dataclass(frozen=True)
class GrainTrial:
    """A trial with what the oracle knows.

    Attributes:
        trial: whose truth has the grain.
        plate_cv: float32 (H, W, 3) in LSB, the plate without it.
        sigma: of the grain in LSB.
    """

    trial: Trial
    plate_cv: Floats
    sigma: float

    def oracle_cv(self) -> Floats:
        """Return the oracle's guess, float32 (H, W, 3) in LSB."""
        return oracle(self.plate_cv, self.trial.codes.astype(np.float32), self.sigma)


def grain_trials(sigma: float, blur: float, side: int = SIDE) -> list[GrainTrial]:
    """Return smooth plates with grain, each channel's its own.

    Args:
        sigma: of the grain in LSB.
        blur: sigma in px of the Gaussian blur that the grain went through; 0 is white.
        side: of the square plates in px.
    """
    return [
        _with_grain(name, plate_cv, sigma, blur, seed)
        for seed, (name, plate_cv) in enumerate(scenes.smooth_plates(side).items())
    ]


def oracle(plate_cv: Floats, codes_cv: Floats, sigma: float) -> Floats:
    """Return the mean of Gaussians around ``plate_cv``, each cut to the bin of its code value.

    The mean of a normal variable between a and b is mu + sigma (pdf(a) - pdf(b)) / (cdf(b) - cdf(a)), a and b in
    sigmas from mu (Johnson, Kotz & Balakrishnan, "Continuous Univariate Distributions" 1, 1994).

    Args:
        plate_cv: float32, any shape, in LSB, without grain.
        codes_cv: float32, the same shape, whole code values.
        sigma: of the grain in LSB.
    """
    # by symmetry the bin may be looked at from the side where its share does not vanish beside 1
    offset = torch.from_numpy(codes_cv.astype(np.float64) - plate_cv)
    distance, side = offset.abs(), offset.sign()
    near, far = (distance - HALF_BIN) / sigma, (distance + HALF_BIN) / sigma
    share = _beyond(near) - _beyond(far)
    mean = sigma * (_density(near) - _density(far)) / share
    # beyond 37 sigmas nothing is left of the distribution: the edge of the bin is nearest
    mean = torch.where(share > 0, mean, distance - HALF_BIN)
    return (plate_cv + (side * mean).numpy()).astype(np.float32)


def all_grain_trials() -> dict[str, list[GrainTrial]]:
    """Return the trials of every strength and kind of grain, by what it is called."""
    return {
        f"{sigma:g} LSB, {name}": grain_trials(sigma, blur)
        for name, blur in BLURS.items()
        for sigma in SIGMAS
    }


def oracle_errors(trials: Sequence[GrainTrial]) -> Errors:
    """Return the errors of the oracle, of all trials together."""
    return sum((known.trial.errors(known.oracle_cv()) for known in trials), Errors())


def _with_grain(name: str, plate_cv: Floats, sigma: float, blur: float, seed: int) -> GrainTrial:
    side = plate_cv.shape[0]
    grain_cv = grain(np.random.default_rng(seed), side, sigma, blur, shared=False)
    path = f"{sigma:g}_{blur:g}/{name}"
    return GrainTrial(Trial.rounded("grain", path, plate_cv + grain_cv), plate_cv, sigma)


def _beyond(z: torch.Tensor) -> torch.Tensor:
    """Return how much of the normal distribution lies above z; torch's own ``ndtr(-z)`` is 0 from 9 on."""
    return torch.special.erfc(z / math.sqrt(2)) / 2


def _density(z: torch.Tensor) -> torch.Tensor:
    return torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
