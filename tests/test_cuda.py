"""What a GPU computes is what the CPU computes; run where there is one, with ``pytest -m cuda``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from plates import natural, save_shot

from bitexpand.code_values import bins, requantise
from bitexpand.engine import Expander, Precision
from bitexpand.frames import read_frame
from bitexpand.models import registry

DEVICE = "cuda"
MODELS = [row.name for row in registry.MODELS if row.weights or not row.needs_weights]
TOLERANCE = 0.01  # LSB
LOW_PRECISION = 0.05  # LSB

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def gibibyte() -> Iterator[int]:
    """Leave this process so much memory of the GPU, and return the bytes."""
    limit, device = 1 << 30, torch.device(DEVICE, torch.cuda.current_device())
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        limit / torch.cuda.get_device_properties(device).total_memory, device
    )
    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bits", [8, 12])
def test_a_gpu_gives_what_the_cpu_gives(model: str, bits: int) -> None:
    codes = natural(290, 410, bits=bits)
    on_cpu, on_gpu = (
        Expander(model, device=device, precision="fp32").expand_frame(codes, bins(bits))
        for device in ("cpu", DEVICE)
    )
    assert np.abs(on_gpu.plate_cv - on_cpu.plate_cv).max() < TOLERANCE
    assert np.array_equal(requantise(on_gpu.plate_cv), codes)
    assert on_gpu.report.mean_move == pytest.approx(on_cpu.report.mean_move, abs=TOLERANCE)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16"])
def test_low_precision_stays_close_and_in_the_bins(model: str, precision: Precision) -> None:
    codes = natural(290, 410).astype(np.uint8)
    full_cv = Expander(model, device="cpu", precision="fp32").expand(codes)
    low_cv = Expander(model, device=DEVICE, precision=precision).expand(codes)
    assert np.array_equal(requantise(low_cv), codes)
    assert np.abs(low_cv - full_cv).max() < (TOLERANCE if precision == "auto" else LOW_PRECISION)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_do_not_show(channels: int) -> None:
    codes = natural(290, 1080, channels).astype(np.uint8)
    whole_cv, tiled_cv = (Expander("pyramid", device=DEVICE, tile=tile).expand(codes) for tile in (1152, 896))
    assert np.abs(tiled_cv - whole_cv).max() < TOLERANCE


def test_settings_reach_the_gpu() -> None:
    codes = natural(120, 200).astype(np.uint8)
    on_cpu, on_gpu = (
        Expander("pyramid", device=device, precision="fp32", strength=0.5, post_smooth=1.0).expand(
            codes, source="dithered"
        )
        for device in ("cpu", DEVICE)
    )
    assert np.abs(on_gpu - on_cpu).max() < TOLERANCE


def test_a_full_gpu_is_tried_once_more_in_smaller_tiles(gibibyte: int) -> None:
    side = 1536
    codes = natural(side, side).astype(np.uint8)
    whole = Expander("pyramid", device=DEVICE, tile=side)
    torch.cuda.reset_peak_memory_stats()
    shortages = torch.cuda.memory_stats()["num_ooms"]
    expanded_cv = whole.expand(codes)
    assert torch.cuda.memory_stats()["num_ooms"] > shortages
    assert torch.cuda.max_memory_allocated() <= gibibyte
    assert np.array_equal(requantise(expanded_cv), codes)


def test_frames_follow_each_other_to_files(call_cli: Cli, tmp_path: Path) -> None:
    pattern = save_shot(tmp_path / "in", 5, 120, 200)
    for device in ("cpu", DEVICE):
        output = tmp_path / device / "shot_####.exr"
        call_cli("seq", pattern, "-o", output, "--device", device, "--precision", "fp32", "--depth", "float")
        call_cli("verify", pattern, output)
    for number in range(1001, 1006):
        on_cpu, on_gpu = (
            read_frame(tmp_path / device / f"shot_{number}.exr").pixels for device in ("cpu", DEVICE)
        )
        assert np.abs(on_gpu.astype(np.float32) - on_cpu.astype(np.float32)).max() < TOLERANCE / 255
