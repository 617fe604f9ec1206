"""Safe dequantisation, large: ConvNeXt blocks in a U-Net, and attention that looks only so far.

As :mod:`bitexpand.models.dequant` it takes no statistics of the whole picture, bounds its move, and with
``posterior`` moves no pixel of which it knows nothing. Attention over the whole picture, or over fixed windows,
would show: the first as tiles, the second as blocks in a smooth sky. Here every cell attends to its neighbourhood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as run_and_forget

from bitexpand.errors import UsageError
from bitexpand.models.base import (
    ModelConfig,
    PlateModel,
    Units,
    added,
    check_choice,
    check_integer,
    check_length,
    check_number,
)
from bitexpand.models.belief import belief_head
from bitexpand.models.dequant import FIRST_MEAN, bounded_sum, local_differences, upsample, zero_head

FACTOR = 2  # pixels per cell of the finest level, along each side
EXPANSION = 4  # of channels, inside a block
FIRST_SCALE = 0.1  # of a block's branch, as Touvron et al. 2021 (arXiv:2103.17239) advise for up to 18 layers


@dataclass(frozen=True)
class ConvNextConfig(ModelConfig):
    """Size of a :class:`ConvNextUNet`.

    Attributes:
        channels: of the network at each level, finest first; 2 to 6 levels, each half as large as the one before.
        blocks: on the way down at each level, as many entries as ``channels``; as many on the way up again, but for
            the coarsest level.
        attention: blocks of attention at the coarsest level.
        window: cells along each side of the neighbourhood that a cell attends to, odd.
        heads: of the attention; they share the coarsest level's channels evenly.
        scales: low-passes that the plate is compared with, of cells of 2, 4, ... 2**scales pixels.
        reach: LSB that a pixel can be moved at most, before the engine clamps to the bins.
        recompute: in training, forget activations and compute them again for the gradients (Chen et al. 2016,
            arXiv:1604.06174): less memory, a third more time, the same numbers.
        posterior: weigh a belief against the reach: a pixel of which nothing is known stays where it is.
    """

    channels: tuple[int, ...] = (48, 96, 192, 384)
    blocks: tuple[int, ...] = (2, 2, 3, 6)
    attention: int = 2
    window: int = 7
    heads: int = 8
    scales: int = 6
    reach: float = 1.0
    recompute: bool = False
    posterior: bool = added(False)

    def __post_init__(self) -> None:
        owner = "ConvNextConfig"
        check_length(owner, "channels", self.channels, 2, 6)
        for count in self.channels:
            check_integer(owner, "channels", count, 1, 2048)
        check_length(owner, "blocks", self.blocks, len(self.channels), len(self.channels))
        for count in self.blocks:
            check_integer(owner, "blocks", count, 1, 64)
        check_integer(owner, "attention", self.attention, 0, 16)
        check_choice(owner, "window", self.window, (3, 5, 7, 9, 11))
        check_integer(owner, "heads", self.heads, 1, 64)
        if self.channels[-1] % self.heads:
            raise UsageError(
                f"{owner}: heads is {self.heads}, must divide {self.channels[-1]}, the coarsest level's channels"
            )
        check_integer(owner, "scales", self.scales, 1, 8)
        check_number(owner, "reach", self.reach, 0.01, 64)
        check_choice(owner, "recompute", self.recompute, (False, True))
        check_choice(owner, "posterior", self.posterior, (False, True))


class ConvNextUNet(PlateModel):
    """ConvNeXt blocks (Liu et al. 2022, arXiv:2201.03545) in a U-Net, with neighbourhood attention.

    Code values in LSB units; ``config`` sets the size: 11.15 M parameters, 114 kMAC a pixel.
    """

    config_type = ConvNextConfig
    units: Units = "lsb"
    sees_afar = True
    overlap = 384  # tiled and untiled differ by up to 0.0003 LSB with random weights, with 192 by up to 0.009
    bytes_per_pixel = 1200

    def __init__(self, config: ConvNextConfig | None = None) -> None:
        config = config if config is not None else ConvNextConfig()
        super().__init__(config)
        channels, steps = config.channels, list(zip(config.channels[:-1], config.channels[1:], strict=True))
        self.scales, self.reach, self.levels = config.scales, config.reach, len(channels)
        self.recompute = config.recompute
        self.multiple = 2 ** max(config.scales, self.levels)  # the finest level is at half size already
        self.stem = nn.Conv2d(3 * config.scales * FACTOR**2, channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(map(_stack, channels, config.blocks))
        self.attention = nn.Sequential(
            *(AttentionBlock(channels[-1], config.heads, config.window) for _ in range(config.attention))
        )
        self.down = nn.ModuleList(
            nn.Sequential(ChannelNorm(finer), nn.Conv2d(finer, coarser, 2, stride=2))
            for finer, coarser in steps
        )
        self.up = nn.ModuleList(
            nn.Sequential(ChannelNorm(coarser), nn.Conv2d(coarser, finer, 1)) for finer, coarser in steps
        )
        self.decoder = nn.ModuleList(map(_stack, channels[:-1], config.blocks[:-1]))
        self.last_norm = ChannelNorm(channels[0])
        self.head = zero_head(channels[0], 3 * FACTOR**2, FIRST_MEAN if config.posterior else 0)
        self.belief = belief_head(channels[0], 3 * FACTOR**2) if config.posterior else None

    def forward(self, plate: Tensor) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, H and W multiples of ``multiple``.

        Returns:
            (N, 3, H, W) float32 in LSB, within ``reach`` of the plate, not clamped to the bins.
        """
        x = self._body(F.pixel_unshuffle(local_differences(plate, self.scales), FACTOR))
        log_scale = None if self.belief is None else F.pixel_shuffle(self.belief(x), FACTOR)
        return bounded_sum(plate, F.pixel_shuffle(self.head(x), FACTOR), self.reach, log_scale)

    def _body(self, features: Tensor) -> Tensor:
        x = self.stem(features)
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            x = self._run(blocks, x if level == 0 else self.down[level - 1](x))
            skips.append(x)
        x = self._run(self.attention, skips.pop())
        for level in reversed(range(self.levels - 1)):
            x = self._run(self.decoder[level], skips.pop() + upsample(self.up[level](x), 2))
        return self.last_norm(x)

    def _run(self, blocks: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(blocks, nn.Sequential)
        for block in blocks:
            if self.recompute and self.training and torch.is_grad_enabled():
                x = run_and_forget(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, norm, 1x1 to four times the channels, GELU, 1x1 back, scaled, beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, EXPANSION * channels, 1)
        self.reduce = nn.Conv2d(EXPANSION * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), FIRST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.scale * self.reduce(F.gelu(self.expand(self.norm(self.spatial(x)))))


class AttentionBlock(nn.Module):
    """Neighbourhood attention (Hassani et al. 2023, arXiv:2204.07143) beside an identity.

    A cell attends to the ``window`` x ``window`` cells around it, with a learnt bias for each place, so it is the
    same wherever the cell lies. Cells beyond the border are left out.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = ChannelNorm(channels)
        self.query, self.value = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)  # softmax would not see one
        self.place = nn.Parameter(torch.zeros(heads, window**2, 1))
        self.output = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), FIRST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        normed = self.norm(x)
        query = self.query(normed).flatten(2).unflatten(1, (self.heads, -1))  # (N, heads, C / heads, H W)
        key, value = self._neighbours(self.key(normed)), self._neighbours(self.value(normed))
        inside = self._neighbours(x.new_ones(1, self.heads, *x.shape[-2:]))  # (1, heads, 1, window^2, H W)
        logits = (query.unsqueeze(3) * key).sum(2).float() / query.shape[2] ** 0.5 + self.place
        weights = logits.masked_fill(inside.squeeze(2) == 0, -torch.inf).softmax(2)
        mixed = (weights.unsqueeze(2) * value).sum(3).flatten(1, 2).view_as(x)
        return x + self.scale * self.output(mixed)

    def _neighbours(self, x: Tensor) -> Tensor:
        """Gather (N, C, H, W) to (N, heads, C / heads, window^2, H W), zeros beyond the border."""
        gathered = F.unfold(x, self.window, padding=self.window // 2)
        return gathered.unflatten(1, (self.heads, -1, self.window**2))


class ChannelNorm(nn.Module):
    """Layer norm (Ba et al. 2016, arXiv:1607.06450) over the channels of each pixel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; without a copy where channels are last in memory."""
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 3, 1, 2)


def _stack(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ConvNextBlock(channels) for _ in range(count)))
