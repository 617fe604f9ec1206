"""What a frame costs in counts, which do not depend on the machine: multiplications, operators, bytes, pixels.

``pytest -rP tests/test_operations.py`` prints what is counted today; a limit is that and some room.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from torch import Tensor

from benchmarks.speed.operations import OperationCounter, count
from bitexpand import native
from bitexpand.code_values import bins
from bitexpand.engine import Expander
from bitexpand.models import registry
from bitexpand.models.base import PlateModel


@dataclass(frozen=True)
class Limit:
    """Most that a frame may cost.

    Attributes:
        macs: multiplications of convolutions a pixel.
        calls: operators a frame.
        written: bytes a pixel that operators write.
        size: height and width of the frame.
    """

    macs: float
    calls: int
    written: float
    size: tuple[int, int] = (192, 384)


BY_PYTORCH = "pyramid by PyTorch alone"
LIMITS = {  # beside each, what was counted on 22 November 2026
    "pyramid": Limit(macs=30_000, calls=250, written=1_080, size=(384, 768)),  # 27,844, 233, 964
    BY_PYTORCH: Limit(macs=30_000, calls=1_400, written=6_100, size=(384, 768)),  # 28,182, 1,281, 5,555
    "smooth": Limit(macs=0, calls=4_500, written=29_000),  # 0, 4,040, 26,144
    "unet28m": Limit(macs=720_000, calls=190, written=9_400),  # 719,360, 165, 8,620
    "dequant-unet": Limit(macs=45_500, calls=170, written=3_050),  # 45,396, 150, 2,782
    "dequant-unet-aug": Limit(macs=45_500, calls=170, written=3_050),
    "dequant-convnext": Limit(macs=114_500, calls=330, written=10_300),  # 114,003, 301, 9,342
}
"""Every model that runs without a file needs one. What :mod:`bitexpand.native` writes is not counted."""

TILED = {
    ("smooth", 4320, 7680): 1.42,
    ("dequant-convnext", 2160, 4096): 1.38,
    ("dequant-convnext", 4320, 7680): 1.52,
}
"""Pixels that tiles compute, over those of the whole frame, where they are still more than 1.2."""

MODELS = [row.name for row in registry.MODELS if row.weights or not row.needs_weights]
COUNTED = [*MODELS, BY_PYTORCH]


@pytest.mark.parametrize("model", COUNTED)
def test_a_frame_costs_no_more_than_its_limit(model: str) -> None:
    limit = LIMITS[model]
    counted, pixels = counts(model, limit.size), limit.size[0] * limit.size[1]
    macs, calls = sum(counted.macs.values()) / pixels, sum(counted.calls.values())
    print(f"{model}: macs={macs:,.0f}, calls={calls:,}, written={counted.written / pixels:,.0f}")
    assert macs <= limit.macs
    assert calls <= limit.calls
    assert counted.written / pixels <= limit.written


@pytest.mark.parametrize("model", COUNTED)
def test_cost_grows_with_the_pixels_and_no_faster(model: str) -> None:
    height, width = LIMITS[model].size
    half, whole = counts(model, (height, width // 2)), counts(model, (height, width))
    assert whole.written == pytest.approx(2 * half.written, rel=0.15)
    assert sum(whole.macs.values()) == pytest.approx(2 * sum(half.macs.values()), rel=0.15)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("height", "width"), [(2160, 4096), (4320, 7680)])
def test_tiles_compute_few_pixels_twice(
    model: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = SimpleNamespace(available=16 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: plenty)
    cost = cost_of_tiles(model, height, width)
    print(f"{model}, {width}x{height}: {cost:.3f}")
    assert cost <= TILED.get((model, height, width), 1.2)


@cache
def counts(model: str, size: tuple[int, int]) -> OperationCounter:
    """Count what the second frame costs, when everything is ready."""
    with pytest.MonkeyPatch.context() as patch:
        if model == BY_PYTORCH:
            patch.setattr(native, "available", lambda: False)
        elif model == "pyramid" and not native.available():
            pytest.skip("bitexpand was installed without a C++ compiler")
        expander = Expander(model.split()[0], device="cpu", precision="fp32")  # alike on every processor
        limits = bins(8)
        codes = np.random.default_rng(0).integers(100, 140, (*size, 3), np.uint16)
        expander.expand_frame(codes, limits)
        return count(lambda: expander.expand_frame(codes, limits))


def cost_of_tiles(model: str, height: int, width: int) -> float:
    """Return how many pixels the network would see of a frame, over those of the whole frame; it is not run."""
    seen = []

    def forward(plate: Tensor, *_: Tensor) -> Tensor:
        seen.append(plate.shape[-2] * plate.shape[-1])
        return plate

    expander = Expander(model, device="cpu")
    network = next(value for value in vars(expander).values() if isinstance(value, PlateModel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "forward", forward)
        codes = np.zeros((height, width, 1), np.uint16)
        codes[::2] = 1  # nothing to look at from afar, which takes pixels, too
        expander.expand_frame(codes, bins(8))
    rows, columns = (-(-side // network.grid) for side in (height, width))
    return sum(seen) / (rows * columns * network.grid**2)
