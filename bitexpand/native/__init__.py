"""The steps of ``pyramid`` at full size, compiled: each touches a pixel once, PyTorch's operations forty times.

``hatch_build.py`` compiles them when the package is built, if there is a C++ compiler. Without, ``available()`` is
False and ``pyramid`` takes PyTorch's operations: the same estimates within 0.001 LSB, in twice the time.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, c_float, c_int, c_int32, c_void_p
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("libbitexpand.so")
# The shape that is compiled in, as in native.cpp.
_LEVELS, _FITS, _REFITS = 6, 3, 2
_CHANNELS, _GROUP = 32, 32
_INSTRUCTION_SETS = ("plain", "avx2", "avx512", "avx512_bf16")
MAX_REACH = 16  # of a fit, and some room, in pixels
Kernel: TypeAlias = Sequence[Sequence[float]]


class _Fit(ctypes.Structure):
    _fields_ = (("reach", c_int32), ("centre", c_float), ("bend", c_float))

    @staticmethod
    def all(kernels: Sequence[Kernel]) -> ctypes.Array[_Fit]:
        """Return kernels of the form centre + bend (x² + y²), which quadratic fits are."""
        middles = (len(kernel) // 2 for kernel in kernels)
        fits = [
            _Fit(m, kernel[m][m], kernel[m][m + 1] - kernel[m][m])
            for m, kernel in zip(middles, kernels, strict=True)
        ]
        return (_Fit * len(fits))(*fits)


class _Look(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("plate", "mean", "band", "to")),
        *((name, c_int32) for name in ("height", "width", "narrow")),
        ("octaves", c_float),
        ("fits", _Fit * _FITS),
    )


class _Believe(ctypes.Structure):
    _fields_ = (
        ("plate", c_void_p),
        ("smooth", c_void_p * _LEVELS),
        *((name, c_void_p) for name in ("told", "beliefs", "cells")),
        *((name, c_void_p) for name in ("told_weights", "belief_weights", "told_bias", "belief_bias", "to")),
        *((name, c_int32) for name in ("height", "width", "told_from", "kept_from", "kept")),
        ("half_width", c_float),
        ("fits", _Fit * _FITS),
    )


class _LookAgain(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("plate", "beliefs", "to")),
        *((name, c_int32) for name in ("height", "width", "kept_from", "kept")),
        ("half_width", c_float),
        ("fits", _Fit * _REFITS),
    )


def available() -> bool:
    """Tell whether the compiled steps are there."""
    return _library() is not None


def is_compiled_for(
    factor: int, levels: int, fits: Sequence[int], refits: Sequence[int], widths: bool
) -> bool:
    """Tell whether the compiled steps are for a network of this shape, which is the shipped one's."""
    shape = (factor, levels, len(fits), len(refits))
    return widths and shape == (2, _LEVELS, _FITS, _REFITS) and max(*fits, *refits) <= 2 * MAX_REACH + 1


class Beliefs:
    """Beliefs of the rows that are worked on: :func:`believe` fills them in, :func:`look_again` reads them.

    Args:
        plate: (1, 3, H, W) float32.
        rows: most that are filled in at once.
    """

    def __init__(self, plate: Tensor, rows: int) -> None:
        # mean, scale and first answer, three channels each, in LSB; weights of the second look
        self.values = plate.new_empty((9 + 2 + _REFITS, rows + 2 * MAX_REACH, plate.shape[3]))
        self.first = 0

    def keep_last(self, bottom: int) -> None:
        """Forget all rows but the last ones before ``bottom``, which those below look back at."""
        kept = min(2 * MAX_REACH, bottom - self.first)
        end = bottom - self.first
        self.values[:, :kept] = self.values[:, end - kept : end].clone()
        self.first = bottom - kept


def look(
    plate: Tensor,
    mean: Tensor,
    band: Tensor,
    octaves: float,
    fits: Sequence[Kernel],
    dtype: torch.dtype,
) -> Tensor:
    """Return what the network sees at its finest level.

    Args:
        plate: (1, 3, H, W) float32 in LSB.
        mean, band: (1, 3, H/2, W/2) float32, the plate's cells and their soft-limited differences.
        octaves: what the network is told of the bins' width.
        fits: kernels of the local fits.
        dtype: of the result, float32 or bfloat16.

    Returns:
        (1, 52, H/2, W/2), channels last.
    """
    plate, mean, band = _planar(plate), _planar(mean), _planar(band)
    _, _, height, width = plate.shape
    channels = 12 * (1 + _FITS) + 4
    features = torch.empty((1, height // 2, width // 2, channels), dtype=dtype)
    narrow = dtype == torch.bfloat16
    assert narrow or dtype == torch.float32
    job = _Look(
        *(t.data_ptr() for t in (plate, mean, band, features)),
        *(height, width, narrow),
        octaves,
        _Fit.all(fits),
    )
    _run("bitexpand_look", job, 0, height)
    return features.permute(0, 3, 1, 2)


class NarrowHead:
    """A head in bfloat16 that tells in float32: what it says is too large for bfloat16, and PyTorch has no such.

    Args:
        cells: (1, 32, H/2, W/2) bfloat16, channels last: what the head reads.
        told: the convolution of 3x3.
        believed: the convolution of 1x1.
    """

    def __init__(self, cells: Tensor, told: torch.nn.Conv2d, believed: torch.nn.Conv2d) -> None:
        self.cells = cells.contiguous(memory_format=torch.channels_last)
        self.weights = [_packed(layer.weight) for layer in (told, believed)]
        self.biases = [_grouped(layer.bias) for layer in (told, believed) if layer.bias is not None]

    @staticmethod
    def takes(cells: Tensor) -> bool:
        """Tell whether this processor can, and the cells are what it takes."""
        can = instruction_sets()[-1] == _INSTRUCTION_SETS[-1]
        return can and cells.dtype == torch.bfloat16 and cells.shape[1] == _CHANNELS

    def pointers(self) -> Iterator[int]:
        """Yield where cells, weights and biases lie."""
        return (tensor.data_ptr() for tensor in (self.cells, *self.weights, *self.biases))


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
    assert [(height >> k, width >> k) for k in range(1, _LEVELS + 1)] == [level.shape[2:] for level in smooth]
    if isinstance(head, NarrowHead):
        heads = (None, None, *head.pointers())
    else:
        told, beliefs = (_cell_by_cell(part) for part in head)  # named, as their memory must last
        heads = (told.data_ptr(), beliefs.data_ptr(), None, None, None, None, None)
    job = _Believe(
        plate.data_ptr(),
        (c_void_p * _LEVELS)(*(level.data_ptr() for level in smooth)),
        *heads,
        to.values.data_ptr(),
        *(height, width, rows.start, to.first, to.values.shape[1]),
        half_width,
        _Fit.all(fits),
    )
    _run("bitexpand_believe", job, rows.start, rows.stop)


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
    job = _LookAgain(
        *(t.data_ptr() for t in (plate, beliefs.values, to)),
        *(height, width, beliefs.first, beliefs.values.shape[1]),
        half_width,
        _Fit.all(fits),
    )
    _run("bitexpand_look_again", job, top, bottom)


def _packed(weight: Tensor) -> Tensor:
    """Return weights, (outputs, 32, h, w), by group of outputs, tap, pair of inputs, output of the group."""
    outputs = _grouped(weight).bfloat16().view(-1, _GROUP, _CHANNELS // 2, 2, weight[0, 0].numel())
    return outputs.permute(0, 4, 2, 1, 3).contiguous()


def _grouped(parameter: Tensor) -> Tensor:
    """Return float32 parameters of whole groups of outputs, the last one filled up with 0."""
    rest = parameter.new_zeros((-len(parameter) % _GROUP, *parameter.shape[1:]))
    return torch.cat([parameter, rest]).float()


def _cell_by_cell(told: Tensor) -> Tensor:
    assert told.dtype == torch.float32
    return told.contiguous(memory_format=torch.channels_last)


def _planar(tensor: Tensor) -> Tensor:
    assert tensor.dtype == torch.float32
    return tensor.contiguous()


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:  # not compiled, or for another machine
        return None
    for name, job in (
        ("bitexpand_look", _Look),
        ("bitexpand_believe", _Believe),
        ("bitexpand_look_again", _LookAgain),
    ):
        step = getattr(library, name)
        step.argtypes, step.restype = (POINTER(job), c_int, c_int, c_int), c_int
        if step(None, 0, 0, 0) != ctypes.sizeof(job):  # compiled from other sources than these
            return None
    return library


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets of this processor that the steps are compiled for; the last one is used."""
    library = _library()
    return _INSTRUCTION_SETS[: library.bitexpand_instruction_sets()] if library else ()


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="bitexpand-native")


def _run(name: str, job: ctypes.Structure, top: int, bottom: int) -> None:
    """Run a step on rows, pairs of them, shared among as many threads as torch has in this one."""
    step = functools.partial(getattr(_library(), name), job)
    best = len(instruction_sets()) - 1
    threads = min(torch.get_num_threads(), (bottom - top) // 2)
    ends = [top + (bottom - top) // 2 * n // threads * 2 for n in range(threads)] + [bottom]
    others = [_helpers().submit(step, *rows, best) for rows in zip(ends[1:-1], ends[2:], strict=True)]
    failed = [step(ends[0], ends[1], best), *(other.result() for other in others)]
    if any(failed):
        raise MemoryError(f"{name}: no memory for {job.width} columns")
