"""Safe dequantisation, small: a plain U-Net whose move is bounded and whose sight is local.

Nothing in it takes statistics of the whole picture (no batch, group or instance norm), so that a pixel's estimate
depends on its surroundings alone and tiles blend without a trace; and no weights can move a pixel further than
``reach``, whatever they are.

With ``posterior`` the move is a belief, a mean and a scale, that is weighed against the reach as against a bin:
where nothing is known, as in grain, a pixel stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitexpand.models.base import (
    ModelConfig,
    PlateModel,
    Units,
    added,
    check_choice,
    check_integer,
    check_length,
    check_number,
    full_precision,
)
from bitexpand.models.belief import belief_head, posterior_mean, scale_of
from bitexpand.models.pyramid import soft_limit

DIFFERENCE_RANGE = (
    8.0  # LSB: where differences to the low-passes begin to saturate; the steps to mend are 1 LSB
)

FIRST_MEAN = 1e-3  # LSB, about: of a new network's belief


@dataclass(frozen=True)
class DequantConfig(ModelConfig):
    """Size of a :class:`DequantUNet`.

    Attributes:
        channels: of the network at each level, finest first; 2 to 8 levels, each half as large as the one before.
        scales: low-passes that the plate is compared with, of cells of 2, 4, ... 2**scales pixels.
        reach: LSB that a pixel can be moved at most, before the engine clamps to the bins. 0.5 holds the truth of
            every rounded plate; truncated and dithered ones need more.
        posterior: weigh a belief against the reach: a pixel of which nothing is known stays where it is.
    """

    channels: tuple[int, ...] = (24, 32, 48, 64, 96)
    scales: int = 6
    reach: float = 1.0
    posterior: bool = added(False)

    def __post_init__(self) -> None:
        check_length("DequantConfig", "channels", self.channels, 2, 8)
        for count in self.channels:
            check_integer("DequantConfig", "channels", count, 1, 1024)
        check_integer("DequantConfig", "scales", self.scales, 1, 8)
        check_number("DequantConfig", "reach", self.reach, 0.01, 64)
        check_choice("DequantConfig", "posterior", self.posterior, (False, True))


class DequantUNet(PlateModel):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) without normalisation, over differences to low-passes.

    Code values in LSB units; ``config`` sets the size: 0.49 M parameters, 45 kMAC a pixel. A pixel sees 192 px
    around it, the outer two thirds faintly.
    """

    config_type = DequantConfig
    units: Units = "lsb"
    sees_afar = True
    overlap = (
        256  # tiled and untiled differ by less than 0.0001 LSB with random weights, with 128 by up to 0.0005
    )
    bytes_per_pixel = 750

    def __init__(self, config: DequantConfig | None = None) -> None:
        config = config if config is not None else DequantConfig()
        super().__init__(config)
        channels = config.channels
        self.scales, self.reach, self.levels = config.scales, config.reach, len(channels)
        self.multiple = 2 ** max(config.scales, self.levels - 1)
        self.encoder = nn.ModuleList(
            _double_conv(finer, count)
            for finer, count in zip([3 * config.scales, *channels[:-1]], channels, strict=True)
        )
        # a 1x1 convolution and an interpolation commute, and before it is four times cheaper
        self.up = nn.ModuleList(
            nn.Conv2d(coarser, finer, 1) for finer, coarser in zip(channels[:-1], channels[1:], strict=True)
        )
        self.decoder = nn.ModuleList(_double_conv(2 * count, count) for count in channels[:-1])
        self.head = zero_head(channels[0], 3, FIRST_MEAN if config.posterior else 0)
        self.belief = belief_head(channels[0], 3) if config.posterior else None

    def forward(self, plate: Tensor) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, H and W multiples of ``multiple``.

        Returns:
            (N, 3, H, W) float32 in LSB, within ``reach`` of the plate, not clamped to the bins.
        """
        x = self._body(local_differences(plate, self.scales))
        log_scale = None if self.belief is None else self.belief(x)
        return bounded_sum(plate, self.head(x), self.reach, log_scale)

    def _body(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for level in reversed(range(self.levels - 1)):
            x = self.decoder[level](torch.cat([skips.pop(), upsample(self.up[level](x), 2)], 1))
        return x


def local_differences(plate: Tensor, scales: int) -> Tensor:
    """Compare the plate with its own low-passes: what a network sees of it.

    A low-pass is the mean over square cells, interpolated linearly, so a ramp differs from it only by its
    quantisation, however steep it is, and a network sees steps of 1 LSB at full size on any code value of any bit
    depth. Differences at edges are compressed, not clipped.

    Args:
        plate: (N, 3, H, W) float32 in LSB, H and W multiples of ``2**scales``.
        scales: low-passes, of cells of 2, 4, ... 2**scales pixels.

    Returns:
        (N, 3 * scales, H, W) float32 in LSB, within ``DIFFERENCE_RANGE`` of 0, channels last in memory.
    """
    with full_precision(plate):
        mean, differences = plate, []
        for scale in range(1, scales + 1):
            mean = F.avg_pool2d(mean, 2)
            differences.append(soft_limit(plate - upsample(mean, 2**scale), DIFFERENCE_RANGE))
        return torch.cat(differences, 1).contiguous(memory_format=torch.channels_last)


def bounded_sum(plate: Tensor, residual: Tensor, reach: float, log_scale: Tensor | None = None) -> Tensor:
    """Move the plate by a network's output, but never further than ``reach``; all in LSB, the sum in float32.

    Args:
        plate: (N, 3, H, W) float32 in LSB.
        residual: same shape, any precision: the move, or with a scale the mean of the belief in it.
        reach: LSB; for a belief it is the half-width of the bin.
        log_scale: same shape, any precision: of the belief, see :func:`bitexpand.models.belief.scale_of`.

    Returns:
        Same shape, float32, LSB.
    """
    with full_precision(plate):
        move = reach * torch.tanh(residual.float() / reach)
        if log_scale is not None:
            move = posterior_mean(move, scale_of(log_scale.float(), reach), reach)
        return plate + move


def upsample(x: Tensor, factor: int) -> Tensor:
    """Interpolate (N, C, H, W) linearly to ``factor`` times the size."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def zero_head(in_channels: int, out_channels: int, weight: float = 0) -> nn.Conv2d:
    """Return a 1x1 convolution that gives 0: a network that ends in it starts as the identity.

    Args:
        in_channels, out_channels: of it.
        weight: standard deviation of its weights. A belief needs some, as 0 in the middle of a bin has no gradient.
    """
    head = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(head.weight, std=weight)
    nn.init.zeros_(head.bias)  # pyright: ignore[reportArgumentType]
    return head


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
    )
