"""The manifest: what is written comes back, and a folder that is not what it says is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rows import row

from bitexpand.errors import BitexpandError, MissingInputError, PlateError, UsageError
from training import arrays
from training.manifest import Manifest, PlateRow, Storage


def folder_of(folder: Path, *rows: PlateRow, storage: Storage = "float") -> Manifest:
    dtype = np.float32 if storage == "float" else np.uint16
    for plate in rows:
        arrays.write_array(folder / plate.file, np.zeros((plate.height, plate.width, 3), dtype))
        if plate.unknown:
            arrays.write_array(folder / plate.unknown, np.zeros((plate.height, plate.width), bool))
    manifest = Manifest("ACEScct", "bitexpand", storage, rows)
    manifest.save(folder)
    return manifest


@pytest.mark.parametrize("storage", ["float", "uint16"])
def test_a_manifest_comes_back(storage: Storage, tmp_path: Path) -> None:
    manifest = folder_of(tmp_path, row("a"), row("b", "val", unknown="b.unknown"), storage=storage)
    loaded = Manifest.load(tmp_path)
    assert loaded == manifest
    assert loaded.digest() == manifest.digest()
    assert [plate.name for plate in loaded.of_split("val", tmp_path)] == ["b"]


@pytest.mark.parametrize("changes", [{"sha256": "2" * 64}, {"split": "test"}, {"unknown": "a.unknown"}])
def test_the_digest_tells_plates_and_splits_apart(changes: dict[str, Any]) -> None:
    manifests = [
        Manifest("ACEScct", "bitexpand", "float", (plate,)) for plate in (row("a"), row("a", **changes))
    ]
    assert len({manifest.digest() for manifest in manifests}) == 2
    assert replace(manifests[0], encoding="ARRI LogC4").digest() != manifests[0].digest()


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    manifest = folder_of(tmp_path, row("a"))
    with pytest.raises(UsageError, match=rf"no plates in split 'val' of {tmp_path}; give it a share, or pin"):
        manifest.of_split("val", tmp_path)


def test_a_scene_in_two_splits_is_neither_written_nor_read(tmp_path: Path) -> None:
    manifest = Manifest(
        "ACEScct", "bitexpand", "float", (row("a", scene="sea"), row("b", "val", scene="sea"))
    )
    expected = r"scene 'sea' is in two splits: 'a' in 'train', 'b' in 'val'; prepare the folder again"
    with pytest.raises(UsageError, match=expected):
        manifest.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    folder_of(tmp_path, row("a", scene="sea"), row("b", scene="sea"))
    edit(tmp_path, lambda content: content["plates"][1].update(split="val"))
    with pytest.raises(UsageError, match=expected):
        Manifest.load(tmp_path)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("version"), "is no manifest of a prepared folder"),
        (lambda c: c.update(version=99), "has version 99, this program reads 1; prepare the folder again"),
        (lambda c: c.update(storge="float"), "unknown key 'storge'; did you mean 'storage'"),
        (lambda c: c.pop("encoding"), "key 'encoding' is missing"),
        (
            lambda c: c.update(storage="half"),
            "key 'storage': input should be 'float' or 'uint16', not 'half'",
        ),
        (
            lambda c: c["plates"][0].update(split="vla"),
            "key 'plates.0.split': input should be 'train', 'val'",
        ),
        (lambda c: c["plates"][0].pop("licence"), "key 'plates.0.licence' is missing"),
        (lambda c: c["plates"].append(c["plates"][0]), "two plates are called 'a'"),
        (lambda c: c["plates"][0].update(file="../a.npy"), "the file '../a.npy' is not within the folder"),
        (lambda c: c["plates"][0].update(file="/a.npy"), "the file '/a.npy' is not within the folder"),
    ],
)
def test_an_edited_manifest(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    folder_of(tmp_path, row("a"))
    edit(tmp_path, change)
    with pytest.raises(UsageError) as error:
        Manifest.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'manifest.json'}: ")
    assert message in str(error.value)


def test_no_manifest_or_none_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        MissingInputError, match=r"is no prepared folder, .* run `python -m training prepare`"
    ):
        Manifest.load(tmp_path)
    for content in ('{"version": 1,', "\xff"):
        (tmp_path / "manifest.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(
            UsageError, match=r"manifest\.json: cannot be read as JSON .*; prepare the folder again"
        ):
            Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UsageError, match="is no manifest"):
        Manifest.load(tmp_path)


def missing(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no array" * 20)


def retyped(path: Path) -> None:
    arrays.write_array(path, np.zeros((4, 6, 3), np.float64))


def smaller(path: Path) -> None:
    arrays.write_array(path, np.zeros((4, 5, 3), np.float32))


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (missing, MissingInputError, "is in the manifest and not there; prepare the folder again"),
        (cut, PlateError, "is damaged"),
        (emptied, PlateError, "is damaged"),
        (text, PlateError, "is damaged"),
        (retyped, PlateError, "holds float64 (4, 6, 3), the manifest says float32 (4, 6, 3)"),
        (smaller, PlateError, "holds float32 (4, 5, 3), the manifest says float32 (4, 6, 3)"),
    ],
)
def test_a_plate_that_is_not_what_it_was(
    damage: Callable[[Path], None], kind: type[BitexpandError], message: str, tmp_path: Path
) -> None:
    folder_of(tmp_path, row("a"), row("b"))
    damage(tmp_path / "b.npy")
    with pytest.raises(kind) as error:
        Manifest.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'b.npy'}: ")
    assert message in str(error.value)


def test_a_mask_that_is_not_there(tmp_path: Path) -> None:
    folder_of(tmp_path, row("a", unknown="a.unknown"))
    retyped(tmp_path / "a.unknown")
    with pytest.raises(PlateError, match=r"a\.unknown: holds float64 .*, the manifest says bool \(4, 6\)"):
        Manifest.load(tmp_path)
    (tmp_path / "a.unknown").unlink()
    with pytest.raises(MissingInputError, match=r"a\.unknown: is in the manifest"):
        Manifest.load(tmp_path)
