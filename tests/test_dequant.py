"""The safe-dequantisation networks: bounded, local, the identity before training, and the same in any tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_models import expander_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bitexpand.errors import UsageError
from bitexpand.models import checkpoint
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.convnext import AttentionBlock, ConvNextConfig, ConvNextUNet
from bitexpand.models.dequant import DIFFERENCE_RANGE, DequantConfig, DequantUNet, local_differences

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=10)
TINY: tuple[tuple[type[PlateModel], ModelConfig], ...] = (
    (DequantUNet, DequantConfig(channels=(4, 6), scales=3)),
    (ConvNextUNet, ConvNextConfig((4, 8), (1, 1), attention=1, window=3, heads=2, scales=3)),
    (DequantUNet, DequantConfig(channels=(4, 6), scales=3, posterior=True)),
    (
        ConvNextUNet,
        ConvNextConfig((4, 8), (1, 1), attention=1, window=3, heads=2, scales=3, posterior=True),
    ),
)
BELIEVING = TINY[2:]
FULL = (DequantUNet, ConvNextUNet)
both = pytest.mark.parametrize(("architecture", "config"), TINY)
believing = pytest.mark.parametrize(("architecture", "config"), BELIEVING)
each = pytest.mark.parametrize("architecture", FULL)


def random_model(
    architecture: type[PlateModel], config: ModelConfig | None = None, seed: int = 0
) -> PlateModel:
    """Return a model in eval mode with a head that moves the plate by a good part of an LSB."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture(config).eval()
        head = model.get_submodule("head")
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


def plate_of(height: int, width: int, seed: int = 0) -> Tensor:
    """Return code values (1, 3, H, W) of 8 bits in float32."""
    plate = torch.from_numpy(natural(height, width, 3, 8).astype(np.float32)).permute(2, 0, 1)[None]
    return plate + torch.randint(0, 2, plate.shape, generator=torch.Generator().manual_seed(seed))


@both
@quick
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), frames=st.integers(1, 2))
def test_any_multiple_of_the_cell_size_is_accepted(
    architecture: type[PlateModel], config: ModelConfig, rows: int, columns: int, frames: int
) -> None:
    model = random_model(architecture, config)
    plate = plate_of(rows * model.multiple, columns * model.multiple).repeat(frames, 1, 1, 1)
    before = plate.clone()
    estimate = model(plate)
    assert estimate.shape == plate.shape
    assert estimate.dtype == torch.float32
    assert torch.equal(plate, before)
    torch.testing.assert_close(estimate[0], estimate[-1])


@each
def test_a_new_network_is_the_identity(architecture: type[PlateModel]) -> None:
    model = architecture()
    plate = 16 * plate_of(model.multiple, 2 * model.multiple)  # as of 12 bits
    assert torch.equal(model(plate), plate)
    assert model.overlap % model.grid == 0
    assert model.units == "lsb"


@both
def test_a_new_network_can_learn_from_its_first_step(
    architecture: type[PlateModel], config: ModelConfig
) -> None:
    model = architecture(config)
    (model(plate_of(64, 64)) - 7).square().mean().backward()
    head = model.get_submodule("head")
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


@both
def test_gradients_reach_every_parameter(architecture: type[PlateModel], config: ModelConfig) -> None:
    model = random_model(architecture, config).train().requires_grad_(True)
    model(plate_of(32, 32)).square().mean().backward()
    untrained = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untrained


@both
@quick
@given(reach=st.sampled_from([0.01, 0.5, 1.0, 4.0]), seed=st.integers(0, 99))
def test_no_weights_move_a_pixel_further_than_the_reach(
    architecture: type[PlateModel], config: ModelConfig, reach: float, seed: int
) -> None:
    model = random_model(architecture, type(config)(**{**vars(config), "reach": reach}), seed)
    for parameter in model.get_submodule("head").parameters():
        nn.init.normal_(parameter, std=1e3)
    plate = plate_of(32, 48, seed)
    moved = (model(plate).double() - plate).abs().max()
    assert 0.7 * reach < moved <= reach + 1e-4  # the float32 sum with a code value rounds


@believing
@quick
@given(reach=st.sampled_from([0.5, 1.0, 4.0]), seed=st.integers(0, 99))
def test_a_pixel_of_which_nothing_is_known_stays(
    architecture: type[PlateModel], config: ModelConfig, reach: float, seed: int
) -> None:
    model = random_model(architecture, type(config)(**{**vars(config), "reach": reach}), seed)
    nn.init.normal_(model.get_parameter("head.weight"), std=1e3)
    plate, moves = plate_of(32, 48, seed), []
    for log_scale in (-9.0, 9.0):
        nn.init.constant_(model.get_parameter("belief.bias"), log_scale)
        moves.append((model(plate) - plate).abs().max() / reach)
    assert moves[1] < 0.01 < 0.9 < moves[0]


@believing
def test_doubt_takes_a_move_back_and_never_turns_it(
    architecture: type[PlateModel], config: ModelConfig
) -> None:
    model, plate = random_model(architecture, config), plate_of(32, 48)
    moves = []
    for log_scale in (-9.0, -2.0, -1.0, 0.0):
        nn.init.constant_(model.get_parameter("belief.bias"), log_scale)
        moves.append(model(plate).double() - plate)
    for certain, doubtful in zip(moves[:-1], moves[1:], strict=True):
        assert (certain * doubtful > -1e-6).all()
        assert (doubtful.abs() <= certain.abs() + 1e-4).all()


@both
@quick
@given(offset=st.integers(-1000, 3000), seed=st.integers(0, 99))
def test_it_sees_differences_only(
    architecture: type[PlateModel], config: ModelConfig, offset: int, seed: int
) -> None:
    model = random_model(architecture, config, seed)
    plate = plate_of(32, 24, seed)
    torch.testing.assert_close(model(plate + offset) - offset, model(plate), atol=1e-2, rtol=0)


@both
def test_a_shift_by_the_grid_shifts_the_estimate(architecture: type[PlateModel], config: ModelConfig) -> None:
    model, step = random_model(architecture, config), random_model(architecture, config).grid
    plate = plate_of(24 * step, 24 * step)
    inside = slice(10 * step, 14 * step)
    moved = model(plate.roll((step, -2 * step), (2, 3))).roll((-step, 2 * step), (2, 3))
    residual = (model(plate) - plate)[..., inside, inside]
    assert residual.abs().max() > 0.1
    torch.testing.assert_close((moved - plate)[..., inside, inside], residual, atol=1e-3, rtol=0)


@pytest.mark.parametrize("scales", [1, 4])
def test_a_ramp_differs_from_its_low_passes_by_nothing(scales: int) -> None:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    differences = local_differences((100 + 3 * x - y).expand(1, 3, -1, -1), scales)
    assert differences.shape == (1, 3 * scales, 96, 96)
    assert differences[..., 16:-16, 16:-16].abs().max() < 1e-3


def test_steps_of_an_lsb_keep_their_size_and_edges_stay_in_range() -> None:
    plate = torch.zeros(1, 3, 32, 32)
    plate[..., 15, 15] = 1
    assert local_differences(plate, 3)[0, 6:, 15, 15].min() > 0.8
    differences = local_differences(4095 * (plate_of(32, 32) % 2), 4)
    assert 0.9 * DIFFERENCE_RANGE < differences.abs().max() <= DIFFERENCE_RANGE


@each
def test_tiled_equals_untiled(architecture: type[PlateModel]) -> None:
    model = random_model(architecture)
    tile = 2 * model.overlap + model.grid
    codes = natural(60, tile + 150)[..., :1].astype(np.uint8)
    whole_cv = expander_of(model, tile=tile + 192).expand(codes)
    tiled_cv = expander_of(model, tile=tile).expand(codes)
    assert np.abs(whole_cv - codes).mean() > 0.05
    assert np.abs(tiled_cv - whole_cv).max() < 0.01


@each
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_costs_a_fraction_of_an_lsb(architecture: type[PlateModel], precision: torch.dtype) -> None:
    model = random_model(architecture)
    plate = 16 * plate_of(64, 64)  # as of 12 bits; bfloat16 alone would be off by up to 8 LSB
    with torch.autocast("cpu", precision):
        estimate = model(plate)
    assert estimate.dtype == torch.float32
    assert (estimate - model(plate)).abs().max() < 0.05


def test_a_cell_attends_to_its_neighbourhood_alone() -> None:
    block = AttentionBlock(channels=8, heads=2, window=5)
    x = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for row, column in ((6, 6), (0, 11)):
        (seen,) = torch.autograd.grad(block(x)[0, :, row, column].square().sum(), x)
        rows, columns = seen[0].abs().sum(0).nonzero().unbind(1)
        assert (int(rows.min()), int(rows.max())) == (max(row - 2, 0), min(row + 2, 11))
        assert (int(columns.min()), int(columns.max())) == (max(column - 2, 0), min(column + 2, 11))


def test_attention_is_what_its_formula_says() -> None:
    """A cell at a time, written out: softmax over the cells of the neighbourhood that exist."""
    torch.manual_seed(1)
    block = AttentionBlock(channels=6, heads=3, window=3).requires_grad_(False)
    nn.init.normal_(block.place)
    x = torch.randn(1, 6, 4, 5)
    normed = block.norm(x)
    q, k, v = (layer(normed)[0].unflatten(0, (3, 2)) for layer in (block.query, block.key, block.value))
    mixed = torch.zeros(3, 2, 4, 5)
    for row in range(4):
        for column in range(5):
            cells = [(row + i // 3 - 1, column + i % 3 - 1, i) for i in range(9)]
            cells = [(r, c, i) for r, c, i in cells if 0 <= r < 4 and 0 <= c < 5]
            logits = [
                (q[:, :, row, column] * k[:, :, r, c]).sum(1) / 2**0.5 + block.place[:, i, 0]
                for r, c, i in cells
            ]
            weights = torch.stack(logits).softmax(0)
            mixed[:, :, row, column] = sum(
                w[:, None] * v[:, :, r, c] for w, (r, c, _) in zip(weights, cells, strict=True)
            )
    torch.testing.assert_close(block(x), x + block.scale * block.output(mixed.flatten(0, 1)[None]))


def test_recomputing_the_activations_changes_no_number() -> None:
    results = []
    for recompute in (False, True):
        config = ConvNextConfig((4, 8), (1, 2), 1, 3, 2, 3, recompute=recompute)
        model = random_model(ConvNextUNet, config).train().requires_grad_(True)
        model(plate_of(32, 32)).square().mean().backward()
        results.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("architecture", "parameters", "kmac"), [(DequantUNet, 491_139, 45.3), (ConvNextUNet, 11_153_596, 113.9)]
)
def test_it_has_the_size_that_its_docstring_says(
    architecture: type[PlateModel], parameters: int, kmac: float
) -> None:
    model = architecture().eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 128, 128))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert counter.get_total_flops() / 2 / 128**2 == pytest.approx(1000 * kmac, rel=0.01)
    doc = " ".join((architecture.__doc__ or "").split())
    assert f"{parameters / 1e6:.2f} M parameters, {kmac:.0f} kMAC a pixel" in doc


@pytest.mark.parametrize(
    ("name", "tiny"), list(zip(("dequant", "convnext", "dequant", "convnext"), TINY, strict=True))
)
def test_weights_are_written_and_read(
    name: str, tiny: tuple[type[PlateModel], ModelConfig], tmp_path: Path
) -> None:
    architecture, config = tiny
    model = random_model(architecture, config)
    written = checkpoint.save(tmp_path / "model.safetensors", model, name, config)
    read, sha256 = checkpoint.read(tmp_path / "model.safetensors")
    assert (type(read), read.config, sha256) == (architecture, config, written)
    plate = plate_of(32, 32)
    assert torch.equal(read.eval()(plate), model(plate))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": (4,)}, r"channels is \(4,\), must be a list of 2 to 8 entries"),
        ({"channels": (4, 0)}, "channels is 0, must be an integer from 1 to 1024"),
        ({"scales": 0}, "scales is 0, must be an integer from 1 to 8"),
        ({"reach": 0}, r"reach is 0, must be a number from 0\.01 to 64"),
        ({"reach": float("nan")}, "reach is nan, must be a number"),
        ({"posterior": 1}, "posterior is 1, must be one of False, True"),
    ],
)
def test_a_dequant_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"DequantConfig: {message}"):
        DequantConfig(**fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": (4,) * 7}, "channels is .*, must be a list of 2 to 6 entries"),
        ({"channels": (4, True, 4, 8)}, "channels is True, must be an integer from 1 to 2048"),
        ({"blocks": (1, 1)}, r"blocks is \(1, 1\), must be a list of 4 to 4 entries"),
        ({"blocks": (1, 1, 1, 0)}, "blocks is 0, must be an integer from 1 to 64"),
        ({"attention": -1}, "attention is -1, must be an integer from 0 to 16"),
        ({"window": 4}, "window is 4, must be one of 3, 5, 7, 9, 11"),
        ({"heads": 0}, "heads is 0, must be an integer from 1 to 64"),
        ({"heads": 5}, "heads is 5, must divide 384, the coarsest level's channels"),
        ({"scales": 9}, "scales is 9, must be an integer from 1 to 8"),
        ({"reach": 65}, "reach is 65, must be a number from"),
        ({"recompute": None}, "recompute is None, must be one of False, True"),
        ({"posterior": None}, "posterior is None, must be one of False, True"),
    ],
)
def test_a_convnext_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"ConvNextConfig: {message}"):
        ConvNextConfig(**fields)  # pyright: ignore[reportArgumentType]
