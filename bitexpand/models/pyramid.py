"""The shipped network: a mixture of smooth estimates of the plate at every scale, and of local fits.

A quantised ramp is a sawtooth away from its truth. Networks are poor at drawing sawtooth waves and good at
drawing ramps, so this one estimates the *smooth plate* at six scales, and per pixel a softmax chooses between
those, least-squares fits of the neighbourhood, and a residual predicted directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitexpand.models.base import (
    ModelConfig,
    PlateModel,
    Units,
    check_choice,
    check_integer,
    check_length,
    full_precision,
)

Kernel: TypeAlias = Sequence[Sequence[float]]

FINE_RANGE = 4.0  # LSB: where differences inside a cell, and those to the fits, begin to saturate
BAND_RANGE = 8.0  # LSB: where the bands of the Laplacian pyramid do
FIT_GAIN = 2.0  # local fits differ from the plate by fractions of an LSB


@dataclass(frozen=True)
class PyramidConfig(ModelConfig):
    """Size of a :class:`Pyramid`.

    Attributes:
        channels: of the network at each level, finest first; 2 to 8 levels.
        factor: pixels per cell of the finest level, along each side.
        fits: window sizes of the local quadratic fits, odd and rising.
    """

    channels: tuple[int, ...] = (32, 48, 64, 96, 96, 96)
    factor: int = 2
    fits: tuple[int, ...] = (3, 5, 7)

    def __post_init__(self) -> None:
        check_length("PyramidConfig", "channels", self.channels, 2, 8)
        for count in self.channels:
            check_integer("PyramidConfig", "channels", count, 1, 1024)
        check_choice("PyramidConfig", "factor", self.factor, (1, 2, 4))
        check_length("PyramidConfig", "fits", self.fits, 0, 7)
        for size in self.fits:
            check_choice("PyramidConfig", "fits", size, (3, 5, 7, 9, 11, 13, 15))


class Pyramid(PlateModel):
    """A small U-Net over compressed Laplacian bands and local fits, mixing smooth estimates of the plate.

    Code values in LSB units; ``config`` sets the size. The bands follow Burt & Adelson 1983 ("The Laplacian
    pyramid as a compact image code"), the fits Savitzky & Golay 1964 in two dimensions, the network
    Ronneberger et al. 2015 (arXiv:1505.04597) with residual blocks.
    """

    config_type = PyramidConfig
    units: Units = "lsb"
    overlap = 384  # tiled and untiled differ by up to 0.007 LSB; with 256 by up to 0.024
    bytes_per_pixel = 330

    def __init__(self, config: PyramidConfig | None = None) -> None:
        config = config if config is not None else PyramidConfig()
        super().__init__(config)
        channels, factor, levels = config.channels, config.factor, len(config.channels)
        self.factor, self.levels = factor, levels
        self.multiple = factor * 2 ** (levels - 1)
        self.fit_kernels = [quadratic_fit_kernel(size) for size in config.fits]
        in_channels = 3 * factor**2 * (1 + len(config.fits)) + 3
        out_channels = (3 + 1 + levels + len(config.fits)) * factor**2  # direct residual, mixing logits
        self.stem = _conv3x3(in_channels, channels[0])
        self.encoder = nn.ModuleList(ResidualBlock(count) for count in channels)
        self.down = nn.ModuleList(
            _conv3x3(finer + 3, coarser) for finer, coarser in zip(channels[:-1], channels[1:], strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(coarser, finer, 1) for finer, coarser in zip(channels[:-1], channels[1:], strict=True)
        )
        self.decoder = nn.ModuleList(ResidualBlock(count) for count in channels[:-1])
        self.correction = nn.ModuleList(_conv3x3(count, 3) for count in channels)
        self.head = _conv3x3(channels[0], out_channels)
        self._start_as_identity()

    @property
    def grid(self) -> int:
        """Cells of the mean below the coarsest level: tiles that shift them differ by 0.05 LSB at any overlap."""
        return 2 * self.multiple

    def forward(self, plate: Tensor) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, H and W multiples of ``multiple``.

        Returns:
            (N, 3, H, W) float32 in LSB, not clamped to the bins.
        """
        # Whatever touches the plate's own values stays float32; only the network's body may be autocast.
        with full_precision(plate):
            fits = [correlate(plate, kernel) - plate for kernel in self.fit_kernels]
            means = self._cell_means(plate)
            bands = [
                soft_limit(mean - _upsample(coarser, mean), BAND_RANGE)
                for mean, coarser in zip(means[:-1], means[1:], strict=True)
            ]
        corrections, outputs = self._body(plate, means[0], bands, fits)
        with full_precision(plate):
            smooth = [mean + delta.float() for mean, delta in zip(means[:-1], corrections, strict=True)]
            return plate + self._mix(plate, smooth, fits, outputs.float())

    def _cell_means(self, plate: Tensor) -> list[Tensor]:
        """Means of the plate over the cells of every level, and of one level more."""
        means = [F.avg_pool2d(plate, self.factor)]
        for _ in range(self.levels):
            means.append(F.avg_pool2d(means[-1], 2, ceil_mode=True))
        return means

    def _features(self, plate: Tensor, mean: Tensor, band: Tensor, fits: Sequence[Tensor]) -> Tensor:
        """Everything the network sees at its finest level: differences only, never absolute values."""
        cells = F.pixel_unshuffle(plate, self.factor).unflatten(1, (3, self.factor**2))
        inside = soft_limit((cells - mean.unsqueeze(2)).flatten(1, 2), FINE_RANGE)
        fitted = [F.pixel_unshuffle(FIT_GAIN * soft_limit(fit, FINE_RANGE), self.factor) for fit in fits]
        return _channels_last(torch.cat([inside, band, *fitted], 1))

    def _body(
        self, plate: Tensor, finest_mean: Tensor, bands: Sequence[Tensor], fits: Sequence[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Run the network, the only part that autocast may touch.

        Returns:
            The corrections of the cell means, finest first, and the head's output at full size: three
            residuals, then the logits of the mixture.
        """
        with full_precision(plate):
            features = self._features(plate, finest_mean, bands[0], fits)
        x = F.relu(self.stem(features), inplace=True)
        del features  # the largest tensor of all
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                pooled = F.avg_pool2d(x, 2, ceil_mode=True)
                joined = torch.cat([pooled, _channels_last(bands[level])], 1)
                x = F.relu(self.down[level - 1](joined), inplace=True)
            x = block(x)
            skips.append(x)
        skips.pop()
        corrections = [self.correction[-1](x)]
        for level in reversed(range(self.levels - 1)):
            skip = skips.pop()
            x = self.decoder[level](skip + _upsample(self.up[level](x), skip))
            corrections.insert(0, self.correction[level](x))
        return corrections, F.pixel_shuffle(self.head(x), self.factor)

    def _mix(
        self, plate: Tensor, smooth: Sequence[Tensor], fits: Sequence[Tensor], outputs: Tensor
    ) -> Tensor:
        """Mix per pixel the direct residual, the smooth estimates and the local fits, in LSB."""
        weights = torch.softmax(outputs[:, 3:], 1)
        residual = weights[:, :1] * outputs[:, :3]
        candidates = [*smooth, *fits]
        for i, candidate in enumerate(candidates):
            if i < len(smooth):
                # upsampled one at a time, as all of them at full size would double the memory
                candidate = _upsample(candidate, plate) - plate
            # beyond its bin by half an LSB a candidate knows nothing of this pixel
            residual = torch.addcmul(residual, weights[:, i + 1 : i + 2], candidate.clamp(-1, 1))
        return residual

    def _start_as_identity(self) -> None:
        """Zero the corrections, so that training starts from the plate's own pyramid."""
        for layer in self.correction:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016), without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv3x3(channels, channels), _conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.second(F.relu(self.first(x)))


def quadratic_fit_kernel(size: int) -> Kernel:
    """Weights that evaluate a least-squares quadratic surface at the centre of its window.

    A two-dimensional Savitzky-Golay smoothing filter (Savitzky & Golay 1964): exact on every quadratic, so a
    ramp passes unchanged however steep it is.

    Args:
        size: odd window size, at least 3.

    Returns:
        ``size`` rows of ``size`` weights that sum to 1.
    """
    offsets = range(-(size // 2), size // 2 + 1)
    monomials = torch.tensor(
        [[1, x, y, x * x, x * y, y * y] for y in offsets for x in offsets], dtype=torch.float64, device="cpu"
    )
    weights = torch.linalg.pinv(monomials)[0].reshape(size, size)
    return tuple(tuple(row) for row in weights.tolist())


def correlate(plate: Tensor, kernel: Kernel) -> Tensor:
    """Filter each channel by itself, the border repeated.

    Sums shifted copies, tap by tap: on three channels ten times faster than a convolution on CPUs, and no
    convolution on a GPU will round a plate's code values to TF32's 11 bits.

    Args:
        plate: (N, C, H, W) float32, any space and units.
        kernel: rows of weights, an odd number of rows and columns.

    Returns:
        (N, C, H, W) float32.
    """
    height, width = plate.shape[-2:]
    up, left = len(kernel) // 2, len(kernel[0]) // 2
    padded = F.pad(plate, (left, left, up, up), mode="replicate")
    total = torch.zeros_like(plate)
    for y, row in enumerate(kernel):
        for x, weight in enumerate(row):
            total.add_(padded[..., y : y + height, x : x + width], alpha=weight)
    return total


def soft_limit(difference: Tensor, limit: float) -> Tensor:
    """Compress differences into (-limit, limit): LSB-sized steps keep their size, edges are tamed."""
    return difference / (1 + difference.abs() / limit)


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)  # a third faster on CPUs
