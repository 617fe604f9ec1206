"""Folders of pictures on a real S3-compatible server on loopback: listed, fetched, killed, replaced, refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3server import S3Server, running

from bitexpand.errors import BitexpandError, MissingInputError, UsageError
from training.settings import build
from training.sources import store
from training.sources.download import DownloadError
from training.sources.folder import Folder
from training.sources.store import RemoteError, Store

CONTENT = hashlib.sha256(b"a plate").digest() * (3 << 15)  # 3 MiB: several chunks


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture
def s3(server: S3Server) -> Iterator[S3Server]:
    yield server
    server.clear()


def source(path: str | Path, **keys: Any) -> Folder:  # noqa: ANN401
    return build(Folder, {"kind": "folder", "path": str(path), **keys}, Path("prepare.yaml"))


def test_a_bucket_is_listed_and_fetched_into_the_cache_once(s3: S3Server, tmp_path: Path) -> None:
    s3.put("plates/show/a.exr", CONTENT)
    s3.put("plates/show/sub/b.CR2", b"raw")
    s3.put("plates/other/c.exr", b"not asked for")
    s3.put("plates/show/.hidden/d.exr", b"")
    folder = source("s3://plates/show/", options=s3.options)
    listed = folder.list()
    assert [(o.name, o.suffix, o.origin) for o in listed] == [
        ("a", ".exr", "s3://plates/show/a.exr"),
        ("sub/b", ".cr2", "s3://plates/show/sub/b.CR2"),
    ]
    files = [folder.fetch(original, tmp_path) for original in listed]
    assert [file.read_bytes() for file in files] == [CONTENT, b"raw"]
    stamps = [file.stat().st_mtime_ns for file in files]
    assert [folder.fetch(o, tmp_path).stat().st_mtime_ns for o in listed] == stamps


def test_an_object_replaced_between_two_runs_is_fetched_anew(s3: S3Server, tmp_path: Path) -> None:
    s3.put("plates/show/a.exr", CONTENT)
    folder = source("s3://plates/show", options=s3.options)
    original = folder.list()[0]
    old = folder.fetch(original, tmp_path)
    s3.put("plates/show/a.exr", CONTENT[::-1])
    new = folder.fetch(original, tmp_path)
    assert new != old
    assert new.read_bytes() == CONTENT[::-1]


def cut_off_after(read: int, then: Callable[[], None]) -> Callable[..., Any]:
    """Return a replacement of ``Store._chunks`` that stops after so many bytes; the bytes are the server's own."""
    whole = Store._chunks

    def chunks(self: Store, name: str, file: Any) -> Iterator[bytes]:  # noqa: ANN401
        sent = 0
        for chunk in whole(self, name, file):
            yield chunk
            sent += len(chunk)
            if sent >= read:
                then()

    return chunks


def stop() -> None:
    raise KeyboardInterrupt


def test_a_killed_fetch_is_gone_on_with(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("plates/show/a.exr", CONTENT)
    folder = source("s3://plates/show", options=s3.options)
    original = folder.list()[0]
    monkeypatch.setattr(Store, "_chunks", cut_off_after(1 << 20, stop))
    with pytest.raises(KeyboardInterrupt):
        folder.fetch(original, tmp_path)
    (partial,) = tmp_path.glob(".*.part")
    arrived = partial.stat().st_size
    assert arrived == 1 << 20
    monkeypatch.undo()
    partial.write_bytes(b"x" * arrived)  # so that the result shows what was not fetched again
    monkeypatch.setattr(Store, "_md5", lambda *_: None)
    assert folder.fetch(original, tmp_path).read_bytes() == b"x" * arrived + CONTENT[arrived:]
    assert not list(tmp_path.glob(".*"))


def test_a_killed_fetch_of_an_object_that_was_replaced_starts_again(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("plates/show/a.exr", CONTENT)
    folder = source("s3://plates/show", options=s3.options)
    original = folder.list()[0]
    monkeypatch.setattr(Store, "_chunks", cut_off_after(1 << 20, stop))
    with pytest.raises(KeyboardInterrupt):
        folder.fetch(original, tmp_path)
    monkeypatch.undo()
    s3.put("plates/show/a.exr", CONTENT[::-1])
    assert folder.fetch(original, tmp_path).read_bytes() == CONTENT[::-1]
    assert not list(tmp_path.glob(".*"))


def test_an_object_replaced_while_it_is_fetched_is_never_put_together_out_of_two(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sources.download.BACKOFF", 0.0)
    monkeypatch.setattr(store, "_BLOCK", 1 << 20)
    s3.put("plates/show/a.exr", CONTENT)
    folder = source("s3://plates/show", options=s3.options)
    original = folder.list()[0]
    replace = cut_off_after(1 << 20, lambda: s3.put("plates/show/a.exr", CONTENT[::-1]))
    monkeypatch.setattr(Store, "_chunks", replace)
    with pytest.raises(DownloadError, match=r"s3://plates/show/a.exr: was replaced while it was fetched"):
        folder.fetch(original, tmp_path)
    monkeypatch.undo()
    assert folder.fetch(original, tmp_path).read_bytes() == CONTENT[::-1]


def test_content_that_does_not_fit_its_etag_is_refused(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("plates/show/a.exr", CONTENT)
    folder = source("s3://plates/show", options=s3.options)
    monkeypatch.setattr(Store, "_chunks", lambda *_: iter([bytes(len(CONTENT))]))
    etag = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    with pytest.raises(
        DownloadError, match=f"s3://plates/show/a.exr: its md5 is [0-9a-f]+, not {etag}, twice"
    ):
        folder.fetch(folder.list()[0], tmp_path)


def test_an_etag_that_is_no_md5_is_not_taken_for_one(s3: S3Server, tmp_path: Path) -> None:
    s3.put("plates/show/a.exr", CONTENT, ServerSideEncryption="aws:kms")
    s3.put_in_parts("plates/show/b.exr", CONTENT)
    opened = store.open_store("s3://plates/show", s3.options)
    infos = {name: opened._fs.info(f"plates/show/{name}") for name in ("a.exr", "b.exr")}
    assert [opened._md5(f"plates/show/{name}", info) for name, info in infos.items()] == [None, None]
    folder = source("s3://plates/show", options=s3.options)
    for original in folder.list():
        assert folder.fetch(original, tmp_path).read_bytes() == CONTENT


def test_what_a_bucket_refuses_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("plates/show/a.txt", b"")
    told: list[tuple[str, dict[str, Any], type[BitexpandError], str]] = [
        (
            "s3://nowhere/show",
            {},
            MissingInputError,
            r"s3://nowhere/show: is not there \(.*bucket does not exist",
        ),
        ("s3://plates/none", {}, MissingInputError, "s3://plates/none: is not there"),
        ("s3://plates/show", {}, MissingInputError, "s3://plates/show: has no picture in it"),
        ("s3://plates/show/a.txt", {}, UsageError, "a.txt: is no folder; name the folder that holds the"),
        ("s3://plates/show", {"endpont": "x"}, UsageError, r"the options do not fit \(.*'endpont'"),
        ("s3://plates/show", {"endpoint_url": "nonsense"}, RemoteError, "cannot be had .*nonsense"),
    ]
    for path, options, kind, message in told:
        with pytest.raises(kind, match=message):
            source(path, options={**s3.options, **options}).list()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(
        UsageError, match=r"there are no credentials .*they come from the environment: for S3 AWS_"
    ):
        source("s3://plates/show", options={**s3.options, "use_listings_cache": False}).list()


def test_a_store_that_is_not_there_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(
        RemoteError, match=r"s3://plates/show: cannot be had \(.*127.0.0.1:9/.*check the address"
    ):
        source("s3://plates/show", options={"endpoint_url": "http://127.0.0.1:9"}).list()
