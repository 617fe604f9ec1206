"""Exported TorchScript and ONNX: the engine's values at any size, inside the bins, in old torch's words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from exporting import SMALL, codes_of, lively, plate_signal
from fake_models import Broken, expander_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitexpand.code_values import from_signal
from bitexpand.errors import ExportError
from bitexpand.export import words
from bitexpand.export.check import Case, archive_runner, load_archive
from bitexpand.export.onnx_file import onnx_of, onnx_runner
from bitexpand.export.operators import check_operators, known_operators, operators
from bitexpand.export.signal_model import SignalModel
from bitexpand.export.torchscript import archive_of, saved
from bitexpand.models import registry
from bitexpand.models.base import ModelConfig, PlateModel, Units

pytestmark = pytest.mark.usefixtures("one_thread")
sizes = st.integers(1, 40)


class Far(PlateModel):
    """Moves every value by 9 LSB."""

    config_type = ModelConfig
    units: Units = "lsb"
    multiple, overlap, bytes_per_pixel = 4, 32, 100

    def forward(self, plate: Tensor) -> Tensor:
        return plate + 9


@pytest.fixture(scope="module")
def archive() -> torch.jit.ScriptModule:
    return load_archive(saved(archive_of(SignalModel(lively("pyramid")))))


@pytest.fixture(autouse=True)
def untouched_knobs(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "archive" in request.fixturenames:
        knobs = request.getfixturevalue("archive")
        knobs.strength, knobs.bound, knobs.bits = 1.0, 0.5, 8


def engine_signal(module: PlateModel, signal: Tensor, case: Case) -> Tensor:
    codes = codes_of(signal, case.bits)[0].permute(1, 2, 0).to(torch.int32).numpy().astype("uint16")
    expanded = expander_of(deepcopy(module)).expand(codes, bits=case.bits, bound=case.bound)
    return torch.from_numpy(expanded).permute(2, 0, 1)[None] / (2**case.bits - 1)


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture_is_the_engine_in_old_words(name: str) -> None:
    module = lively(name)
    archive = archive_of(SignalModel(module))
    check_operators(operators(archive))
    run = archive_runner(load_archive(saved(archive)))
    for case in (Case((37, 23)), Case((5, 70), bound=1.5), Case((33, 64), bits=10)):
        signal = plate_signal(*case.size, case.bits)
        difference = (run(signal, case) - engine_signal(module, signal, case)).abs().max() * (
            2**case.bits - 1
        )
        assert difference < 0.001
    moved = run(signal, case) - signal
    assert moved.abs().max() > 0


def test_any_size_in_the_same_size_out(archive: torch.jit.ScriptModule) -> None:
    module, one = SignalModel(lively("pyramid")).eval(), torch.ones(1)

    @settings(max_examples=8, deadline=None)
    @given(sizes, sizes)
    def at(height: int, width: int) -> None:
        signal = plate_signal(height, width)
        result = archive(signal)
        assert result.shape == signal.shape
        assert (result - module(signal, one, one * 0.5, one * 8)).abs().max() * 255 < 1e-3
        assert torch.equal(codes_of(result), codes_of(signal))

    at()


@settings(max_examples=10, deadline=None)
@given(st.floats(-1, 2), st.floats(-1, 3), st.sampled_from([4, 8, 10, 12]))
def test_no_knob_moves_a_value_out_of_its_bounds(strength: float, bound: float, bits: int) -> None:
    signal = plate_signal(9, 14, bits)
    for module in (Far(), lively("pyramid")):
        one = torch.ones(1)
        result = SignalModel(module).eval()(signal, one * strength, one * bound, one * bits)
        moved = (result.double() * (2**bits - 1) - codes_of(signal, bits)).abs().max()
        assert moved <= max(bound, 0) * min(max(strength, 0), 1) + 3e-4  # float32 of 12 bits
        assert result.min() >= 0
        assert result.max() <= 1


def test_the_knobs_are_attributes_as_the_inference_node_sets_them(archive: torch.jit.ScriptModule) -> None:
    signal = plate_signal(21, 34)
    full = archive(signal)
    archive.strength = 0.0
    assert torch.equal(codes_of(archive(signal)), codes_of(signal))
    assert (archive(signal) - signal).abs().max() < 1e-7
    archive.strength = 0.5
    assert torch.allclose(archive(signal) - signal, (full - signal) / 2, atol=1e-6)
    archive.strength, archive.bound = 1.0, 0.1
    assert (archive(signal) - signal).abs().max() * 255 <= 0.1
    archive.bits = 10
    assert torch.equal(codes_of(archive(signal), 10), codes_of(signal, 10))


def test_a_network_that_fails_changes_nothing() -> None:
    signal = plate_signal(9, 14)
    one = torch.ones(1)
    assert torch.allclose(SignalModel(Broken()).eval()(signal, one, one, one * 8), signal, atol=1e-7)


def test_what_is_no_code_value_passes_and_does_no_harm(archive: torch.jit.ScriptModule) -> None:
    signal = plate_signal(24, 24)
    strange = signal.clone()
    odd = torch.tensor([math.nan, math.inf, -math.inf, 1.7, -0.3])
    strange[0, 0, 4, :5] = odd
    result = archive(strange)
    assert torch.equal(result[0, 0, 4, :5].nan_to_num(9), odd.nan_to_num(9))
    assert torch.isfinite(result[0, 0, 5:]).all()
    rest = torch.isfinite(strange) & (strange <= 1) & (strange >= 0)
    assert torch.equal(codes_of(result)[rest], codes_of(signal)[rest])


@pytest.mark.parametrize("name", ["pyramid", "unet", "dequant", "convnext", "believing dequant"])
def test_half_follows_the_plate_and_keeps_the_promise(name: str) -> None:
    contents = saved(archive_of(SignalModel(lively(name))))
    full, half = load_archive(contents), load_archive(contents).half()
    signal = plate_signal(37, 53)
    assert half(signal.half()).dtype == torch.float16
    assert torch.equal(codes_of(half(signal.half())), codes_of(signal))
    assert half(signal).dtype == torch.float32
    assert (half(signal) - full(signal)).abs().max() * 255 < 0.03  # random weights are no smooth network
    half.bound = 0.5
    far = load_archive(saved(archive_of(SignalModel(Far()))))
    assert torch.equal(codes_of(far(signal.half())), codes_of(signal))


@pytest.mark.parametrize("name", SMALL)
def test_no_device_is_baked_in(name: str) -> None:
    graph: Any = archive_of(SignalModel(lively(name))).inlined_graph
    constants = [
        node for node in graph.findAllNodes("prim::Constant") if node.output().type().str() == "Device"
    ]
    assert not constants
    tensors = [
        n for n in graph.findAllNodes("prim::Constant") if n.output().type().str().startswith("Tensor")
    ]
    # a constant tensor would stay on the CPU; one number does so everywhere
    assert all(node.t("value").ndim == 0 for node in tensors)


def test_the_shipped_network_is_one_that_old_torch_knows() -> None:
    check_operators(operators(archive_of(SignalModel(registry.load("pyramid").module))))


@pytest.mark.parametrize(
    "schema",
    [
        "aten::special_bessel_j0(Tensor self) -> Tensor",
        "aten::abs(Tensor self, *, bool twice=False) -> Tensor",
        "aten::relu(Tensor input) -> Tensor",
    ],
)
def test_operators_that_old_torch_does_not_know_are_refused(schema: str) -> None:
    with pytest.raises(ExportError, match=rf"torch 1.12 does not know.*{schema.partition('(')[0]}"):
        check_operators([*known_operators(), schema])


def test_the_list_is_sorted_and_holds_each_schema_once() -> None:
    listed = known_operators()
    assert listed == sorted(set(listed), key=lambda line: line.partition("(")[0])
    check_operators(listed)


@settings(deadline=None)
@given(st.floats(-9, 80, width=32))
def test_words_for_onnx_mean_the_same(value: float) -> None:
    x = torch.tensor([value, value * 1e-3, value * 1e-6])
    for said, meant, domain in (
        (words.erfcx, torch.special.erfcx, x),
        (words.expm1, torch.expm1, -x.abs()),
        (words.log1p, torch.log1p, x.abs()),
        (words.sigmoid, torch.sigmoid, x),
        (words.sigmoid, torch.sigmoid, -x),
    ):
        assert torch.allclose(said(domain).double(), meant(domain.double()), rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("name", ["pyramid", "smooth", "unet", "convnext", "believing unet"])
def test_onnx_is_the_engine_at_any_size(name: str) -> None:
    pytest.importorskip("onnx", reason="needs the extra 'export'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
    module = lively(name)
    run = onnx_runner(onnx_of(SignalModel(module), {"model": name}))
    for case in (Case((37, 23)), Case((1, 1)), Case((5, 70), bound=1.5), Case((33, 64), bits=10)):
        signal = plate_signal(*case.size, case.bits)
        difference = (run(signal, case) - engine_signal(module, signal, case)).abs().max() * (
            2**case.bits - 1
        )
        assert difference < 0.005


def test_signals_are_what_the_engine_calls_signals() -> None:
    signal = plate_signal(4, 4)
    assert torch.equal(torch.from_numpy(from_signal(signal.numpy(), 8)).round(), codes_of(signal).float())
