"""What the frames of a comparison come to together, and which of them is the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bitexpand.compare_values import Sums

if TYPE_CHECKING:
    from bitexpand.compare import FrameComparison

_GOOD = (
    "gain_",
    "psnr_",
    "ssim_",
    "cvvdp",
    "match_share",
    "in_bin_share",
)  # what begins so is worst where least
_BAD = (
    "error_",
    "oklab_",
    "lpips",
    "flip",
    "largest_",
    "cambi_result",
    "cambi_distance",
    "flicker_",
    "idempotence",
)


@dataclass(frozen=True)
class Extreme:
    """The worst value of a column, and the name of the frame that has it."""

    value: float
    frame: str


@dataclass(frozen=True)
class Summary:
    """What the frames come to together.

    Attributes:
        frames: how many there are; failed: how many of them could not be compared.
        values: means over the frames; gain, strata, safety and flicker are those of all samples together.
        worst: by column, of those that have a bad end.
        worst_by: the column that names the worst frame; None where there is none.
        notes: of all frames, each once.
    """

    frames: int
    failed: int
    values: Mapping[str, float]
    worst: Mapping[str, Extreme]
    worst_by: str | None
    notes: tuple[str, ...]


def summarize(comparisons: Sequence[FrameComparison]) -> Summary:
    """Return what frames come to together.

    The worst frame is that of the least gain. Without a truth, or where no frame has a gain, it is that of the
    least requantisation match, or where all match that of the largest move.
    """
    names = dict.fromkeys(name for comparison in comparisons for name in comparison.values)
    found: dict[str, list[Extreme]] = {}
    for name in names:
        values = [Extreme(c.values.get(name, math.nan), c.name) for c in comparisons]
        found[name] = [value for value in values if not math.isnan(value.value)]
    means = {name: float(np.mean([e.value for e in values])) for name, values in found.items() if values}
    pooled = sum((comparison.sums for comparison in comparisons), Sums()).values()
    worst = {name: _worst(name, values) for name, values in found.items() if values and _has_bad_end(name)}
    return Summary(
        frames=len(comparisons),
        failed=sum(comparison.error is not None for comparison in comparisons),
        values={name: value for name, value in (means | pooled).items() if not math.isnan(value)},
        worst=worst,
        worst_by=_worst_by(worst),
        notes=tuple(dict.fromkeys(note for comparison in comparisons for note in comparison.notes)),
    )


def _has_bad_end(name: str) -> bool:
    return name.startswith(_GOOD + _BAD)


def _worst(name: str, values: Sequence[Extreme]) -> Extreme:
    pick = min if name.startswith(_GOOD) else max
    return pick(values, key=lambda extreme: extreme.value)


def _worst_by(worst: Mapping[str, Extreme]) -> str | None:
    if "gain_db" in worst:
        return "gain_db"
    if "match_share" in worst and worst["match_share"].value < 1:
        return "match_share"
    return "largest_move_lsb" if "largest_move_lsb" in worst else None
