"""What every architecture promises to the engine, and the checks that their configs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bitexpand.errors import UsageError

Units = Literal["lsb", "unit"]


@dataclass(frozen=True)
class ModelConfig:
    """What rebuilds an architecture; subclasses check every field on construction.

    Fields hold JSON's kinds only (numbers, strings, booleans, tuples of them), as a checkpoint carries them.
    """


class PlateModel(nn.Module):
    """A network, or a filter, that estimates the plate before it was quantised.

    Attributes:
        config_type: the dataclass that configures it.
        multiple: height and width of the input are multiples of it.
        overlap: pixels that neighbouring tiles share.
        units: "lsb" for code values, 0 to 2**bits - 1; "unit" for code values scaled to [0, 1].
        bytes_per_pixel: peak memory of one float32 inference, input and output included, for the tile size.
        takes_half_width: ``forward`` has a second argument, the half-width of the bins.
        narrows: :meth:`narrow` is there, and keeps estimates within 0.01 LSB of float32's.
        sees_afar: estimates gain by :mod:`bitexpand.afar`, as those of networks that know no scale do.
        strip_pixels: how many pixels to treat at a time where the whole plate would not stay in the CPU's caches;
            None is all, as gradients and traces need it. Only for speed and memory.
    """

    config_type: ClassVar[type[ModelConfig]]
    multiple: int
    overlap: int
    units: Units
    bytes_per_pixel: int
    takes_half_width: bool = False
    narrows: bool = False
    sees_afar: bool = False
    strip_pixels: int | None = None

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config: ModelConfig = config if config is not None else self.config_type()

    @property
    def grid(self) -> int:
        """Tiles start on multiples of it, in pixels: the side of the largest cell that the model averages."""
        return self.multiple

    def narrow(self, dtype: torch.dtype) -> None:
        """Run as much of the network in bfloat16 or float16 as its estimates allow."""
        raise NotImplementedError

    def forward(self, plate: Tensor) -> Tensor:
        """Estimate the plate; the engine clamps the result to the bins.

        Args:
            plate: (N, 3, H, W) float32 log code values in ``units``, H and W multiples of ``multiple``.

        Returns:
            (N, 3, H, W) float32, same space and units, not clamped. It is float32 under autocast too: a
            plate in bfloat16 has lost more than a model wins.
        """
        raise NotImplementedError


def added(default: Any) -> Any:  # noqa: ANN401  a field's type is what its annotation says
    """Default of a config field that came later: weights from before, which lack it, mean this value."""
    return field(default=default, metadata={"added": True})


def estimate_cv(
    module: PlateModel,
    plate_cv: Tensor,
    peak_cv: float | Tensor,
    below: float | Tensor | None = None,
    above: float | Tensor | None = None,
) -> Tensor:
    """Run a model on code values, whatever its units and however wide their bins are.

    Where the bin does not lie evenly around the code value, as after truncation, the model sees its middle.

    Args:
        module: the model.
        plate_cv: (N, 3, H, W) float32 code values in LSB.
        peak_cv: the largest code value, or (N, 1, 1, 1) of them.
        below, above: how far in LSB the truth may lie under and over the code value, one for all or (N, 1, 1, 1)
            float32; None is half an LSB, as after rounding.

    Returns:
        (N, 3, H, W) float32 in LSB, not clamped.
    """
    half_width = None
    if below is not None and above is not None:
        middle, half_width = (above - below) / 2, (above + below) / 2
        if isinstance(middle, Tensor) or middle:
            plate_cv = plate_cv + middle
    if module.units == "unit":
        scale = 1.0 / peak_cv
        return module(plate_cv * scale) / scale
    return module(plate_cv, half_width) if module.takes_half_width else module(plate_cv)


def full_precision(like: Tensor) -> torch.autocast:
    """Switch autocast off for a block: an 8-bit plate needs more than the 8 bits of bfloat16."""
    return torch.autocast(device_type=like.device.type, enabled=False)


def check_integer(owner: str, field: str, value: object, low: int, high: int) -> None:
    """Refuse a config value that is not an integer from ``low`` to ``high``.

    Raises:
        UsageError: naming the field, the value, and what would have been accepted.
    """
    # bool is an int in Python, and JSON's true is no channel count
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{owner}: {field} is {_short(value)}, must be an integer from {low} to {high}")


def check_number(owner: str, field: str, value: object, low: float, high: float) -> None:
    """Refuse a config value that is not a number from ``low`` to ``high`` (NaN is not).

    Raises:
        UsageError: naming the field, the value, and what would have been accepted.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UsageError(f"{owner}: {field} is {_short(value)}, must be a number from {low:g} to {high:g}")


def check_length(owner: str, field: str, value: object, low: int, high: int) -> None:
    """Refuse a config value that is not a tuple of ``low`` to ``high`` entries.

    Raises:
        UsageError: naming the field, the value, and what would have been accepted.
    """
    if not isinstance(value, tuple) or not low <= len(value) <= high:
        raise UsageError(f"{owner}: {field} is {_short(value)}, must be a list of {low} to {high} entries")


def check_choice(owner: str, field: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a config value that is none of ``choices``.

    Raises:
        UsageError: naming the field, the value, and what would have been accepted.
    """
    # compared with its type, as 1 == True == 1.0
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        accepted = ", ".join(repr(choice) for choice in choices)
        raise UsageError(f"{owner}: {field} is {_short(value)}, must be one of {accepted}")


def _short(value: object) -> str:
    text = ascii(value)  # a hostile file must not put control characters on the terminal
    return text if len(text) <= 60 else text[:57] + "..."
