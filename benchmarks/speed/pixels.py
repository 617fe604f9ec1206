"""What a pixel costs in small and large frames, and what cutting a frame into tiles adds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial

from benchmarks.speed import clock
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure, Size
from benchmarks.speed.plates import plate_codes
from bitexpand.code_values import Bins, Codes, bins
from bitexpand.engine import Expander
from bitexpand.errors import UsageError
from bitexpand.pipeline import frames_at_once, keep_freed_memory, side_by_side

SIZES: tuple[Size, ...] = ((960, 540), (1920, 1080), (4096, 2160), (7680, 4320))  # 0.5 to 33 megapixels
_PIXELS = 8 << 20  # that each size is timed with, so that a moment's noise is not all that a small one meets
TILED: Size = (7680, 4320)
TILE = 4096  # four of them, as where there is 1 GiB for a tile


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield nanoseconds a pixel by size, the spread of them, and tiles over the whole frame."""
    keep_freed_memory()  # as the command line does
    for model in bench.models:
        yield from _cost(bench, model)
        yield from _tiles(bench, model)


def _cost(bench: Bench, model: str) -> Iterator[Figure]:
    """Yield what a pixel costs as ``bitexpand seq`` expands frames, and in small ones that are alone."""
    expander = bench.expander(model)
    cases = [(size, frames_at_once(size[0] * size[1], expander)) for size in SIZES]
    alone = [(size, 1) for size, at_once in cases if at_once > 1]
    with side_by_side(expander) as expanders:
        calls = {
            case: partial(_expand, expander, plate_codes(case[0]), bins(8), expanders, *_count(*case))
            for case in cases + alone
        }
        for call in calls.values():
            call()
        medians = clock.take_turns(calls, bench.repeats)
    costs = {}
    for case, seconds in medians.items():
        (width, height), at_once = case
        costs[case] = 1e9 * seconds / (_count(*case)[0] * at_once * width * height)
        yield Figure(f"{model}: expand, a pixel of {width}x{height}, {at_once} at a time", costs[case], "ns")
    spread = max(costs[case] for case in cases) / min(costs[case] for case in cases)
    yield Figure(f"{model}: dearest over cheapest pixel", spread, "ratio", at_most=1.15)


def _count(size: Size, at_once: int) -> tuple[int, int]:
    """Return how often how many frames are expanded."""
    return max(1, round(_PIXELS / (size[0] * size[1] * at_once))), at_once


def _expand(
    expander: Expander, codes: Codes, limits: Bins, expanders: Executor, times: int, at_once: int
) -> None:
    frames = [codes] * (times * at_once)
    expand = partial(expander.expand_frame, limits=limits)
    for _ in expanders.map(expand, frames) if at_once > 1 else map(expand, frames):
        pass


def _tiles(bench: Bench, model: str) -> Iterator[Figure]:
    codes, limits = plate_codes(TILED), bins(8)
    try:
        tiled = bench.expander(model, tile=TILE)
    except UsageError:
        return  # not a size that this model can be cut in
    whole = bench.expander(model)
    calls = {
        "whole": lambda: whole.expand_frame(codes, limits),
        "tiled": lambda: tiled.expand_frame(codes, limits),
    }
    for call in calls.values():
        call()
    medians = clock.take_turns(calls, bench.repeats)
    name = f"{model}: {TILED[0]}x{TILED[1]} in tiles of {TILE} over whole"
    yield Figure(name, medians["tiled"] / medians["whole"], "ratio", at_most=1.2)
