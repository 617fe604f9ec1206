"""What the machine can do: rates of a large matrix multiplication and of a copy that no cache holds."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.speed import clock
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure
from bitexpand.engine import find_device

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_COPIED = 1 << 28  # bytes


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield the rates."""
    if bench.threads:
        torch.set_num_threads(bench.threads)
    for name in TYPES:
        yield Figure(f"matrix multiplication, {name}", matmul_rate(bench, TYPES[name]) / 1e9, "GFLOP/s")
    yield Figure("copy, read and written bytes", _copy_rate(bench) / 1e9, "GB/s")


def matmul_rate(bench: Bench, dtype: torch.dtype) -> float:
    """Return floating-point operations a second, two for each multiplication and its addition."""
    device = find_device(bench.device)
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 / clock.take_turns({"mm": lambda: torch.mm(a, b)}, 5 * bench.repeats)["mm"]


def _copy_rate(bench: Bench) -> float:
    source = torch.randn(_COPIED // 4, device=find_device(bench.device))
    target = torch.empty_like(source).copy_(source)
    return 2 * _COPIED / clock.take_turns({"copy": lambda: target.copy_(source)}, 5 * bench.repeats)["copy"]
