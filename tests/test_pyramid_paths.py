"""The pyramid's quick paths: strips, narrow numbers, copies by other means; each gives what the plain one gives."""

from __future__ import annotations

import pytest
import torch
from test_models import TINY_POSTERIOR, TINY_PYRAMID, TINY_WIDTHS, random_codes, tiny
from torch import nn

from benchmarks.quality.plates import ACESCCT, cg_trials
from benchmarks.quality.trial import Trial
from bitexpand import native
from bitexpand.models import registry
from bitexpand.models.layout import pixel_shuffle, pixel_unshuffle
from bitexpand.models.pyramid import Pyramid, PyramidConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Return the middles of the benchmark plates."""
    return cg_trials(ACESCCT, limit=256)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pixels_are_shuffled_as_torch_does(channels: int) -> None:
    cells = torch.rand(2, 4 * channels, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pixels = pixel_shuffle(cells, 2)
        assert torch.equal(pixels, nn.functional.pixel_shuffle(cells, 2))
        assert torch.equal(pixel_unshuffle(pixels, 2), cells)


@pytest.mark.parametrize("config", [TINY_PYRAMID, TINY_POSTERIOR, TINY_WIDTHS])
@pytest.mark.parametrize("strip_pixels", [1, 48 * 33, 48 * 1000])
def test_a_pyramid_in_strips_is_the_whole_one(config: PyramidConfig, strip_pixels: int) -> None:
    model, plate = tiny(Pyramid, config), random_codes(104, 48)
    with torch.inference_mode():
        whole = model(plate)
        model.strip_pixels = strip_pixels
        torch.testing.assert_close(model(plate), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("is_native", [False, True])
@pytest.mark.parametrize("number", [0, 3, 6])
@pytest.mark.parametrize("name", [row.name for row in registry.MODELS if row.architecture.narrows])
def test_narrow_numbers_move_no_estimate_by_a_hundredth_of_an_lsb(
    name: str, number: int, is_native: bool, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``--precision auto`` rests on, before the guard."""
    if not is_native:
        monkeypatch.setattr(native, "available", lambda: False)
    elif name != "pyramid" or not native.available():
        pytest.skip("nothing of it is compiled")
    codes = trials[number].codes
    plate = torch.from_numpy(codes.astype("float32")).permute(2, 0, 1)[None]
    wide, narrow = (registry.load(name).module for _ in range(2))
    narrow.narrow(torch.bfloat16)
    with torch.inference_mode():
        difference = (wide(plate) - narrow(plate)).abs().max()
    assert 0 < difference < 0.01
