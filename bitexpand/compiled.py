"""The library that ``hatch_build.py`` compiles: loading it, what jobs its steps take, and its threads.

It needs no torch, which takes more than a second to import.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import TypeAlias

FILE = Path(__file__).with_name("native") / "libbitexpand.so"
LEVELS, FIT_SIZES, REFIT_SIZES = 6, (3, 5, 7), (5, 7)  # the shape that is compiled in, as in native.cpp
FITS, REFITS = len(FIT_SIZES), len(REFIT_SIZES)
_INSTRUCTION_SETS = ("plain", "avx2", "avx512", "avx512_bf16")
Kernel: TypeAlias = Sequence[Sequence[float]]


class Fit(ctypes.Structure):
    """A local fit: weights of the form centre + bend (x² + y²)."""

    _fields_ = (("centre", c_float), ("bend", c_float))

    @staticmethod
    def all(kernels: Sequence[Kernel]) -> ctypes.Array[Fit]:
        """Return kernels of the form centre + bend (x² + y²), which quadratic fits are."""
        middles = (len(kernel) // 2 for kernel in kernels)
        fits = [
            Fit(kernel[m][m], kernel[m][m + 1] - kernel[m][m])
            for m, kernel in zip(middles, kernels, strict=True)
        ]
        return (Fit * len(fits))(*fits)


class Look(ctypes.Structure):
    """The job of :func:`bitexpand.native.look`."""

    _fields_ = (
        *((name, c_void_p) for name in ("plate", "mean", "band", "to", "weights", "bias")),
        *((name, c_int32) for name in ("height", "width", "narrow")),
        ("octaves", c_float),
        ("fits", Fit * FITS),
    )


class Believe(ctypes.Structure):
    """The job of :func:`bitexpand.native.believe`."""

    _fields_ = (
        ("plate", c_void_p),
        ("smooth", c_void_p * LEVELS),
        *((name, c_void_p) for name in ("told", "beliefs", "cells")),
        *((name, c_void_p) for name in ("told_weights", "said_weights", "belief_weights")),
        *((name, c_void_p) for name in ("told_bias", "belief_bias", "to")),
        *((name, c_int32) for name in ("height", "width", "told_from", "kept_from", "kept")),
        ("half_width", c_float),
        ("fits", Fit * FITS),
    )


class ResidualBlock(ctypes.Structure):
    """The job of :class:`bitexpand.native.layers.NarrowBlock`."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "coarser", "to")),
        *((name, c_void_p) for name in ("first", "second", "first_bias", "second_bias")),
        *((name, c_int32) for name in ("height", "width", "channels", "wide")),
    )


class Down(ctypes.Structure):
    """The job of :class:`bitexpand.native.layers.NarrowDown`."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "band", "to", "weights", "bias")),
        *((name, c_int32) for name in ("height", "width", "finer", "channels", "from_wide", "to_wide")),
    )


class LookAgain(ctypes.Structure):
    """The job of :func:`bitexpand.native.look_again`."""

    _fields_ = (
        *((name, c_void_p) for name in ("plate", "beliefs", "to")),
        *((name, c_int32) for name in ("height", "width", "kept_from", "kept")),
        ("half_width", c_float),
        ("fits", Fit * REFITS),
    )


class Correct(ctypes.Structure):
    """The job of :func:`bitexpand.native.layers.correct`."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "weights", "bias", "to")),
        *((name, c_int32) for name in ("height", "width", "channels", "narrow")),
    )


class Blend(ctypes.Structure):
    """The job of :func:`bitexpand.native.blend` and :func:`bitexpand.native.settle`."""

    _fields_ = (
        *((name, c_void_p) for name in ("plate", "estimate", "share", "moves")),
        *((name, c_int64) for name in ("plate_stride", "plate_pitch", "estimate_stride", "estimate_pitch")),
        *((name, c_int32) for name in ("channels", "width", "rows", "columns", "top", "left")),
        ("end", c_float),
    )


class Halve(ctypes.Structure):
    """The job of :func:`bitexpand.native.halve`."""

    _fields_ = (("from", c_void_p), ("to", c_void_p), ("width", c_int32))


class Band(ctypes.Structure):
    """The job of :func:`bitexpand.native.band`."""

    _fields_ = (
        *((name, c_void_p) for name in ("mean", "coarser", "to")),
        *((name, c_int32) for name in ("height", "width")),
    )


class PartChannels(ctypes.Structure):
    """The job of :func:`bitexpand.native.part_channels`."""

    _fields_ = (
        *((name, c_void_p) for name in ("codes", "to")),
        *((name, c_int32) for name in ("height", "width", "channels")),
    )


class Clamp(ctypes.Structure):
    """The job of :func:`bitexpand.native.clamp`."""

    _fields_ = (
        *(
            (name, c_void_p)
            for name in ("codes", "estimate", "lower", "upper", "to", "outside", "not_finite")
        ),
        *((name, c_int64) for name in ("pitch", "step", "stride")),
        *((name, c_int32) for name in ("width", "channels")),
    )


class Measure(ctypes.Structure):
    """The job of :func:`bitexpand.native.measure`."""

    _fields_ = (
        *((name, c_void_p) for name in ("codes", "values", "largest", "sums")),
        *((name, c_int32) for name in ("width", "channels")),
        *((name, c_float) for name in ("middle", "peak")),
    )


class Extremes(ctypes.Structure):
    """The job of :func:`bitexpand.native.extremes`."""

    _fields_ = (
        *((name, c_void_p) for name in ("plate", "largest", "smallest")),
        *((name, c_int32) for name in ("height", "width")),
    )


class Stepless(ctypes.Structure):
    """The job of :func:`bitexpand.native.stepless`."""

    _fields_ = (
        *((name, c_void_p) for name in ("largest", "smallest", "to")),
        *((name, c_int32) for name in ("height", "width")),
    )


class Convert(ctypes.Structure):
    """The job of :mod:`bitexpand.halves`."""

    _fields_ = (("from", c_void_p), ("to", c_void_p), ("width", c_int32))


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled steps, or None where they are not, or not from these sources."""
    try:
        loaded = ctypes.CDLL(str(FILE))
    except OSError:  # not compiled, or for another machine
        return None
    for name, job in (
        ("bitexpand_look", Look),
        ("bitexpand_believe", Believe),
        ("bitexpand_residual_block", ResidualBlock),
        ("bitexpand_down", Down),
        ("bitexpand_look_again", LookAgain),
        ("bitexpand_correct", Correct),
        ("bitexpand_blend", Blend),
        ("bitexpand_halve", Halve),
        ("bitexpand_band", Band),
        ("bitexpand_part_channels", PartChannels),
        ("bitexpand_clamp", Clamp),
        ("bitexpand_measure", Measure),
        ("bitexpand_extremes", Extremes),
        ("bitexpand_stepless", Stepless),
        ("bitexpand_to_half", Convert),
        ("bitexpand_from_half", Convert),
    ):
        step = getattr(loaded, name, None)
        if step is None:  # compiled from older sources
            return None
        step.argtypes, step.restype = (POINTER(job), c_int, c_int, c_int), c_int
        if step(None, 0, 0, 0) != ctypes.sizeof(job):  # likewise
            return None
    run = getattr(loaded, "bitexpand_run", None)
    if run is None:
        return None
    run.argtypes, run.restype = (c_void_p, c_void_p, c_int, c_int, c_int, c_int), c_int
    return loaded


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets of this processor that the steps are compiled for; the last one is used."""
    loaded = library()
    return _INSTRUCTION_SETS[: loaded.bitexpand_instruction_sets()] if loaded else ()


def computes_bfloat16() -> bool:
    """Tell whether the steps in bfloat16 can run."""
    return instruction_sets()[-1:] == _INSTRUCTION_SETS[-1:]


def run(name: str, job: ctypes.Structure, top: int, bottom: int, threads: int) -> None:
    """Run a step on rows, pairs of them.

    Args:
        name: of the step.
        job: its arguments.
        top, bottom: the first row, an even one, and the first that is none of them.
        threads: that share them.

    Raises:
        MemoryError: there was none for a few rows.
    """
    loaded = library()
    assert loaded is not None
    best = len(instruction_sets()) - 1
    threads = max(min(threads, (bottom - top) // 2), 1)
    if loaded.bitexpand_run(getattr(loaded, name), ctypes.byref(job), top, bottom, best, threads):
        raise MemoryError(f"{name}: no memory for {job.width} columns")
