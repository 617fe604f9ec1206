"""What a phase minimises: the weighted losses of the estimate after it was clamped to its bin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses import Loss, harm
from training.sample import Batch

HARM = "harm"  # its name among the values
_SMALLEST = (
    1e-4  # a loss below it for doing nothing would outweigh all others; SSIM's and LPIPS's lie near 1e-3
)


@dataclass(frozen=True)
class Objective:
    """Weighted losses.

    Attributes:
        losses: functions by name.
        weights: by name.
        leak: share of the gradient that passes where the estimate lies outside of its bin.
        harm: weight of what got worse (:func:`training.losses.harm`); 0 leaves it out.
    """

    losses: Mapping[str, Loss]
    weights: Mapping[str, float]
    leak: float
    harm: float = 0.0

    def __call__(self, estimate_cv: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each loss before its weight, detached.

        Args:
            estimate_cv: float32 (N, 3, H, W) in LSB, as the model gives it.
            batch: the crops that it was given.
        """
        expanded_cv = clamp_to_bins(estimate_cv, batch, self.leak)
        values = {
            name: loss(expanded_cv, batch.truth_cv, batch.peak_cv) for name, loss in self.losses.items()
        }
        weights = dict(self.weights)
        if self.harm:
            values[HARM] = harm(expanded_cv, batch.truth_cv, batch.input_cv)
            weights[HARM] = self.harm
        total = torch.stack([weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def doing_nothing(losses: Mapping[str, Loss], batches: Iterable[Batch]) -> dict[str, float]:
    """Return the mean value of each loss where the code values themselves are the result."""
    rows = [
        {name: float(loss(b.input_cv, b.truth_cv, b.peak_cv)) for name, loss in losses.items()}
        for b in batches
    ]
    return {name: max(sum(row[name] for row in rows) / len(rows), _SMALLEST) for name in losses}


def clamp_to_bins(estimate_cv: Tensor, batch: Batch, leak: float = 0.0) -> Tensor:
    """Clamp as the guard will, so that nothing is learnt that inference takes back.

    ``leak`` lets a share of the gradient through outside of the bin, as values out there would else never return.
    """
    lower = (batch.input_cv - batch.below).clamp_min(0)
    upper = torch.minimum(batch.input_cv + batch.above, batch.peak_cv)
    clamped = torch.minimum(torch.maximum(estimate_cv, lower), upper)
    if not leak:
        return clamped
    outside = clamped.detach() != estimate_cv.detach()
    return clamped + leak * outside * (estimate_cv - estimate_cv.detach())
