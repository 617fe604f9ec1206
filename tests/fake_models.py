"""Models for tests of the engine, which do one thing each, and a way to have it load them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand.engine import Expander
from bitexpand.models import registry
from bitexpand.models.base import ModelConfig, PlateModel, Units


class Nudge(PlateModel):
    """Moves each value by up to 0.4 LSB, by what lies around it."""

    config_type = ModelConfig
    units: Units = "lsb"
    multiple, overlap, bytes_per_pixel = 4, 32, 100

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, plate: Tensor) -> Tensor:
        self.seen.append(plate)
        return plate + 0.4 * torch.sin(F.avg_pool2d(plate, 5, 1, 2, count_include_pad=False))


class UnitNudge(Nudge):
    """Moves each value by 0.3 LSB of 8 bits, on a scale to 1."""

    units: Units = "unit"

    def forward(self, plate: Tensor) -> Tensor:
        self.seen.append(plate)
        return plate + 0.3 / 255


class Hungry(Nudge):
    """Runs out of memory on inputs of more than ``limit`` pixels."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit, self.error = limit, error

    def forward(self, plate: Tensor) -> Tensor:
        if plate.shape[-2] * plate.shape[-1] > self.limit:
            self.seen.append(plate)
            raise self.error
        return super().forward(plate)


class Broken(Nudge):
    """Divides by zero."""

    def forward(self, plate: Tensor) -> Tensor:
        return plate / 0


def expander_of(module: PlateModel, tile: int | None = None) -> Expander:
    """Return an engine that runs a module in float32, and may prepare it for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda _: registry.LoadedModel("test", module.eval(), "none"))
        return Expander("test", device="cpu", precision="fp32", tile=tile)
