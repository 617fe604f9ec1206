"""Bands too wide for a network's sight, seen from farther away.

A ramp of 1 LSB in 256 pixels is one of 1 LSB in 64 where the plate is shrunk to a quarter, and a network that works
in LSB knows no scale. So wherever the plate is the same for many pixels around, which leaves nothing to go by, the
same network's estimate of the shrunken plate is taken; and for that one, once more, of one shrunken again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand import native

CELL = 4  # px that become one
SMALLEST = 256  # px a side; what is smaller says too little when it has shrunk
LOOKS = 2  # each CELL times farther away


@dataclass(frozen=True)
class View:
    """A plate from farther away.

    Attributes:
        share: float32 (1, C, ceil(H / CELL), ceil(W / CELL)), 0 to 1, how much it counts.
        moves: same shape, the estimate less the plate, in LSB.
    """

    share: Tensor
    moves: Tensor

    def blended(self, plate_cv: Tensor, estimate_cv: Tensor, top: int = 0, left: int = 0) -> Tensor:
        """Take its estimate where it counts.

        Args:
            plate_cv: float32 (1, C, h, w), the plate or a tile of it, in LSB.
            estimate_cv: same shape, what was seen from near by.
            top, left: where the tile begins, multiples of ``CELL``.

        Returns:
            float32, same shape, in LSB; ``estimate_cv`` itself may be what was changed.
        """
        if _is_traced():
            return _lerp(plate_cv, estimate_cv, self.share, self.moves, 0, 0)
        if plate_cv.device.type == "cpu" and native.available():
            return native.blend(plate_cv, estimate_cv, self.share, self.moves, top, left)
        height, width = plate_cv.shape[-2:]
        # a cell more all around, as what lies between two cells is interpolated
        rows = slice(max(top // CELL - 1, 0), -(-(top + height) // CELL) + 1)
        columns = slice(max(left // CELL - 1, 0), -(-(left + width) // CELL) + 1)
        if not self.share[..., rows, columns].any():
            return estimate_cv
        return _lerp(
            plate_cv,
            estimate_cv,
            self.share[..., rows, columns],
            self.moves[..., rows, columns],
            top - rows.start * CELL,
            left - columns.start * CELL,
        )


def view(
    plate_cv: Tensor,
    estimate: Callable[[Tensor], Tensor],
    extremes: tuple[Tensor, Tensor] | None = None,
    looks: int = LOOKS,
) -> View | None:
    """See a plate from farther away.

    Args:
        plate_cv: float32 (1, C, H, W), code values in LSB.
        estimate: maps (1, C, h, w) of the shrunken plate to its estimate, same shape, both in LSB.
        extremes: the largest and the smallest sample of each cell, where they are known.
        looks: how many times.

    Returns:
        The view, None where none of it counts. A trace computes it always, and its share is 0 then.
    """
    share = _share(*(extremes or native.extremes(plate_cv)))
    if _is_traced():
        share = share * _is_large(plate_cv)
    elif min(plate_cv.shape[-2:]) < SMALLEST or not share.any():
        return None
    smaller_cv = _shrunk(_whole_cells(plate_cv))
    seen_cv = estimate(smaller_cv)
    farther = view(smaller_cv, estimate, looks=looks - 1) if looks > 1 else None
    if farther is not None:
        seen_cv = farther.blended(smaller_cv, seen_cv)
    return View(share, seen_cv - smaller_cv)


def _is_traced() -> bool:
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def _share(highest: Tensor, lowest: Tensor) -> Tensor:
    """Return 1 for cells far from any step of their channel, and 0 within two cells of one: (1, C, h, w)."""
    if highest.device.type == "cpu" and not _is_traced() and native.available():
        return native.stepless(highest, lowest)
    near = _grown((_grown(highest) + _grown(-lowest) > 0).to(highest.dtype))
    return 1 - (near + _grown(near)) / 2


def _grown(cells: Tensor) -> Tensor:
    """Return the largest of each cell and the eight around it, more quickly than max pooling."""
    cells = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):  # along columns, then along rows
        outer = torch.maximum(cells[..., 2:, :], cells[..., :-2, :])
        cells = torch.maximum(outer, cells[..., 1:-1, :]).transpose(-1, -2)
    return cells


def _whole_cells(plate_cv: Tensor) -> Tensor:
    height, width = plate_cv.shape[-2:]
    if not _is_traced() and height % CELL == width % CELL == 0:
        return plate_cv
    return F.pad(plate_cv, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def _shrunk(plate_cv: Tensor) -> Tensor:
    """Return the means of whole cells."""
    in_halves = plate_cv.shape[-1] % (2 * native.HALVED_COLUMNS) == 0 and plate_cv.device.type == "cpu"
    if in_halves and not _is_traced() and native.available():
        return native.halve(native.halve(plate_cv))
    return F.avg_pool2d(plate_cv, CELL)


def _is_large(plate_cv: Tensor) -> Tensor:
    """Return 1 where no side is below ``SMALLEST``, else 0; a number that a trace keeps open."""
    ones = torch.zeros_like(plate_cv[0, 0]) + 1  # in words that torch 1.12 knows
    return (torch.minimum(ones[0].sum(0), ones[:, 0].sum(0)) > SMALLEST - 1).to(plate_cv.dtype)


def _lerp(plate_cv: Tensor, estimate_cv: Tensor, share: Tensor, moves: Tensor, top: int, left: int) -> Tensor:
    height, width = plate_cv.shape[-2:]
    share, moves = (
        F.interpolate(cells, scale_factor=float(CELL), mode="bilinear", align_corners=False)[
            ..., top : top + height, left : left + width
        ]
        for cells in (share, moves)
    )
    return estimate_cv + share * (plate_cv + moves - estimate_cv)
