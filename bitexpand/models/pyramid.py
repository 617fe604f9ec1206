"""The shipped network: a mixture of smooth estimates of the plate at every scale, and of local fits.

A quantised ramp is a sawtooth away from its truth. Networks are poor at drawing sawtooth waves and good at
drawing ramps, so this one estimates the *smooth plate* at six scales, and per pixel a softmax chooses between
those, least-squares fits of the neighbourhood, and a residual predicted directly.

With ``posterior`` the mixture is a belief that is weighed against the bin: it has a mean and a scale, and the
answer is its mean within the bin. Where nothing is known, as in grain, that is the middle: the plate as it was.
What the channels have in common is mixed apart from what tells them apart: light and texture move them together,
so their differences are smooth where they themselves are not. A second look then compares the first answer with
its own neighbourhood, and the bins of a pixel's channels with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitexpand.code_values import HALF_BIN
from bitexpand.models.base import (
    ModelConfig,
    PlateModel,
    Units,
    added,
    check_choice,
    check_integer,
    check_length,
    full_precision,
)
from bitexpand.models.belief import posterior_mean, where_bins_meet

Kernel: TypeAlias = Sequence[Sequence[float]]

FINE_RANGE = 4.0  # LSB: where differences inside a cell, and those to the fits, begin to saturate
BAND_RANGE = 8.0  # LSB: where the bands of the Laplacian pyramid do
FIT_GAIN = 2.0  # local fits differ from the plate by fractions of an LSB
LOG_SCALE = (-5.0, 1.0)  # of a belief in widths of the bin: from certainty to a straight line across it
START_LOG_SCALE, START_LOGIT = -3.5, -2.0  # nearly certain, and hardly a second look


@dataclass(frozen=True)
class PyramidConfig(ModelConfig):
    """Size of a :class:`Pyramid`.

    Attributes:
        channels: of the network at each level, finest first; 2 to 8 levels.
        factor: pixels per cell of the finest level, along each side.
        fits: window sizes of the local quadratic fits, odd and rising.
        posterior: weigh a belief against the bin, mix luma and chroma apart, look twice; False is a mixture alone.
        refits: window sizes of the local fits to the first estimate, odd and rising; only with ``posterior``.
        widths: the network is told how wide the bins are; only with ``posterior``.
    """

    channels: tuple[int, ...] = (32, 48, 64, 96, 96, 96)
    factor: int = 2
    fits: tuple[int, ...] = (3, 5, 7)
    posterior: bool = added(False)
    refits: tuple[int, ...] = added(())
    widths: bool = added(False)

    def __post_init__(self) -> None:
        check_length("PyramidConfig", "channels", self.channels, 2, 8)
        for count in self.channels:
            check_integer("PyramidConfig", "channels", count, 1, 1024)
        check_choice("PyramidConfig", "factor", self.factor, (1, 2, 4))
        check_choice("PyramidConfig", "posterior", self.posterior, (False, True))
        check_choice("PyramidConfig", "widths", self.widths, (False, True) if self.posterior else (False,))
        for field, sizes in (("fits", self.fits), ("refits", self.refits)):
            check_length("PyramidConfig", field, sizes, 0, 7 if field == "fits" or self.posterior else 0)
            for size in sizes:
                check_choice("PyramidConfig", field, size, (3, 5, 7, 9, 11, 13, 15))


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
        self.refit_kernels = [quadratic_fit_kernel(size) for size in config.refits]
        self.takes_half_width = config.widths
        in_channels = 3 * factor**2 * (1 + len(config.fits)) + 3 + config.widths
        candidates = 1 + levels + len(config.fits)
        # what the head tells of each pixel: direct residual, mixing logits; and if there is a posterior: scales,
        # logits of the luma (the last for none), logits of the second look
        self.outputs = (3, candidates)
        self.beliefs = (3, candidates + 1, 2 + len(config.refits)) if config.posterior else ()
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
        self.head = _conv3x3(channels[0], sum(self.outputs) * factor**2)
        if config.posterior:
            self.belief = nn.Conv2d(channels[0], sum(self.beliefs) * factor**2, 1)
            self.bytes_per_pixel = 575
        self._start_as_identity()

    @property
    def grid(self) -> int:
        """Cells of the mean below the coarsest level: tiles that shift them differ by 0.05 LSB at any overlap."""
        return 2 * self.multiple

    def forward(self, plate: Tensor, half_width: Tensor | None = None) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, H and W multiples of ``multiple``.
            half_width: (N, 1, 1, 1) float32, of the bins around them in LSB; None is 0.5, the bin of rounding.

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
        corrections, outputs, beliefs = self._body(plate, means[0], bands, fits, half_width)
        with full_precision(plate):
            smooth = [mean + delta.float() for mean, delta in zip(means[:-1], corrections, strict=True)]
            told = outputs.float().split(self.outputs, 1)
            if beliefs is not None:
                told += beliefs.float().split(self.beliefs, 1)
            if not self.beliefs:
                return plate + self._mix(plate, smooth, fits, told)
            return plate + self._believe(
                plate, smooth, fits, told, HALF_BIN if half_width is None else half_width
            )

    def _cell_means(self, plate: Tensor) -> list[Tensor]:
        """Means of the plate over the cells of every level, and of one level more."""
        means = [F.avg_pool2d(plate, self.factor)]
        for _ in range(self.levels):
            means.append(F.avg_pool2d(means[-1], 2, ceil_mode=True))
        return means

    def _features(
        self, plate: Tensor, mean: Tensor, band: Tensor, fits: Sequence[Tensor], half_width: Tensor | None
    ) -> Tensor:
        """Everything the network sees at its finest level: differences only, never absolute values."""
        cells = F.pixel_unshuffle(plate, self.factor).unflatten(1, (3, self.factor**2))
        inside = soft_limit((cells - mean.unsqueeze(2)).flatten(1, 2), FINE_RANGE)
        fitted = [F.pixel_unshuffle(FIT_GAIN * soft_limit(fit, FINE_RANGE), self.factor) for fit in fits]
        features = [inside, band, *fitted]
        if self.takes_half_width:
            octaves = torch.zeros_like(mean[:, :1])  # from the bin of rounding
            features.append(octaves if half_width is None else octaves + torch.log2(half_width / HALF_BIN))
        return _channels_last(torch.cat(features, 1))

    def _body(
        self,
        plate: Tensor,
        finest_mean: Tensor,
        bands: Sequence[Tensor],
        fits: Sequence[Tensor],
        half_width: Tensor | None,
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Run the network, the only part that autocast may touch.

        Returns:
            The corrections of the cell means, finest first, and the head's output at full size: three
            residuals, then the logits of the mixture; and what the posterior needs, if there is one.
        """
        with full_precision(plate):
            features = self._features(plate, finest_mean, bands[0], fits, half_width)
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
        beliefs = F.pixel_shuffle(self.belief(x), self.factor) if self.beliefs else None
        return corrections, F.pixel_shuffle(self.head(x), self.factor), beliefs

    def _mix(
        self, plate: Tensor, smooth: Sequence[Tensor], fits: Sequence[Tensor], told: Sequence[Tensor]
    ) -> Tensor:
        """Mix per pixel the direct residual, the smooth estimates and the local fits, in LSB."""
        direct, logits = told
        weights = torch.softmax(logits, 1).split(1, 1)
        residual = weights[0] * direct
        for weight, candidate in zip(weights[1:], _offsets(plate, smooth, fits), strict=True):
            residual = torch.addcmul(residual, weight, _limited(candidate, HALF_BIN))
        return residual

    def _believe(
        self,
        plate: Tensor,
        smooth: Sequence[Tensor],
        fits: Sequence[Tensor],
        told: Sequence[Tensor],
        half_width: float | Tensor,
    ) -> Tensor:
        """Mix luma and chroma, weigh that against the bins, and do so once more after a second look, in LSB."""
        direct, logits, log_scale, luma_logits, look_logits = told
        scale = torch.exp(log_scale.clamp(*LOG_SCALE)) * (2 * half_width)
        offsets = _offsets(plate, smooth, fits)
        belief = self._mix_luma_and_chroma(direct, logits, luma_logits, offsets, half_width)
        residual = posterior_mean(belief, scale, half_width)
        weights = torch.softmax(look_logits, 1).split(1, 1)
        belief = weights[0] * belief
        for weight, candidate in zip(
            weights[1:], self._second_look(plate, residual, half_width), strict=True
        ):
            belief = torch.addcmul(belief, weight, _limited(candidate, half_width))
        return posterior_mean(belief, scale, half_width)

    def _mix_luma_and_chroma(
        self,
        direct: Tensor,
        logits: Tensor,
        luma_logits: Tensor,
        offsets: Iterable[Tensor],
        half_width: float | Tensor,
    ) -> Tensor:
        """Mix each candidate's mean of the channels, and what the channels differ by, with weights of their own."""
        chroma_weights = torch.softmax(logits, 1).split(1, 1)
        leave = logits.logsumexp(1, keepdim=True)  # the luma of the plate as it is
        luma_weights = torch.softmax(torch.cat([logits, leave], 1) + luma_logits, 1).split(1, 1)
        belief = torch.zeros_like(direct)
        for chroma_weight, luma_weight, candidate in zip(
            chroma_weights, luma_weights[:-1], chain([direct], offsets), strict=True
        ):
            luma = candidate.mean(1, keepdim=True)
            belief = torch.addcmul(belief, chroma_weight, _limited(candidate - luma, half_width))
            belief = torch.addcmul(belief, luma_weight, _limited(luma, half_width))
        return belief

    def _second_look(self, plate: Tensor, residual: Tensor, half_width: float | Tensor) -> Iterator[Tensor]:
        """Yield new offsets from the plate, given a first residual: where the bins meet, and local fits."""
        yield where_bins_meet(residual, half_width)
        estimate = plate + residual
        for kernel in self.refit_kernels:
            # a prior must not have seen what it will be weighed against, so the pixel's own share is taken out
            own = kernel[len(kernel) // 2][len(kernel) // 2]
            yield (correlate_bowl(estimate, kernel) - own * estimate) / (1 - own) - plate

    def _start_as_identity(self) -> None:
        """Zero the corrections, so that training starts from the plate's own pyramid, and from a narrow belief."""
        for layer in self.correction:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        if self.beliefs:
            scales, luma, looks = self.beliefs
            starts = [START_LOG_SCALE] * scales + [0.0] * (luma - 1) + [START_LOGIT]
            starts += [0.0] + [START_LOGIT] * (looks - 1)
            weight, bias = self.belief.parameters()
            nn.init.zeros_(weight)
            for channels, start in zip(bias.detach().split(self.factor**2), starts, strict=True):
                channels.fill_(start)


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


def correlate_bowl(plate: Tensor, kernel: Kernel) -> Tensor:
    """As :func:`correlate` with a kernel of the form f(x) + g(y), in four sums along rows and columns.

    That is what :func:`quadratic_fit_kernel` gives; 7x7 weights take 28 taps so.
    """
    centre = len(kernel) // 2
    bend = tuple((row[centre] - kernel[centre][centre],) for row in kernel)
    along = correlate(plate, (kernel[centre],))
    mean = correlate(plate, ((1.0,) * len(kernel),))
    return correlate(along, ((1.0,),) * len(kernel)) + correlate(mean, bend)


def soft_limit(difference: Tensor, limit: float) -> Tensor:
    """Compress differences into (-limit, limit): LSB-sized steps keep their size, edges are tamed."""
    return difference / (1 + difference.abs() / limit)


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _offsets(plate: Tensor, smooth: Sequence[Tensor], fits: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield candidates as offsets from the plate; upsampled one at a time, as all would double the memory."""
    for mean in smooth:
        yield _upsample(mean, plate) - plate
    yield from fits


def _limited(candidate: Tensor, half_width: float | Tensor) -> Tensor:
    """Clamp to twice the bin: further out, a candidate knows nothing of this pixel."""
    return candidate.clamp(-2 * half_width, 2 * half_width)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)  # a third faster on CPUs
