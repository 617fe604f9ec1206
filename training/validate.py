"""Gains on the validation plates, in the middle of training: rounded to 8 bits, clamped to the bin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

from bitexpand.code_values import HALF_BIN, Floats, peak, requantise
from bitexpand.metrics.strata import STRATA, Errors, errors
from bitexpand.models.base import PlateModel, estimate_cv
from training.dataset import WholePlate

BITS = 8


@torch.inference_mode()
def expand(module: PlateModel, plate_cv: Floats, device: torch.device) -> Floats:
    """Return (H, W, 3) float32 ``plate_cv``, 8-bit code values, expanded within their bins; untiled, in LSB."""
    below, right = (-size % module.grid for size in plate_cv.shape[:2])
    plate = torch.from_numpy(plate_cv).permute(2, 0, 1)[None].to(device)
    padded = F.pad(plate, (0, right, 0, below), mode="replicate")
    padded = padded.contiguous(memory_format=torch.channels_last)
    estimate = estimate_cv(module, padded, peak(BITS))[..., : plate_cv.shape[0], : plate_cv.shape[1]]
    lower, upper = (plate - HALF_BIN).clamp_min(0), (plate + HALF_BIN).clamp_max(peak(BITS))
    return torch.minimum(torch.maximum(estimate, lower), upper)[0].permute(1, 2, 0).cpu().numpy()


def validate(module: PlateModel, plates: Iterable[WholePlate], device: torch.device) -> dict[str, Errors]:
    """Return the errors on each plate, by its name, of a model in eval mode."""
    found = {}
    for row, truth_cv, known in plates:
        input_cv = requantise(truth_cv)
        found[row.name] = errors(input_cv, expand(module, input_cv, device), truth_cv, known)
    return found


def mean_gain(by_plate: Mapping[str, Errors]) -> float:
    """Return the mean over plates of the gain in dB; plates without an error to begin with do not count."""
    gains = [e.gain() for e in by_plate.values() if not np.isnan(e.gain())]
    return float(np.mean(gains)) if gains else 0.0


def pooled_gains(by_plate: Mapping[str, Errors]) -> dict[str, float]:
    """Return the gain in dB of the error of all plates together, for "all" and each stratum that has samples."""
    total = sum(by_plate.values(), Errors())
    gains = {"all": total.gain()} | {stratum: total.gain(stratum) for stratum in STRATA}
    return {name: gain for name, gain in gains.items() if not np.isnan(gain)}
