"""How tensors lie in memory, and quicker ways to change that on CPUs than PyTorch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_shuffle(cells: Tensor, factor: int) -> Tensor:
    """As :func:`torch.nn.functional.pixel_shuffle`, seven times faster for a factor of 2 on CPUs.

    The real and imaginary parts of complex numbers lie side by side in memory, as the pixels of a cell do.
    """
    if factor != 2 or not is_plain(cells):
        return F.pixel_shuffle(cells, factor)
    batch, channels, height, width = cells.shape
    parts = cells.reshape(batch, channels // 4, 2, 2, height, width)
    pairs = cells.new_empty((batch, channels // 4, height, 2, width), dtype=torch.complex64)
    torch.complex(parts[:, :, :, 0], parts[:, :, :, 1], out=pairs.transpose(2, 3))
    return torch.view_as_real(pairs).view(batch, channels // 4, 2 * height, 2 * width)


def pixel_unshuffle(plate: Tensor, factor: int) -> Tensor:
    """As :func:`torch.nn.functional.pixel_unshuffle`, four times faster for a factor of 2 on CPUs."""
    if factor != 2 or not is_plain(plate):
        return F.pixel_unshuffle(plate, factor)
    batch, channels, height, width = plate.shape
    cells = plate.contiguous().view(batch, channels, height // 2, 2, width // 2, 2)
    pairs = torch.view_as_complex(cells).transpose(2, 3)
    return torch.stack([pairs.real, pairs.imag], 3).view(batch, channels * 4, height // 2, width // 2)


def is_plain(x: Tensor) -> bool:
    """Tell whether this is inference on the CPU, where a few copies are worth doing in unusual ways."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def channels_last(x: Tensor) -> Tensor:
    """Lay the channels of a pixel side by side, a third faster for convolutions on CPUs."""
    if len(x) > 1 or not is_plain(x):
        return x.contiguous(memory_format=torch.channels_last)
    # the same copy as of a matrix, which is three times as quick
    rows = x[0].flatten(1).t().contiguous()
    return rows.view(1, *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


def planar(x: Tensor) -> Tensor:
    """Undo :func:`channels_last`."""
    if len(x) > 1 or not is_plain(x):
        return x.contiguous()
    return x[0].permute(1, 2, 0).flatten(0, 1).t().contiguous().view(x.shape)
