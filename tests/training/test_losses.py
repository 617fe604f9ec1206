"""The losses: their units, what each is blind to, and gradients that never break a training."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ssim as reference_ssim
from scipy.ndimage import convolve1d
from torch import Tensor

from bitexpand.errors import UnknownNameError, UsageError
from training.losses import LOSSES, load

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=25)

CPU = torch.device("cpu")
WITHOUT_NETWORK = sorted(name for name in LOSSES if not name.startswith("lpips"))
FUNCTIONS = load(WITHOUT_NETWORK, CPU)
IN_LSB = ["l1", "gradient", "multiscale_gradient", "laplacian", "fft", "color_consistency"]
BLIND_TO_OFFSET = ["gradient", "multiscale_gradient", "color_consistency"]

SSIM_STEP = 2e-7  # 1 - SSIM is a difference of float32 numbers near 1

every_loss = pytest.mark.parametrize("name", WITHOUT_NETWORK)
steps = st.floats(-4, 4, width=32)


def peaks(plate_cv: Tensor, peak: float = 255) -> Tensor:
    return plate_cv.new_full((len(plate_cv), 1, 1, 1), peak)


def plates(seed: int = 0, size: tuple[int, int] = (18, 21), batch: int = 2) -> tuple[Tensor, Tensor]:
    """Return an estimate and its truth, inside the range, up to some LSB apart, in the bins of 8 bits."""
    random = torch.Generator().manual_seed(seed)
    truth_cv = 10 + 235 * torch.rand((batch, 3, *size), generator=random)
    return truth_cv + torch.randn(truth_cv.shape, generator=random), truth_cv


def loss_of(name: str, expanded_cv: Tensor, truth_cv: Tensor, peak: float = 255) -> float:
    return float(FUNCTIONS[name](expanded_cv, truth_cv, peaks(expanded_cv, peak)))


def of_residual(name: str, residual_cv: Tensor) -> float:
    """Return a loss where expanded - truth is a given residual, on a grey of 0, so without rounding."""
    return loss_of(name, residual_cv, torch.zeros_like(residual_cv))


def field(across: float, down: float, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Return one plane that rises ``across`` per column and ``down`` per row."""
    x, y = torch.arange(size[1]), torch.arange(size[0])
    return (across * x + down * y[:, None]).float()


# --- all of them


@every_loss
def test_equal_pictures_cost_nothing(name: str) -> None:
    _, truth_cv = plates()
    assert loss_of(name, truth_cv, truth_cv) == pytest.approx(0, abs=1e-6)


@every_loss
def test_a_loss_is_a_float32_scalar_above_zero_and_symmetric(name: str) -> None:
    expanded_cv, truth_cv = plates()
    loss = FUNCTIONS[name](expanded_cv, truth_cv, peaks(truth_cv))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert float(loss) > 1e-5
    assert loss_of(name, truth_cv, expanded_cv) == pytest.approx(float(loss), rel=1e-5)


@every_loss
def test_the_batch_costs_the_mean_of_its_crops(name: str) -> None:
    expanded_cv, truth_cv = plates(batch=3)
    alone = [loss_of(name, expanded_cv[i : i + 1], truth_cv[i : i + 1]) for i in range(3)]
    assert loss_of(name, expanded_cv, truth_cv) == pytest.approx(sum(alone) / 3, rel=1e-4, abs=SSIM_STEP)


@every_loss
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    expanded_cv, truth_cv = (plate_cv.double() for plate_cv in plates(size=(16, 17)))
    peak_cv = peaks(truth_cv)
    torch.manual_seed(0)  # of the direction that fast_mode tries
    assert torch.autograd.gradcheck(
        lambda cv: FUNCTIONS[name](cv, truth_cv, peak_cv),
        expanded_cv.requires_grad_(),
        fast_mode=True,
        atol=1e-6,
    )


@every_loss
@pytest.mark.parametrize("truth", [0.0, 0.3, 128.0, 255.0])
@pytest.mark.parametrize("away", [0.0, 1e-6, 0.5, -0.5, 6.0, -6.0])
def test_value_and_gradient_are_finite_where_roots_have_none(name: str, truth: float, away: float) -> None:
    truth_cv = torch.full((1, 3, 16, 16), truth)
    expanded_cv = torch.full_like(truth_cv, truth + away).requires_grad_()
    loss = FUNCTIONS[name](expanded_cv, truth_cv, peaks(truth_cv))
    loss.backward()
    assert torch.isfinite(loss.detach())
    assert expanded_cv.grad is not None
    assert torch.isfinite(expanded_cv.grad).all()


@every_loss
def test_one_wrong_pixel_among_equal_ones_has_a_finite_gradient(name: str) -> None:
    truth_cv = torch.full((1, 3, 16, 16), 0.0)
    expanded_cv = truth_cv.clone()
    expanded_cv[0, 1, 7, 7] = -0.25
    expanded_cv.requires_grad_()
    FUNCTIONS[name](expanded_cv, truth_cv, peaks(truth_cv)).backward()
    assert expanded_cv.grad is not None
    assert torch.isfinite(expanded_cv.grad).all()
    assert expanded_cv.grad[0, 1, 7, 7] < 0


@every_loss
def test_autocast_changes_neither_value_nor_gradient(name: str) -> None:
    results = []
    for enabled in (False, True):
        expanded_cv, truth_cv = plates()
        expanded_cv.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = FUNCTIONS[name](expanded_cv, truth_cv, peaks(truth_cv))
        loss.backward()
        assert expanded_cv.grad is not None
        results.append((loss.detach(), expanded_cv.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every_loss
def test_the_memory_format_does_not_matter(name: str) -> None:
    expanded_cv, truth_cv = plates()
    last_cv = expanded_cv.contiguous(memory_format=torch.channels_last)
    assert loss_of(name, last_cv, truth_cv) == pytest.approx(loss_of(name, expanded_cv, truth_cv), rel=1e-5)


@pytest.mark.parametrize("name", ["ssim", "oklab"])
def test_losses_on_signals_do_not_know_the_bit_depth(name: str) -> None:
    expanded_cv, truth_cv = plates(batch=1)
    scale = 1023 / 255
    both_cv = [torch.cat([plate_cv, plate_cv * scale]) for plate_cv in (expanded_cv, truth_cv)]
    mixed = FUNCTIONS[name](both_cv[0], both_cv[1], torch.tensor([255.0, 1023.0]).reshape(2, 1, 1, 1))
    assert float(mixed) == pytest.approx(loss_of(name, expanded_cv, truth_cv), rel=1e-4, abs=SSIM_STEP)


@pytest.mark.parametrize("name", IN_LSB)
@quick
@given(st.floats(0.01, 100))
def test_losses_in_lsb_grow_with_the_error(name: str, factor: float) -> None:
    expanded_cv, truth_cv = plates()
    residual_cv = expanded_cv - truth_cv
    assert of_residual(name, factor * residual_cv) == pytest.approx(
        factor * of_residual(name, residual_cv), rel=1e-4
    )


@pytest.mark.parametrize("name", BLIND_TO_OFFSET)
@quick
@given(st.tuples(steps, steps, steps))
def test_losses_on_gradients_ignore_a_constant_offset(name: str, offset: tuple[float, float, float]) -> None:
    expanded_cv, truth_cv = plates()
    moved_cv = expanded_cv + torch.tensor(offset).reshape(1, 3, 1, 1)
    assert loss_of(name, moved_cv, truth_cv) == pytest.approx(loss_of(name, expanded_cv, truth_cv), rel=1e-4)


# --- one by one


@quick
@given(steps)
def test_l1_and_l2_of_a_constant_error(error: float) -> None:
    residual_cv = torch.full((2, 3, 5, 4), error)
    assert of_residual("l1", residual_cv) == pytest.approx(abs(error))
    assert of_residual("l2", residual_cv) == pytest.approx(12 * error**2)


def test_doing_nothing_to_a_rounded_plate_costs_a_quarter_and_one() -> None:
    _, truth_cv = plates(size=(200, 200))
    assert loss_of("l1", truth_cv.round(), truth_cv) == pytest.approx(0.25, rel=0.01)
    assert loss_of("l2", truth_cv.round(), truth_cv) == pytest.approx(1.0, rel=0.01)


@quick
@given(steps, steps)
def test_gradients_of_a_ramp_are_its_slopes(across: float, down: float) -> None:
    residual_cv = field(across, down).expand(1, 3, -1, -1)
    expected = (abs(across) + abs(down)) / 2
    assert of_residual("gradient", residual_cv) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # a cell of 2, 4, 8 pixels rises 2, 4, 8 times as much to its neighbour
    expected *= (1 + 2 + 4 + 8) / 4
    assert of_residual("multiscale_gradient", residual_cv) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_coarse_scales_do_not_see_the_finest_pattern() -> None:
    checkers_cv = torch.where(field(1, 1) % 2 == 0, 1.0, -1.0).expand(1, 3, -1, -1)
    assert of_residual("gradient", checkers_cv) == 2.0
    assert of_residual("multiscale_gradient", checkers_cv) == 2.0 / 4


@quick
@given(steps)
def test_the_laplacian_pyramid_of_a_constant_is_its_low_pass_rest(error: float) -> None:
    assert of_residual("laplacian", torch.full((1, 3, 19, 33), error)) == pytest.approx(abs(error), abs=1e-5)


@quick
@given(st.integers(16, 37), st.integers(16, 37), st.integers(0, 99))
def test_the_laplacian_pyramid_is_burt_and_adelsons(height: int, width: int, seed: int) -> None:
    plane_cv = np.random.default_rng(seed).normal(size=(height, width))
    residual_cv = torch.from_numpy(plane_cv).expand(1, 3, -1, -1)
    assert of_residual("laplacian", residual_cv) == pytest.approx(reference_laplacian(plane_cv), rel=1e-6)


def reference_laplacian(plane_cv: np.ndarray) -> float:
    def blur(plane: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            plane = convolve1d(plane, np.array([1, 4, 6, 4, 1]) / 16, axis, mode="nearest")
        return plane

    total = 0.0
    for _ in range(4):
        coarse_cv = blur(plane_cv)[::2, ::2]
        # the border repeats coarse samples, not the zeros between them
        padded_cv = np.pad(coarse_cv, 1, mode="edge")
        spread_cv = np.zeros([2 * n for n in padded_cv.shape])
        spread_cv[::2, ::2] = 4 * padded_cv
        height, width = plane_cv.shape
        total += np.abs(plane_cv - blur(spread_cv)[2 : 2 + height, 2 : 2 + width]).mean()
        plane_cv = coarse_cv
    return total + np.abs(plane_cv).mean()


@quick
@given(steps, st.integers(0, 15), st.integers(0, 16))
def test_the_spectrum_of_one_wrong_pixel_is_flat(error: float, y: int, x: int) -> None:
    residual_cv = torch.zeros(1, 3, 16, 17)
    residual_cv[0, 0, y, x] = error
    expected = abs(error) / math.sqrt(16 * 17) / 3
    assert of_residual("fft", residual_cv) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_spectrum_of_a_constant_is_one_coefficient() -> None:
    assert of_residual("fft", torch.full((1, 3, 16, 20), 3.0)) == pytest.approx(
        3 * math.sqrt(16 * 20) / (16 * 11), rel=1e-5
    )


def test_white_noise_costs_the_same_at_every_crop_size() -> None:
    random = torch.Generator().manual_seed(3)
    for size in (128, 255):
        noise_cv = 0.5 * torch.randn((2, 3, size, size), generator=random)
        assert of_residual("fft", noise_cv) == pytest.approx(0.5 * math.sqrt(math.pi) / 2, rel=0.01)


@quick
@given(st.integers(-9, 9), st.integers(-9, 9))
def test_the_spectrum_does_not_tell_where_an_error_lies(down: int, across: int) -> None:
    expanded_cv, truth_cv = plates()
    residual_cv = expanded_cv - truth_cv
    moved_cv = residual_cv.roll((down, across), (2, 3))
    assert of_residual("fft", moved_cv) == pytest.approx(of_residual("fft", residual_cv), rel=1e-4)


@quick
@given(st.floats(0, 255), st.floats(0, 255))
def test_ssim_of_two_greys_is_its_luminance_term(expanded: float, truth: float) -> None:
    grey_cv = torch.ones(1, 3, 12, 11, dtype=torch.float64)
    x, y = expanded / 255, truth / 255
    index = (2 * x * y + 0.01**2) / (x**2 + y**2 + 0.01**2)
    # the package's window is float32: its sum is off 1 by about 1e-7, which the contrast term multiplies by 1/C2
    assert loss_of("ssim", expanded * grey_cv, truth * grey_cv) == pytest.approx(1 - index, abs=1e-4)


def test_ssim_is_that_of_its_package() -> None:
    expanded_cv, truth_cv = plates()
    expected = 1 - float(reference_ssim(expanded_cv, truth_cv, data_range=255))
    assert loss_of("ssim", expanded_cv, truth_cv) == pytest.approx(expected, rel=1e-3)


@quick
@given(steps)
def test_one_channel_that_rises_alone_breaks_two_of_three_pairs(slope: float) -> None:
    residual_cv = torch.zeros(1, 3, 32, 32)
    residual_cv[:, 1] = field(slope, 0)
    # two of three pairs, horizontally of two directions
    assert of_residual("color_consistency", residual_cv) == pytest.approx(abs(slope) / 3, rel=1e-4, abs=1e-6)


@quick
@given(st.integers(0, 2**31))
def test_color_consistency_ignores_what_all_channels_share(seed: int) -> None:
    shared_cv = torch.randn((1, 1, 18, 21), generator=torch.Generator().manual_seed(seed))
    expanded_cv, truth_cv = plates()
    assert loss_of("color_consistency", truth_cv + shared_cv, truth_cv) == pytest.approx(0, abs=1e-4)
    assert loss_of("color_consistency", expanded_cv + shared_cv, truth_cv) == pytest.approx(
        loss_of("color_consistency", expanded_cv, truth_cv), rel=1e-4
    )


# --- bad input


@pytest.mark.parametrize(
    ("name", "least"),
    [("gradient", 2), ("color_consistency", 2), ("ssim", 11), ("multiscale_gradient", 16), ("laplacian", 16)],
)
@pytest.mark.parametrize("shape", [lambda n: (n, 40), lambda n: (40, n)])
def test_a_crop_too_small_is_an_error(name: str, least: int, shape: Callable[[int], tuple[int, int]]) -> None:
    expanded_cv, truth_cv = plates(size=shape(least))
    assert math.isfinite(loss_of(name, expanded_cv, truth_cv))
    height, width = shape(least - 1)
    expanded_cv, truth_cv = plates(size=(height, width))
    message = (
        f"loss '{name}' needs crops of at least {least} pixels a side, not {width}x{height}; train on larger"
    )
    with pytest.raises(UsageError, match=message):
        loss_of(name, expanded_cv, truth_cv)


@pytest.mark.parametrize("name", ["l1", "l2", "fft", "oklab"])
def test_the_others_take_a_single_pixel(name: str) -> None:
    expanded_cv, truth_cv = plates(size=(1, 1))
    assert math.isfinite(loss_of(name, expanded_cv, truth_cv))


def test_losses_are_loaded_by_name_in_the_order_asked_for() -> None:
    loaded = load(["ssim", "l1", "gradient"], CPU)
    assert list(loaded) == ["ssim", "l1", "gradient"]
    assert loaded["l1"](torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2), torch.full((1, 1, 1, 1), 255.0)) == 1


@pytest.mark.parametrize(
    ("name", "close"), [("gradeint", "gradient"), ("LPIPS", "lpips"), ("color", "color_consistency")]
)
def test_an_unknown_loss_is_named_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown loss '{name}'; did you mean .*'{close}'"):
        load(["l1", name], CPU)
