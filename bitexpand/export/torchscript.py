"""Writes a model as a TorchScript archive that Nuke's Inference node takes, as old as torch 1.12."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from bitexpand.code_values import HALF_BIN
from bitexpand.export.signal_model import HALF_STEP, SignalModel
from bitexpand.export.words import TORCHSCRIPT, Saying

EXAMPLE = (150, 200)  # H, W; any would do, as sizes are traced as expressions


class Archive(nn.Module):
    """One tensor in, one out, as the Inference node asks; its attributes are the node's knobs.

    Attributes:
        strength: 0 to 1, share of the predicted move that is made.
        bound: largest move in LSB; 0.5 keeps every value in its bin.
        bits: of the plate.
    """

    def __init__(self, traced: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.model = traced
        self.strength, self.bound, self.bits = 1.0, HALF_BIN, 8
        self.half_step = HALF_STEP

    def forward(self, plate: Tensor) -> Tensor:
        """Expand (1, 3, H, W) of a signal in [0, 1]; the result has the plate's size, type and device."""
        rounding = 0.0 if plate.dtype == torch.float32 else self.half_step
        # full, as torch.tensor would stay on the CPU, and a constant would not follow the module to a GPU
        strength = torch.full([1], self.strength, dtype=torch.float32, device=plate.device)
        bound = torch.full([1], self.bound, dtype=torch.float32, device=plate.device)
        bits = torch.full([1], float(self.bits), dtype=torch.float32, device=plate.device)
        margin = torch.full([1], rounding, dtype=torch.float32, device=plate.device)
        return self.model(plate, strength, bound, bits, margin).to(plate.dtype)


def archive_of(model: SignalModel) -> torch.jit.ScriptModule:
    """Return the model as TorchScript, for any height and width."""
    setting = torch.ones(1)
    inputs = (torch.rand(1, 3, *EXAMPLE), setting, setting * HALF_BIN, setting * 8, setting * 0)
    with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and it is what Nuke takes
        with Saying(TORCHSCRIPT):
            traced = torch.jit.trace(model.eval(), inputs, check_trace=False)
        assert isinstance(traced, torch.jit.ScriptModule)
        return torch.jit.script(Archive(traced).eval())


def saved(archive: torch.jit.ScriptModule) -> bytes:
    """Return the archive as a file's contents."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(archive, buffer)
    return buffer.getvalue()
