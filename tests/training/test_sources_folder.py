"""Folders of pictures: on this machine and in memory; those on S3 are tested with the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.errors import MissingInputError, UsageError
from training.settings import build
from training.sources.folder import SUFFIXES, Folder

CONTENT = hashlib.sha256(b"a plate").digest() * (3 << 15)  # 3 MiB: several chunks


def source(path: str | Path, **keys: Any) -> Folder:  # noqa: ANN401
    return build(Folder, {"kind": "folder", "path": str(path), **keys}, Path("prepare.yaml"))


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(folder: Folder) -> list[str]:
    return [original.name for original in folder.list()]


def test_pictures_are_listed_by_name_and_returned_as_they_lie(tmp_path: Path) -> None:
    write(tmp_path, "b.exr", "a/sky_0002.EXR", "a/sky_0001.exr", "c.NEF", "notes.txt", "d.jpg", "a.b/e.f.tif")
    folder = source(tmp_path, licence="CC-BY-4.0", scene="(sky)_")
    listed = folder.list()
    assert [(o.name, o.suffix, o.scene) for o in listed] == [
        ("a.b/e.f", ".tif", "a.b/e.f"),
        ("a/sky_0001", ".exr", "sky"),
        ("a/sky_0002", ".exr", "sky"),
        ("b", ".exr", "b"),
        ("c", ".nef", "c"),
    ]
    assert {o.licence for o in listed} == {"CC-BY-4.0"}
    assert listed[2].origin == str(tmp_path / "a/sky_0002.EXR")
    for original in listed:
        file = folder.fetch(original, tmp_path / "cache")
        assert file.read_text() == str(file.relative_to(tmp_path))
    assert not (tmp_path / "cache").exists()


def test_every_accepted_suffix_is_found_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, *(f"{suffix[1:]}{suffix.upper()}" for suffix in SUFFIXES))
    assert {original.suffix for original in source(tmp_path).list()} == SUFFIXES


def test_a_path_may_be_a_file_url_or_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "plates/a.exr")
    for path in (f"file://{tmp_path}/plates", "~/plates", f"{tmp_path}/plates/"):
        folder = source(path)
        assert folder.fetch(folder.list()[0], tmp_path) == tmp_path / "plates/a.exr"


def test_links_are_followed_once_and_real_folders_come_first(tmp_path: Path) -> None:
    write(tmp_path, "plates/z/deep/a.exr", "elsewhere/b.exr")
    plates = tmp_path / "plates"
    (plates / "a_link").symlink_to(plates / "z")
    (plates / "z/deep/loop").symlink_to(plates)
    (plates / "outside").symlink_to(tmp_path / "elsewhere")
    (plates / "file.exr").symlink_to(tmp_path / "elsewhere/b.exr")
    assert names(source(plates)) == ["file", "outside/b", "z/deep/a"]


def test_a_link_to_nowhere_is_listed_and_told_when_it_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "a.exr").symlink_to(tmp_path / "gone.exr")
    folder = source(tmp_path)
    with pytest.raises(
        MissingInputError, match=r"a.exr: no such file; it was there when the folder was listed"
    ):
        folder.fetch(folder.list()[0], tmp_path)


def test_hidden_files_and_folders_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.exr", "._a.exr", ".trash/b.exr")
    os.mkfifo(tmp_path / "pipe.exr")
    (tmp_path / "folder.exr").mkdir()
    assert names(source(tmp_path)) == ["a"]


def test_pictures_that_differ_by_suffix_alone_have_it_in_their_names_and_are_one_scene(
    tmp_path: Path,
) -> None:
    write(tmp_path, "shot.exr", "shot.nef", "other.exr", "SHOT.hdr")
    listed = source(tmp_path).list()
    assert [(o.name, o.scene) for o in listed] == [
        ("SHOT_hdr", "SHOT"),
        ("other", "other"),
        ("shot_exr", "shot"),
        ("shot_nef", "shot"),
    ]


@pytest.mark.parametrize(
    ("one", "two"), [("a.exr", "A.exr"), ("a:b.exr", "a?b.exr"), ("x /p.exr", "x_/p.exr")]
)
def test_names_that_some_file_system_takes_for_one_are_refused(tmp_path: Path, one: str, two: str) -> None:
    write(tmp_path, one, two)
    with pytest.raises(UsageError, match=r"would both be called '.*'; rename one of them") as told:
        source(tmp_path).list()
    assert f"'{one}'" in str(told.value)
    assert f"'{two}'" in str(told.value)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab.:*|? \t\\é-_", min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
def test_names_are_unique_and_safe_everywhere(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str]
) -> None:
    root = tmp_path_factory.mktemp("plates")
    write(root, *(f"x{stem}.exr" for stem in stems))
    folder = source(root)
    try:
        listed = folder.list()
    except UsageError:
        return
    assert len({o.name.casefold() for o in listed}) == len(stems)
    for original in listed:
        assert not set(original.name) & set(':*|?"<>\\\t')
        assert original.name.rstrip(". ") == original.name
        assert folder.fetch(original, root).read_text() == Path(original.origin).name


def test_places_without_pictures_are_told(tmp_path: Path) -> None:
    write(tmp_path, "readme.txt")
    for path, kind, message in (
        (tmp_path, MissingInputError, r"has no picture in it \(\.arw .*\.tiff\)"),
        (tmp_path / "none", MissingInputError, "none: no such folder"),
        (tmp_path / "readme.txt", UsageError, "is no folder; name the folder that holds the pictures"),
    ):
        with pytest.raises(kind, match=message):
            source(path).list()


def test_a_folder_that_cannot_be_read_is_told_and_not_passed_over(tmp_path: Path, as_nobody: None) -> None:
    write(tmp_path, "a.exr", "locked/b.exr")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(UsageError, match=r"locked: cannot be read \(Permission denied\)"):
            source(tmp_path).list()
    finally:
        (tmp_path / "locked").chmod(0o700)


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[None]:
    """Run a test as a user that permissions hold for."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "s4://bucket"}, "unknown protocol 's4'; did you mean 's3'"),
        (
            {"path": "s3://bucket", "options": {"secret": "x"}},
            "option 'secret' would be a secret in a file; .*AWS_",
        ),
        (
            {"path": "s3://b", "options": {"aws_access_key_id": "x"}},
            "option 'aws_access_key_id' would be a secret",
        ),
        ({"path": "ftp://me:word@there/plates"}, "the URL holds a password; credentials do not belong"),
        (
            {"path": "plates", "options": {"anon": True}},
            "options are for URLs, and 'plates' is a folder of this",
        ),
        ({"path": "plates", "scene": "("}, r"scene '\(' is no regular expression"),
        ({"path": "plates", "scene": "a"}, "scene 'a' must have one group"),
        ({}, "key 'path' is missing"),
    ],
)
def test_bad_keys_are_told(keys: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Folder, {"kind": "folder", **keys}, Path("prepare.yaml"))


def test_a_protocol_whose_package_is_missing_is_told() -> None:
    with pytest.raises(UsageError, match=r"'wandb://' needs a package that is missing \(.*wandb"):
        source("wandb://bucket/plates").list()


def test_any_file_system_of_fsspec_will_do(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/plates/a/b.exr": CONTENT, "/plates/.hidden/c.exr": b"", "/plates/notes.txt": b""})
    folder = source("memory://plates")
    assert names(folder) == ["a/b"]
    assert folder.fetch(folder.list()[0], tmp_path).read_bytes() == CONTENT
