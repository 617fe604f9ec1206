"""The models by name: one visible table, and the way from a name or a file to a module ready to run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bitexpand.errors import CheckpointError, MissingInputError, UnknownNameError, UsageError
from bitexpand.models import checkpoint
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.convnext import ConvNextConfig, ConvNextUNet
from bitexpand.models.dequant import DequantConfig, DequantUNet
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.smooth import Smooth, SmoothConfig
from bitexpand.models.unet import UNet, UNetConfig

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"
FILE_SUFFIXES = (".safetensors", *checkpoint.PICKLE_SUFFIXES)
NO_WEIGHTS = "none"


@dataclass(frozen=True)
class ModelSpec:
    """One row of the table: architecture + weights.

    Attributes:
        name: what ``--model`` takes.
        architecture: the class.
        config: of the shipped weights, or the default one.
        weights: file name in ``bitexpand/weights``, None if none is shipped.
        sha256: of that file, as ``sha256sum`` prints it.
        needs_weights: False for a filter without parameters.
        summary: one line for a list.
        licence: of the weights, as an SPDX identifier.
    """

    name: str
    architecture: type[PlateModel]
    config: ModelConfig
    weights: str | None
    sha256: str | None
    needs_weights: bool
    summary: str
    licence: str


MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="pyramid",
        architecture=Pyramid,
        config=PyramidConfig(posterior=True, refits=(5, 7), widths=True),
        weights="pyramid.safetensors",
        sha256="1aae0c51822261de9b19cb36226705419d12de30d0008db7d9218d2ec71e25c1",
        needs_weights=True,
        summary="the default: smooth estimates at six scales, weighed against the bin, 1.45 M parameters",
        licence="MIT",
    ),
    ModelSpec(
        name="smooth",
        architecture=Smooth,
        config=SmoothConfig(),
        weights=None,
        sha256=None,
        needs_weights=False,
        summary="no network: empirical Bayes over blurs and local fits, no parameters",
        licence="MIT",
    ),
    ModelSpec(
        name="unet28m",
        architecture=UNet,
        config=UNetConfig(scales=6, posterior=True),
        weights="unet28m.safetensors",
        sha256="3cf85adcc8c51cc8f1d0ae6806d5706976d69568c1bdc841b8e2e62ce4d5ef6d",
        needs_weights=True,
        summary="the classic U-Net, a yardstick: slow, 28.96 M parameters",
        licence="MIT",
    ),
    ModelSpec(
        name="dequant-unet",
        architecture=DequantUNet,
        config=DequantConfig(reach=0.5, posterior=True),
        weights="dequant-unet.safetensors",
        sha256="39b1e5e9a9e3ecef5571e73244689d6f753a4c0766016ad4db57ae3fbc4b96a7",
        needs_weights=True,
        summary="safe dequantisation: cannot leave the bin, sees 192 px, 0.49 M parameters",
        licence="MIT",
    ),
    ModelSpec(
        name="dequant-unet-aug",
        architecture=DequantUNet,
        config=DequantConfig(reach=2.0, posterior=True),
        weights="dequant-unet-aug.safetensors",
        sha256="ca26a3012827963cd8c403d6d9fa72177e6448226a9a8313619c70e831dc5163",
        needs_weights=True,
        summary="the same for sources of unknown making: moves up to 1 LSB unless --bound says otherwise",
        licence="MIT",
    ),
    ModelSpec(
        name="dequant-convnext",
        architecture=ConvNextUNet,
        config=ConvNextConfig(reach=0.5, posterior=True),
        weights="dequant-convnext.safetensors",
        sha256="0f596f647ab4a7d7b751fe79b0fbd267ac2a5b14df2c5563e90a1cfa9fb8dead",
        needs_weights=True,
        summary="safe dequantisation with ConvNeXt blocks and attention, 11.15 M parameters",
        licence="MIT",
    ),
)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        name: of the table's row, or the file's name.
        module: float32 on the CPU, in eval mode, no gradients.
        weights_sha256: the weights' :func:`bitexpand.models.checkpoint.digest`; "none" without weights.
    """

    name: str
    module: PlateModel
    weights_sha256: str


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(_BY_NAME)


def spec(name: str) -> ModelSpec:
    """Look up a model.

    Raises:
        UnknownNameError: there is none of that name; the message suggests close ones.
    """
    if name not in _BY_NAME:
        raise UnknownNameError("model", name, _BY_NAME)
    return _BY_NAME[name]


def load(name_or_path: str | os.PathLike[str]) -> LoadedModel:
    """Load a model by its name, or from a weights file.

    Args:
        name_or_path: a name of the table; or a path: whatever exists as a file, contains a separator, or ends
            in ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt``. A name goes before a file of the same name.

    Raises:
        UnknownNameError: neither a name nor a path.
        UsageError: a name whose weights are not shipped.
        MissingInputError: a path to no file.
        CheckpointError: a file that is not what it says.
    """
    text = os.fspath(name_or_path)
    if text not in _BY_NAME and _is_path(text):
        module, sha256 = checkpoint.read(text)
        return _ready(Path(text).name, module, sha256)
    row = spec(text)
    if not row.needs_weights:
        return _ready(row.name, row.architecture(row.config), NO_WEIGHTS)
    module, sha256 = checkpoint.read(_shipped_file(row))
    return _ready(row.name, module, sha256)


def _is_path(text: str) -> bool:
    has_separator = any(separator in text for separator in (os.sep, os.altsep) if separator)
    return has_separator or text.lower().endswith(FILE_SUFFIXES) or os.path.isfile(text)


def _shipped_file(row: ModelSpec) -> Path:
    if row.weights is None:
        raise UsageError(f"no weights ship yet for model '{row.name}': train it, and pass --model FILE")
    path = WEIGHTS_FOLDER / row.weights
    if not path.is_file():
        raise MissingInputError(f"{path}: the weights of model '{row.name}' are gone; reinstall bitexpand")
    if hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
        raise CheckpointError(
            f"{path}: not the file that was shipped (its SHA-256 differs); reinstall bitexpand"
        )
    return path


def _ready(name: str, module: PlateModel, sha256: str) -> LoadedModel:
    return LoadedModel(name, module.eval().requires_grad_(False), sha256)


def _index(rows: Iterable[ModelSpec]) -> dict[str, ModelSpec]:
    by_name: dict[str, ModelSpec] = {}
    for row in rows:
        if row.name in by_name:
            raise ValueError(f"two models are named '{row.name}'")
        by_name[row.name] = row
    return by_name


_BY_NAME = _index(MODELS)
