"""The compiled steps of ``pyramid`` give what PyTorch's operations give, on any plate, processor and thread."""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitexpand import compiled, native
from bitexpand.models.pyramid import BAND_RANGE, Pyramid, PyramidConfig, ResidualBlock, soft_limit

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler"),
]
CONFIG = PyramidConfig(channels=(32, 8, 8, 8, 8, 8), posterior=True, refits=(5, 7), widths=True)


@pytest.mark.skipif(not shutil.which(shlex.split(os.environ.get("CXX", "c++"))[0]), reason="no C++ compiler")
def test_they_are_there_where_they_can_be_compiled() -> None:
    assert native.available()
    assert native.instruction_sets()[0] == "plain"


def wild_model(seed: int, config: PyramidConfig = CONFIG) -> Pyramid:
    """Return a pyramid whose every weight matters."""
    torch.manual_seed(seed)
    model = Pyramid(config).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    model.head.weight.mul_(2)
    return model


def wild_plate(seed: int, height: int, width: int) -> Tensor:
    """Return code values of noise, of ramps, or of flat areas with edges."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height) / 9, torch.arange(width) / 23, indexing="ij")
    kinds = [
        torch.rand(3, height, width, generator=random) * 255,
        torch.stack([x, y, 200 - x - y]) + 20,
        ((x.int() + y.int()) % 2 * 255.0).expand(3, -1, -1),
    ]
    return kinds[seed % 3].round()[None].contiguous()


def by_pytorch(model: Pyramid, plate: Tensor, half_width: float | None) -> Tensor:
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(native, "available", lambda: False)
        return model(plate, half_width)


@pytest.mark.parametrize("instructions", native.instruction_sets())
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    half_width=st.sampled_from([None, 0.25, 0.5, 1.0, 3.0]),
)
def test_they_give_what_pytorch_gives(
    instructions: str, seed: int, height: int, width: int, half_width: float | None
) -> None:
    model, plate = wild_model(seed), wild_plate(seed, 64 * height, 64 * width)
    expected = by_pytorch(model, plate, half_width)
    sets = native.instruction_sets()
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(compiled, "instruction_sets", lambda: sets[: sets.index(instructions) + 1])
        result = model(plate, half_width)
    assert (expected - plate).abs().max() > 0.1  # something to differ in
    torch.testing.assert_close(result, expected, atol=0.01, rtol=0)  # of wild weights
    assert not torch.equal(result, expected), "the compiled steps did not run"


def test_they_are_as_good_in_narrow_numbers() -> None:
    """Where the network is narrow, what it is given must be rounded as PyTorch rounds it."""
    model, plate = wild_model(1), wild_plate(1, 128, 192)
    model.narrow(torch.bfloat16)
    with torch.inference_mode():
        result = model(plate)
    assert (by_pytorch(model, plate, None) - result).abs().max() < 0.05  # of weights that are nobody's


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_strips_and_threads_change_no_bit(dtype: torch.dtype) -> None:
    model, plate = wild_model(2), wild_plate(3, 192, 128)
    model.narrow(dtype)
    with torch.inference_mode():
        whole = model(plate)
        assert torch.equal(model(plate.contiguous(memory_format=torch.channels_last)), whole)
        model.strip_pixels = 128 * 50
        assert torch.equal(model(plate), whole)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            assert torch.equal(model(plate), whole)
        finally:
            torch.set_num_threads(threads)


bfloat16_only = pytest.mark.skipif(not compiled.computes_bfloat16(), reason="needs AVX-512 BF16")


def layer(inputs: int, outputs: int, random: torch.Generator) -> nn.Conv2d:
    """Return a layer of weights that bfloat16 can hold."""
    made = nn.Conv2d(inputs, outputs, 3, padding=1).requires_grad_(False)
    for parameter in made.parameters():
        values = torch.randn(parameter.shape, generator=random) / (9 * inputs) ** 0.5
        parameter.copy_(values.bfloat16().float())
    return made


def cells(channels: int, height: int, width: int, random: torch.Generator) -> Tensor:
    return torch.randn(1, channels, height, width, generator=random).bfloat16()


@bfloat16_only
@pytest.mark.parametrize("channels", [32, 48, 64, 96])
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 30), st.integers(1, 3), st.booleans())
def test_residual_blocks_are_those_of_pytorch(
    channels: int, seed: int, height: int, width: int, threads: int, wide: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    block = ResidualBlock(channels)
    block.first, block.second = layer(channels, channels, random), layer(channels, channels, random)
    x, coarser = cells(channels, 2 * height, 2 * width, random), cells(channels, height, width, random)
    before = torch.get_num_threads()
    with torch.inference_mode():
        expected = block(x.float(), coarser.float())
        if wide:
            x, coarser = x.float() + F.interpolate(coarser.float(), scale_factor=2.0, mode="bilinear"), None
        block.bfloat16().use_compiled()
        assert block.compiled
        torch.set_num_threads(threads)
        try:
            result = block(x, coarser)
        finally:
            torch.set_num_threads(before)
    assert result.dtype == x.dtype
    torch.testing.assert_close(result.float(), expected, atol=0.04, rtol=0.01)  # what is seen is rounded, too


@bfloat16_only
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 30))
def test_layers_of_three_outputs_are_those_of_pytorch(seed: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for channels in (32, 48, 8):
        made, x = layer(channels, 3, random), cells(channels, height, width, random)
        expected = made(x.float())
        for seen in (x.float(),) if channels == 8 else (x.float(), x):
            torch.testing.assert_close(native.correct(seen, made), expected, atol=1e-4, rtol=1e-4)


@bfloat16_only
@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([(32, 48), (48, 64), (64, 96), (96, 96)]),
    st.tuples(st.integers(1, 9), st.integers(1, 30)),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_the_way_down_is_that_of_pytorch(
    seed: int, channels: tuple[int, int], size: tuple[int, int], given: torch.dtype, asked: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)
    (finer, coarser), (height, width) = channels, size
    made = layer(finer + 3, coarser, random)
    x = cells(finer, 2 * height, 2 * width, random).to(given)
    band = torch.randn(1, 3, height, width, generator=random).bfloat16().float()
    pooled = F.avg_pool2d(x.float(), 2).bfloat16().float()
    expected = F.relu(made(torch.cat([pooled, band], 1)))
    assert native.NarrowDown.takes(made)
    result = native.NarrowDown(made, asked)(x, band)
    assert result.dtype == asked
    torch.testing.assert_close(result.float(), expected, atol=0.03, rtol=0.01)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 5))
def test_means_are_those_of_pytorch(seed: int, height: int, width: int) -> None:
    plate = torch.rand(1, 3, 2 * height, 32 * width, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(native.halve(plate), F.avg_pool2d(plate, 2))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 5))
def test_bands_are_those_of_pytorch(seed: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    mean = 20 * torch.rand(1, 3, 2 * height, 16 * width, generator=random)
    coarser = 20 * torch.rand(1, 3, height, 8 * width, generator=random)
    wide = F.interpolate(coarser, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(native.band(mean, coarser), soft_limit(mean - wide, BAND_RANGE))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 40))
def test_extremes_are_those_of_pytorch(seed: int, height: int, width: int) -> None:
    plate = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    largest, smallest = native.extremes(plate)
    assert torch.equal(largest, F.max_pool2d(plate, 4, ceil_mode=True))
    assert torch.equal(smallest, -F.max_pool2d(-plate, 4, ceil_mode=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
def test_channels_are_parted(seed: int, height: int, width: int, channels: int) -> None:
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 4096, (height, width, channels), generator=random).to(torch.uint16)
    assert torch.equal(native.part_channels(codes), codes.permute(2, 0, 1)[None].float())


def test_two_threads_may_use_them_at_once() -> None:
    model, plates = wild_model(4), [wild_plate(seed, 128, 128) for seed in range(2)]
    with torch.inference_mode():
        expected = [model(plate) for plate in plates]
    results: list[Tensor] = [torch.empty(0)] * 2

    def work(number: int) -> None:
        with torch.inference_mode():
            for _ in range(5):
                results[number] = model(plates[number])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


def test_other_shapes_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(native, "look", refuse)
    plate = wild_plate(0, 64, 64)
    for config in (
        PyramidConfig(channels=(8,) * 6),
        PyramidConfig(channels=(8,) * 5, posterior=True, refits=(5, 7)),
        PyramidConfig(channels=(8,) * 6, posterior=True, refits=(3, 5, 7), widths=True),
        PyramidConfig(channels=(8,) * 6, posterior=True, refits=(5, 7), fits=(3, 5), widths=True),
        PyramidConfig(channels=(8,) * 6, posterior=True, refits=(5, 7)),
    ):
        with torch.inference_mode():
            wild_model(0, config)(plate)
    wild_model(0)(plate).sum()  # with gradients
    with torch.inference_mode():
        wild_model(0)(plate[..., :32].contiguous())  # a level has no whole cell
    with torch.inference_mode():
        wild_model(0)(torch.cat([plate, plate]))  # two plates at once
        wild_model(0)(plate, torch.full((1, 1, 1, 1), 0.5))


def test_a_library_of_other_sources_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is left behind where new sources came without being installed anew."""
    load = inspect.unwrap(compiled.library)
    assert load()
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "Look", compiled.Fit)
        assert load() is None
    monkeypatch.setattr(compiled, "FILE", torch._C.__file__)
    assert load() is None
    monkeypatch.setattr(compiled, "FILE", Path("nothing.so"))
    assert load() is None


@pytest.mark.parametrize("threads", [1, 3])
def test_too_little_memory_is_said(threads: int) -> None:
    job = compiled.Believe(width=(1 << 31) - 32)
    with pytest.raises(MemoryError, match="no memory for 2147483616 columns"):
        compiled.run("bitexpand_believe", job, 0, 6, threads)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 40))
def test_threads_share_each_row_once(rows: int, threads: int) -> None:
    """Also more of them than there are cores or rows."""
    codes = torch.arange(rows).to(torch.uint16)
    result = torch.full((rows,), -1.0)
    job = compiled.PartChannels(codes.data_ptr(), result.data_ptr(), rows, 1, 1)
    compiled.run("bitexpand_part_channels", job, 0, rows, threads)
    assert result.tolist() == list(range(rows))


def test_many_callers_share_threads() -> None:
    plate = wild_plate(1, 64, 64)
    expected = native.halve(plate)

    def halved(_: int) -> bool:
        torch.set_num_threads(5)  # of this thread
        return all(torch.equal(native.halve(plate), expected) for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(halved, range(8)))


def test_a_forked_process_does_without_the_threads() -> None:
    """As a DataLoader's workers are: what was shared before has threads there no more."""
    words = [sys.executable, "-c", FORKED]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == "done"


FORKED = """
import os, torch
from bitexpand import native
torch.set_num_threads(3)
plate = torch.rand(1, 3, 64, 64)
before = native.halve(plate)
child = os.fork()
if not child:
    os._exit(not torch.equal(native.halve(plate), before))
print("done" * (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0), end="")
"""
