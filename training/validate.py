"""Gains on the validation plates, in the middle of training: untiled, clamped to where the truth may lie."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

from bitexpand.code_values import Floats, peak
from bitexpand.metrics.strata import STRATA, Errors, errors
from bitexpand.models.base import PlateModel, estimate_cv
from training.augmentation import Augmentation, SourceKind
from training.dataset import WholePlate
from training.degrade import DEGRADATIONS, Degradation

BITS = 8  # of whole plates


@torch.inference_mode()
def expand(
    module: PlateModel, input_cv: Floats, kind: Degradation, device: torch.device, extra_bound: float = 0.0
) -> Floats:
    """Expand a plate without tiles, within the distance that its kind allows.

    Args:
        module: a model in eval mode.
        input_cv: float32 (H, W, 3), integer code values in LSB of the kind's bits.
        kind: what made them.
        device: of the model.
        extra_bound: LSB added to the distance.

    Returns:
        float32 (H, W, 3) in LSB.
    """
    below, right = (-size % module.grid for size in input_cv.shape[:2])
    plate = torch.from_numpy(input_cv).permute(2, 0, 1)[None].to(device)
    padded = F.pad(plate, (0, right, 0, below), mode="replicate")
    padded = padded.contiguous(memory_format=torch.channels_last)
    sides = (torch.full((1, 1, 1, 1), side, device=device) for side in (kind.truth.below, kind.truth.above))
    estimate = estimate_cv(module, padded, peak(kind.bits), *sides)
    estimate = estimate[..., : input_cv.shape[0], : input_cv.shape[1]]
    lower = (plate - kind.truth.below - extra_bound).clamp_min(0)
    upper = (plate + kind.truth.above + extra_bound).clamp_max(peak(kind.bits))
    return torch.minimum(torch.maximum(estimate, lower), upper)[0].permute(1, 2, 0).cpu().numpy()


def validate(
    module: PlateModel, plates: Iterable[WholePlate], augmentation: Augmentation, device: torch.device
) -> dict[str, Errors]:
    """Return the errors of a model in eval mode by plate and source kind, in LSB² of 8 bits.

    Each plate is made into code values by every kind of the augmentation that has a weight, with the same dither
    and JPEG quality each time; a name is "plate", or "plate (kind)" for any other kind than "rounded".
    """
    found = {}
    kinds: list[SourceKind] = [name for name, weight in augmentation.kinds.items() if weight]
    for row, truth_cv, known in plates:
        for name in kinds:
            kind = DEGRADATIONS[name]
            scale = peak(kind.bits) / peak(BITS)
            random = np.random.default_rng(zlib.crc32(f"{row.name} {name}".encode()))
            input_cv = kind.apply(random, _scaled(truth_cv, scale), augmentation)
            result_cv = expand(module, input_cv, kind, device, augmentation.extra_bound)
            label = row.name if name == "rounded" else f"{row.name} ({name})"
            found[label] = errors(
                _scaled(input_cv, 1 / scale), _scaled(result_cv, 1 / scale), truth_cv, known
            )
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


def _scaled(plate: Floats, factor: float) -> Floats:
    return np.multiply(plate, np.float32(factor), dtype=np.float32)
