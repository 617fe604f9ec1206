"""Architectures and their table: what the engine relies on, and the numbers that the shipped weights give."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitexpand.errors import CheckpointError, MissingInputError, UnknownNameError, UsageError
from bitexpand.models import checkpoint, registry
from bitexpand.models.base import ModelConfig, PlateModel, estimate_cv
from bitexpand.models.fits import correlate, correlate_bowl, quadratic_fit_kernel
from bitexpand.models.pyramid import Pyramid, PyramidConfig, soft_limit
from bitexpand.models.smooth import Smooth, SmoothConfig
from bitexpand.models.table import BOUNDS
from bitexpand.models.unet import UNet, UNetConfig

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(deadline=None, max_examples=15)
DATA = Path(__file__).parent / "data"
TINY_PYRAMID = PyramidConfig(channels=(4, 6, 4), factor=2, fits=(3, 5))
TINY_POSTERIOR = replace(TINY_PYRAMID, posterior=True, refits=(5,))
TINY_WIDTHS = replace(TINY_POSTERIOR, widths=True)
TINY: tuple[tuple[type[PlateModel], ModelConfig], ...] = (
    (Pyramid, TINY_PYRAMID),
    (Pyramid, TINY_POSTERIOR),
    (Pyramid, TINY_WIDTHS),
    (Smooth, SmoothConfig(levels=3, iterations=2)),
    (UNet, UNetConfig(channels=2)),
    (UNet, UNetConfig(channels=2, upsampling="transposed")),
    (UNet, UNetConfig(channels=2, scales=5)),
    (UNet, UNetConfig(channels=2, scales=5, posterior=True)),
)


def tiny(architecture: type[PlateModel], config: ModelConfig, seed: int = 0) -> PlateModel:
    """Return a random model in eval mode, every parameter of which has a say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture(config).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
    return model.requires_grad_(False)


def random_codes(height: int, width: int, peak: int = 255, seed: int = 0) -> Tensor:
    """Return whole code values (1, 3, H, W): ramps, an edge, and noise in a corner."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.arange(width) / width, torch.arange(height)[:, None] / height
    plate = torch.stack([0.3 + 0.02 * x + 0 * y, 0.5 + 0.03 * y + 0 * x, 0.2 + 0.1 * x * y])
    plate[:, :, width // 2 :] += 0.1
    noise = torch.randn(3, height // 3, width // 3, generator=generator)
    plate[:, : height // 3, : width // 3] += 0.02 * noise
    return (plate * peak).clamp(0, peak).round()[None]


@pytest.mark.parametrize(("architecture", "config"), TINY)
@quick
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), frames=st.integers(1, 2))
def test_any_multiple_of_the_cell_size_is_accepted(
    architecture: type[PlateModel], config: ModelConfig, rows: int, columns: int, frames: int
) -> None:
    model = tiny(architecture, config)
    plate = random_codes(rows * model.multiple, columns * model.multiple).repeat(frames, 1, 1, 1)
    estimate = model(plate / (255 if model.units == "unit" else 1))
    assert estimate.shape == plate.shape
    assert estimate.dtype == torch.float32
    torch.testing.assert_close(estimate[0], estimate[-1])
    assert model.overlap % model.multiple == 0
    assert model.grid % model.multiple == 0
    assert model.bytes_per_pixel >= 24  # the input and the output alone


@pytest.mark.parametrize(("architecture", "config"), TINY)
def test_a_model_leaves_its_input_alone(architecture: type[PlateModel], config: ModelConfig) -> None:
    model = tiny(architecture, config)
    plate = random_codes(32, 32)
    before = plate.clone()
    model(plate)
    assert torch.equal(plate, before)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["pyramid", "smooth"])
def test_autocast_costs_a_fraction_of_an_lsb(name: str, precision: torch.dtype) -> None:
    model = registry.load(name).module
    plate = random_codes(128, 128, peak=4095)  # a 12-bit plate in bfloat16 would be off by up to 8 LSB
    with torch.autocast("cpu", precision):
        estimate = model(plate)
    assert estimate.dtype == torch.float32
    assert (estimate - model(plate)).abs().max() < 0.05


@quick
@given(offset=st.integers(-1000, 3000), seed=st.integers(0, 99))
def test_pyramid_sees_differences_only(offset: int, seed: int) -> None:
    model = tiny(Pyramid, TINY_POSTERIOR if seed % 2 else TINY_PYRAMID, seed)
    plate = random_codes(32, 24, seed=seed)
    torch.testing.assert_close(model(plate + offset) - offset, model(plate), atol=1e-2, rtol=0)


def test_pyramid_gives_what_it_gave_when_its_weights_were_measured() -> None:
    """The residual, in LSB, was kept when the weights and the numbers of their card were."""
    golden = np.load(DATA / "pyramid_golden.npz")
    plate = torch.from_numpy(golden["plate"].astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        residual = registry.load("pyramid").module(plate) - plate
    actual = residual[0].permute(1, 2, 0)[::2, ::2].numpy()
    np.testing.assert_allclose(actual, golden["residual"], atol=3e-4, rtol=0)


@pytest.mark.parametrize("half_width", [0.5, 1.0, 1.5, 4.0])
def test_a_pyramid_told_of_widths_stays_within_them(half_width: float) -> None:
    model = tiny(Pyramid, TINY_WIDTHS)
    plate = random_codes(32, 24)
    moved = model(plate, torch.full((1, 1, 1, 1), half_width)) - plate
    assert 0 < moved.abs().max() <= half_width + 1e-4
    if half_width == 0.5:
        assert torch.equal(model(plate) - plate, moved)
    else:
        assert not torch.allclose(model(plate) - plate, moved, atol=1e-3)


@pytest.mark.parametrize("config", [TINY_POSTERIOR, TINY_WIDTHS])
def test_one_model_serves_truncated_and_dithered_plates(config: PyramidConfig) -> None:
    model, plate = tiny(Pyramid, config), random_codes(32, 24)
    at = [torch.full((1, 1, 1, 1), side) for side in (0.0, 0.5, 1.0)]
    truncated, rounded = estimate_cv(model, plate, 255, at[0], at[2]), estimate_cv(model, plate, 255)
    torch.testing.assert_close(truncated - 0.5, rounded, atol=1e-4, rtol=0)
    assert torch.equal(estimate_cv(model, plate, 255, at[1], at[1]), rounded)
    dithered = estimate_cv(model, plate, 255, at[2], at[2])
    assert torch.equal(dithered, rounded) is not config.widths  # without, only the clamp is wider


def test_pyramid_starts_its_training_from_the_plates_own_pyramid() -> None:
    model = Pyramid(TINY_PYRAMID)
    assert all(not layer.weight.any() for layer in model.correction if isinstance(layer, nn.Conv2d))
    assert (model(torch.full((1, 3, 16, 16), 7.0)) - 7).abs().max() < 1


@pytest.mark.parametrize("config", [TINY_PYRAMID, TINY_POSTERIOR])
def test_pyramid_trains_every_parameter(config: PyramidConfig) -> None:
    model = Pyramid(config)
    for layer in model.correction:
        assert isinstance(layer, nn.Conv2d)
        nn.init.normal_(layer.weight, std=0.1)
    model(random_codes(32, 32)).square().mean().backward()
    untrained = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untrained


@quick
@given(seed=st.integers(0, 99))
def test_a_posterior_lies_in_the_bins(seed: int) -> None:
    plate = random_codes(32, 24, seed=seed)
    assert (tiny(Pyramid, TINY_POSTERIOR, seed)(plate) - plate).abs().max() <= 0.5 + 1e-4


def test_a_posterior_starts_near_the_mixture_that_it_goes_on_from() -> None:
    plate, mixture, posterior = random_codes(64, 64), tiny(Pyramid, TINY_PYRAMID), Pyramid(TINY_POSTERIOR)
    missing, unexpected = posterior.load_state_dict(mixture.state_dict(), strict=False)
    assert (missing, unexpected) == (["belief.weight", "belief.bias"], [])
    residual = (mixture(plate) - plate).clamp(-0.5, 0.5)
    assert (posterior(plate) - plate - residual).abs().mean() < 0.5 * residual.abs().mean()


def test_pyramid_has_the_size_on_its_card() -> None:
    assert sum(p.numel() for p in Pyramid().parameters()) == 1_443_046
    assert Pyramid().multiple == 64


def test_only_a_posterior_is_looked_at_again() -> None:
    with pytest.raises(
        UsageError, match=r"PyramidConfig: refits is \(5,\), must be a list of 0 to 0 entries"
    ):
        PyramidConfig(refits=(5,))
    with pytest.raises(UsageError, match="PyramidConfig: posterior is 1, must be one of False, True"):
        PyramidConfig(posterior=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_local_fit_reproduces_quadratics_and_nothing_steeper(size: int) -> None:
    y, x = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    surface = 3 + 2 * x - y + 0.5 * x * x - 0.2 * x * y + 0.1 * y * y
    inside = slice(size // 2, -(size // 2))
    fitted = correlate(surface.expand(1, 3, -1, -1), quadratic_fit_kernel(size))
    torch.testing.assert_close(fitted[0, 0, inside, inside], surface[inside, inside], atol=1e-4, rtol=0)
    checkerboard = (-1.0) ** (x + y)
    fitted = correlate(checkerboard.expand(1, 3, -1, -1), quadratic_fit_kernel(size))
    assert (fitted[0, 0, inside, inside] - checkerboard[inside, inside]).abs().min() > 0.1


@pytest.mark.parametrize("size", [3, 5, 9])
def test_a_bowl_of_weights_is_correlated_along_rows_and_columns(size: int) -> None:
    plate = torch.randn(2, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    kernel, reach = quadratic_fit_kernel(size), size // 2
    padded = nn.functional.pad(plate, (reach,) * 4, mode="replicate")
    torch.testing.assert_close(correlate_bowl(padded, kernel), correlate(plate, kernel), atol=1e-5, rtol=0)


def test_correlate_is_a_convolution_with_repeated_borders() -> None:
    plate = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    kernel = torch.rand(3, 5, generator=torch.Generator().manual_seed(1))
    padded = nn.functional.pad(plate, (2, 2, 1, 1), mode="replicate")
    expected = nn.functional.conv2d(padded, kernel.expand(3, 1, 3, 5), groups=3)
    torch.testing.assert_close(correlate(plate, kernel.tolist()), expected)


@given(st.floats(-1e4, 1e4), st.floats(1, 10))
@quick
def test_soft_limit_keeps_signs_and_stays_inside(value: float, limit: float) -> None:
    limited = soft_limit(torch.tensor(value, dtype=torch.float64), limit).item()
    assert abs(limited) < limit
    assert limited * value >= 0
    assert abs(limited) <= abs(value)


@pytest.mark.parametrize(("upsampling", "parameters"), [("bilinear", 28_948_803), ("transposed", 31_037_763)])
def test_unet_has_the_parameters_it_is_known_by(upsampling: str, parameters: int) -> None:
    with torch.device("meta"):
        model = UNet(UNetConfig(upsampling=upsampling))  # pyright: ignore[reportArgumentType]
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_unet_adds_the_plate_in_float32() -> None:
    model = tiny(UNet, UNetConfig(channels=2))
    assert isinstance(model, UNet)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)  # pyright: ignore[reportArgumentType]
    plate = random_codes(32, 32, peak=4095) / 4095
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(plate), plate)


def test_unet_recomputing_its_activations_changes_no_number() -> None:
    plate, results = random_codes(32, 32) / 255, []
    for recompute in (False, True):
        torch.manual_seed(3)
        model = UNet(UNetConfig(channels=2, recompute=recompute)).train()
        model(plate).square().mean().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append((gradients, dict(model.named_buffers())))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize("half_width", [0.5, 1.0, 4.0])
def test_a_unet_with_a_belief_stays_in_the_bins_and_where_it_knows_nothing(half_width: float) -> None:
    model = tiny(UNet, UNetConfig(channels=2, scales=4, posterior=True))
    nn.init.constant_(model.get_parameter("head.bias"), 99)
    assert model.takes_half_width
    plate = random_codes(32, 48)
    widths = torch.tensor([0.5, half_width]).view(2, 1, 1, 1)
    moves = {}
    for log_scale in (-9.0, 9.0):
        nn.init.constant_(model.get_parameter("belief.bias"), log_scale)
        moves[log_scale] = (model(plate.repeat(2, 1, 1, 1), widths) - plate).abs().amax((1, 2, 3))
        rounded, wide = model(plate), model(plate, half_width)
        torch.testing.assert_close(moves[log_scale][0], (rounded - plate).abs().max())
        torch.testing.assert_close(moves[log_scale][1], (wide - plate).abs().max())
    limits = widths.flatten()
    assert (moves[-9.0] > 0.9 * limits).all()
    assert (moves[-9.0] <= limits + 1e-4).all()
    assert (moves[9.0] < 0.1 * limits).all()  # a mean far outside still pulls a little


def test_the_table_holds_what_is_shipped() -> None:
    assert [row.name for row in registry.MODELS] == list(BOUNDS)
    shipped = {row.weights for row in registry.MODELS if row.weights}
    assert {path.name for path in registry.WEIGHTS_FOLDER.glob("*.safetensors")} == shipped
    for row in registry.MODELS:
        assert (row.weights is None) == (row.sha256 is None)
        assert isinstance(row.config, row.architecture.config_type)
        card = (registry.WEIGHTS_FOLDER / f"{row.name}.md").read_text(encoding="utf-8")
        assert row.name in card


def test_a_name_is_in_the_table_once() -> None:
    row = registry.spec("smooth")
    with pytest.raises(ValueError, match="two models are named 'smooth'"):
        registry._index([row, replace(row, summary="another")])


@pytest.mark.parametrize("name", ["pyramit", "Pyramid", "pyramid2"])
def test_an_unknown_name_gets_a_suggestion(name: str) -> None:
    for lookup in (registry.spec, registry.load):
        with pytest.raises(UnknownNameError, match=f"unknown model '{name}'; did you mean 'pyramid'"):
            lookup(name)


def test_a_loaded_model_is_ready_to_run() -> None:
    for name in ("pyramid", "smooth"):
        loaded = registry.load(name)
        assert loaded.name == name
        assert not loaded.module.training
        assert not any(p.requires_grad for p in loaded.module.parameters())
    assert registry.load("smooth").weights_sha256 == "none"
    assert re.fullmatch("[0-9a-f]{64}", registry.load("pyramid").weights_sha256)


def test_a_model_without_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(registry.spec("unet28m"), name="bare", weights=None, sha256=None)
    monkeypatch.setitem(registry._BY_NAME, "bare", bare)
    with pytest.raises(UsageError, match="no weights ship yet for model 'bare'.*--model FILE"):
        registry.load("bare")


@pytest.mark.parametrize("name", ["film.safetensors", "film", "film.model"])
def test_an_existing_file_is_loaded_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sha256 = checkpoint.save(name, tiny(*TINY[0]), "pyramid", TINY_PYRAMID)
    for given_as in (name, f"./{name}", Path(name), tmp_path / name):
        loaded = registry.load(given_as)
        assert (loaded.name, loaded.weights_sha256) == (name, sha256)
        assert not loaded.module.training


@pytest.mark.parametrize("name", ["folder/pyramid", "gone.safetensors", "gone.PT", "gone.ckpt", "a/b\0c"])
def test_a_path_to_nothing_is_a_missing_input(name: str) -> None:
    with pytest.raises(MissingInputError, match="no such weights file"):
        registry.load(name)


def test_a_name_goes_before_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smooth").write_bytes(b"not weights")
    assert registry.load("smooth").weights_sha256 == "none"
    with pytest.raises(CheckpointError):
        registry.load("./smooth")


def test_shipped_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(MissingInputError, match="the weights of model 'pyramid' are gone; reinstall"):
        registry.load("pyramid")
    checkpoint.save(tmp_path / "pyramid.safetensors", tiny(*TINY[0]), "pyramid", TINY_PYRAMID)
    with pytest.raises(
        CheckpointError, match="not the file that was shipped .its SHA-256 differs.; reinstall"
    ):
        registry.load("pyramid")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"channels": (4,)}, r"channels is \(4,\), must be a list of 2 to 8 entries"),
        ({"channels": [4, 4]}, r"channels is \[4, 4\], must be a list"),
        ({"channels": (4, 10**9)}, "channels is 1000000000, must be an integer from 1 to 1024"),
        ({"channels": (4, 0)}, "channels is 0, must be an integer"),
        ({"channels": (4, True)}, "channels is True, must be an integer"),
        ({"channels": (4, 4.0)}, r"channels is 4\.0, must be an integer"),
        ({"channels": "x" * 99}, r"channels is 'xxx.*\.\.\., must be a list"),
        ({"factor": 3}, "factor is 3, must be one of 1, 2, 4"),
        ({"factor": 2.0}, r"factor is 2\.0, must be one of"),
        ({"fits": (4,)}, "fits is 4, must be one of 3, 5"),
    ],
)
def test_a_pyramid_that_cannot_be_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"PyramidConfig: {message}"):
        PyramidConfig(**config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"channels": 10**9}, "channels is 1000000000, must be an integer from 1 to 256"),
        ({"upsampling": "nearest"}, "upsampling is 'nearest', must be one of 'bilinear', 'transposed'"),
        ({"recompute": 1}, "recompute is 1, must be one of False, True"),
        ({"scales": 2, "posterior": 1}, "posterior is 1, must be one of False, True"),
        ({"posterior": True}, "posterior is True, must be one of False"),
    ],
)
def test_a_unet_that_cannot_be_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"UNetConfig: {message}"):
        UNetConfig(**config)  # pyright: ignore[reportArgumentType]


def test_a_smooth_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="SmoothConfig: levels is 9, must be an integer from 1 to 8"):
        SmoothConfig(levels=9)
    with pytest.raises(UsageError, match="SmoothConfig: iterations is 0, must be an integer from 1 to 20"):
        SmoothConfig(iterations=0)
