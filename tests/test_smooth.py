"""The filter without a network: it wins on ramps, loses nowhere, and never leaves a bin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitexpand.models.smooth import Smooth, SmoothConfig, edge_gated_blur, error_variance, posterior_mean

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=15)
SIDE = 128


def truth(kind: str, seed: int = 0) -> Tensor:
    """Return a plate before quantisation, (1, 3, SIDE, SIDE) in LSB."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="ij")
    ramp = torch.stack([60 + 8 * x + 3 * y, 90 + 5 * x * x + 4 * y, 140 - 6 * x * y + 2 * x])
    noise = torch.randn(3, SIDE, SIDE, generator=generator)
    kinds = {
        "ramp": ramp,
        "steep": 128 + 12 * (ramp - ramp.mean((1, 2), keepdim=True)),
        "edge": ramp + 70 * ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.05),
        "light grain": ramp + 0.2 * noise,
        "grain": ramp + 0.5 * noise,
        "heavy grain": ramp + 2 * noise,
        "white noise": 128 + 40 * noise,
        "texture": ramp + 6 * torch.sin(40 * x) * torch.cos(55 * y),
        "checkerboard": 100.3 + 5 * (-1.0) ** (torch.arange(SIDE) + torch.arange(SIDE)[:, None]) + 0 * ramp,
    }
    return kinds[kind].clamp(0, 255)[None]


def gain(kind: str, seed: int = 0) -> float:
    """Return how much closer to the truth the filter comes than doing nothing, in dB."""
    plate = truth(kind, seed).round()
    estimate = Smooth()(plate)
    nothing, left = ((x - truth(kind, seed)).square().mean().item() for x in (plate, estimate))
    return 10 * math.log10(nothing / left)


@pytest.mark.parametrize(
    ("kind", "least"), [("ramp", 8), ("steep", 6), ("edge", 3), ("light grain", 3.5), ("grain", 0.9)]
)
def test_it_wins_where_there_is_something_to_win(kind: str, least: float) -> None:
    assert gain(kind) > least


@pytest.mark.parametrize("kind", ["heavy grain", "white noise", "texture", "checkerboard"])
def test_it_never_does_worse_than_nothing(kind: str) -> None:
    assert gain(kind) > -0.02


@quick
@given(kind=st.sampled_from(["ramp", "edge", "grain", "white noise"]), seed=st.integers(0, 99))
def test_it_stays_in_the_bins(kind: str, seed: int) -> None:
    plate = truth(kind, seed)[..., :32, :64].round()
    assert (Smooth()(plate) - plate).abs().max() <= 0.5


@quick
@given(offset=st.integers(0, 3000), flip=st.sampled_from([-1, -2]))
def test_it_knows_neither_level_nor_direction(offset: int, flip: int) -> None:
    plate = truth("edge")[..., 32:96, 32:96].round()
    moved = Smooth()((plate + offset).flip(flip)).flip(flip) - offset
    torch.testing.assert_close(moved, Smooth()(plate), atol=5e-3, rtol=0)


def test_a_flat_plate_stays_as_it_is() -> None:
    plate = torch.full((1, 3, 32, 32), 17.0)
    torch.testing.assert_close(Smooth()(plate), plate, atol=1e-5, rtol=0)


def test_more_levels_reach_farther() -> None:
    bands_of_40 = (100 + torch.arange(256.0) / 40).expand(1, 3, 64, 256)
    near, far = (
        (Smooth(SmoothConfig(levels=levels))(bands_of_40.round()) - bands_of_40).square().mean()
        for levels in (2, 5)
    )
    assert far < near / 2


def test_the_error_of_a_candidate_is_judged_from_the_plate_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = 50 + 100 * torch.rand(1, 3, 64, 64, generator=generator)
    plate = exact.round()
    for deviation in (0.0, 0.3, 2.0):
        candidate = exact + deviation * torch.randn(exact.shape, generator=generator)
        assert error_variance(candidate, plate, 0, 8).mean().item() == pytest.approx(
            deviation**2, abs=0.01 + 0.05 * deviation**2
        )
    # and one that follows the plate is as far from the truth as the plate
    assert error_variance(plate, plate, 0, 8).mean().item() == pytest.approx(1 / 12, abs=1e-3)


@given(offset=st.floats(-3, 3), variance=st.floats(0.01, 20))
@settings(deadline=None, max_examples=100)
def test_the_posterior_mean_is_that_of_a_cut_normal_distribution(offset: float, variance: float) -> None:
    x = torch.linspace(-0.5, 0.5, 2001, dtype=torch.float64)
    density = torch.softmax(-((x - offset) ** 2) / (2 * variance), 0)
    expected = (density * x).sum().item()
    actual = posterior_mean(torch.tensor([7 + offset]), torch.tensor([variance]), torch.tensor([7.0]))
    # wide priors are taken as straight
    assert actual.item() - 7 == pytest.approx(expected, abs=0.01)


@given(offset=st.floats(-5000, 5000), variance=st.floats(0.002, 1e7))
@settings(deadline=None, max_examples=100)
def test_the_posterior_mean_is_finite_in_the_bin_and_on_the_right_side(
    offset: float, variance: float
) -> None:
    mean, spread, plate = (torch.tensor([value]) for value in (1000 + offset, variance, 1000.0))
    moved = posterior_mean(mean, spread, plate).item() - 1000
    assert abs(moved) <= 0.5
    assert moved * offset >= -1e-6 * abs(offset)


@quick
@given(sigma=st.floats(0.3, 32), slope=st.floats(-3, 3))
def test_the_gated_blur_keeps_ramps(sigma: float, slope: float) -> None:
    ramp = (100 + slope * torch.arange(64.0)).expand(1, 3, 8, 64)
    inside = slice(30, 34)  # away from the repeated border, as far as the gate reaches
    if abs(slope) * 30 > 1.5 or sigma < 8:
        torch.testing.assert_close(
            edge_gated_blur(ramp, sigma)[..., inside], ramp[..., inside], atol=1e-3, rtol=0
        )


@quick
@given(sigma=st.floats(0.3, 32), step=st.floats(1.5, 200))
def test_the_gated_blur_keeps_edges(sigma: float, step: float) -> None:
    edge = (100 + step * (torch.arange(48.0) > 20)).expand(1, 3, 48, 48)
    torch.testing.assert_close(edge_gated_blur(edge, sigma), edge)


def test_the_gated_blur_softens_bands() -> None:
    ramp = (100 + torch.arange(96.0) / 12).expand(1, 3, 16, 96)
    inner = slice(12, -12)
    before, after = (
        (x - ramp)[..., inner].square().mean() for x in (ramp.round(), edge_gated_blur(ramp.round(), 6))
    )
    assert after < before / 2


def test_the_gated_blur_takes_tiny_plates_and_any_channels() -> None:
    for shape in ((1, 1, 1, 1), (2, 3, 1, 5), (1, 4, 7, 2)):
        plate = torch.full(shape, 3.0)
        assert torch.equal(edge_gated_blur(plate, 4.0), plate)
