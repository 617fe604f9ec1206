"""How near a model's convolutions come to the rate of a matrix multiplication, and what a pixel costs in counts.

Rates count the multiplications of the layers. A step that gets by with fewer can be beyond the rate of the machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.speed import clock, machine
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure
from benchmarks.speed.operations import count
from benchmarks.speed.plates import SIZE, plate_codes
from bitexpand.code_values import bins

_FEW = 0.05  # of the multiplications: so few say nothing of a rate


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield counts a pixel, and the convolutions' share of the matrix-multiply rate of their type."""
    for model in bench.models:
        expander = bench.expander(model)
        expand = partial(expander.expand_frame, plate_codes(SIZE), bins(8))
        expand()
        first = count(expand)
        pixels = SIZE[0] * SIZE[1]
        yield Figure(f"{model}: convolutions a pixel", sum(first.macs.values()) / pixels / 1e3, "kMAC")
        yield Figure(f"{model}: bytes that operators write a pixel", first.written / pixels, "B")
        yield Figure(f"{model}: of these in tensors beyond 8 MiB", first.spilled / pixels, "B")
        for name, dtype in machine.TYPES.items():
            if first.macs[dtype] > _FEW * sum(first.macs.values()):
                yield from _rates(bench, f"{model}: convolutions in {name}", expand, dtype)


def _rates(bench: Bench, what: str, expand: clock.Call, dtype: torch.dtype) -> Iterator[Figure]:
    """Yield the rate and its share, the two measured in turns."""
    rates, shares = [], []
    for _ in range(bench.repeats):
        counted = count(expand)
        rates.append(2 * counted.macs[dtype] / counted.convolution_seconds[dtype])
        shares.append(rates[-1] / machine.matmul_rate(bench, dtype))
    yield Figure(what, statistics.median(rates) / 1e9, "GFLOP/s")
    yield Figure(
        f"{what}, share of the matrix-multiply rate", statistics.median(shares), "share", at_least=0.6
    )
