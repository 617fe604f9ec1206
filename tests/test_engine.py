"""The engine: numpy in, numpy out, whatever the size, the precision and the channels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_models import Broken, Nudge, UnitNudge, expander_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural
from torch import Tensor

from bitexpand.code_values import bins, peak, requantise
from bitexpand.engine import Expander, find_device
from bitexpand.errors import (
    BitexpandError,
    DeviceError,
    GuardError,
    MissingInputError,
    UnknownNameError,
    UsageError,
)
from bitexpand.models import checkpoint
from bitexpand.models.unet import UNet, UNetConfig

quick = settings(deadline=None, max_examples=40)


@pytest.fixture(scope="module")
def tiny_expander(tiny: str) -> Expander:
    return Expander(tiny, device="cpu", precision="fp32")


@quick
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([None, 1, 3]),
    bits=st.sampled_from([2, 8, 10, 12]),
    seed=st.integers(0, 2**32),
)
def test_any_frame_comes_back_in_its_shape_and_in_its_bins(
    tiny_expander: Expander, height: int, width: int, channels: int | None, bits: int, seed: int
) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    plate_cv = np.random.default_rng(seed).integers(0, peak(bits) + 1, shape, np.uint16)
    expanded_cv = tiny_expander.expand(plate_cv, bits)
    assert (expanded_cv.shape, expanded_cv.dtype) == (shape, np.float32)
    assert np.array_equal(requantise(expanded_cv), plate_cv)
    assert 0 <= expanded_cv.min() <= expanded_cv.max() <= peak(bits)


@pytest.mark.parametrize("shape", [(1, 1), (1, 17, 3), (23, 1, 3), (2, 3, 1)])
def test_frames_of_a_pixel_or_a_line_work(tiny_expander: Expander, shape: tuple[int, ...]) -> None:
    plate_cv = np.full(shape, 200, np.uint8)
    assert np.array_equal(requantise(tiny_expander.expand(plate_cv)), plate_cv)


def test_the_same_frame_gives_the_same_bits(tiny: str) -> None:
    codes = natural(61, 47).astype(np.uint8)
    first_cv = Expander(tiny, device="cpu").expand(codes)
    assert first_cv.tobytes() == Expander(tiny, device="cpu").expand(codes).tobytes()


def test_grey_is_the_mean_of_three_equal_channels(tiny: str, tiny_expander: Expander) -> None:
    grey = natural(32, 48, 1).astype(np.uint8)
    module, _ = checkpoint.read(tiny)
    with torch.inference_mode():
        estimate_cv = module.eval()(torch.from_numpy(grey).permute(2, 0, 1).float().expand(1, 3, -1, -1))
    mean_cv = estimate_cv.mean(1)[0, ..., None].numpy()
    limits = bins(8)
    np.testing.assert_allclose(
        tiny_expander.expand(grey), mean_cv.clip(limits.lower[grey], limits.upper[grey]), atol=1e-4
    )


def test_an_integer_array_in_any_memory_layout_is_the_same_plate(tiny_expander: Expander) -> None:
    codes = natural(20, 30).astype(np.uint8)
    expected_cv = tiny_expander.expand(codes)
    assert np.array_equal(tiny_expander.expand(np.asfortranarray(codes)), expected_cv)
    assert np.array_equal(tiny_expander.expand(codes[::-1][::-1]), expected_cv)
    assert np.array_equal(tiny_expander.expand(codes.astype(np.uint16), bits=8), expected_cv)


def test_the_plate_is_left_as_it_was(tiny_expander: Expander) -> None:
    codes = natural(20, 30).astype(np.uint16)
    before = codes.copy()
    tiny_expander.expand(codes, bits=8)
    assert np.array_equal(codes, before)


@pytest.mark.parametrize("module", [Nudge(), UnitNudge()])
def test_a_model_sees_whole_cells_in_its_own_units(module: Nudge) -> None:
    codes = natural(21, 30).astype(np.uint8)
    expanded_cv = expander_of(module).expand(codes)
    (seen,) = module.seen
    assert tuple(seen.shape) == (1, 3, 24, 32)
    assert float(seen.max()) == pytest.approx(255 if module.units == "lsb" else 1)
    assert torch.equal(seen[..., 20:, :30], seen[..., 20:21, :30].expand(-1, -1, 4, -1)), "edges are repeated"
    if module.units == "unit":
        inner = codes < 255
        np.testing.assert_allclose(expanded_cv[inner], codes[inner] + 0.3, atol=1e-3)


def test_strength_scales_the_move(tiny: str) -> None:
    codes = natural(20, 30).astype(np.uint8)
    whole_cv = Expander(tiny, device="cpu").expand(codes)
    half_cv = Expander(tiny, device="cpu", strength=0.5).expand(codes)
    np.testing.assert_allclose(half_cv - codes, (whole_cv - codes) / 2, atol=1e-4)
    assert np.array_equal(Expander(tiny, device="cpu", strength=0).expand(codes), codes.astype(np.float32))


def test_a_wider_bound_lets_values_leave_their_bins() -> None:
    class Far(Nudge):
        def forward(self, plate: Tensor) -> Tensor:
            return plate + 5

    codes = np.full((4, 4, 3), 100, np.uint8)
    moved_cv = expander_of(Far()).expand(codes, bound=2.0)
    np.testing.assert_allclose(moved_cv, 102, atol=2e-3)
    assert expander_of(Far()).expand(codes).max() < 100.5


def test_post_smooth_calms_the_model_and_keeps_the_bins(tiny: str) -> None:
    codes = natural(64, 64).astype(np.uint8)
    plain_cv = Expander(tiny, device="cpu").expand(codes)
    smoothed_cv = Expander(tiny, device="cpu", post_smooth=2.0).expand(codes)
    assert np.array_equal(requantise(smoothed_cv), codes)

    def roughness(plate_cv: np.ndarray) -> float:
        return float(np.abs(np.diff(plate_cv[8:24, :30], axis=1)).mean())

    assert roughness(smoothed_cv) < roughness(plain_cv)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_close_and_in_the_bins(tiny: str, precision: str) -> None:
    codes = natural(64, 80).astype(np.uint8)
    full_cv = Expander(tiny, device="cpu", precision="fp32").expand(codes)
    low_cv = Expander(tiny, device="cpu", precision=precision).expand(codes)  # pyright: ignore[reportArgumentType]
    assert low_cv.dtype == np.float32
    assert np.array_equal(requantise(low_cv), codes)
    assert 0 < np.abs(low_cv - full_cv).max() < 0.05


def test_low_precision_does_not_touch_the_plate_itself(tmp_path: Path) -> None:
    config = UNetConfig(channels=2)
    network = UNet(config)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, 0.25 / 255)  # type: ignore[arg-type]
    path = tmp_path / "constant.safetensors"
    checkpoint.save(path, network, "unet", config)
    codes = np.arange(255, dtype=np.uint8).reshape(15, 17)
    expanded_cv = Expander(path, device="cpu", precision="bf16").expand(codes)
    np.testing.assert_allclose(expanded_cv - codes, 0.25, atol=2e-3)


def test_a_result_that_is_not_finite_names_the_model() -> None:
    with pytest.raises(GuardError, match="model test: .* not finite; nothing was written"):
        expander_of(Broken()).expand(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("plate_cv", "bits", "message"),
    [
        (np.zeros((4, 4)), None, "float64; give uint8 or uint16"),
        (np.zeros((4, 4), np.int32), 8, "int32; give uint8 or uint16"),
        (np.zeros((4, 4), np.uint16), None, r"uint16: say its bit depth with bits=, up to 12"),
        (
            np.zeros((4, 4, 4), np.uint8),
            None,
            r"shape \(4, 4, 4\); give \(H, W\), \(H, W, 1\) or \(H, W, 3\)",
        ),
        (np.zeros((1, 4, 4, 3), np.uint8), None, r"shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4), np.uint8), None, r"shape \(0, 4\)"),
        (np.zeros(4, np.uint8), None, r"shape \(4,\)"),
        (np.full((4, 4), 1024, np.uint16), 10, "holds 1024, above 1023, the largest 10-bit code value"),
        (np.full((4, 4), 9, np.uint8), 3, "holds 9, above 7"),
        (np.zeros((4, 4), np.uint16), 16, "bits=16: give 2 to 12"),
        (np.zeros((4, 4), np.uint8), 0, "bits=0: give 2 to 12"),
        (np.zeros((4, 4), np.uint8), -1, "bits=-1: give 2 to 12"),
    ],
)
def test_an_array_that_is_no_plate_is_refused(
    tiny_expander: Expander, plate_cv: np.ndarray, bits: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_expander.expand(plate_cv, bits)


@pytest.mark.parametrize("bound", [0, -1, float("nan"), 300])
def test_a_bound_that_is_none_is_refused(tiny_expander: Expander, bound: float) -> None:
    with pytest.raises(UsageError, match="--bound"):
        tiny_expander.expand(np.zeros((2, 2), np.uint8), bound=bound)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"strength": 1.1}, UsageError, "--strength 1.1: give a number from 0"),
        ({"strength": float("nan")}, UsageError, "--strength nan"),
        ({"post_smooth": -1}, UsageError, "--post-smooth -1: give a sigma"),
        ({"post_smooth": 1000}, UsageError, "--post-smooth 1000"),
        ({"precision": "int8"}, UsageError, "--precision int8: give one of auto, fp32, bf16, fp16"),
        ({"threads": 0}, UsageError, "--threads 0: give 1 or more"),
        ({"tile": 7}, UsageError, "--tile 7: give a multiple of 8 from 776 on"),
        ({"overlap": 2}, UsageError, "--overlap 2: give a multiple of 8"),
        ({"device": "gpu"}, DeviceError, "--device gpu: give auto, cpu, cuda, cuda:N or mps"),
        ({"model": "piramid"}, UnknownNameError, "did you mean 'pyramid'"),
        ({"model": "gone.safetensors"}, MissingInputError, "gone.safetensors"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    tiny: str, options: dict[str, object], kind: type[BitexpandError], message: str
) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        Expander(**{"model": tiny, "device": "cpu", **options})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["cuda:99", "cuda:", "cuda:x", "cpu:0", "mps:1", "", "CPU"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    if name == "cuda:" and torch.cuda.is_available():
        pytest.skip("cuda: is cuda")
    with pytest.raises(DeviceError, match="--device"):
        find_device(name)


def test_auto_is_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto").type == "mps"
    assert find_device("mps").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no Metal device"):
        find_device("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="this machine has 0 CUDA devices; use cpu or auto"):
        find_device("cuda")
