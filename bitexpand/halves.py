"""Half numbers: NumPy converts them one by one, most processors eight at a time. No bit differs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitexpand import compiled


def to_half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round float32 of any shape to half, to the nearest, ties to even; what is too large becomes Inf."""
    if not _is_compiled():
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    return _converted("bitexpand_to_half", np.ascontiguousarray(values), np.empty(values.shape, np.float16))


def from_half(values: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Return half numbers of any shape as float32."""
    if not _is_compiled():
        return values.astype(np.float32)
    return _converted("bitexpand_from_half", np.ascontiguousarray(values), np.empty(values.shape, np.float32))


def _is_compiled() -> bool:
    return len(compiled.instruction_sets()) > 1  # the plain one has none for them


def _converted(step: str, values: npt.NDArray, result: npt.NDArray) -> npt.NDArray:
    job = compiled.Convert(values.ctypes.data, result.ctypes.data, 1)
    compiled.run(step, job, 0, values.size, threads=1)
    return result
