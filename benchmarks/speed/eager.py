"""The classic U-Net as anyone would run it: a bare module in eager PyTorch, float32, NCHW, beside our engine's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed import clock
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Size
from benchmarks.speed.plates import plate_codes
from bitexpand.code_values import bins
from bitexpand.models import checkpoint, registry
from bitexpand.models.dequant import local_differences
from bitexpand.models.unet import DEPTH, UNet, UNetConfig

CROP: Size = (768, 448)  # it takes seconds; its cost is a pixel's, whatever the frame
EAGER = f"`unet28m`, eager PyTorch float32 (a crop of {CROP[0]}x{CROP[1]}, by its pixels)"
ENGINE = "`unet28m` in the engine (likewise)"


class EagerUNet(UNet):
    """The same layers in the same order, in the memory format that a tensor has by itself."""

    def forward(self, plate: Tensor, half_width: float | Tensor | None = None) -> Tensor:
        """As :meth:`UNet.forward`, without the belief that is weighed against the bins."""
        x, skips = local_differences(plate, self.scales) if self.scales else plate, []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for level in reversed(range(DEPTH)):
            x = self.decoder[level](torch.cat([skips.pop(), self.up[level](x)], 1))
        return plate + self.head(x)


def calls(bench: Bench) -> dict[str, clock.Call]:
    """Return calls that run a crop through it, and through the engine with random weights of the same shape."""
    weights = bench.folder / "unet28m.safetensors"
    config = registry.spec("unet28m").config
    assert isinstance(config, UNetConfig), "the row has another architecture"
    checkpoint.save(weights, UNet(config), "unet", config)  # random ones take as long
    engine, codes, limits = bench.expander(str(weights)), plate_codes(CROP), bins(8)
    eager = EagerUNet(config).eval().to(engine.device)
    plate = torch.from_numpy(codes).permute(2, 0, 1)[None].float().div(255).contiguous().to(engine.device)

    @torch.inference_mode()
    def run_eager() -> None:
        eager(plate)

    return {EAGER: run_eager, ENGINE: lambda: engine.expand_frame(codes, limits)}


def frames_in_crops(size: Size) -> float:
    """Return how many crops a frame is."""
    return size[0] * size[1] / (CROP[0] * CROP[1])
