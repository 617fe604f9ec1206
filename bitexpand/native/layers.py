"""Layers of ``pyramid``, compiled; most in bfloat16, with sums in float32, rounded once where a layer ends.

Layers of 3x3 take a half to two thirds of the multiplications that PyTorch's do, in tiles of a few cells of a row
(``convolutions.h`` says how), and what comes between two of them costs next to nothing. Only the head's takes each
product by itself: tiles round by a little more, and what it tells decides between the candidates.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bitexpand import compiled
from bitexpand.compiled import Correct, Down, ResidualBlock, computes_bfloat16

_CHANNELS = 32  # of the finest level
_BLOCK_VECTORS = {32: 2, 48: 3, 64: 4, 96: 3}  # channels: vectors of outputs in a group, as in convolutions.h
_DOWN = {32: 48, 48: 64, 64: 96, 96: 96}  # channels of the finer level and of the coarser one, likewise
_BANDS = 3
_GROUP = 48  # outputs of the head in a group
_SMALL_TILE, _LARGE_TILE = 2, 4  # cells of a tile, as in convolutions.h
_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.625, -0.625, 1.25, -1.25)}  # likewise
_LANES = 16
_CORRECTED = (32, 48)  # channels of layers with three outputs in bfloat16
_TAPS = 32  # of 3x3 with three outputs, which are 27, and some room


class NarrowLayer:
    """The first layer, of 3x3, which :func:`bitexpand.native.look` runs on what it sees."""

    def __init__(self, layer: torch.nn.Conv2d) -> None:
        self.channels = layer.out_channels
        self.weights, self.bias = _parameters(layer, _CHANNELS, _SMALL_TILE)

    @staticmethod
    def takes(layer: torch.nn.Conv2d) -> bool:
        """Tell whether this processor can, and layers of this shape are compiled."""
        return computes_bfloat16() and layer.out_channels == _CHANNELS


class NarrowBlock:
    """Two convolutions of 3x3 beside an identity, in bfloat16 but for what they are added to."""

    def __init__(self, first: torch.nn.Conv2d, second: torch.nn.Conv2d) -> None:
        self.inputs = first.in_channels
        group = _BLOCK_VECTORS[self.inputs] * _LANES
        tile = _SMALL_TILE if self.inputs == _CHANNELS else _LARGE_TILE
        self.first, self.first_bias = _parameters(first, group, tile)
        self.second, self.second_bias = _parameters(second, group, tile)

    @staticmethod
    def takes(layer: torch.nn.Conv2d) -> bool:
        """Tell whether this processor can, and layers of this shape are compiled."""
        return (
            computes_bfloat16()
            and layer.in_channels == layer.out_channels
            and layer.out_channels in _BLOCK_VECTORS
        )

    def __call__(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Run them.

        Args:
            x: (1, C, H, W) float32 or bfloat16.
            coarser: (1, C, H/2, W/2), where ``x`` is bfloat16: upsampled and added to it first.

        Returns:
            (1, C, H, W) of the same dtype, channels last.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        _, channels, height, width = x.shape
        wide = x.dtype == torch.float32
        assert channels == self.inputs
        assert x.dtype in (torch.float32, torch.bfloat16)
        if coarser is not None:
            assert not wide
            assert (2 * coarser.shape[2], 2 * coarser.shape[3]) == (height, width)
            coarser = coarser.bfloat16().contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        job = ResidualBlock(
            x.data_ptr(),
            None if coarser is None else coarser.data_ptr(),
            result.data_ptr(),
            *(t.data_ptr() for t in (self.first, self.second, self.first_bias, self.second_bias)),
            *(height, width, channels, wide),
        )
        run("bitexpand_residual_block", job, 0, height)
        return result


class NarrowDown:
    """The way to the next level: half of what was seen, the bands beside it, a convolution of 3x3, ReLU.

    Args:
        layer: the convolution.
        dtype: of what it gives, float32 or bfloat16.
    """

    def __init__(self, layer: torch.nn.Conv2d, dtype: torch.dtype) -> None:
        self.inputs, self.channels, self.dtype = layer.in_channels, layer.out_channels, dtype
        self.weights, self.bias = _parameters(layer, _BLOCK_VECTORS[self.channels] * _LANES, _SMALL_TILE)

    @staticmethod
    def takes(layer: torch.nn.Conv2d) -> bool:
        """Tell whether this processor can, and layers of this shape are compiled."""
        return computes_bfloat16() and _DOWN.get(layer.in_channels - _BANDS) == layer.out_channels

    def __call__(self, x: Tensor, band: Tensor) -> Tensor:
        """Run it.

        Args:
            x: (1, C, 2 H, 2 W) float32 or bfloat16.
            band: (1, 3, H, W) float32.

        Returns:
            (1, channels, H, W), channels last.
        """
        x, band = x.contiguous(memory_format=torch.channels_last), band.contiguous()
        _, _, height, width = band.shape
        finer = self.inputs - _BANDS
        assert x.shape == (1, finer, 2 * height, 2 * width)
        assert x.dtype in (torch.float32, torch.bfloat16)
        assert band.dtype == torch.float32
        result = torch.empty((1, height, width, self.channels), dtype=self.dtype)
        job = Down(
            *(t.data_ptr() for t in (x, band, result, self.weights, self.bias)),
            *(height, width, finer, self.channels),
            *(t.dtype == torch.float32 for t in (x, result)),
        )
        run("bitexpand_down", job, 0, height)
        return result.permute(0, 3, 1, 2)


class NarrowHead:
    """A head in bfloat16 that tells in float32: what it says is too large for bfloat16, and PyTorch has no such.

    Args:
        cells: (1, 32, H/2, W/2) bfloat16, channels last: what the head reads.
        told: the convolution of 3x3.
        believed: the convolution of 1x1.
    """

    def __init__(self, cells: Tensor, told: torch.nn.Conv2d, believed: torch.nn.Conv2d) -> None:
        self.cells = cells.contiguous(memory_format=torch.channels_last)
        whole = told.out_channels // _GROUP * _GROUP
        said = _packed(_filled(_said(told.weight[whole:]), _GROUP), _GROUP)
        belief_weights, belief_bias = _parameters(believed, _GROUP)
        assert told.bias is not None
        self.weights = (_packed(told.weight[:whole], _GROUP), said, belief_weights)
        self.biases = (told.bias.float(), belief_bias)

    @staticmethod
    def takes(cells: Tensor) -> bool:
        """Tell whether this processor can, and the cells are what it takes."""
        return computes_bfloat16() and cells.dtype == torch.bfloat16 and cells.shape[1] == _CHANNELS

    def pointers(self) -> Iterator[int]:
        """Yield where cells, weights and biases lie."""
        return (tensor.data_ptr() for tensor in (self.cells, *self.weights, *self.biases))


def correct(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
    """Run a layer of 3x3 with three outputs, for which PyTorch's convolutions are not made.

    Args:
        x: (1, C, H, W), float32, or bfloat16 where :func:`can_correct` says so.
        layer: with C inputs.

    Returns:
        (1, 3, H, W) float32.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = x.shape
    narrow = x.dtype == torch.bfloat16
    assert layer.bias is not None
    assert can_correct(x)
    said, bias = _filled(_said(layer.weight), _TAPS), layer.bias.float()
    weights = _packed(said, _TAPS) if narrow else said[..., 0, 0].t().contiguous()
    result = torch.empty((1, 3, height, width))
    job = Correct(
        *(t.data_ptr() for t in (x, weights, bias, result)),
        *(height, width, channels, narrow),
    )
    run("bitexpand_correct", job, 0, height)
    return result


def can_correct(x: Tensor) -> bool:
    """Tell whether :func:`correct` takes this."""
    return x.dtype == torch.float32 or (
        computes_bfloat16() and x.dtype == torch.bfloat16 and x.shape[1] in _CORRECTED
    )


def run(name: str, job: ctypes.Structure, top: int, bottom: int) -> None:
    """Run a step on rows, shared among as many threads as torch has in this one; see :func:`compiled.run`."""
    compiled.run(name, job, top, bottom, torch.get_num_threads())


def _parameters(layer: torch.nn.Conv2d, group: int, tile: int | None = None) -> tuple[Tensor, Tensor]:
    """Return packed weights and biases, filled up with 0: outputs to whole groups, inputs to pairs.

    Weights of a layer in tiles are what those are multiplied by.
    """
    assert layer.bias is not None
    weight = torch.nn.functional.pad(_filled(layer.weight, group), (0, 0, 0, 0, 0, layer.in_channels % 2))
    return _packed(weight if tile is None else _at_points(weight, tile), group), _filled(layer.bias, group)


def _at_points(weight: Tensor, tile: int) -> Tensor:
    """Return (outputs, inputs, points, 3) float32 for the tiles of convolutions.h, from (outputs, inputs, 3, 3).

    The taps of a row are a polynomial's coefficients: its value at each point, divided by what the tile's were
    multiplied by, and the highest one.
    """
    points = _POINTS[tile]
    rows = []
    for point in points:
        scale = math.prod(point - other for other in points if other != point)
        rows.append([point**power / scale for power in range(3)])
    rows.append([0.0, 0.0, 1.0])
    return torch.einsum("pk,oiyk->oipy", torch.tensor(rows, dtype=torch.float64), weight.double()).float()


def _packed(weight: Tensor, group: int) -> Tensor:
    """Return (outputs, inputs, h, w) in bfloat16, by group of outputs, tap, pair of inputs, output of the group."""
    pairs = weight.bfloat16().reshape(-1, group, weight.shape[1] // 2, 2, weight[0, 0].numel())
    return pairs.permute(0, 4, 2, 1, 3).contiguous()


def _said(weight: Tensor) -> Tensor:
    """Return (9 outputs, inputs, 1, 1), what a cell says to each of the nine around it; from 3x3."""
    return weight.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None]


def _filled(parameter: Tensor, group: int) -> Tensor:
    """Return float32 parameters of whole groups of outputs."""
    rest = parameter.new_zeros((-len(parameter) % group, *parameter.shape[1:]))
    return torch.cat([parameter, rest]).float()
