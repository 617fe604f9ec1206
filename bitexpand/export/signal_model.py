"""A plate model as other programs want it: signal in, signal out, of any size, guarded inside.

The engine's steps in pure torch, so that they can be traced into one file: round to code values, pad to the grid,
estimate, crop, look from farther away, clamp to the bins, scale by the strength. What is no code value (below
black, above white, NaN) passes through untouched, as a compositor would expect.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitexpand.afar import view
from bitexpand.clipped import calm_end
from bitexpand.code_values import EDGE_MARGIN, HALF_BIN
from bitexpand.models.base import PlateModel, estimate_cv

HALF_STEP = 2.0**-11  # largest relative error of rounding to half


class SignalModel(nn.Module):
    """Expands a signal; every setting is a tensor, so that a trace keeps it open.

    Args:
        module: the model, in eval mode.
    """

    def __init__(self, module: PlateModel) -> None:
        super().__init__()
        self.network = module
        self.cell = module.multiple

    def forward(
        self, plate: Tensor, strength: Tensor, bound: Tensor, bits: Tensor, rounding: float | Tensor = 0.0
    ) -> Tensor:
        """Expand one plate.

        Args:
            plate: (1, 3, H, W) signal in the plate's log or display encoding, float32 or float16; black is 0 and
                white is 1.
            strength: (1,) float32, 0 leaves the code values, 1 moves them as far as the model says.
            bound: (1,) float32, largest move in LSB; 0.5 keeps every value in its bin.
            bits: (1,) float32, of the plate.
            rounding: relative error of what the result will be stored as, 0 or HALF_STEP; float, or (1,) float32.

        Returns:
            (1, 3, H, W) float32, same signal; where the plate is no code value, the plate.
        """
        # From here to the end in float32, whatever the network's own precision: half is 1/16 of an 8-bit step.
        signal = plate.float()
        peak = torch.round(torch.pow(2.0, bits)) - 1
        known = torch.where(signal == signal, signal, torch.zeros_like(signal))
        code = torch.floor(known.clamp(0, 1) * peak + HALF_BIN)
        estimate = self._estimate(code, peak)
        if self.network.sees_afar:
            afar = view(code, partial(self._estimate, peak=peak))
            estimate = estimate if afar is None else afar.blended(code, estimate)
        estimate = torch.where(torch.isfinite(estimate), estimate, code)
        for end in (peak, torch.zeros_like(peak)):
            estimate = calm_end(code[0], estimate[0], end, 1 + HALF_BIN)[None]
        reach = (bound - EDGE_MARGIN).clamp(min=0)
        lower = (code - reach).clamp(min=0) * (1 + rounding)
        upper = torch.minimum(code + reach, peak) * (1 - rounding)
        guarded = torch.minimum(torch.maximum(estimate, lower), upper)
        expanded = (code + (guarded - code) * strength.clamp(0, 1)) / peak
        is_code = (signal * peak > -HALF_BIN) & (signal * peak < peak + HALF_BIN)
        return torch.where(is_code, expanded, signal)

    def _estimate(self, code: Tensor, peak: Tensor) -> Tensor:
        height, width = code.shape[-2:]
        return estimate_cv(self.network, self._padded(code), peak)[..., :height, :width]

    def _padded(self, code: Tensor) -> Tensor:
        """Repeat the border of (1, 3, H, W) up to whole cells of the model, as the engine does."""
        height, width = code.shape[-2:]
        return F.pad(code, (0, -width % self.cell, 0, -height % self.cell), mode="replicate")
