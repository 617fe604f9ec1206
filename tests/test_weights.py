"""What ships as weights: small enough, sound, better than doing nothing on a plate that none was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from plates import natural, save_shot

from benchmarks.quality.plates import ACESCCT, cg_trials
from benchmarks.quality.trial import Trial
from bitexpand.code_values import requantise
from bitexpand.engine import Expander
from bitexpand.models import registry
from bitexpand.models.table import BOUNDS

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORKS = [row.name for row in registry.MODELS if row.weights]
STRICT = ("dequant-unet", "dequant-convnext")
LARGEST_FILE = 60_000_000  # bytes


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Return the middle of a benchmark plate."""
    return cg_trials(ACESCCT, limit=128)[4]


def test_every_network_ships() -> None:
    assert [row.name for row in registry.MODELS if not row.weights and row.needs_weights] == []
    for name in NETWORKS:
        assert (registry.WEIGHTS_FOLDER / f"{name}.safetensors").stat().st_size <= LARGEST_FILE


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_those_of_the_table_and_win(name: str, trial: Trial) -> None:
    row = registry.spec(name)
    expander = Expander(name, device="cpu")
    assert registry.load(name).module.config == row.config
    expanded_cv = expander.expand(trial.codes, bound=BOUNDS[name])
    assert np.isfinite(expanded_cv).all()
    assert trial.errors(expanded_cv).gain() > 0.5
    assert BOUNDS[name] or np.array_equal(requantise(expanded_cv), trial.codes)


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_network_cannot_leave_the_bin(name: str) -> None:
    model = registry.load(name).module
    wild = torch.randint(
        0, 256, (1, 3, model.grid, 2 * model.grid), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        moves = model(wild.float()) - wild
    assert 0 < moves.abs().max() <= 0.5


@pytest.mark.parametrize(
    ("name", "width", "tile"), [("dequant-unet", 700, 640), ("dequant-convnext", 1000, 896)]
)
def test_safe_dequantisation_shows_no_tiles(name: str, width: int, tile: int) -> None:
    codes = natural(100, width).astype(np.uint8)
    whole_cv = Expander(name, device="cpu", tile=1024).expand(codes)
    tiled_cv = Expander(name, device="cpu", tile=tile).expand(codes)
    assert np.abs(whole_cv - codes).mean() > 0.02
    assert np.abs(tiled_cv - whole_cv).max() < 0.01


@pytest.mark.parametrize(("options", "bound"), [((), "1"), (("--bound", "0.5"), "0.5")])
def test_verify_holds_a_model_to_its_own_bound(
    tmp_path: Path, call_cli: Cli, options: tuple[str, ...], bound: str
) -> None:
    shot, result = save_shot(tmp_path, 1), tmp_path / "out_####.exr"
    call_cli("seq", shot, "-o", result, "--model", "dequant-unet-aug", *options, "--progress", "none")
    told = call_cli("verify", shot, result)
    told.said("100" if bound == "0.5" else "within 1 LSB")
