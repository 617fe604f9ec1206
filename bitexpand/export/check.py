"""Holds an exported model against the engine: the same plates, the same settings, odd sizes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from bitexpand.code_values import HALF_BIN, Codes, Floats, from_signal, peak, requantise, to_signal
from bitexpand.engine import Expander
from bitexpand.errors import ExportError

TOLERANCE = 0.01  # LSB


@dataclass(frozen=True)
class Case:
    """A plate and settings on which both must agree.

    Attributes:
        size: height and width; none is a multiple of anything that a model divides by.
        strength, bound, bits: as of ``bitexpand seq``.
    """

    size: tuple[int, int]
    strength: float = 1.0
    bound: float = HALF_BIN
    bits: int = 8


CASES = (
    Case((37, 53)),
    Case((251, 187)),
    Case((1, 1)),
    Case((67, 129), strength=0.5, bound=0.25),
    Case((67, 129), bits=10),
)
Runner: TypeAlias = Callable[[Tensor, Case], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How far an exported model is from the engine.

    Attributes:
        precision: "float" or "half".
        largest: difference in LSB over all cases, of what is computed.
        stored: the same of what comes out; half keeps a signal near white to 1/16 of an 8-bit step.
    """

    precision: str
    largest: float
    stored: float


def check_float(model: str | Path, run: Runner) -> Agreement:
    """Compare in float32.

    Args:
        model: name or file, for the engine.
        run: runs the exported model on a (1, 3, H, W) float32 signal.

    Raises:
        ExportError: they differ by more than ``TOLERANCE``, or a value leaves its bin.
    """
    largest = 0.0
    for case, codes, expected_cv in expected(model, CASES):
        result = run(signal_of(codes, case), case)
        largest = max(largest, _difference(case, codes, expected_cv, result))
    return Agreement("float", largest, largest)


def check_half(model: str | Path, contents: bytes) -> Agreement:
    """Compare a TorchScript archive after ``.half()``, first with a float32 signal, then with half all the way.

    Raises:
        ExportError: what it computes differs by more than ``TOLERANCE``, or a value leaves its bin.
    """
    archive = load_archive(contents).half()
    largest = stored = 0.0
    # of more bits than 8 a half signal does not hold the code values themselves
    for case, codes, expected_cv in expected(model, (case for case in CASES if case.bits <= 8)):
        run = archive_runner(archive)
        signal = signal_of(codes, case)
        largest = max(largest, _difference(case, codes, expected_cv, run(signal, case)))
        result = run(signal.half(), case)
        if result.dtype != torch.float16:
            raise ExportError(f"of a half plate the exported model makes {result.dtype}")
        stored = max(stored, _difference(case, codes, expected_cv, result.float(), tolerance=HALF_BIN))
    return Agreement("half", largest, stored)


def load_archive(contents: bytes) -> torch.jit.ScriptModule:
    """Load what was saved, not what is in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and it is what Nuke takes
        return torch.jit.load(io.BytesIO(contents), map_location="cpu")


def archive_runner(archive: torch.jit.ScriptModule) -> Runner:
    """Return what runs an archive, its knobs set by attribute as Nuke does."""

    def run(signal: Tensor, case: Case) -> Tensor:
        archive.strength, archive.bound, archive.bits = case.strength, case.bound, case.bits
        with torch.no_grad():
            return archive(signal)

    return run


def expected(model: str | Path, cases: Iterable[Case]) -> Iterator[tuple[Case, Codes, Floats]]:
    """Yield each case with the code values of its plate and what the engine makes of them, (H, W, 3), in LSB."""
    engines: dict[float, Expander] = {}
    for case in cases:
        if case.strength not in engines:
            engines[case.strength] = Expander(model, device="cpu", precision="fp32", strength=case.strength)
        codes = _plate(case)
        yield case, codes, engines[case.strength].expand(codes, bits=case.bits, bound=case.bound)


def _plate(case: Case) -> Codes:
    """Return (H, W, 3) code values with ramps, an edge, grain, black and white."""
    height, width = case.size
    random = np.random.default_rng(height * width)
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 2)
    plate = 0.3 + 0.2 * np.stack([y, x, x + y], -1)
    plate[2 * x + y > 1.5] += 0.3
    plate[:, width // 2 :] += random.normal(0, 0.004, plate[:, width // 2 :].shape)
    plate[: height // 8], plate[height - height // 8 :] = 0, 1
    return np.rint(plate.clip(0, 1) * peak(case.bits)).astype(np.uint16)


def signal_of(codes: Codes, case: Case) -> Tensor:
    """Return (1, 3, H, W) float32 in [0, 1] of (H, W, 3) code values."""
    return torch.from_numpy(to_signal(codes, case.bits)).permute(2, 0, 1)[None].contiguous()


def _difference(
    case: Case, codes: Codes, expected_cv: Floats, result: Tensor, tolerance: float = TOLERANCE
) -> float:
    """Return the largest difference in LSB, once it is found small enough."""
    height, width = case.size
    if result.shape != (1, 3, height, width):
        raise ExportError(f"of {height}x{width} pixels the exported model makes {tuple(result.shape)}")
    result_cv = from_signal(result[0].permute(1, 2, 0).numpy(), case.bits)
    largest = float(np.abs(result_cv - expected_cv).max())
    if not largest <= tolerance:  # NaN is not
        raise ExportError(f"{case}: the exported model differs from the engine by {largest:.4g} LSB")
    if case.bound <= HALF_BIN and not np.array_equal(requantise(result_cv), codes):
        raise ExportError(f"{case}: values of the exported model do not round to their source")
    return largest
