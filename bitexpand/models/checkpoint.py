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
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bitexpand.errors import CheckpointError, MissingInputError, UnknownNameError, UsageError
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.pyramid import Pyramid
from bitexpand.models.unet import UNet

ARCHITECTURES: Mapping[str, type[PlateModel]] = {"pyramid": Pyramid, "unet": UNet}
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
    """
    target = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    expected = _blueprint(architecture, config)
    fields = dataclasses.asdict(config)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": architecture,
        "config": json.dumps(fields, sort_keys=True),
        "sha256": digest(architecture, fields, tensors),
    }
    _check_layout(target, tensors, expected)
    _check_finite(target, tensors)
    _write_whole(target, _in_one_order(safetensors.torch.save(tensors, metadata)))
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
    if not source.exists():
        raise MissingInputError(f"{source}: no such weights file")
    if not source.is_file():
        _refuse(source, "is not a file")
    reader = _read_pickle if source.suffix.lower() in PICKLE_SUFFIXES else _read_safetensors
    return reader(source)


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


def _read_safetensors(path: Path) -> tuple[PlateModel, str]:
    with _refusing(path), safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        _check_format(path, metadata)
        architecture, config = _parse_config(path, metadata["architecture"], metadata["config"])
        expected = _blueprint(architecture, config)
        _check_names(path, set(file.keys()), set(expected))
        for name, tensor in expected.items():  # shapes come from the header: nothing is loaded yet
            _check_shape(path, name, tuple(file.get_slice(name).get_shape()), tuple(tensor.shape))
        tensors = {name: file.get_tensor(name) for name in expected}
    return _build(path, architecture, config, expected, tensors, metadata.get("sha256", ""))


def _read_pickle(path: Path) -> tuple[PlateModel, str]:
    with _refusing(path):
        content = torch.load(path, map_location="cpu", weights_only=True)
    keys = {"architecture", "config", "state"}
    if not isinstance(content, dict) or set(content) != keys:
        _refuse(path, "does not hold a dict with exactly the keys 'architecture', 'config' and 'state'")
    if not isinstance(content["state"], Mapping):
        _refuse(path, "its 'state' is not a dict of tensors")
    architecture, config = _parse_config(path, content["architecture"], content["config"])
    tensors = dict(content["state"])
    for name, tensor in tensors.items():
        if not isinstance(name, str) or type(tensor) not in (Tensor, torch.nn.Parameter):
            _refuse(path, f"its 'state' holds {ascii(name)}, which is not a tensor under a name")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            _refuse(path, f"tensor '{name}' is not a plain dense one")
    expected = _blueprint(architecture, config)
    return _build(path, architecture, config, expected, tensors, None)


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        _refuse(path, "is safetensors, but not of bitexpand: its metadata lack 'format': " + repr(FORMAT))
    version = metadata.get("format_version", "none")
    if version != FORMAT_VERSION:
        _refuse(path, f"has format version {version[:20]!a}, this release reads {FORMAT_VERSION!r}")
    absent = [key for key in ("architecture", "config", "sha256") if key not in metadata]
    if absent:
        _refuse(path, f"its metadata lack '{absent[0]}'")


def _parse_config(path: Path, architecture: object, fields: object) -> tuple[str, ModelConfig]:
    """Rebuild and check the config; ``fields`` is JSON text, or a dict of a pickle."""
    if isinstance(fields, str):
        fields = _parse_json(path, fields)
    if not isinstance(architecture, str):
        _refuse(path, "its architecture is not a name")
    if not isinstance(fields, Mapping) or len(repr(fields)) > CONFIG_CHARACTERS:
        _refuse(path, "its config is not a short dict of fields")
    try:
        config_type = _architecture(architecture[:100]).config_type
        known = [field.name for field in dataclasses.fields(config_type)]
        for name in fields:
            if name not in known:
                raise UnknownNameError(f"{config_type.__name__} field", ascii(name)[1:61].rstrip("'"), known)
        absent = [name for name in known if name not in fields]
        if absent:
            raise UsageError(f"its config lacks '{absent[0]}'")
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return architecture, config_type(**values)
    except UsageError as error:
        _refuse(path, str(error))


def _parse_json(path: Path, text: str) -> object:
    if len(text) > CONFIG_CHARACTERS:
        _refuse(path, "its config is not a short dict of fields")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        _refuse(path, "its config is not JSON")


def _architecture(name: str) -> type[PlateModel]:
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def _blueprint(architecture: str, config: ModelConfig) -> dict[str, Tensor]:
    """Names, shapes and types that the architecture expects, without memory for their values."""
    with torch.device("meta"):
        return _architecture(architecture)(config).state_dict()


def _build(
    path: Path,
    architecture: str,
    config: ModelConfig,
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    sha256: str | None,
) -> tuple[PlateModel, str]:
    _check_layout(path, tensors, expected)
    actual = digest(architecture, dataclasses.asdict(config), tensors)
    if sha256 is not None and sha256 != actual:
        _refuse(path, "its contents do not match its SHA-256: it was damaged or altered")
    _check_finite(path, tensors)
    with torch.random.fork_rng(devices=[]):  # initial values are drawn and thrown away: leave no trace
        module = _architecture(architecture)(config)
    module.load_state_dict(tensors, strict=True)
    return module, actual


def _check_layout(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    _check_names(path, set(tensors), set(expected))
    for name, tensor in tensors.items():
        _check_shape(path, name, tuple(tensor.shape), tuple(expected[name].shape))
        wanted = FLOAT_TYPES if expected[name].is_floating_point() else (expected[name].dtype,)
        if tensor.dtype not in wanted:
            accepted = " or ".join(str(dtype).removeprefix("torch.") for dtype in wanted)
            actual = str(tensor.dtype).removeprefix("torch.")
            _refuse(path, f"tensor '{name}' is {actual}, the architecture needs {accepted}")


def _check_names(path: Path, names: set[str], expected: set[str]) -> None:
    for name in sorted(expected - names):
        _refuse(path, f"tensor '{name}' is missing ({len(expected - names)} in all)")
    for name in sorted(names - expected):
        shown = ascii(name[:60])[1:-1]
        _refuse(path, f"tensor '{shown}' is not part of the architecture ({len(names - expected)} in all)")


def _check_shape(path: Path, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        _refuse(path, f"tensor '{name}' has shape {shape}, the architecture needs {expected}")


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            _refuse(path, f"tensor '{name}' holds NaN or infinity")


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever the readers raise into our error: unpicklers of damaged files raise nearly anything."""
    try:
        yield
    except CheckpointError:
        raise
    except SafetensorError as error:
        _refuse(path, f"is not readable as safetensors ({_first_line(error)})", error)
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror or _first_line(error)})", error)
    except Exception as error:  # noqa: BLE001
        _refuse(path, f"is not readable ({_first_line(error)})", error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _refuse(path: Path, reason: str, cause: Exception | None = None) -> NoReturn:
    advice = "pass a file written by bitexpand's training, or reinstall if it came with the package"
    raise CheckpointError(f"{path}: {reason}; {advice}") from cause


def _in_one_order(content: bytes) -> bytes:
    """Sort the header's entries: safetensors shuffles the metadata, and one model should give one file."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _write_whole(target: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
