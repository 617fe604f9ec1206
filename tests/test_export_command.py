"""``bitexpand export``: what it writes, what it refuses, and that a refusal costs nothing."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Cli, hidden_files
from expansions import digests
from exporting import SMALL, codes_of, plate_signal, weights_file

import bitexpand.export
from bitexpand.errors import ExportError
from bitexpand.export import check, export
from bitexpand.export.check import load_archive

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CASES", (check.Case((37, 23)), check.Case((9, 30), strength=0.5, bits=10)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return weights_file(tmp_path_factory.mktemp("weights"))


def test_nuke_gets_archive_gizmo_and_script(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    told = call_cli("export", weights, "--target", "nuke", "-o", folder)
    told.said(
        "float: at most", "half: at most", "LSB from the engine", "BitExpandLive.pt", "Create .cat file"
    )
    cattery = folder / "Cattery" / "BitExpand"
    assert sorted(path.name for path in cattery.iterdir()) == [
        "BitExpandLive.gizmo", "BitExpandLive.png", "cat.json",
    ]  # fmt: skip
    script = (folder / "make_cat.nk").read_text()
    assert f'torchScriptFile "{(folder / "BitExpandLive.pt").as_posix()}"' in script
    assert f'catFile "{(cattery / "BitExpandLive.cat").as_posix()}"' in script
    archive = load_archive((folder / "BitExpandLive.pt").read_bytes())
    signal = plate_signal(31, 45)
    assert torch.equal(codes_of(archive(signal)), codes_of(signal))
    assert not hidden_files(folder)


def test_the_record_says_what_was_written(weights: str, tmp_path: Path) -> None:
    exported = export(weights, "torchscript", tmp_path)
    assert [path.name for path in exported.files] == ["small.pt"]
    assert [agreement.precision for agreement in exported.agreements] == ["float", "half"]
    assert all(agreement.largest <= 0.01 for agreement in exported.agreements)
    entry = json.loads((tmp_path / "bitexpand_export.json").read_text())["files"]["small.pt"]
    assert entry["target"] == "torchscript"
    assert entry["model"] == "small.safetensors"
    assert entry["sha256"] == digests(tmp_path)["small.pt"]


def test_onnx_beside_torchscript_and_once_more(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the extra 'export'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
    (tmp_path / "notes.txt").write_text("not ours, and not in the way")
    for target in ("torchscript", "onnx", "onnx"):
        call_cli("export", weights, "--target", target, "-o", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"small.pt", "small.onnx", "bitexpand_export.json", "notes.txt"}
    assert set(json.loads((tmp_path / "bitexpand_export.json").read_text())["files"]) == {
        "small.pt",
        "small.onnx",
    }


@pytest.mark.parametrize("target", ["nuke", "onnx"])
def test_what_differs_from_the_engine_is_not_written(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    other = bitexpand.export.SignalModel
    monkeypatch.setattr(bitexpand.export, "SignalModel", lambda _: other(SMALL["mixture"].eval()))
    with pytest.raises(ExportError, match=r"differs from the engine by .* LSB"):
        export(weights, target, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["values", "size", "dtype"])
def test_the_check_sees_each_fault(weights: str, kind: str) -> None:
    def run(signal: torch.Tensor, case: check.Case) -> torch.Tensor:
        return {"values": signal * float("nan"), "size": signal[..., 1:], "dtype": signal}[kind]

    with pytest.raises(ExportError, match={"values": "nan LSB", "size": "makes", "dtype": "differs"}[kind]):
        check.check_float(weights, run)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pyramide", "--target", "nuke"], 2, ["unknown model 'pyramide'", "did you mean 'pyramid'?"]),
        (["pyramid", "--target", "onx"], 2, ["unknown target 'onx'", "did you mean 'onnx'?"]),
        (["pyramid"], 2, ["--target"]),
        (["nowhere.safetensors", "--target", "onnx"], 3, ["no such weights file"]),
    ],
)
def test_bad_arguments(
    call_cli: Cli, tmp_path: Path, arguments: list[str], code: int, said: list[str]
) -> None:
    call_cli("export", *arguments, "-o", tmp_path / "out", expect=code).said(*said)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_weights_file(call_cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not weights")
    told = call_cli("export", text, "--target", "nuke", "-o", tmp_path / "out", expect=2)
    told.said("notes.txt", "not readable as safetensors")
    assert not (tmp_path / "out").exists()


def test_a_file_for_a_folder(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    call_cli("export", weights, "--target", "nuke", "-o", taken, expect=2).said("taken", "this is a file")
    assert taken.read_text() == "mine"


def test_a_folder_that_cannot_be_made(call_cli: Cli, weights: str) -> None:
    told = call_cli("export", weights, "--target", "torchscript", "-o", "/proc/nowhere/deep", expect=1)
    told.said("/proc/nowhere/deep", "cannot be written to", "nothing was exported")


def test_files_that_are_not_ours_are_kept(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    theirs = tmp_path / "make_cat.nk"
    theirs.write_text("theirs")
    told = call_cli("export", weights, "--target", "nuke", "-o", tmp_path, expect=2)
    told.said("make_cat.nk", "move it away or choose another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["make_cat.nk"]
    assert theirs.read_text() == "theirs"


def test_what_was_changed_since_is_kept(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    call_cli("export", weights, "--target", "nuke", "-o", tmp_path)
    gizmo = tmp_path / "Cattery" / "BitExpand" / "BitExpandLive.gizmo"
    gizmo.write_text(gizmo.read_text() + "# my own\n")
    before = digests(tmp_path)
    told = call_cli("export", weights, "--target", "nuke", "-o", tmp_path, expect=2)
    told.said("Cattery/BitExpand/BitExpandLive.gizmo", "not as an export left it")
    assert digests(tmp_path) == before


def test_a_record_that_cannot_be_read_claims_nothing(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    call_cli("export", weights, "--target", "torchscript", "-o", tmp_path)
    for text in ("{", "[]", '{"files": 3}', '{"files": {"small.pt": "x"}}'):
        (tmp_path / "bitexpand_export.json").write_text(text)
        call_cli("export", weights, "--target", "torchscript", "-o", tmp_path, expect=2).said("small.pt")


def test_a_path_that_nuke_would_evaluate(call_cli: Cli, weights: str, tmp_path: Path) -> None:
    folder = tmp_path / "shot[1]"
    told = call_cli("export", weights, "--target", "nuke", "-o", folder, expect=2)
    told.said("'['", "as an expression", "choose a folder without")
    assert not folder.exists()


def test_onnx_that_is_not_installed(
    call_cli: Cli, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else found(name))
    told = call_cli("export", weights, "--target", "onnx", "-o", tmp_path / "out", expect=2)
    told.said("onnx and onnxruntime", "pip install 'bitexpand[export]'")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up(call_cli: Cli, weights: str, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64)
    (disk / "mine.txt").write_text("mine")
    told = call_cli("export", weights, "--target", "torchscript", "-o", disk, expect=1)
    told.said("No space left", "nothing was exported")
    assert [path.name for path in disk.iterdir()] == ["mine.txt"]


def test_operators_too_new_are_refused(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bitexpand.export, "operators", lambda _: ["aten::special_bessel_j0(Tensor self) -> Tensor"]
    )
    with pytest.raises(ExportError, match="Nuke 14 cannot load: aten::special_bessel_j0"):
        export(weights, "nuke", tmp_path)
    assert not list(tmp_path.iterdir())
    export(weights, "torchscript", tmp_path)
