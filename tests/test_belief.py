"""What a bin makes of a belief, held against numeric integration and against the bins themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.models.belief import LOG_SCALE, belief_head, posterior_mean, scale_of, where_bins_meet

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=60)
means = st.floats(-2, 2, width=32)
scales = st.floats(0.0078125, 2.5, width=32)
residuals = st.lists(st.floats(-0.5, 0.5, width=32), min_size=3, max_size=3)


def mean_in_bin(mean: float, scale: float) -> float:
    """Posterior mean of one belief, in LSB."""
    return float(posterior_mean(torch.tensor([mean]), torch.tensor([scale])))


@quick
@given(means, scales)
def test_the_posterior_mean_is_the_integral_over_the_bin(mean: float, scale: float) -> None:
    x = np.linspace(-0.5, 0.5, 20001)
    away = np.abs(x - mean) / scale
    density = np.exp(-(away - away.min())) / (1 + np.exp(-away)) ** 2  # its largest value is near 1
    expected = np.sum(x * density) / np.sum(density)
    assert mean_in_bin(mean, scale) == pytest.approx(expected, abs=2e-4)


@quick
@given(means, scales)
def test_a_posterior_mean_is_odd_and_lies_in_the_bin(mean: float, scale: float) -> None:
    assert abs(mean_in_bin(mean, scale)) <= 0.5
    assert mean_in_bin(-mean, scale) == pytest.approx(-mean_in_bin(mean, scale), abs=1e-6)


@quick
@given(means, means, scales)
def test_a_posterior_mean_rises_with_the_belief(first: float, second: float, scale: float) -> None:
    low, high = sorted((first, second))
    assert mean_in_bin(low, scale) <= mean_in_bin(high, scale) + 1e-5


@quick
@given(means, scales, st.sampled_from([0.5, 1.0, 1.5, 4.0]))
def test_a_wider_bin_is_the_same_on_a_larger_scale(mean: float, scale: float, half_width: float) -> None:
    times = 2 * half_width
    wide = posterior_mean(
        torch.full((1, 3, 1, 1), times * mean),
        torch.full((1, 3, 1, 1), times * scale),
        torch.full((1, 1, 1, 1), half_width),
    )
    expected = times * mean_in_bin(mean, scale)
    assert wide.flatten().tolist() == pytest.approx([expected] * 3, abs=1e-5 * times)


def test_what_is_certain_stays_and_what_is_unknown_goes_to_the_middle() -> None:
    assert mean_in_bin(0.3, 0.007) == pytest.approx(0.3, abs=1e-4)
    assert abs(mean_in_bin(0.3, 2.7)) < 0.01


@quick
@given(st.floats(-1e3, 1e3, width=32), scales)
def test_training_gets_a_finite_gradient_from_every_belief(mean: float, scale: float) -> None:
    belief = torch.tensor([mean]).requires_grad_()
    width = torch.tensor([scale]).requires_grad_()
    posterior_mean(belief, width).sum().backward()
    for parameter in (belief, width):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() < 100


@quick
@given(st.floats(-99, 99, width=32), st.sampled_from([0.5, 1.0, 4.0]))
def test_a_scale_counts_in_widths_of_the_bin_and_stays_in_range(log_scale: float, half_width: float) -> None:
    told = torch.full((1, 3, 1, 1), log_scale)
    scale = scale_of(told, torch.full((1, 1, 1, 1), half_width))
    low, high = (2 * half_width * np.exp(limit) for limit in LOG_SCALE)
    assert low * 0.999 < scale.min() <= scale.max() < high * 1.001
    torch.testing.assert_close(scale, 2 * half_width * scale_of(told))
    assert posterior_mean(torch.zeros_like(told), scale, half_width).abs().max() < 1e-5 * half_width


def test_a_new_head_tells_of_a_little_doubt() -> None:
    scale = scale_of(belief_head(8, 3)(torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))))
    assert 0.05 < scale.min() == scale.max() < 0.15
    moves = posterior_mean(torch.full_like(scale, 0.1), scale)
    assert 0.09 < moves.min() <= moves.max() < 0.1


@quick
@given(residuals)
def test_where_bins_meet_is_in_all_of_them_and_as_far_from_their_ends_as_can_be(
    channels: list[float],
) -> None:
    residual = torch.tensor(channels).view(1, 3, 1, 1)
    met = where_bins_meet(residual)
    moved = met - residual
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-6, rtol=0)
    assert met.abs().max() <= 0.5 + 1e-6
    assert (0.5 - met.max()).item() == pytest.approx((met.min() + 0.5).item(), abs=1e-6)


def test_one_channel_alone_meets_in_the_middle_of_its_bin() -> None:
    assert where_bins_meet(torch.full((1, 1, 2, 2), 0.4)).abs().max() < 1e-6
