"""Areas at black or white stay clean: what lies at an end of the code values, with no slow way there, stays there.

A picture that runs into code 0 or the peak was most likely clipped there. Then its truth is known exactly, and the
hundredths of an LSB by which a model moves it are errors. Not so where it comes to the end slowly: the last code
value stands for half a step of the way, which takes a slow ramp many pixels. What tells the two apart is the
picture beside the area: it is an edge, or it is the next code value.

All is decided in cells of 4 px. A cell whose samples are all at the end is *whole*; such cells, and those around
them, are still. But where for some radius r of 1, 2, 4 or 8 cells there is anything off the end within r and no
edge within 2r, the picture is *on the way*, and the model's moves count. A ramp of 1 LSB in w px, whose truth
reaches the end w/2 px inside of the area, is on the way for the first w/3 to w px of it, 30 at most; over the next
12 its moves fade out. A ramp of less than some 5 px an LSB passes for an edge. Where samples at the end are mixed
with others, as in grain, few cells are whole, and the model's moves count as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from bitexpand import native
from bitexpand.code_values import Bins, peak

CELL = 4  # px; the cells of a tile are those of its frame if it starts on a multiple of it
REACH = 80  # px: what lies farther from a sample has no say in it
_GROWTH = (1, 1, 2, 4, 8)  # cells, which add up to radii of 1, 2, 4, 8 and 16


def calm(
    plate_codes: Tensor, estimate_cv: Tensor, limits: Bins, extremes: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Take back the model's moves inside of areas at code 0 or at the peak.

    Code 0 of a truncated plate stands for anything from 0 to 1, so there the estimate stays as it is.

    Args:
        plate_codes: (C, H, W), the source's code values, of any type.
        estimate_cv: float32, same shape, the model's estimate in LSB.
        limits: the bins; they tell the bit depth and what made the source.
        extremes: the largest and the smallest code value of each cell, of (1, C, H, W), where they are known.

    Returns:
        float32, same shape, in LSB: the code values where moves are taken back, the estimate where they are not,
        between the two where one fades into the other. What is not finite stays so. ``estimate_cv`` itself may be
        what was changed.
    """
    white, black_is_known = peak(limits.bits), limits.kind.middle == 0
    edge = 1 + limits.kind.half_width  # LSB off the end: noise or loss may put the next code value that far
    extremes = extremes or native.extremes(plate_codes.to(torch.float32)[None])
    largest, smallest = (cells[0] for cells in extremes)
    for end, last_to_reach_it in [(white, smallest)] + [(0, largest)] * black_is_known:
        rows = _rows_with_areas(last_to_reach_it == end, plate_codes.shape[1])
        if rows is None:
            continue
        cells = slice(rows.start // CELL, -(-rows.stop // CELL))
        farthest = torch.maximum((largest[:, cells] - end).abs(), (smallest[:, cells] - end).abs())
        stillness = _stillness(farthest[None], edge)
        codes, part_cv = plate_codes[:, rows], estimate_cv[:, rows]
        if native.available() and native.can_settle(codes[None], part_cv[None]):
            native.settle(codes[None], part_cv[None], stillness, end)
        else:
            settled_cv = _settled(codes.to(torch.float32), part_cv, stillness, end)
            above, below = estimate_cv[:, : rows.start], estimate_cv[:, rows.stop :]
            estimate_cv = torch.cat([above, settled_cv, below], 1)
    return estimate_cv


def _rows_with_areas(whole: Tensor, height: int) -> slice | None:
    """Find the rows that all whole cells lie in, and all that has a say in them; most plates have none."""
    held = whole.any(-1).any(0).nonzero()
    if not len(held):
        return None
    first, last = int(held[0]) * CELL - REACH, (int(held[-1]) + 1) * CELL + REACH
    return slice(max(first, 0), min(last, height))


def calm_end(plate_codes: Tensor, estimate_cv: Tensor, end: float | Tensor, edge: float) -> Tensor:
    """Take back moves at one end of the code values, in operations that can be traced.

    Args:
        plate_codes: (C, H, W), the source's code values.
        estimate_cv: float32, same shape, in LSB.
        end: the code value.
        edge: from how far off the end on in LSB the picture has an edge.

    Returns:
        float32, same shape, in LSB.
    """
    codes = plate_codes.to(torch.float32)
    stillness = _stillness(F.max_pool2d((codes - end).abs()[None], CELL, ceil_mode=True), edge)
    return _settled(codes, estimate_cv, stillness, end)


def _settled(codes: Tensor, estimate_cv: Tensor, stillness: Tensor, end: float | Tensor) -> Tensor:
    """Return float32 (C, H, W), moves of what is at the end taken back where cells, (1, C, h, w), are still."""
    share = F.interpolate(stillness, scale_factor=float(CELL), mode="bilinear", align_corners=False)
    share = share[0, :, : codes.shape[-2], : codes.shape[-1]] * (codes == end)
    return torch.lerp(estimate_cv, codes, share)


def _stillness(distance: Tensor, edge: float) -> Tensor:
    """Say which cells are still.

    Args:
        distance: float32 (N, C, h, w), how far in LSB each cell's farthest sample is from the end.
        edge: from where on in LSB that is an edge.

    Returns:
        float32, same shape, from 0, where moves count, to 1, where they are taken back.
    """
    whole = distance == 0
    on_the_way = torch.zeros_like(whole)
    edges = _within(distance > edge)
    next(edges)
    for edge_twice_as_far, off_the_end in zip(edges, _within(~whole), strict=False):
        on_the_way = on_the_way | off_the_end & ~edge_twice_as_far
    # grown before it is blurred, so that it fades outside of itself
    moving = F.avg_pool2d(_grown(on_the_way, 1).to(torch.float32), 3, 1, 1, count_include_pad=False)
    return _grown(whole, 1) * (1 - moving)


def _within(cells: Tensor) -> Iterator[Tensor]:
    """Yield what lies within 1, 2, 4, 8 and 16 cells, also diagonally, of those marked in (N, C, h, w)."""
    for step in _GROWTH:
        cells = _grown(cells, step)
        yield cells


def _grown(cells: Tensor, step: int) -> Tensor:
    """Add ``step`` cells all around to what is marked in (N, C, h, w), bool, and at least half as thick as that."""
    for _ in range(2):  # along rows, then along columns
        beyond = torch.zeros_like(cells[..., :step])
        before = torch.cat([beyond, cells[..., :-step]], -1)
        after = torch.cat([cells[..., step:], beyond], -1)
        cells = (before | cells | after).transpose(-1, -2)
    return cells
