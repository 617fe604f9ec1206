"""Weights files: what is written is read, and whatever a file can lie about is found out before it costs."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitexpand.errors import CheckpointError, DiskFullError, MissingInputError, UnknownNameError
from bitexpand.models import checkpoint
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.unet import UNet, UNetConfig

TINY = PyramidConfig(channels=(2, 3), factor=1, fits=(3,))
TINY_UNET = UNetConfig(channels=1)
State = dict[str, Tensor]
Metadata = dict[str, str]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Return the weights file of a tiny random pyramid."""
    path = tmp_path / "good.safetensors"
    checkpoint.save(path, Pyramid(TINY), "pyramid", TINY)
    return path


def taken_apart(path: Path) -> tuple[Metadata, State]:
    """Return a file's metadata and tensors."""
    with safetensors.safe_open(path, framework="pt") as file:
        names = file.keys()
        return dict(file.metadata()), {name: file.get_tensor(name) for name in names}


def forged(path: Path, metadata: Metadata, state: State, rehash: bool = False) -> Path:
    """Write a file that need not be right; with ``rehash`` its SHA-256 is."""
    if rehash:
        config = json.loads(metadata["config"])
        metadata = {**metadata, "sha256": checkpoint.digest(metadata["architecture"], config, state)}
    path.write_bytes(safetensors.torch.save(state, metadata))
    return path


def refused(path: Path, reason: str) -> None:
    """Assert that a file is refused by name, for this reason, and with advice."""
    with pytest.raises(CheckpointError, match=reason) as caught:
        checkpoint.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(
        "pass a file written by bitexpand's training, or reinstall if it came with the package"
    )
    assert "\n" not in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("architecture", "module", "config"),
    [
        ("pyramid", Pyramid, TINY),
        ("unet", UNet, TINY_UNET),
        ("unet", UNet, UNetConfig(channels=1, upsampling="transposed")),
    ],
)
def test_what_is_written_is_read(
    architecture: str, module: Callable[[Any], PlateModel], config: ModelConfig, tmp_path: Path
) -> None:
    model = module(config)
    written = checkpoint.save(tmp_path / "model.safetensors", model, architecture, config)
    read, sha256 = checkpoint.read(tmp_path / "model.safetensors")
    assert sha256 == written
    assert (type(read), read.config) == (type(model), config)
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)


def test_the_same_model_gives_the_same_bytes(good: Path, tmp_path: Path) -> None:
    model, _ = checkpoint.read(good)
    for attempt in range(5):  # safetensors shuffles its metadata anew on each call
        again = tmp_path / f"{attempt}.safetensors"
        checkpoint.save(again, model, "pyramid", TINY)
        assert again.read_bytes() == good.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_weights_from_before_a_field_was_added_mean_its_default(good: Path, tmp_path: Path) -> None:
    metadata, _ = taken_apart(good)
    assert set(json.loads(metadata["config"])) == {"channels", "factor", "fits"}
    assert checkpoint.read(good)[0].config == TINY
    config = replace(TINY, posterior=True, refits=(5,))
    later = tmp_path / "later.safetensors"
    sha256 = checkpoint.save(later, Pyramid(config), "pyramid", config)
    module, read_sha256 = checkpoint.read(later)
    assert (module.config, read_sha256) == (config, sha256)


def test_the_shipped_format_is_plain_safetensors(good: Path) -> None:
    metadata, state = taken_apart(good)
    assert metadata["format"] == "bitexpand-weights"
    assert metadata["format_version"] == "1"
    assert metadata["architecture"] == "pyramid"
    assert json.loads(metadata["config"]) == {"channels": [2, 3], "factor": 1, "fits": [3]}
    assert re.fullmatch("[0-9a-f]{64}", metadata["sha256"])
    assert set(state) == set(Pyramid(TINY).state_dict())


def test_half_precision_weights_are_read_as_float32(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    checkpoint.save(path, Pyramid(TINY).half(), "pyramid", TINY)
    assert path.stat().st_size < good.stat().st_size
    model, _ = checkpoint.read(path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_reading_leaves_the_random_numbers_alone(good: Path) -> None:
    before = torch.get_rng_state()
    checkpoint.read(good)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pickle_is_read_as_the_same_model(good: Path, tmp_path: Path) -> None:
    model, sha256 = checkpoint.read(good)
    content = {"architecture": "pyramid", "config": {"channels": [2, 3], "factor": 1, "fits": (3,)}}
    for suffix in (".pt", ".pth", ".CKPT"):
        torch.save({**content, "state": model.state_dict()}, tmp_path / f"model{suffix}")
        assert checkpoint.read(tmp_path / f"model{suffix}")[1] == sha256


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    for name in ("gone.safetensors", "gone.pt", "x" * 5000):
        with pytest.raises(MissingInputError, match=f"{name}: no such weights file"):
            checkpoint.read(tmp_path / name)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "it is not a file")
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "it is not a file")  # and not waited for


def test_an_unreadable_file_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "safe_open", denied)
    refused(good, r"it cannot be read \(Permission denied\)")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ""])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, b"\0" * 100, b"\xff" * 100, b"PK\3\4 no zip", b"\x80\2}q"]
)
def test_garbage_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    refused(path, "it is not readable")


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    """Return safetensors bytes with any header."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        header({"t": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, b"\0" * 8),
        header({"t": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}, b"\0" * 8),
        header({"t": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
        header({"t": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}, b"\0" * 8),
        header({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 80),
        b"\x28" + b"\0" * 7 + b"[" * 40,
    ],
)
def test_a_header_that_lies_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(tmp_path / "model.safetensors", "it is not readable as safetensors")


def test_safetensors_of_others_are_refused(good: Path, tmp_path: Path) -> None:
    _, state = taken_apart(good)
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.torch.save(state))
    refused(path, "its metadata lack 'format': 'bitexpand-weights'")
    refused(forged(path, {"format": "pt"}, state), "its metadata lack 'format'")


def test_metadata_that_lack_a_part_are_refused(good: Path, tmp_path: Path) -> None:
    metadata, state = taken_apart(good)
    for key in ("format", "architecture", "config", "sha256"):
        less = {name: value for name, value in metadata.items() if name != key}
        refused(forged(tmp_path / "less.safetensors", less, state), f"its metadata lack '{key}'")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": "2"}, "its format version is '2', not '1'"),
        ({"architecture": "pyramit"}, "unknown architecture 'pyramit'; did you mean 'pyramid'"),
        ({"architecture": "\x1b[31mred"}, r"unknown architecture '\\x1b\[31mred'"),
        ({"config": "{"}, "its config is not JSON"),
        ({"config": "[" * 100_000}, "its config is not JSON"),
        ({"config": "[2, 3]"}, "its config is not a short dict of fields"),
        ({"config": "{}"}, "its config lacks 'channels'"),
        (
            {"config": '{"chanels": [2, 3]}'},
            "unknown field of PyramidConfig 'chanels'; did you mean 'channels'",
        ),
        ({"config": '{"channels": [2, 3], "factor": 1, "fits": [3], "on": 1}'}, "unknown field .* 'on'"),
        ({"config": '{"channels": [2, 3], "factor": 3, "fits": [3]}'}, "PyramidConfig: factor is 3"),
        ({"config": '{"channels": [1e9, 3], "factor": 1, "fits": [3]}'}, "channels is 1000000000.0"),
        ({"config": '{"channels": [NaN, 3], "factor": 1, "fits": [3]}'}, "channels is nan"),
        ({"config": '{"channels": [[2], 3], "factor": 1, "fits": [3]}'}, r"channels is \[2\]"),
        ({"config": f'{{"channels": [{10**9}, 3], "factor": 1, "fits": [3]}}'}, "channels is 1000000000"),
        ({"config": '{"channels": [2, 4], "factor": 1, "fits": [3]}'}, "tensor .* has shape .*, must be"),
        ({"config": '{"channels": [2, 3], "factor": 1, "fits": [5]}'}, "do not match its SHA-256"),
        ({"architecture": "unet", "config": '{"channels": 1}'}, "its config lacks 'upsampling'"),
        ({"sha256": "0" * 64}, "its contents do not match its SHA-256: it was damaged or altered"),
        ({"sha256": ""}, "its contents do not match its SHA-256"),
    ],
)
def test_metadata_that_are_wrong_are_refused(
    change: Metadata, reason: str, good: Path, tmp_path: Path
) -> None:
    metadata, state = taken_apart(good)
    refused(forged(tmp_path / "wrong.safetensors", {**metadata, **change}, state), reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("stem.bias"), r"tensor 'stem\.bias' is missing \(1 in all\)"),
        (lambda state: state.update(more=torch.zeros(1)), "tensor 'more' is not part of the architecture"),
        (lambda state: state.update({"\x1b[2J": torch.zeros(1)}), r"tensor '\\x1b\[2J' is not part"),
        (lambda state: state.update({"stem.bias": torch.zeros(3)}), r"has shape \(3,\), must be \(2,\)"),
        (lambda state: state.update({"stem.bias": torch.zeros(2, 1)}), r"has shape \(2, 1\)"),
        (
            lambda state: state.update({"stem.bias": torch.zeros(2).double()}),
            "is float64, must be float16 or",
        ),
        (lambda state: state.update({"stem.bias": torch.zeros(2).int()}), "is int32, must be float16 or"),
        (lambda state: state.update({"stem.bias": torch.tensor([0, float("nan")])}), "holds NaN or infinity"),
        (
            lambda state: state.update({"stem.bias": torch.tensor([0, -float("inf")])}),
            "holds NaN or infinity",
        ),
        (lambda state: state["stem.bias"].add_(1), "do not match its SHA-256"),
    ],
)
def test_tensors_that_are_wrong_are_refused(
    change: Callable[[State], object], reason: str, good: Path, tmp_path: Path
) -> None:
    metadata, state = taken_apart(good)
    change(state)
    refused(forged(tmp_path / "wrong.safetensors", metadata, state, rehash="SHA" not in reason), reason)


def test_nothing_large_is_built_for_a_small_file(good: Path, tmp_path: Path) -> None:
    metadata, state = taken_apart(good)
    largest = json.dumps({"channels": [1024] * 8, "factor": 4, "fits": [3, 5, 7]})  # 600 MB of weights
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(forged(tmp_path / "large.safetensors", {**metadata, "config": largest}, state), "is missing")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_does_not_matter(data: st.DataObject, good: Path) -> None:
    content = good.read_bytes()
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = content[:where]
    else:
        damaged = (
            content[:where] + bytes([content[where] ^ data.draw(st.integers(1, 255))]) + content[where + 1 :]
        )
    path = good.with_name("damaged.safetensors")
    path.write_bytes(damaged)
    try:
        model, sha256 = checkpoint.read(path)
    except CheckpointError:
        return
    original, expected = checkpoint.read(good)
    assert sha256 == expected  # a blank for another blank in the header
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


class Explosive:
    """Runs a command when it is unpickled by a careless program."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_never_runs_code(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "it_ran"
    content = {"architecture": "pyramid", "config": {}, "state": Explosive(trace)}
    torch.save(content, path)
    refused(path, "it is not readable")
    path.write_bytes(pickle.dumps(content))
    refused(path, "it is not readable")
    assert not trace.exists()


def loop() -> list[object]:
    """Return a list that holds itself."""
    itself: list[object] = []
    itself.append(itself)
    return itself


CONFIG = {"channels": [2, 3], "factor": 1, "fits": [3]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": {}}, "a dict with exactly the keys"),
        ({"architecture": None}, "its architecture is not a name"),
        ({"architecture": "vae"}, "unknown architecture 'vae'"),
        ({"config": None}, "its config is not a short dict"),
        ({"config": {1: 2}}, "unknown field of PyramidConfig"),
        ({"config": {**CONFIG, "channels": loop()}}, r"channels is \(\[\.\.\.\]|channels is"),
        ({"config": {**CONFIG, "factor": torch.zeros(1)}}, r"factor is tensor\(\[0\.\]\)"),
        ({"config": {**CONFIG, "channels": "x" * 20_000}}, "its config is not a short dict"),
        ({"state": None}, "its 'state' is not a dict"),
        ({"state": {"stem.bias": 3}}, r"its 'state' holds 'stem\.bias', which is not a tensor"),
        ({"state": {3: torch.zeros(2)}}, "its 'state' holds '3', which is not a tensor"),
        (
            {"state": {"stem.bias": torch.zeros(2).to_sparse()}},
            r"tensor 'stem\.bias' is not a plain dense one",
        ),
        ({"state": {}}, "is missing"),
        ({"state": {"stem.bias": torch.zeros(1).expand(10**12)}}, r"has shape \(1000000000000,\)"),
    ],
)
def test_a_pickle_that_is_wrong_is_refused(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    state: dict[object, object] = {**Pyramid(TINY).state_dict()}
    content: dict[str, object] = {"architecture": "pyramid", "config": CONFIG, "state": state, **change}
    if isinstance(change.get("state"), dict) and change["state"]:
        content["state"] = {**state, **change["state"]}  # pyright: ignore
    torch.save(content, tmp_path / "wrong.pt")
    refused(tmp_path / "wrong.pt", reason)


def test_a_pickle_nested_too_deep_is_refused(tmp_path: Path) -> None:
    # protocol 2 by hand, as Python's own pickler cannot write it either
    nested = b"]" * 20_000 + b"a" * 19_999
    body = b"}(X\x0c\0\0\0architectureX\x07\0\0\0pyramidX\x06\0\0\0config" + nested + b"X\x05\0\0\0state}u"
    (tmp_path / "deep.pt").write_bytes(b"\x80\2" + body + b".")
    refused(tmp_path / "deep.pt", "it is not readable|not a short dict")


def test_a_bare_list_of_weights_is_refused(tmp_path: Path) -> None:
    for content in ([1, 2], Pyramid(TINY).state_dict(), torch.zeros(3)):
        torch.save(content, tmp_path / "bare.pt")
        refused(tmp_path / "bare.pt", "a dict with exactly the keys 'architecture', 'config' and 'state'")


def test_a_truncated_pickle_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"architecture": "pyramid", "config": CONFIG, "state": Pyramid(TINY).state_dict()}, buffer)
    for size in (1, 100, len(buffer.getvalue()) // 2, len(buffer.getvalue()) - 1):
        (tmp_path / "cut.pt").write_bytes(buffer.getvalue()[:size])
        refused(tmp_path / "cut.pt", "it is not readable|it cannot be read")


def test_a_model_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    model = Pyramid(TINY)
    with torch.no_grad():
        model.stem.bias[0] = float("nan")  # pyright: ignore[reportOptionalSubscript]
    path = tmp_path / "broken.safetensors"
    with pytest.raises(CheckpointError, match=r"not written, as tensor 'stem\.bias' holds NaN"):
        checkpoint.save(path, model, "pyramid", TINY)
    assert not list(tmp_path.iterdir())


def test_a_model_is_written_with_its_own_config_only(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not written, as tensor .* has shape"):
        checkpoint.save(tmp_path / "a", Pyramid(TINY), "pyramid", PyramidConfig((2, 4), 1, (3,)))
    with pytest.raises(CheckpointError, match="not written, as tensor"):
        checkpoint.save(tmp_path / "a", Pyramid(TINY), "unet", TINY_UNET)
    with pytest.raises(UnknownNameError, match="unknown architecture 'pyramidd'; did you mean 'pyramid'"):
        checkpoint.save(tmp_path / "a", Pyramid(TINY), "pyramidd", TINY)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = good.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        checkpoint.save(good, Pyramid(TINY), "pyramid", TINY)
    assert good.read_bytes() == before
    assert [path.name for path in good.parent.iterdir()] == [good.name]
