"""Training state on disk: written whole or not at all, read strictly, enough to go on to the same bit.

A checkpoint is a ``torch.save`` of a dict of tensors, numbers and text, read with ``weights_only``:

``format``        "bitexpand-training", and ``format_version``
``architecture``  a key of ``bitexpand.models.checkpoint.ARCHITECTURES``, and ``config``, its fields
``model``, ``ema``  parameters and buffers: as trained, and their moving average, which is what ships
``optimizer``, ``scheduler``  their states
``position``      the fields of :class:`Position`
``identity``      what must be the same to go on: the manifest's digest and the settings that decide the numbers
``random``        the state of torch's random numbers
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitexpand import temporaries
from bitexpand.errors import CheckpointError, MissingInputError, UsageError
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.checkpoint import ARCHITECTURES

FORMAT = "bitexpand-training"
FORMAT_VERSION = 1
_KEYS = frozenset(
    {"format", "format_version", "architecture", "config", "model", "ema", "optimizer", "scheduler"}
    | {"position", "identity", "random"}
)


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        phase: index of the phase.
        step: optimizer steps of the phase that are done.
        total_step: of the whole run.
        start_gain: mean validation gain in dB that the phase began with.
        best_gain: the best of the phase so far, ``start_gain`` included.
        stale: validations since the best one.
        averaged: updates of the moving average.
        doing_nothing: value of each loss for doing nothing, where the phase balances them.
    """

    phase: int = 0
    step: int = 0
    total_step: int = 0
    start_gain: float = float("-inf")
    best_gain: float = float("-inf")
    stale: int = 0
    averaged: int = 0
    doing_nothing: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """One file's content; see the module."""

    architecture: str
    config: ModelConfig
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    position: Position
    identity: Mapping[str, str]
    random: Tensor


def architecture_of(module: PlateModel) -> str:
    """Return the key of a model's class in ``ARCHITECTURES``."""
    return next(name for name, kind in ARCHITECTURES.items() if type(module) is kind)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all; the one before it stays until then.

    Raises:
        DiskFullError: there is no room; what lay there is untouched.
        WriteError: anything else.
    """
    content = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    content |= {"format": FORMAT, "format_version": FORMAT_VERSION}
    content |= {
        "config": dataclasses.asdict(checkpoint.config),
        "position": dataclasses.asdict(checkpoint.position),
        "identity": dict(checkpoint.identity),
    }
    buffer = io.BytesIO()  # torch's own writer hides a full disk behind an error of its own
    torch.save(content, buffer)
    with temporaries.replacing(path) as file:
        file.write(buffer.getbuffer())


def read(path: Path) -> Checkpoint:
    """Read a checkpoint to the CPU.

    Raises:
        MissingInputError: there is no such file.
        CheckpointError: it is no checkpoint of training, or a damaged one; the message names it.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types for a damaged file
        raise CheckpointError(f"{path}: not a readable checkpoint ({_first_line(error)})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of `python -m training run`")
    if content.get("format_version") != FORMAT_VERSION or set(content) != _KEYS:
        raise CheckpointError(
            f"{path}: was written by another version of bitexpand (format {content.get('format_version')},"
            f" this is {FORMAT_VERSION}); go on with that version, or export its weights there"
        )
    try:
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in content["config"].items()}
        config = ARCHITECTURES[content["architecture"]].config_type(**fields)
        position = Position(**content["position"])
    except (KeyError, TypeError, UsageError) as error:
        raise CheckpointError(f"{path}: its architecture or config is unknown ({error})") from error
    keys = ("architecture", "model", "ema", "optimizer", "scheduler", "identity", "random")
    return Checkpoint(config=config, position=position, **{key: content[key] for key in keys})


def load_model(path: Path) -> tuple[PlateModel, str, ModelConfig]:
    """Return the averaged weights of a checkpoint as a model in eval mode, its architecture and config.

    Raises:
        MissingInputError, CheckpointError: as :func:`read`, or tensors that do not fit the architecture.
    """
    checkpoint = read(path)
    with torch.random.fork_rng(devices=[]):  # initial values are drawn and thrown away
        module = ARCHITECTURES[checkpoint.architecture](checkpoint.config)
    restore(module, checkpoint.ema, path)
    return module.eval(), checkpoint.architecture, checkpoint.config


def restore(module: PlateModel, state: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of a checkpoint into a model.

    Raises:
        CheckpointError: they are of another architecture or size.
    """
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: its weights do not fit the model ({reason})") from error


def check_goes_on(
    checkpoint: Checkpoint, module: PlateModel, identity: Mapping[str, str], path: Path
) -> None:
    """Refuse to go on with another model, other data or other settings than a run began with.

    Raises:
        CheckpointError: naming what differs.
    """
    architecture = architecture_of(module)
    if checkpoint.architecture != architecture or checkpoint.config != module.config:
        raise CheckpointError(
            f"{path}: holds a '{checkpoint.architecture}' ({checkpoint.config}), but 'model' asks for a"
            f" '{architecture}' ({module.config}); set 'model' back, or choose another 'run' folder"
        )
    for key, value in identity.items():
        if checkpoint.identity.get(key) != value:
            raise CheckpointError(
                f"{path}: the run began with {key} {checkpoint.identity.get(key)}, now it is {value};"
                " set it back, or choose another 'run' folder"
            )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return ascii(text.splitlines()[0][:200])[1:-1]
