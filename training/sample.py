"""What the loop trains on: a crop's code values, the truth behind them, and how far apart the two may lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Crops as tensors.

    Attributes:
        input_cv: float32 (N, 3, H, W), whole code values in LSB of each crop's own bit depth, as in a file.
        truth_cv: float32 (N, 3, H, W), code values before quantisation, in the same LSB, within 0 .. peak.
        below, above: float32 (N, 1, 1, 1), how far in LSB the truth may lie under and over the code value: the bin.
        peak_cv: float32 (N, 1, 1, 1), the largest code value, 255 for 8 bits.
    """

    input_cv: Tensor
    truth_cv: Tensor
    below: Tensor
    above: Tensor
    peak_cv: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    @staticmethod
    def of(batches: Sequence[Batch]) -> Batch:
        """Join batches, or samples with N = 1, along N."""
        return Batch(*(torch.cat([getattr(b, f.name) for b in batches]) for f in fields(Batch)))
