"""Larger models compute what the smaller ones did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitexpand.errors import UsageError
from bitexpand.models import checkpoint
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.convnext import ConvNextConfig, ConvNextUNet
from bitexpand.models.dequant import DequantConfig, DequantUNet
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.unet import UNet, UNetConfig
from training.grow import grown
from training.run_config import ModelChoice

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = PyramidConfig(channels=(4, 4), factor=2, fits=(3,), posterior=True, refits=(5,))


def plate() -> Tensor:
    return torch.randint(90, 110, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()


def trained(module: PlateModel) -> PlateModel:
    """Give every layer weights and every batch norm statistics that matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        module.train()(plate())
    return module.eval()


def test_a_pyramid_that_is_told_of_widths_does_what_it_did() -> None:
    small = trained(Pyramid(SMALL))
    large = grown(small, {"widths": True}).eval()
    assert large.takes_half_width
    with torch.no_grad():
        assert torch.equal(large(plate()), small(plate()))
        assert torch.equal(large(plate(), torch.full((2, 1, 1, 1), 0.5)), small(plate()))
        assert not torch.equal(large(plate(), torch.full((2, 1, 1, 1), 1.0)), small(plate()))


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("scales", [0, 2])
def test_a_widened_unet_does_what_it_did(upsampling: str, scales: int) -> None:
    small = trained(UNet(UNetConfig(channels=2, upsampling=upsampling, scales=scales)))  # type: ignore[arg-type]
    large = grown(small, {"channels": 6}, noise=0).eval()
    assert sum(p.numel() for p in large.parameters()) > 8 * sum(p.numel() for p in small.parameters())
    with torch.no_grad():
        before, after = small(plate()), large(plate())
        assert (before - plate()).abs().max() > 0.01
        torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
        noisy = grown(small, {"channels": 6}).eval()(plate())
    assert 0 < (noisy - before).abs().max() < 0.5 * (before - plate()).abs().max()


def test_a_dequant_with_another_reach_makes_the_same_small_moves() -> None:
    small = trained(DequantUNet(DequantConfig(channels=(4, 4), scales=2, reach=0.5)))
    with torch.no_grad():
        for parameter in small.get_submodule("head").parameters():
            parameter.mul_(0.05)
        before = small(plate()) - plate()
        after = grown(small, {"reach": 2.0}).eval()(plate()) - plate()
    assert 0.005 < before.abs().max() < 0.2
    torch.testing.assert_close(after, before, atol=0.02, rtol=0)
    assert (after.abs() >= before.abs()).all()


@pytest.mark.parametrize(
    ("module", "also"),
    [
        (UNet(UNetConfig(channels=2, scales=2)), {}),
        (UNet(UNetConfig(channels=2, scales=2)), {"channels": 4}),
        (DequantUNet(DequantConfig(channels=(4, 4), scales=2, reach=0.5)), {}),
        (DequantUNet(DequantConfig(channels=(4, 4), scales=2, reach=0.5)), {"reach": 0.6}),
        (ConvNextUNet(ConvNextConfig((4, 8), (1, 1), 1, 3, 2, 2, reach=0.5)), {}),
    ],
)
def test_a_belief_is_of_little_doubt_at_first(module: PlateModel, also: dict[str, object]) -> None:
    small = trained(module)
    with torch.no_grad():
        for _ in range(2):  # moves that are small for the reach are in proportion to the head
            largest = (small(plate()) - plate()).abs().max()
            for parameter in small.get_submodule("head").parameters():
                parameter.mul_(0.15 / largest)
        before = small(plate()) - plate()
        large = grown(small, {"posterior": True, **also}, noise=0).eval()
        after = large(plate()) - plate()
    assert 0.1 < before.abs().max() < 0.25
    torch.testing.assert_close(after, before, atol=0.04, rtol=0.1)
    kept = {name for name in large.state_dict() if not name.startswith("belief.")}
    assert kept == set(small.state_dict())


def test_a_belief_is_not_taken_away() -> None:
    with pytest.raises(UsageError, match=r"other posterior:.*can be given a posterior"):
        grown(DequantUNet(DequantConfig((4, 4), 2, posterior=True)), {"posterior": False})


def test_no_change_is_a_copy() -> None:
    small = trained(UNet(UNetConfig(channels=2)))
    with torch.no_grad():
        assert torch.equal(grown(small, {"channels": 2}).eval()(plate()), small(plate()))


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (UNetConfig(channels=4), {"channels": 6}),
        (UNetConfig(channels=4), {"channels": 2}),
        (UNetConfig(channels=4), {"channels": 8, "scales": 2}),
        (SMALL, {"channels": (8, 8)}),
    ],
)
def test_what_cannot_grow_so_is_refused(config: ModelConfig, changes: dict[str, object]) -> None:
    module = UNet(config) if isinstance(config, UNetConfig) else Pyramid(SMALL)
    with pytest.raises(UsageError, match=r"channels.*multiplied by a whole number"):
        grown(module, changes)


def test_a_run_goes_on_from_grown_weights(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    checkpoint.save(path, trained(Pyramid(SMALL)), "pyramid", SMALL)
    module = ModelChoice(weights=str(path), config={"widths": True}).create()
    assert module.training
    assert module.takes_half_width
    assert all(parameter.requires_grad for parameter in module.parameters())
