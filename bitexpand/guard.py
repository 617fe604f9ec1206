"""The last step before a frame leaves the engine: finite, inside its bins, and reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitexpand import native
from bitexpand.code_values import Bins, Codes, Floats, middles, peak
from bitexpand.errors import GuardError


@dataclass(frozen=True)
class GuardReport:
    """What the guard saw on one frame.

    Attributes:
        clamped_share: share of samples, 0 to 1, that the model had put outside of their bins.
        largest_move: largest distance of a sample from its bin's middle, in LSB: the code value of a rounded plate.
        mean_move: mean distance, in LSB.
    """

    clamped_share: float
    largest_move: float
    mean_move: float


class Guard:
    """Clamps estimates to the bins of one bit depth, bound and storage, on one device."""

    def __init__(self, bins: Bins, device: torch.device, strength: float = 1.0) -> None:
        self._bins = bins
        self._lower = torch.from_numpy(bins.lower).to(device)
        self._upper = torch.from_numpy(bins.upper).to(device)
        middles_cv = middles(np.arange(len(bins.lower)), bins.bits, bins.kind)
        self._middles = torch.from_numpy(middles_cv).to(device)
        self._strength = strength
        self._clamped, self._samples = 0, 0

    def __call__(self, plate_codes: Tensor, estimate_cv: Tensor) -> Tensor:
        """Return what may be written.

        Args:
            plate_codes: uint16 or int32 tensor of any shape, the source's code values.
            estimate_cv: float32, same shape, the model's estimate in LSB.

        Returns:
            float32, same shape, in LSB, inside the bins: the move from their middles, which are the code values of
            a rounded plate, scaled by the strength after clamping.

        Raises:
            GuardError: the estimate holds NaN or Inf.
        """
        is_native = native.is_codes(plate_codes) and native.available()
        clamped = self._clamp_natively if is_native else self._clamp
        guarded_cv, outside, not_finite = clamped(plate_codes, estimate_cv)
        if not_finite:
            raise GuardError(f"{not_finite} of {estimate_cv.numel()} samples are not finite")
        self._clamped += outside
        self._samples += estimate_cv.numel()
        if self._strength == 1.0:
            return guarded_cv
        return torch.lerp(self._middles[plate_codes.to(torch.int32)], guarded_cv, self._strength)

    def _clamp_natively(self, plate_codes: Tensor, estimate_cv: Tensor) -> tuple[Tensor, int, int]:
        return native.clamp(plate_codes, estimate_cv, self._lower, self._upper)

    def _clamp(self, plate_codes: Tensor, estimate_cv: Tensor) -> tuple[Tensor, int, int]:
        """Return what lies in the bins, how many samples did not, and how many are not finite."""
        # a sum is forty times as quick as to look at each; it can overflow, too
        if not torch.isfinite(estimate_cv.sum()) and not torch.isfinite(estimate_cv).all():
            return estimate_cv, 0, int((~torch.isfinite(estimate_cv)).sum())
        lower, upper = (
            ends.index_select(0, plate_codes.flatten().to(torch.int32)).view_as(plate_codes)
            for ends in (self._lower, self._upper)
        )
        outside = int(((estimate_cv < lower) | (estimate_cv > upper)).sum())
        return torch.minimum(torch.maximum(estimate_cv, lower), upper), outside, 0

    def report(self, codes: Codes, expanded_cv: Floats) -> GuardReport:
        """Sum up a frame.

        Args:
            codes: uint16 (H, W, C), contiguous, the source's code values.
            expanded_cv: float32, same shape, contiguous, what leaves the engine, in LSB.
        """
        count = max(codes.size, 1)
        if native.available() and codes.size:
            tensors = torch.from_numpy(codes), torch.from_numpy(expanded_cv)
            largest, total = native.measure(*tensors, self._bins.kind.middle, peak(self._bins.bits))
        else:
            moves_cv = np.abs(expanded_cv - middles(codes, self._bins.bits, self._bins.kind))
            largest, total = float(moves_cv.max(initial=0)), float(moves_cv.sum(dtype=np.float64))
        return GuardReport(self._clamped / max(self._samples, 1), largest, total / count)
