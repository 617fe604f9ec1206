"""The classic U-Net: large, slow, and the yardstick that others are measured against.

With ``posterior`` its output is a belief, a mean and a scale, that is weighed against the bin: where nothing is
known, as in grain, that is the plate as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint as run_and_forget

from bitexpand.code_values import HALF_BIN
from bitexpand.models.base import (
    ModelConfig,
    PlateModel,
    Units,
    added,
    check_choice,
    check_integer,
    full_precision,
)
from bitexpand.models.belief import belief_head, posterior_mean, scale_of
from bitexpand.models.dequant import local_differences

DEPTH = 4


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """Size of a :class:`UNet`.

    Attributes:
        channels: of the finest level; each of the four coarser ones has twice as many.
        upsampling: "bilinear" with a 1x1 reduction (28.95 M parameters), or "transposed" (31.04 M).
        scales: 0 shows the network the plate in [0, 1]; else how it differs, in LSB, from low-passes of cells of
            2, 4, ... 2**scales pixels, and the residual is in LSB too: one step is 1, not 1/255 of the range.
        recompute: in training, forget activations and compute them again for the gradients (Chen et al. 2016,
            arXiv:1604.06174): less memory, a third more time, the same numbers.
        posterior: weigh a belief against the bin; only with ``scales``, as bins are in LSB.
    """

    channels: int = 64
    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    recompute: bool = False
    scales: int = added(0)
    posterior: bool = added(False)

    def __post_init__(self) -> None:
        check_integer("UNetConfig", "channels", self.channels, 1, 256)
        check_choice("UNetConfig", "upsampling", self.upsampling, ("bilinear", "transposed"))
        check_choice("UNetConfig", "recompute", self.recompute, (False, True))
        check_integer("UNetConfig", "scales", self.scales, 0, 8)
        check_choice("UNetConfig", "posterior", self.posterior, (False, True) if self.scales else (False,))


class UNet(PlateModel):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with padding, batch norm and an input skip.

    Code values in [0, 1], or in LSB with ``scales``; the network predicts what is to be added to them. A pixel
    sees 110 px around it, most of it faintly; the overlap leaves out the outer 32 px of a tile and fades over the
    next 64.
    """

    config_type = UNetConfig
    units: Units = "unit"
    multiple = 2**DEPTH
    overlap = 128
    bytes_per_pixel = 1400
    narrows = True

    def __init__(self, config: UNetConfig | None = None) -> None:
        config = config if config is not None else UNetConfig()
        super().__init__(config)
        counts = [config.channels * 2**level for level in range(DEPTH + 1)]
        self.channels, self.recompute, self.scales = config.channels, config.recompute, config.scales
        if config.scales:
            self.units = "lsb"
            self.multiple = 2 ** max(DEPTH, config.scales)
        self.encoder = nn.ModuleList(
            _double_conv(finer, count)
            for finer, count in zip([3 * max(config.scales, 1), *counts[:-1]], counts, strict=True)
        )
        self.up = nn.ModuleList(_upsampler(count, config.upsampling) for count in counts[:-1])
        self.decoder = nn.ModuleList(_double_conv(2 * count, count) for count in counts[:-1])
        self.head = nn.Conv2d(counts[0], 3, 1)
        self.belief = belief_head(counts[0], 3) if config.posterior else None
        self.takes_half_width = config.posterior

    def forward(self, plate: Tensor, half_width: float | Tensor | None = None) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in ``units``, H and W multiples of ``multiple``.
            half_width: of the bins around them in LSB, one for all or (N, 1, 1, 1) float32; None is 0.5, the bin
                of rounding. Only a posterior asks for it.

        Returns:
            (N, 3, H, W) float32, same units, not clamped; with ``posterior`` within the bins.
        """
        # autocast has no say in an addition: with one operand float32 the sum is float32
        seen = local_differences(plate, self.scales) if self.scales else plate
        x = self._body(seen)
        residual = self.head(x).float()
        if self.belief is not None:
            width = HALF_BIN if half_width is None else half_width
            log_scale = self.belief(x).float()
            with full_precision(plate):
                residual = posterior_mean(residual, scale_of(log_scale, width), width)
        return plate + residual

    def _body(self, plate: Tensor) -> Tensor:
        x = plate.contiguous(memory_format=torch.channels_last)  # less memory and time on CPUs
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = self._run(block, x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for level in reversed(range(DEPTH)):
            coarser = self.up[level](_as_wide(x, self.up[level]))
            x = self._run(self.decoder[level], torch.cat([skips.pop(), coarser], 1))
        return x

    def narrow(self, dtype: torch.dtype) -> None:
        """Run all but the finest level in bfloat16 or float16: 0.6 of the time, estimates within 0.003 LSB.

        Batch norms become part of the convolutions before them. In narrow numbers throughout it would be half of
        the time, and up to 0.013 LSB.
        """
        for block in (*self.encoder, *self.decoder):
            assert isinstance(block, nn.Sequential)
            for place in (0, 3):
                layer, norm = block[place], block[place + 1]
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    block[place], block[place + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
        for layer in (*self.encoder[1:], *self.decoder[1:], *self.up):
            layer.to(dtype)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        x = _as_wide(x, block)
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return block(x)
        return run_and_forget(
            block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(block))
        )


def _as_wide(x: Tensor, layers: nn.Module) -> Tensor:
    """Return a layer's input in the precision of its weights, unless autocast sees to that."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(next(layers.parameters()).dtype)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Keep a second pass over the same batch from entering the running statistics a second time."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    # no bias in front of a batch norm, which would subtract it again
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _upsampler(channels: int, kind: Literal["bilinear", "transposed"]) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
    # A 1x1 convolution and an interpolation commute, and here it is four times cheaper.
    return nn.Sequential(
        nn.Conv2d(2 * channels, channels, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
