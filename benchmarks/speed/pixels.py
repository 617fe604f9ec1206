"""What a pixel costs in small and large frames, and what cutting a frame into tiles adds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.speed import clock
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure, Size
from benchmarks.speed.plates import plate_codes
from bitexpand.code_values import Bins, Codes, bins
from bitexpand.engine import Expander
from bitexpand.errors import UsageError
from bitexpand.pipeline import keep_freed_memory

SIZES: tuple[Size, ...] = ((960, 540), (1920, 1080), (4096, 2160), (7680, 4320))  # 0.5 to 33 megapixels
_PIXELS = 8 << 20  # that each size is timed with, so that a moment's noise is not all that a small one meets
TILED: Size = (2048, 1152)
TILE = 1536


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield nanoseconds a pixel by size, the spread of them, and tiles over the whole frame."""
    for model in bench.models:
        yield from _cost(bench, model)
        yield from _tiles(bench, model)


def _cost(bench: Bench, model: str) -> Iterator[Figure]:
    keep_freed_memory()  # as the command line does
    expander, limits = bench.expander(model), bins(8)
    counts = {size: max(1, round(_PIXELS / (size[0] * size[1]))) for size in SIZES}
    calls = {
        size: partial(_expand, expander, plate_codes(size), limits, count) for size, count in counts.items()
    }
    for call in calls.values():
        call()
    costs = []
    for size, seconds in clock.take_turns(calls, bench.repeats).items():
        width, height = size
        costs.append(1e9 * seconds / (counts[size] * width * height))
        yield Figure(f"{model}: expand, a pixel of {width}x{height}", costs[-1], "ns")
    yield Figure(f"{model}: dearest over cheapest pixel", max(costs) / min(costs), "ratio", at_most=1.15)


def _expand(expander: Expander, codes: Codes, limits: Bins, count: int) -> None:
    for _ in range(count):
        expander.expand_frame(codes, limits)


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
    calls["whole"]()
    medians = clock.take_turns(calls, bench.repeats)
    name = f"{model}: {TILED[0]}x{TILED[1]} in tiles of {TILE} over whole"
    yield Figure(name, medians["tiled"] / medians["whole"], "ratio", at_most=1.2)
