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

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitexpand import native
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
from bitexpand.models.belief import START_LOG_SCALE, posterior_mean, scale_of, where_bins_meet
from bitexpand.models.fits import Kernel, correlate_bowl, quadratic_fit_kernel
from bitexpand.models.layout import channels_last, is_plain, pixel_shuffle, pixel_unshuffle, planar

FINE_RANGE = 4.0  # LSB: where differences inside a cell, and those to the fits, begin to saturate
BAND_RANGE = 8.0  # LSB: where the bands of the Laplacian pyramid do
FIT_GAIN = 2.0  # local fits differ from the plate by fractions of an LSB
NATIVE_BYTES_PER_PIXEL = 95  # in bfloat16 with compiled steps, and with what the engine makes beside
NARROW_LEVELS = 2  # finest ones, whose numbers may be narrow throughout
STRIP_STEP = 16  # rows; no less, as the filters reach into the next strip and no further
START_LOGIT = -2.0  # hardly a second look


@dataclass(frozen=True)
class Rows:
    """Some rows of a plate, in pixels: from ``top`` on, before ``bottom``."""

    top: int
    bottom: int
    is_last: bool


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
    bytes_per_pixel = 300
    narrows = True
    sees_afar = True

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
        self._narrow_stem: native.NarrowLayer | None = None
        self._narrow_down: list[native.NarrowDown] = []
        self._has_native_shape = config.posterior and native.is_compiled_for(
            factor, levels, config.fits, config.refits, config.widths
        )
        if config.posterior:
            self.belief = nn.Conv2d(channels[0], sum(self.beliefs) * factor**2, 1)
        self._start_as_identity()

    @property
    def grid(self) -> int:
        """Cells of the mean below the coarsest level: tiles that shift them differ by 0.05 LSB at any overlap."""
        return 2 * self.multiple

    def forward(self, plate: Tensor, half_width: float | Tensor | None = None) -> Tensor:
        """Estimate the plate before quantisation.

        Args:
            plate: (N, 3, H, W) float32 log code values in LSB, H and W multiples of ``multiple``.
            half_width: of the bins around them in LSB, one for all or (N, 1, 1, 1) float32; None is 0.5, the bin
                of rounding.

        Returns:
            (N, 3, H, W) float32 in LSB, not clamped to the bins.
        """
        # Whatever touches the plate's own values stays float32; only the network's body may be narrower.
        with full_precision(plate):
            means = self._cell_means(plate)
            bands = list(map(_band, means[:-1], means[1:]))
        if not isinstance(half_width, Tensor) and self._runs_natively(plate):
            return self._forward_natively(plate, means, bands, half_width)
        with full_precision(plate):
            *fits, features = self._in_strips(
                plate, partial(self._look, plate, means[0], bands[0], half_width)
            )
        seen = [self._seen(features)]
        del features  # the largest tensor
        x, corrections = self._body(seen.pop(), bands)
        del bands
        with full_precision(plate):
            smooth = [
                self._tall(mean + delta.float(), plate)
                for mean, delta in zip(means[:-1], corrections, strict=True)
            ]
        width = HALF_BIN if half_width is None else half_width
        if not self.beliefs:
            return self._in_strips(plate, partial(self._mix, plate, smooth, fits, x))[0]
        beliefs = self._in_strips(plate, partial(self._believe, plate, smooth, fits, x, width))
        del smooth, fits, x
        return self._in_strips(plate, partial(self._look_again, plate, beliefs, width))[0]

    def _runs_natively(self, plate: Tensor) -> bool:
        """Tell whether what is done at full size can be left to :mod:`bitexpand.native`."""
        return (
            self._has_native_shape
            and is_plain(plate)
            and len(plate) == 1
            and not any(side % self.multiple for side in plate.shape[2:])
            and plate.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and self.stem.weight.dtype in (torch.float32, torch.bfloat16)
            and native.available()
        )

    def _forward_natively(
        self, plate: Tensor, means: Sequence[Tensor], bands: Sequence[Tensor], half_width: float | None
    ) -> Tensor:
        """As :meth:`forward`, with compiled steps for all that is not a convolution."""
        plate, width = plate.contiguous(), HALF_BIN if half_width is None else half_width
        octaves, dtype = math.log2(width / HALF_BIN), self.stem.weight.dtype
        first = self._narrow_stem if dtype == torch.bfloat16 else None
        look = partial(native.look, plate, means[0], bands[0], octaves, self.fit_kernels, dtype, first)
        # what is seen has no name here, as that would keep its memory until the end
        x, corrections = self._body(look() if first else self._seen(look()), bands)
        smooth = [mean + delta.float() for mean, delta in zip(means[:-1], corrections, strict=True)]
        result, done = torch.empty_like(plate), 0
        beliefs = None  # of the rows at hand; the second look follows the first, a little behind
        narrow_head = native.NarrowHead(x, self.head, self.belief) if native.NarrowHead.takes(x) else None
        for rows in self._strips(plate):
            head = narrow_head or self._head(x, rows)
            at = range(rows.top, rows.bottom)
            beliefs = beliefs or native.Beliefs(plate, rows.bottom)
            native.believe(plate, smooth, head, at, width, self.fit_kernels, beliefs)
            end = rows.bottom if rows.is_last else rows.bottom - native.MAX_REACH
            native.look_again(plate, beliefs, done, end, width, self.refit_kernels, result)
            if not rows.is_last:
                beliefs.keep_last(rows.bottom)
            done = end
        return result

    def _in_strips(
        self, plate: Tensor, step: Callable[[Rows | None], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Run a step on a few rows of the plate at a time, so that what it computes stays in the caches.

        Args:
            plate: (N, 3, H, W).
            step: what maps rows of the plate to results of as many rows, or a fixed fraction; None is all of them.

        Returns:
            The step's results for all rows.
        """
        if self.strip_pixels is None:
            return step(None)
        height, whole = plate.shape[-2], ()
        for strip in self._strips(plate):
            parts = step(strip)
            if not whole:
                whole = tuple(_taller(part, height / (strip.bottom - strip.top)) for part in parts)
            for part, target in zip(parts, whole, strict=True):
                scale = target.shape[2] / height
                target[:, :, round(strip.top * scale) : round(strip.bottom * scale)] = part
        return whole

    def _strips(self, plate: Tensor) -> Iterator[Rows]:
        """Divide a plate into strips of ``strip_pixels`` or a little less, or into a single one."""
        height, width = plate.shape[-2:]
        step = max((self.strip_pixels or height * width) // (width * STRIP_STEP), 1) * STRIP_STEP
        for top in range(0, height, step):
            yield Rows(top, min(top + step, height), top + step >= height)

    def _cell_means(self, plate: Tensor) -> list[Tensor]:
        """Means of the plate over the cells of every level, and of one level more."""
        if self._runs_natively(plate):
            means = [native.halve(plate)]
            means.append(native.halve(means[0]))  # half of a multiple of 64
        else:
            means = [F.avg_pool2d(plate, self.factor)]
        while len(means) <= self.levels:
            means.append(F.avg_pool2d(means[-1], 2, ceil_mode=True))
        return means

    def _look(
        self, plate: Tensor, mean: Tensor, band: Tensor, half_width: float | Tensor | None, rows: Rows | None
    ) -> tuple[Tensor, ...]:
        """Return the local fits' offsets from the plate, and everything that the network sees at its finest level.

        Differences only, never absolute values.
        """
        own = _rows(plate, rows)
        fits = [fit - own for fit in _fitted(self.fit_kernels, rows, plate)]
        mean, band = _rows(mean, rows, scale=self.factor), _rows(band, rows, scale=self.factor)
        cells = pixel_unshuffle(own, self.factor).unflatten(1, (3, self.factor**2))
        features = [soft_limit((cells - mean.unsqueeze(2)).flatten(1, 2), FINE_RANGE), band]
        features += [pixel_unshuffle(FIT_GAIN * soft_limit(fit, FINE_RANGE), self.factor) for fit in fits]
        if self.takes_half_width:
            octaves = torch.zeros_like(mean[:, :1])  # from the bin of rounding
            if isinstance(half_width, Tensor):
                octaves = octaves + torch.log2(half_width / HALF_BIN)
            elif half_width is not None:
                octaves = octaves + math.log2(half_width / HALF_BIN)
            features.append(octaves)
        dtype = self.stem.weight.dtype
        return *fits, channels_last(torch.cat([part.to(dtype) for part in features], 1))

    def _seen(self, features: Tensor) -> Tensor:
        """Run the first convolution."""
        return F.relu(_run(self.stem, features), inplace=True)

    def _body(self, x: Tensor, bands: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run the network, the only part that may be narrower than float32.

        Args:
            x: what its first convolution saw.
            bands: of the Laplacian pyramid, finest first.

        Returns:
            What the head is to read of every finest cell, and corrections of the cell means, finest first.
        """
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                x = self._coarser(level, x, bands[level])
            x = block(x)
            skips.append(x)
        skips.pop()
        corrections = [self._correct(-1, x)]
        for level in reversed(range(self.levels - 1)):
            skip = skips.pop()
            x = self.decoder[level](skip, _run(self.up[level], x))
            corrections.insert(0, self._correct(level, x))
        return x, corrections

    def _coarser(self, level: int, x: Tensor, band: Tensor) -> Tensor:
        """Return what a level sees, given what the finer one saw and the band that lies between them."""
        is_half = x.shape[2:] == (2 * band.shape[2], 2 * band.shape[3])
        if self._narrow_down and is_half and _is_for_compiled(x):
            return self._narrow_down[level - 1](x, band)
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        joined = torch.cat([pooled, channels_last(band.to(pooled.dtype))], 1)
        return F.relu(_run(self.down[level - 1], joined), inplace=True)

    def _correct(self, level: int, x: Tensor) -> Tensor:
        """Return what is added to the cell means of a level."""
        layer = self.correction[level]
        if isinstance(layer, nn.Conv2d) and _is_for_compiled(x):
            x = x.to(layer.weight.dtype)
            if native.can_correct(x):
                return native.correct(x, layer)
        return _run(layer, x)

    def _told(self, x: Tensor, rows: Rows | None) -> list[Tensor]:
        """Return what the head tells of each pixel, as ``outputs`` and ``beliefs`` split it, float32."""
        told, *believed = self._head(x, rows)
        parts = list(_per_pixel(told, self.factor).split(self.outputs, 1))
        return parts + [part for b in believed for part in _per_pixel(b, self.factor).split(self.beliefs, 1)]

    def _head(self, x: Tensor, rows: Rows | None) -> tuple[Tensor, ...]:
        """Return what the head tells of cells: the direct residual and mixing logits, and then of the beliefs."""
        around = _rows(x, rows, 1, self.factor).to(self.head.weight.dtype)
        told = _inner(_run(self.head, around), rows, 1)
        return (told, _pointwise(self.belief, _inner(around, rows, 1))) if self.beliefs else (told,)

    def _tall(self, smooth: Tensor, plate: Tensor) -> Tensor:
        """Upsample a smooth estimate along its columns, and part what its channels have in common: (N, 4, H, w)."""
        tall = F.interpolate(
            smooth, size=(plate.shape[2], smooth.shape[3]), mode="bilinear", align_corners=False
        )
        return torch.cat(_parted(tall), 1) if self.beliefs else tall

    def _mix(
        self, plate: Tensor, smooth: Sequence[Tensor], fits: Sequence[Tensor], x: Tensor, rows: Rows | None
    ) -> tuple[Tensor]:
        """Mix per pixel the direct residual, the smooth estimates and the local fits, in LSB."""
        direct, logits = self._told(x, rows)
        with full_precision(plate):
            weights = torch.softmax(logits, 1).split(1, 1)
            own = _rows(plate, rows)
            residual = weights[0] * direct
            offsets = chain(_offsets(own, smooth, rows), (_rows(fit, rows) for fit in fits))
            for weight, candidate in zip(weights[1:], offsets, strict=True):
                residual = torch.addcmul(residual, weight, _limited(candidate, HALF_BIN))
            return (own + residual,)

    def _believe(
        self,
        plate: Tensor,
        smooth: Sequence[Tensor],
        fits: Sequence[Tensor],
        x: Tensor,
        half_width: float | Tensor,
        rows: Rows | None,
    ) -> tuple[Tensor, ...]:
        """Mix luma and chroma, and weigh that against the bins, in LSB.

        Returns:
            The belief's mean and scale, the first answer, and the weights of the second look.
        """
        direct, logits, log_scale, luma_logits, look_logits = self._told(x, rows)
        with full_precision(plate):
            scale = scale_of(log_scale, half_width)
            offsets = chain(
                [_parted(direct)],
                (
                    o.split((3, 1), 1)
                    for o in _offsets(torch.cat(_parted(_rows(plate, rows)), 1), smooth, rows)
                ),
                (_parted(_rows(fit, rows)) for fit in fits),
            )
            belief = self._mix_luma_and_chroma(logits, luma_logits, offsets, half_width)
            residual = posterior_mean(belief, scale, half_width)
            return belief, scale, residual, torch.softmax(look_logits, 1)

    def _mix_luma_and_chroma(
        self,
        logits: Tensor,
        luma_logits: Tensor,
        offsets: Iterable[Sequence[Tensor]],
        half_width: float | Tensor,
    ) -> Tensor:
        """Mix each candidate's mean of the channels, and what the channels differ by, with weights of their own."""
        logits = torch.log_softmax(logits, 1)
        chroma_weights = logits.exp().split(1, 1)
        leave = torch.zeros_like(logits[:, :1])  # the luma of the plate as it is
        luma_weights = torch.softmax(torch.cat([logits, leave], 1) + luma_logits, 1).split(1, 1)
        chroma, luma = torch.zeros_like(logits[:, :3]), torch.zeros_like(logits[:, :1])
        for chroma_weight, luma_weight, (of_chroma, of_luma) in zip(
            chroma_weights, luma_weights[:-1], offsets, strict=True
        ):
            chroma = torch.addcmul(chroma, chroma_weight, _limited(of_chroma, half_width))
            luma = torch.addcmul(luma, luma_weight, _limited(of_luma, half_width))
        return chroma + luma

    def _look_again(
        self, plate: Tensor, beliefs: Sequence[Tensor], half_width: float | Tensor, rows: Rows | None
    ) -> tuple[Tensor]:
        """Compare the first answer with its neighbourhood, and weigh what that tells against the bins, in LSB."""
        with full_precision(plate):
            belief, scale, _, weights = (_rows(part, rows) for part in beliefs)
            own = _rows(plate, rows)
            share, *shares = weights.split(1, 1)
            belief = share * belief
            for weight, candidate in zip(
                shares, self._second_look(plate, beliefs[2], half_width, rows), strict=True
            ):
                belief = torch.addcmul(belief, weight, _limited(candidate, half_width))
            return (own + posterior_mean(belief, scale, half_width),)

    def _second_look(
        self, plate: Tensor, residual: Tensor, half_width: float | Tensor, rows: Rows | None
    ) -> Iterator[Tensor]:
        """Yield new offsets from the plate, given a first residual: where the bins meet, and local fits."""
        own, own_residual = _rows(plate, rows), _rows(residual, rows)
        yield where_bins_meet(own_residual, half_width)
        fits = _fitted(self.refit_kernels, rows, plate, residual)
        for kernel, fit in zip(self.refit_kernels, fits, strict=True):
            # a prior must not have seen what it will be weighed against, so the pixel's own share is taken out
            share = kernel[len(kernel) // 2][len(kernel) // 2]
            yield (fit - share * (own + own_residual)) / (1 - share) - own

    def narrow(self, dtype: torch.dtype) -> None:
        """Run nearly all of the network in bfloat16 or float16; what its coarse levels hold stays float32.

        Rounding moves estimates by up to 0.008 LSB so, against 0.014 were it the whole network: what decides is the
        mixture's logits, which are large, and the coarse levels, which hold for many pixels. There the residual
        blocks compute in narrow numbers what they add, and no more.
        """
        if dtype == torch.bfloat16:  # out of weights that have not been rounded yet
            for block in chain(self.encoder, self.decoder):
                assert isinstance(block, ResidualBlock)
                block.use_compiled()
            down = [layer for layer in self.down if isinstance(layer, nn.Conv2d)]
            can_go_down = all(native.NarrowDown.takes(layer) for layer in down)
            if self._has_native_shape and native.NarrowLayer.takes(self.stem) and can_go_down:
                self._narrow_stem = native.NarrowLayer(self.stem)
                self._narrow_down = [
                    native.NarrowDown(layer, dtype if level < NARROW_LEVELS else torch.float32)
                    for level, layer in enumerate(down, 1)
                ]
                self.bytes_per_pixel = NATIVE_BYTES_PER_PIXEL
        for layers in (
            *(self.encoder, self.decoder, self.down[: NARROW_LEVELS - 1], self.up[:NARROW_LEVELS]),
            *(self.stem, self.correction[:NARROW_LEVELS]),
        ):
            layers.to(dtype)

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
        self.compiled: native.NarrowBlock | None = None

    def use_compiled(self) -> None:
        """Use compiled convolutions, where there are some of this shape; after the last change of the weights."""
        if native.NarrowBlock.takes(self.first):
            self.compiled = native.NarrowBlock(self.first, self.second)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W) to the same shape and dtype, whatever the convolutions compute in.

        Args:
            x: (N, C, H, W).
            coarser: half as large; what is upsampled and added first.
        """
        is_compiled = self.compiled and _is_for_compiled(x)
        if coarser is not None and (not is_compiled or x.dtype == torch.float32):
            x, coarser = _upsample(coarser, x).add_(x), None
        if self.compiled and is_compiled:
            return self.compiled(x, coarser)
        change = _run(self.second, F.relu(_run(self.first, x), inplace=True))
        return change.add_(x) if change.dtype == x.dtype else x + change


def soft_limit(difference: Tensor, limit: float) -> Tensor:
    """Compress differences into (-limit, limit): LSB-sized steps keep their size, edges are tamed."""
    return difference / difference.abs().div_(limit).add_(1)


def _band(mean: Tensor, coarser: Tensor) -> Tensor:
    """Return what cells differ by from those of the next level."""
    halved = (mean.shape[2] / 2, mean.shape[3] / 2) == coarser.shape[2:]
    whole_vectors = mean.shape[3] % native.BAND_COLUMNS == 0 and mean.dtype == torch.float32
    if halved and whole_vectors and _is_for_compiled(mean):
        return native.band(mean, coarser)
    return soft_limit(mean - _upsample(coarser, mean), BAND_RANGE)


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _fitted(kernels: Sequence[Kernel], rows: Rows | None, *parts: Tensor) -> Iterator[Tensor]:
    """Yield the local fits to rows of a sum, the plate's border repeated."""
    if not kernels:
        return
    reach = len(kernels[-1]) // 2
    around = sum(_rows(part, rows, reach) for part in parts[1:]) + _rows(parts[0], rows, reach)
    at_top, at_bottom = rows is None or rows.top == 0, rows is None or rows.is_last
    around = F.pad(around, (reach, reach, reach * at_top, reach * at_bottom), mode="replicate")
    for kernel in kernels:
        spare = reach - len(kernel) // 2
        yield correlate_bowl(
            around[..., spare : around.shape[-2] - spare, spare : around.shape[-1] - spare], kernel
        )


def _offsets(own: Tensor, smooth: Sequence[Tensor], rows: Rows | None) -> Iterator[Tensor]:
    """Yield smooth estimates as offsets from rows of the plate; upsampled one at a time, for the memory's sake."""
    for tall in smooth:
        part = _rows(tall, rows)
        flat = part.flatten(1, 2)  # along the rows only, which is quicker than in two dimensions
        wide = F.interpolate(flat, size=own.shape[-1], mode="linear", align_corners=False)
        yield wide.view_as(own) - own


def _parted(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Split (N, 3, H, W) into what the channels differ by, and what they have in common: (N, 1, H, W)."""
    luma = (offsets[:, :1] + offsets[:, 1:2]).add_(offsets[:, 2:]).mul_(1 / 3)
    return offsets - luma, luma


def _rows(x: Tensor, rows: Rows | None, halo: int = 0, scale: int = 1) -> Tensor:
    """Cut rows of the plate out of a tensor that has one for ``scale`` of them, and ``halo`` of its rows around."""
    if rows is None:
        return x
    return x[:, :, max(rows.top // scale - halo, 0) : rows.bottom // scale + halo]


def _inner(x: Tensor, rows: Rows | None, halo: int) -> Tensor:
    """Take the halo off that :func:`_rows` put around; at the top and the bottom of the plate there is none."""
    if rows is None or halo == 0:
        return x
    return x[:, :, halo if rows.top else 0 : None if rows.is_last else -halo]


def _taller(part: Tensor, times: float) -> Tensor:
    """Make room for a tensor like this with so many times its rows."""
    batch, channels, height, width = part.shape
    packed = torch.contiguous_format if part.is_contiguous() else torch.channels_last
    shape = (batch, channels, round(height * times), width)
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=packed)


def _is_for_compiled(x: Tensor) -> bool:
    """Tell whether a compiled layer, if there is one, can take this."""
    return len(x) == 1 and is_plain(x) and native.available()


def _run(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a convolution in its own precision."""
    assert isinstance(layer, nn.Conv2d)
    return layer(x.to(layer.weight.dtype))


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Run a 1x1 convolution over channels that lie side by side, as a product of matrices."""
    if len(x) > 1 or layer.bias is None or not is_plain(x):
        return _run(layer, x)
    pixels = x[0].permute(1, 2, 0).flatten(0, 1)
    result = torch.addmm(layer.bias, pixels, layer.weight.flatten(1).t())
    return result.view(1, *x.shape[2:], -1).permute(0, 3, 1, 2)


def _per_pixel(cells: Tensor, factor: int) -> Tensor:
    """Spread what is told of cells over pixels, float32: (N, C factor^2, h, w) to (N, C, h factor, w factor)."""
    return pixel_shuffle(planar(cells).float(), factor)


def _limited(candidate: Tensor, half_width: float | Tensor) -> Tensor:
    """Clamp to twice the bin: further out, a candidate knows nothing of this pixel."""
    return candidate.clamp(-2 * half_width, 2 * half_width)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
