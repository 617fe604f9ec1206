"""Writes a model as ONNX, and runs such a file."""

from __future__ import annotations

import importlib.util
import io
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitexpand.code_values import HALF_BIN
from bitexpand.errors import UsageError
from bitexpand.export.check import Case, Runner
from bitexpand.export.signal_model import SignalModel
from bitexpand.export.words import ONNX, Saying

OPSET = 17
EXAMPLE = (150, 200)  # H, W; any would do, as sizes are traced as expressions
SETTINGS = ("strength", "bound", "bits")


def require_onnx() -> None:
    """Refuse to begin without the libraries.

    Raises:
        UsageError: naming the extra that has them.
    """
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--target onnx needs {' and '.join(missing)}, which this installation lacks:"
            " pip install 'bitexpand[export]'"
        )


def onnx_of(model: SignalModel, metadata: dict[str, str]) -> bytes:
    """Return the contents of an ONNX file for any height and width.

    Its inputs are ``plate``, (1, 3, H, W), and ``strength``, ``bound`` and ``bits``, (1,); its output is
    ``expanded``. All are float32, and mean what they mean to :class:`SignalModel`.
    """
    buffer = io.BytesIO()
    inputs = (torch.rand(1, 3, *EXAMPLE), torch.ones(1), torch.ones(1) * HALF_BIN, torch.ones(1) * 8)
    open_size = {2: "height", 3: "width"}
    with warnings.catch_warnings(), torch.no_grad(), Saying(ONNX):
        # The exporter that traces: the newer one, through torch.export, would specialise to sizes of whole cells.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _FullPrecision(model).eval(),
            inputs,
            buffer,  # pyright: ignore[reportArgumentType]  this exporter takes a file too
            dynamo=False,
            opset_version=OPSET,
            input_names=["plate", *SETTINGS],
            output_names=["expanded"],
            dynamic_axes={"plate": open_size, "expanded": open_size},
        )
    return _with_provenance(buffer.getvalue(), metadata)


def onnx_runner(contents: bytes) -> Runner:
    """Return what runs a file by ONNX Runtime on the CPU."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])

    def run(signal: Tensor, case: Case) -> Tensor:
        settings = {name: np.full(1, getattr(case, name), np.float32) for name in SETTINGS}
        return torch.from_numpy(session.run(None, {"plate": signal.numpy(), **settings})[0])

    return run


def operators(contents: bytes) -> list[str]:
    """Return the names of the operators in a file, sorted."""
    return sorted({node.op_type for node in _onnx().load_from_string(contents).graph.node})


class _FullPrecision(nn.Module):
    def __init__(self, model: SignalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, plate: Tensor, strength: Tensor, bound: Tensor, bits: Tensor) -> Tensor:
        return self.model(plate, strength, bound, bits)


def _with_provenance(contents: bytes, metadata: dict[str, str]) -> bytes:
    onnx = _onnx()
    proto = onnx.load_from_string(contents)
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def _onnx() -> Any:  # noqa: ANN401  a library that may not be there
    return importlib.import_module("onnx")
