"""The steps of ``pyramid`` at full size, compiled: each touches a pixel once, PyTorch's operations forty times.

``hatch_build.py`` compiles them when the package is built, if there is a C++ compiler. Without, ``available()`` is
False and ``pyramid`` takes PyTorch's operations: the same estimates within 0.001 LSB, in twice the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand.compiled import (
    FIT_SIZES,
    FITS,
    LEVELS,
    REFIT_SIZES,
    REFITS,
    Band,
    Believe,
    Blend,
    Clamp,
    Extremes,
    Fit,
    Halve,
    Kernel,
    Look,
    LookAgain,
    Measure,
    PartChannels,
    Stepless,
    library,
)
from bitexpand.compiled import instruction_sets as instruction_sets
from bitexpand.native.layers import NarrowBlock as NarrowBlock
from bitexpand.native.layers import NarrowDown as NarrowDown
from bitexpand.native.layers import NarrowHead, NarrowLayer, run
from bitexpand.native.layers import can_correct as can_correct
from bitexpand.native.layers import correct as correct

MAX_REACH = 4  # of a fit to the first answer, in pixels, and an even number
HALVED_COLUMNS = 32
BAND_COLUMNS = 16


def available() -> bool:
    """Tell whether the compiled steps are there."""
    return library() is not None


def is_compiled_for(
    factor: int, levels: int, fits: Sequence[int], refits: Sequence[int], widths: bool
) -> bool:
    """Tell whether the compiled steps are for a network of this shape, which is the shipped one's."""
    shape = (factor, levels, tuple(fits), tuple(refits))
    return widths and shape == (2, LEVELS, FIT_SIZES, REFIT_SIZES)


class Beliefs:
    """Beliefs of the rows that are worked on: :func:`believe` fills them in, :func:`look_again` reads them.

    Args:
        plate: (1, 3, H, W) float32.
        rows: most that are filled in at once.
    """

    def __init__(self, plate: Tensor, rows: int) -> None:
        # mean, scale and first answer, three channels each, in LSB; weights of the second look
        self.values = plate.new_empty((9 + 2 + REFITS, rows + 2 * MAX_REACH, plate.shape[3]))
        self.first = 0

    def keep_last(self, bottom: int) -> None:
        """Forget all rows but the last ones before ``bottom``, which those below look back at."""
        kept, end = 2 * MAX_REACH, bottom - self.first
        assert end >= 2 * kept, "strips are no lower"
        self.values[:, :kept] = self.values[:, end - kept : end]
        self.first = bottom - kept


def look(
    plate: Tensor,
    mean: Tensor,
    band: Tensor,
    octaves: float,
    fits: Sequence[Kernel],
    dtype: torch.dtype,
    first: NarrowLayer | None = None,
) -> Tensor:
    """Return what the network sees at its finest level, or what its first layer makes of that.

    Args:
        plate: (1, 3, H, W) float32 in LSB.
        mean, band: (1, 3, H/2, W/2) float32, the plate's cells and their soft-limited differences.
        octaves: what the network is told of the bins' width.
        fits: kernels of the local fits.
        dtype: of the result, float32 or bfloat16.
        first: the first layer, with bfloat16 only.

    Returns:
        (1, 52, H/2, W/2), or (1, 32, H/2, W/2) if there is a ``first``, channels last.
    """
    plate, mean, band = _planar(plate), _planar(mean), _planar(band)
    _, _, height, width = plate.shape
    channels = first.channels if first else 12 * (1 + FITS) + 4
    result = torch.empty((1, height // 2, width // 2, channels), dtype=dtype)
    narrow = dtype == torch.bfloat16
    assert narrow or (dtype == torch.float32 and first is None)
    job = Look(
        *(t.data_ptr() for t in (plate, mean, band, result)),
        *((first.weights.data_ptr(), first.bias.data_ptr()) if first else (None, None)),
        *(height, width, narrow),
        octaves,
        Fit.all(fits),
    )
    run("bitexpand_look", job, 0, height)
    return result.permute(0, 3, 1, 2)


def believe(
    plate: Tensor,
    smooth: Sequence[Tensor],
    head: NarrowHead | Sequence[Tensor],
    rows: range,
    half_width: float,
    fits: Sequence[Kernel],
    to: Beliefs,
) -> None:
    """Mix the candidates of some rows, and weigh that against the bins.

    Args:
        plate: (1, 3, H, W) float32 in LSB.
        smooth: the smooth estimates, finest first: (1, 3, H/2, W/2), (1, 3, H/4, W/4) and so on, float32 in LSB.
        head: computes what it tells, or that itself of these rows' cells: (1, 52, h, W/2) and (1, 72, h, W/2),
            float32.
        rows: which, from an even one on to an even one.
        half_width: of the bins, in LSB.
        fits: kernels of the local fits.
        to: takes them.
    """
    plate, smooth = _planar(plate), [_planar(level) for level in smooth]
    _, _, height, width = plate.shape
    assert [(height >> k, width >> k) for k in range(1, LEVELS + 1)] == [level.shape[2:] for level in smooth]
    if isinstance(head, NarrowHead):
        heads = (None, None, *head.pointers())
    else:
        told, beliefs = (_cell_by_cell(part) for part in head)  # named, as their memory must last
        heads = (told.data_ptr(), beliefs.data_ptr(), *[None] * 6)
    job = Believe(
        plate.data_ptr(),
        (c_void_p * LEVELS)(*(level.data_ptr() for level in smooth)),
        *heads,
        to.values.data_ptr(),
        *(height, width, rows.start, to.first, to.values.shape[1]),
        half_width,
        Fit.all(fits),
    )
    run("bitexpand_believe", job, rows.start, rows.stop)


def look_again(
    plate: Tensor,
    beliefs: Beliefs,
    top: int,
    bottom: int,
    half_width: float,
    fits: Sequence[Kernel],
    to: Tensor,
) -> None:
    """Compare the first answer with its neighbourhood, and weigh what that tells against the bins.

    Args:
        plate: (1, 3, H, W) float32 in LSB.
        beliefs: of these rows, and of those around that the fits reach.
        top, bottom: the first of the rows, and the first that is none of them.
        half_width: of the bins, in LSB.
        fits: kernels of the local fits to the first answer.
        to: (1, 3, H, W) float32, contiguous; takes the rows' final answer in LSB.
    """
    plate = _planar(plate)
    _, _, height, width = plate.shape
    job = LookAgain(
        *(t.data_ptr() for t in (plate, beliefs.values, to)),
        *(height, width, beliefs.first, beliefs.values.shape[1]),
        half_width,
        Fit.all(fits),
    )
    run("bitexpand_look_again", job, top, bottom)


def blend(plate: Tensor, estimate: Tensor, share: Tensor, moves: Tensor, top: int, left: int) -> Tensor:
    """Take a view from afar where it counts.

    Args:
        plate: (1, C, h, w) float32 in LSB, a tile.
        estimate: same shape, what was seen from near by; it is changed.
        share: (1, C, H, W) float32, 0 to 1, of cells of 4 px of the whole frame.
        moves: same shape, in LSB.
        top, left: where the tile begins, multiples of 4 px.

    Returns:
        ``estimate``.
    """
    assert share.shape == moves.shape
    plate, estimate = (t if t.stride(3) == 1 else t.contiguous() for t in (plate, estimate))
    _blend(plate, estimate, share, moves, top, left)
    return estimate


def can_settle(plate: Tensor, estimate: Tensor) -> bool:
    """Tell whether :func:`settle` takes these: float32 on the CPU, the samples of a row side by side."""
    return all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.stride(3) == 1 for t in (plate, estimate)
    )


def settle(plate: Tensor, estimate: Tensor, share: Tensor, end: float) -> None:
    """Put samples whose code value is at an end back there.

    Args:
        plate: (1, C, H, W) float32 in LSB.
        estimate: same shape, float32 in LSB; it is changed.
        share: (1, C, ceil(H / 4), ceil(W / 4)) float32 of cells of 4 px, from 0, as it is, to 1, at the end.
        end: the code value.
    """
    _blend(plate, estimate, share, end=end)


def _blend(
    plate: Tensor,
    estimate: Tensor,
    share: Tensor,
    moves: Tensor | None = None,
    top: int = 0,
    left: int = 0,
    end: float = 0.0,
) -> None:
    share, moves = _planar(share), None if moves is None else _planar(moves)
    assert plate.dtype == estimate.dtype == torch.float32
    assert plate.shape == estimate.shape
    assert plate.stride(3) == estimate.stride(3) == 1
    _, channels, height, width = plate.shape
    _, _, rows, columns = share.shape
    assert top + height <= 4 * rows
    assert left + width <= 4 * columns
    job = Blend(
        *(t.data_ptr() for t in (plate, estimate, share)),
        None if moves is None else moves.data_ptr(),
        *(plate.stride(1), plate.stride(2), estimate.stride(1), estimate.stride(2)),
        *(channels, width, rows, columns, top, left),
        end,
    )
    run("bitexpand_blend", job, 0, height)


def extremes(plate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest sample of each cell of 4 px, of a cell at the border of what there is.

    By PyTorch's operations on other devices, in a trace, and where nothing is compiled.

    Args:
        plate: (1, C, H, W) float32.

    Returns:
        Two of (1, C, ceil(H / 4), ceil(W / 4)) float32.
    """
    if plate.device.type != "cpu" or torch.jit.is_tracing() or not available():  # pyright: ignore[reportPrivateImportUsage]
        return F.max_pool2d(plate, 4, ceil_mode=True), -F.max_pool2d(-plate, 4, ceil_mode=True)
    plate = _planar(plate)
    _, channels, height, width = plate.shape
    rows, columns = -(-height // 4), -(-width // 4)
    largest, smallest = plate.new_empty((2, 1, channels, rows, columns))
    job = Extremes(plate.data_ptr(), largest.data_ptr(), smallest.data_ptr(), height, width)
    run("bitexpand_extremes", job, 0, channels * rows)
    return largest, smallest


def stepless(largest: Tensor, smallest: Tensor) -> Tensor:
    """Tell how far cells are from steps, which are where cells around differ.

    Args:
        largest, smallest: (1, C, h, w) float32, the samples of each cell at their extremes.

    Returns:
        Same shape: 1 where no step of the channel is within two cells, 0 where one is within one, else a half.
    """
    largest, smallest = _planar(largest), _planar(smallest)
    assert largest.shape == smallest.shape
    _, channels, height, width = largest.shape
    result = torch.empty_like(largest)
    job = Stepless(largest.data_ptr(), smallest.data_ptr(), result.data_ptr(), height, width)
    run("bitexpand_stepless", job, 0, channels * height)
    return result


def halve(plate: Tensor) -> Tensor:
    """Return means of 2x2 samples: (1, C, H, W) float32 to (1, C, H/2, W/2), W a multiple of ``HALVED_COLUMNS``."""
    plate = _planar(plate)
    _, channels, height, width = plate.shape
    assert (height % 2, width % HALVED_COLUMNS) == (0, 0)
    result = plate.new_empty((1, channels, height // 2, width // 2))
    run("bitexpand_halve", Halve(plate.data_ptr(), result.data_ptr(), width), 0, channels * height)
    return result


def band(mean: Tensor, coarser: Tensor) -> Tensor:
    """Return a band of the Laplacian pyramid, soft-limited.

    Args:
        mean: (1, C, H, W) float32 in LSB, W a multiple of ``BAND_COLUMNS``.
        coarser: (1, C, H/2, W/2) float32 in LSB, which is upsampled and taken from it.

    Returns:
        As ``mean``.
    """
    mean, coarser = _planar(mean), _planar(coarser)
    _, channels, height, width = mean.shape
    assert width % BAND_COLUMNS == 0
    assert mean.shape == (1, channels, 2 * coarser.shape[2], 2 * coarser.shape[3])
    result = torch.empty_like(mean)
    job = Band(mean.data_ptr(), coarser.data_ptr(), result.data_ptr(), height, width)
    run("bitexpand_band", job, 0, channels * height)
    return result


def part_channels(codes: Tensor) -> Tensor:
    """Return (H, W, C) uint16 code values, contiguous, as float32 (1, C, H, W)."""
    assert is_codes(codes)
    height, width, channels = codes.shape
    result = torch.empty((1, channels, height, width))
    job = PartChannels(codes.data_ptr(), result.data_ptr(), height, width, channels)
    run("bitexpand_part_channels", job, 0, height)
    return result


def is_codes(codes: Tensor) -> bool:
    """Tell whether these are code values that compiled steps take: (H, W, C) uint16, contiguous, on the CPU."""
    is_plain = codes.device.type == "cpu" and codes.ndim == 3 and codes.is_contiguous()
    return is_plain and codes.dtype == torch.uint16


def clamp(codes: Tensor, estimate: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, int, int]:
    """Put estimates into their bins.

    Args:
        codes: (H, W, C) uint16 code values, contiguous, each of them below N.
        estimate: same shape, float32, of any strides.
        lower, upper: (N,) float32, the ends of each code value's bin.

    Returns:
        What lies within the bins, float32 (H, W, C), contiguous; how many samples did not; how many are not finite.
    """
    assert is_codes(codes)
    assert codes.shape == estimate.shape
    assert not codes.numel() or int(codes.numpy().max()) < len(lower) == len(upper)
    assert estimate.dtype == lower.dtype == upper.dtype == torch.float32
    height, width, channels = codes.shape
    result = torch.empty(codes.shape)
    counts = torch.zeros((2, height), dtype=torch.int32)
    job = Clamp(
        *(t.data_ptr() for t in (codes, estimate, lower.contiguous(), upper.contiguous(), result, *counts)),
        *(*estimate.stride(), width, channels),
    )
    run("bitexpand_clamp", job, 0, height)
    outside, not_finite = (int(count) for count in counts.sum(1))
    return result, outside, not_finite


def measure(codes: Tensor, values: Tensor, middle: float, peak: float) -> tuple[float, float]:
    """Return how far values lie from the middles of their bins, at most and all together, in LSB.

    Args:
        codes: (H, W, C) uint16 code values, contiguous.
        values: same shape, float32, contiguous, in LSB.
        middle: of the bins, from the code value, in LSB.
        peak: the largest middle.
    """
    assert is_codes(codes)
    assert codes.shape == values.shape
    assert values.dtype == torch.float32
    assert values.is_contiguous()
    height, width, channels = codes.shape
    largest, sums = torch.zeros(height), torch.zeros(height, dtype=torch.float64)
    job = Measure(*(t.data_ptr() for t in (codes, values, largest, sums)), width, channels, middle, peak)
    run("bitexpand_measure", job, 0, height)
    return float(largest.max()), float(sums.sum())


def _cell_by_cell(told: Tensor) -> Tensor:
    assert told.dtype == torch.float32
    return told.contiguous(memory_format=torch.channels_last)


def _planar(tensor: Tensor) -> Tensor:
    assert tensor.dtype == torch.float32
    return tensor.contiguous()
