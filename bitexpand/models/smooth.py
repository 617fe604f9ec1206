"""Stub."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand.models.base import ModelConfig, PlateModel, Units


@dataclass(frozen=True)
class SmoothConfig(ModelConfig):
    """No parameters yet."""


class Smooth(PlateModel):
    """Stub."""

    config_type = SmoothConfig
    units: Units = "lsb"
    multiple = 1
    overlap = 128
    bytes_per_pixel = 200

    def __init__(self, config: SmoothConfig | None = None) -> None:
        super().__init__(config)

    def forward(self, plate: Tensor) -> Tensor:
        """Stub."""
        return edge_gated_blur(plate, 2.0)


def edge_gated_blur(plate: Tensor, sigma: float) -> Tensor:
    """Stub."""
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=plate.dtype, device=plate.device)
    k = torch.exp(-0.5 * (x / sigma) ** 2)
    k = (k / k.sum()).expand(3, 1, 1, -1)
    out = F.conv2d(F.pad(plate, (radius, radius, 0, 0), mode="replicate"), k, groups=3)
    out = F.conv2d(F.pad(out, (0, 0, radius, radius), mode="replicate"), k.transpose(2, 3), groups=3)
    return torch.where((out - plate).abs() < 1.5, out, plate)
