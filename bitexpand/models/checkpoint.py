"""Weights files: an architecture's name, its config and its tensors, and nothing that could run.

A file is safetensors, with these metadata:

``format``          "bitexpand-weights"
``format_version``  "1"
``architecture``    a key of ``ARCHITECTURES``
``config``          the fields of its config, as JSON
``sha256``          over architecture, config and tensors, see :func:`digest`

A file is a stranger's until it has proved otherwise: its config is checked, then its tensors' names, shapes
and types against that config, and only then is memory taken for them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bitexpand.errors import CheckpointError, MissingInputError, UnknownNameError, UsageError
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.convnext import ConvNextUNet
from bitexpand.models.dequant import DequantUNet
from bitexpand.models.pyramid import Pyramid
from bitexpand.models.unet import UNet
from bitexpand.temporaries import replacing

ARCHITECTURES: Mapping[str, type[PlateModel]] = {
    "convnext": ConvNextUNet,
    "dequant": DequantUNet,
    "pyramid": Pyramid,
    "unet": UNet,
}
FORMAT = "bitexpand-weights"
FORMAT_VERSION = "1"
PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt")
FLOAT_TYPES = (torch.float16, torch.float32)
CONFIG_CHARACTERS = 10_000  # the largest honest config is below 200


def save(path: str | os.PathLike[str], module: PlateModel, architecture: str, config: ModelConfig) -> str:
    """Write a module's parameters and buffers as a weights file, whole or not at all.

    Args:
        path: the file to write, usually ``*.safetensors``.
        module: float32, or float16 to halve the file.
        architecture: its key in ``ARCHITECTURES``.
        config: what the module was made from.

    Returns:
        The SHA-256 that :func:`read` will return.

    Raises:
        UnknownNameError: there is no such architecture.
        CheckpointError: a tensor holds NaN or infinity, or the module was not made from this config.
        DiskFullError, WriteError: it cannot be written.
    """
    target = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    fields = _stored_fields(config)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": architecture,
        "config": json.dumps(fields, sort_keys=True),
        "sha256": digest(architecture, fields, tensors),
    }
    try:
        _check_tensors(tensors, _blueprint(architecture, config).state_dict())
    except _BadContentError as error:
        raise CheckpointError(f"{target}: not written, as {error}") from None
    with replacing(target) as file:
        file.write(_in_one_order(safetensors.torch.save(tensors, metadata)))
    return metadata["sha256"]


def read(path: str | os.PathLike[str]) -> tuple[PlateModel, str]:
    """Read a weights file: safetensors, or a pickle whose suffix says so.

    A pickle (``.pt``, ``.pth``, ``.ckpt``) is read with ``torch.load(weights_only=True)`` and must hold a
    dict with exactly the keys "architecture", "config" and "state".

    Args:
        path: the file.

    Returns:
        The module, float32 on the CPU in training mode as any new module, and the SHA-256 of :func:`digest`.

    Raises:
        MissingInputError: there is no such file.
        CheckpointError: the file is not what it says; the message names the file, the reason and what to do.
    """
    source = Path(path)
    if not os.path.exists(source):  # unlike Path.exists, False too for names that cannot be
        raise MissingInputError(f"{source}: no such weights file")
    try:
        content = _open(source)
        expected = content.blueprint.state_dict()
        _check_tensors(content.tensors, expected)
        sha256 = digest(content.architecture, _stored_fields(content.config), content.tensors)
        if content.sha256 not in (None, sha256):
            raise _BadContentError("its contents do not match its SHA-256: it was damaged or altered")
    except _BadContentError as error:
        advice = "pass a file written by bitexpand's training, or reinstall if it came with the package"
        raise CheckpointError(f"{source}: {error}; {advice}") from error.__cause__
    # copies: a file's tensors may be float16, share memory, or lie in the file itself
    values = {
        name: torch.empty(like.shape, dtype=like.dtype).copy_(content.tensors[name])
        for name, like in expected.items()
    }
    content.blueprint.load_state_dict(values, strict=True, assign=True)
    return content.blueprint, sha256


def digest(architecture: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash what decides a model's output.

    Args:
        architecture: its key in ``ARCHITECTURES``.
        config: its fields, hashed as JSON: another config may fit the same tensors and mean something else.
        tensors: hashed in the order of their names, each as name, type, shape and little-endian bytes.

    Returns:
        SHA-256 in hexadecimal.
    """
    sha = hashlib.sha256(f"{architecture}\n{json.dumps(dict(config), sort_keys=True)}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # a 0-d tensor has no bytes to view, hence the reshape
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _stored_fields(config: ModelConfig) -> dict[str, Any]:
    """Return the fields that a file holds: those that came later only if they differ from what older files mean."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if "added" not in field.metadata or getattr(config, field.name) != field.default
    }


class _BadContentError(Exception):
    """The reason why a file is refused; ``read`` and ``save`` add the file and what to do."""


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a file claims, and the module for it, without memory yet; ``sha256`` is None where it makes no claim."""

    architecture: str
    config: ModelConfig
    blueprint: PlateModel
    tensors: dict[str, Tensor]
    sha256: str | None


def _open(path: Path) -> _Content:
    if not path.is_file():  # a pipe would be waited for
        raise _BadContentError("it is not a file")
    try:
        if path.suffix.lower() in PICKLE_SUFFIXES:
            return _open_pickle(path)
        return _open_safetensors(path)
    except _BadContentError:
        raise
    except OSError as error:
        raise _BadContentError(f"it cannot be read ({error.strerror or _first_line(error)})") from error
    except SafetensorError as error:
        raise _BadContentError(f"it is not readable as safetensors ({_first_line(error)})") from error
    except Exception as error:  # unpicklers of damaged files raise nearly anything
        raise _BadContentError(f"it is not readable ({_first_line(error)})") from error


def _open_safetensors(path: Path) -> _Content:
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        _check_format(metadata)
        architecture, config = _parse_config(metadata["architecture"], _parse_json(metadata["config"]))
        blueprint = _blueprint(architecture, config)
        expected = blueprint.state_dict()
        _check_names(set(file.keys()), set(expected))
        for name, tensor in expected.items():  # shapes come from the header: nothing is loaded yet
            _check_shape(name, tuple(file.get_slice(name).get_shape()), tuple(tensor.shape))
        tensors = {name: file.get_tensor(name) for name in expected}
    return _Content(architecture, config, blueprint, tensors, metadata["sha256"])


def _open_pickle(path: Path) -> _Content:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wonders aloud about files that it then refuses
        content = torch.load(path, map_location="cpu", weights_only=True)
    keys = {"architecture", "config", "state"}
    if not isinstance(content, dict) or set(content) != keys:
        raise _BadContentError(
            "it must hold a dict with exactly the keys 'architecture', 'config' and 'state'"
        )
    tensors = content["state"]
    if not isinstance(tensors, dict):
        raise _BadContentError("its 'state' is not a dict of tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or type(tensor) not in (Tensor, torch.nn.Parameter):
            raise _BadContentError(f"its 'state' holds '{_printable(name)}', which is not a tensor")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise _BadContentError(f"tensor '{_printable(name)}' is not a plain dense one")
    architecture, config = _parse_config(content["architecture"], content["config"])
    return _Content(architecture, config, _blueprint(architecture, config), dict(tensors), None)


def _check_format(metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise _BadContentError(f"it is safetensors, but its metadata lack 'format': '{FORMAT}'")
    version = metadata.get("format_version", "none")
    if version != FORMAT_VERSION:
        raise _BadContentError(f"its format version is '{_printable(version)}', not '{FORMAT_VERSION}'")
    for key in ("architecture", "config", "sha256"):
        if key not in metadata:
            raise _BadContentError(f"its metadata lack '{key}'")


def _parse_json(text: str) -> object:
    try:
        return json.loads(text[:CONFIG_CHARACTERS])
    except (ValueError, RecursionError):
        raise _BadContentError("its config is not JSON") from None


def _parse_config(architecture: object, fields: object) -> tuple[str, ModelConfig]:
    if not isinstance(architecture, str):
        raise _BadContentError("its architecture is not a name")
    if not isinstance(fields, dict) or len(repr(fields)) > CONFIG_CHARACTERS:
        raise _BadContentError("its config is not a short dict of fields")
    try:
        config_type = _architecture(architecture).config_type
        known = {field.name: field for field in dataclasses.fields(config_type)}
        for name in fields:
            if name not in known:
                raise UnknownNameError(f"field of {config_type.__name__}", _printable(name), known)
        for name, field in known.items():
            if name not in fields and "added" not in field.metadata:
                raise _BadContentError(f"its config lacks '{name}'")
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return architecture, config_type(**values)
    except UsageError as error:
        raise _BadContentError(str(error)) from error


def _architecture(name: str) -> type[PlateModel]:
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", _printable(name), ARCHITECTURES)
    return ARCHITECTURES[name]


def _blueprint(architecture: str, config: ModelConfig) -> PlateModel:
    """Make a module with the names, shapes and types of its tensors, without memory for their values."""
    with torch.device("meta"):
        return _architecture(architecture)(config)


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    _check_names(set(tensors), set(expected))
    for name, tensor in tensors.items():
        _check_shape(name, tuple(tensor.shape), tuple(expected[name].shape))
        wanted = FLOAT_TYPES if expected[name].is_floating_point() else (expected[name].dtype,)
        if tensor.dtype not in wanted:
            accepted = " or ".join(map(_type_name, wanted))
            raise _BadContentError(f"tensor '{name}' is {_type_name(tensor.dtype)}, must be {accepted}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _BadContentError(f"tensor '{name}' holds NaN or infinity")


def _check_names(names: set[str], expected: set[str]) -> None:
    for name in sorted(expected - names):
        raise _BadContentError(f"tensor '{name}' is missing ({len(expected - names)} in all)")
    for name in sorted(names - expected):
        count = len(names - expected)
        raise _BadContentError(
            f"tensor '{_printable(name)}' is not part of the architecture ({count} in all)"
        )


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise _BadContentError(f"tensor '{name}' has shape {shape}, must be {expected}")


def _type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _printable(name: object) -> str:
    return ascii(str(name)[:60])[1:-1]  # a hostile file must not put control characters on the terminal


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return ascii(text.splitlines()[0][:200])[1:-1]


def _in_one_order(content: bytes) -> bytes:
    """Sort the header's entries: safetensors shuffles the metadata, and one model should give one file."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
