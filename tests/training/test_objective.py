"""The objective: what is minimised is the value that the guard will let through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.objective import Objective, clamp_to_bins, doing_nothing
from training.sample import Batch

pytestmark = pytest.mark.usefixtures("one_thread")


def batch(seed: int = 0, below: float = 0.5, above: float = 0.5, peak: float = 255.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    truth_cv = torch.rand(2, 3, 8, 8, generator=generator) * peak
    each = torch.ones(2, 1, 1, 1)
    return Batch((truth_cv + 0.5).floor(), truth_cv, each * below, each * above, each * peak)


def squared(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    return (expanded_cv - truth_cv).square().mean()


def absolute(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    return (expanded_cv - truth_cv).abs().mean()


@pytest.mark.parametrize(("below", "above"), [(0.5, 0.5), (0.0, 1.0), (4.0, 4.0)])
def test_the_clamp_keeps_what_lies_in_the_bin_and_nothing_else(below: float, above: float) -> None:
    crops = batch(below=below, above=above)
    estimate_cv = crops.input_cv + 3 * torch.randn(
        crops.input_cv.shape, generator=torch.Generator().manual_seed(1)
    )
    for leak in (0.0, 0.05):
        clamped = clamp_to_bins(estimate_cv, crops, leak)
        assert (clamped >= (crops.input_cv - below).clamp_min(0)).all()
        assert (clamped <= (crops.input_cv + above).clamp_max(255)).all()
        inside = (estimate_cv >= (crops.input_cv - below).clamp_min(0)) & (
            estimate_cv <= (crops.input_cv + above).clamp_max(255)
        )
        assert torch.equal(clamped[inside], estimate_cv[inside])
        assert inside.any()
        assert not inside.all()


@pytest.mark.parametrize("leak", [0.0, 0.05, 1.0])
def test_the_leak_is_the_share_of_the_gradient_outside(leak: float) -> None:
    crops = batch()
    estimate_cv = (crops.input_cv.clamp(2, 253) + 2).requires_grad_()
    crops = Batch(
        crops.input_cv.clamp(2, 253), *(getattr(crops, n) for n in ("truth_cv", "below", "above", "peak_cv"))
    )
    clamp_to_bins(estimate_cv, crops, leak).sum().backward()
    assert estimate_cv.grad is not None
    torch.testing.assert_close(estimate_cv.grad, torch.full_like(estimate_cv, leak))


def test_the_total_is_the_weighted_sum() -> None:
    crops = batch()
    objective = Objective({"l2": squared, "l1": absolute}, {"l2": 2.0, "l1": 0.5}, leak=0.05)
    total, values = objective(crops.input_cv + 0.25, crops)
    assert set(values) == {"l2", "l1"}
    torch.testing.assert_close(total, 2 * values["l2"] + 0.5 * values["l1"])
    assert not any(value.requires_grad for value in values.values())


def test_a_perfect_estimate_costs_nothing_and_doing_nothing_costs_a_twelfth() -> None:
    crops = batch()
    objective = Objective({"l2": squared}, {"l2": 1.0}, leak=0.05)
    assert float(objective(crops.truth_cv, crops)[0]) == 0
    nothing = doing_nothing({"l2": squared}, [batch(seed) for seed in range(20)])
    assert nothing["l2"] == pytest.approx(1 / 12, rel=0.05)


def test_balanced_losses_all_cost_one_for_doing_nothing() -> None:
    crops = [batch(seed) for seed in range(4)]
    losses = {"l2": squared, "l1": absolute}
    scale = doing_nothing(losses, crops)
    objective = Objective(losses, {name: 1 / scale[name] for name in losses}, leak=0.0)
    totals = [float(objective(crop.input_cv, crop)[0]) for crop in crops]
    assert sum(totals) / len(totals) == pytest.approx(2.0, rel=1e-5)


def test_a_loss_that_is_nothing_to_begin_with_divides_by_no_zero() -> None:
    crops = batch()
    flat = Batch(crops.input_cv, crops.input_cv, crops.below, crops.above, crops.peak_cv)
    assert 0 < doing_nothing({"l2": squared}, [flat])["l2"] < 1e-3
