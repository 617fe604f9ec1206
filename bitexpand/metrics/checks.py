"""What every metric asks of its pictures before it measures: a shape, the same one, and finite numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats
from bitexpand.errors import PlateError, UsageError

_BRIGHTEST_MEDIAN = 1.5  # half of a signal's samples are never above white; half of a file of code values are


def check_shapes(
    result: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    names: tuple[str, str] = ("result", "truth"),
) -> None:
    """Refuse what are not two pictures of one size.

    Args:
        result, truth: (H, W, C) of any type.
        names: what to call them in the message.

    Raises:
        PlateError: another number of axes, no samples, or different shapes.
    """
    for name, plate in zip(names, (result, truth), strict=True):
        if plate.ndim != 3 or plate.size == 0:
            raise PlateError(f"the {name} has shape {plate.shape}; a picture is (height, width, channels)")
    if result.shape != truth.shape:
        sizes = ["x".join(map(str, plate.shape)) for plate in (result, truth)]
        raise PlateError(
            f"the {names[0]} is {sizes[0]} (height x width x channels) and the {names[1]} {sizes[1]}; "
            "both must be of one size"
        )


def check_finite(name: str, plate: Floats) -> None:
    """Refuse NaN and Inf, of which no mean can be taken.

    Raises:
        PlateError: naming the picture, with the number of such samples.
    """
    # a sum of float32 in float64 is finite where all of its terms are, and needs no temporary
    with np.errstate(invalid="ignore"):
        finite = bool(np.isfinite(plate.sum(dtype=np.float64)))
    if not finite:
        bad = int(plate.size - np.count_nonzero(np.isfinite(plate)))
        raise PlateError(f"the {name} holds {bad} samples that are NaN or Inf; nothing can be measured on it")


def check_picture(name: str, plate: Floats) -> None:
    """Refuse what is no picture of finite numbers; see ``check_shapes`` and ``check_finite``."""
    check_shapes(plate, plate, (name, name))
    check_finite(name, plate)


def check_pair(result: Floats, truth: Floats, names: tuple[str, str] = ("result", "truth")) -> None:
    """Refuse pictures that cannot be held against each other; see ``check_shapes`` and ``check_finite``."""
    check_shapes(result, truth, names)
    for name, plate in zip(names, (result, truth), strict=True):
        check_finite(name, plate)


def check_channels(plate: npt.NDArray[np.generic]) -> None:
    """Refuse (H, W, C) that is neither colour nor grey.

    Raises:
        PlateError: C is neither 3 nor 1.
    """
    if plate.shape[2] not in (1, 3):
        raise PlateError(f"a picture of {plate.shape[2]} channels; colour is judged of 3, or of 1 as grey")


def check_range(data_range: float) -> None:
    """Refuse a range that nothing can be measured in.

    Raises:
        UsageError: it is not a finite number above 0.
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise UsageError(f"data_range={data_range}: give the distance from black to white, above 0")


def check_signal(name: str, signal: Floats) -> None:
    """Refuse code values where a signal is meant, black at 0 and white at 1.

    Raises:
        UsageError: half of the samples are far above white.
    """
    # a thousand samples tell, and sorting all of an 8K frame would take as long as the metric
    median = float(np.median(signal.reshape(-1)[:: max(1, signal.size // 1000)]))
    if median > _BRIGHTEST_MEDIAN:
        raise UsageError(
            f"half of the {name} is above {median:g}, where white is 1; divide code values by their peak"
        )


def missing_package(
    what: str, package: str, error: Exception, install: str = "'bitexpand[metrics]'"
) -> UsageError:
    """Return the error that says what to install for a metric."""
    return UsageError(
        f"{what} needs the package {package} ({error}); `pip install {install}`, or leave it out"
    )
