"""Losses that count decibels: a dB costs the same wherever it is, and harm is only what got worse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bitexpand.errors import UsageError
from training.losses import harm
from training.losses.relative import PATCH, log_l2
from training.objective import HARM, Objective
from training.sample import Batch

PEAK = torch.full((2, 1, 1, 1), 255.0)


def noise(seed: int, sigma: float = 1.0) -> Tensor:
    return sigma * torch.randn((2, 3, 64, 96), generator=torch.Generator().manual_seed(seed))


def test_a_decibel_costs_the_same_in_a_good_crop_and_in_a_bad_one() -> None:
    truth_cv = noise(0, 20)
    costs = [float(log_l2(truth_cv + noise(1, sigma), truth_cv, PEAK)) for sigma in (4, 2, 1, 0.5)]
    steps = [a - b for a, b in zip(costs[:-1], costs[1:], strict=True)]
    assert steps == pytest.approx([math.log(4)] * 3, abs=0.01)
    assert float(log_l2(truth_cv, truth_cv, PEAK)) == 0


def test_harm_is_nothing_where_every_patch_got_better_or_stayed() -> None:
    truth_cv = noise(0, 20)
    input_cv = truth_cv + noise(1)
    assert float(harm(truth_cv + 0.5 * noise(1), truth_cv, input_cv)) == 0
    assert float(harm(input_cv, truth_cv, input_cv)) == 0


def test_a_gain_elsewhere_makes_up_for_no_harm() -> None:
    truth_cv = noise(0, 20)
    input_cv = truth_cv + noise(1)
    result_cv = truth_cv.clone()
    result_cv[..., :PATCH, :PATCH] = (truth_cv + 2 * noise(1))[..., :PATCH, :PATCH]
    one_patch_of_six = float(harm(result_cv, truth_cv, input_cv))
    assert one_patch_of_six == pytest.approx(math.log(4) / 6, rel=0.02)


def test_harm_has_finite_gradients_at_the_truth() -> None:
    truth_cv = noise(0)
    result_cv = truth_cv.clone().requires_grad_()
    (harm(result_cv, truth_cv, truth_cv + 1) + log_l2(result_cv, truth_cv, PEAK)).backward()
    assert result_cv.grad is not None
    assert torch.isfinite(result_cv.grad).all()


def test_harm_refuses_crops_that_hold_no_patch() -> None:
    small = torch.zeros(1, 3, 31, 64)
    with pytest.raises(UsageError, match="loss 'harm' needs crops of at least 32 pixels a side, not 64x31"):
        harm(small, small, small)


def test_the_objective_adds_harm_with_its_weight() -> None:
    truth_cv = 100 + noise(0, 5)
    each = torch.ones(2, 1, 1, 1)
    batch = Batch((truth_cv + 0.5).floor(), truth_cv, 0.5 * each, 0.5 * each, PEAK)
    worse_cv = batch.input_cv - (truth_cv - batch.input_cv)
    objective = Objective({"log_l2": log_l2}, {"log_l2": 1.0}, leak=0.0, harm=0.4)
    total, values = objective(worse_cv, batch)
    assert values[HARM] > 0.5
    torch.testing.assert_close(total, values["log_l2"] + 0.4 * values[HARM])
