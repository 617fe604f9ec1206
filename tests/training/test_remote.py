"""Prepared folders on a real S3-compatible server: both ways, killed half-way, and never half taken for whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import pytest
from s3server import S3Server, running

from bitexpand.errors import MissingInputError, UsageError
from training import remote
from training.remote import SUMS, UnfinishedFolderError, mirror, upload
from training.sources.store import Store

URL = "s3://studio/prepared/plates"
PLATES = {f"show/plate{number}.npy": bytes([number]) * 5000 for number in range(4)}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture
def s3(server: S3Server) -> Iterator[S3Server]:
    server.put("studio/other.txt", b"of somebody else")
    yield server
    server.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a prepared folder; to what is copied it is only files and a manifest."""
    for name, content in {**PLATES, "manifest.json": b"{}", ".bitexpand-temporary.npy": b"half"}.items():
        write(tmp_path / "prepared", name, content)
    return tmp_path / "prepared"


def write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def visible(folder: Path) -> dict[str, bytes]:
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in files.items() if not name.startswith(".")}


def there(s3: S3Server) -> dict[str, bytes]:
    prefix = "prepared/plates/"
    return {k.removeprefix(prefix): c for k, c in s3.content("studio").items() if k.startswith(prefix)}


def note_puts(monkeypatch: pytest.MonkeyPatch, *, die_after: int | None = None) -> list[str]:
    """Note what is sent; optionally die when so many files have gone."""
    sent: list[str] = []
    put = Store.put

    def noting(self: Store, file: Path, name: str) -> None:
        if len(sent) == die_after:
            raise KeyboardInterrupt
        put(self, file, name)
        sent.append(name)

    monkeypatch.setattr(Store, "put", noting)
    return sent


def test_what_goes_up_comes_down_the_same(s3: S3Server, folder: Path, tmp_path: Path) -> None:
    assert upload(folder, URL, s3.options) == 5
    copy = mirror(URL, tmp_path / "cache", s3.options)
    assert visible(copy) == {**PLATES, "manifest.json": b"{}"}
    assert mirror(URL + "/", tmp_path / "cache", s3.options) == copy
    assert s3.content("studio")["other.txt"] == b"of somebody else"


def test_the_list_is_what_sha256sum_reads(s3: S3Server, folder: Path) -> None:
    upload(folder, URL, s3.options)
    lines = there(s3)[SUMS].decode().splitlines()
    everything = {**PLATES, "manifest.json": b"{}"}
    assert lines == [f"{hashlib.sha256(everything[n]).hexdigest()}  {n}" for n in sorted(everything)]


def test_the_manifest_goes_last_and_only_changes_are_sent(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = note_puts(monkeypatch)
    upload(folder, URL, s3.options)
    assert sent == [*sorted(PLATES), "manifest.json"]
    sent.clear()
    assert upload(folder, URL, s3.options) == 0
    assert sent == []
    write(folder, "show/plate2.npy", b"x" * 5000)  # of the same size
    write(folder, "show/new.npy", b"new")
    assert upload(folder, URL, s3.options) == 3
    assert sent == ["show/new.npy", "show/plate2.npy", "manifest.json"]
    assert there(s3)["show/plate2.npy"] == b"x" * 5000


def test_an_object_that_was_damaged_or_lost_up_there_is_sent_again(s3: S3Server, folder: Path) -> None:
    upload(folder, URL, s3.options)
    s3.put("studio/prepared/plates/show/plate1.npy", b"short")
    s3.client.delete_object(Bucket="studio", Key="prepared/plates/show/plate3.npy")
    assert upload(folder, URL, s3.options) == 3
    assert {name: there(s3)[name] for name in PLATES} == PLATES


@pytest.mark.parametrize(("die_after", "again"), [(0, False), (2, False), (2, True), (4, True)])
def test_a_killed_upload_is_never_taken_for_whole_and_is_gone_on_with(
    s3: S3Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_after: int, again: bool
) -> None:
    monkeypatch.setattr(remote, "NOTE_BYTES", 1)
    if again:
        upload(folder, URL, s3.options)
        for name in PLATES:
            write(folder, name, b"newer" + name.encode())
    with monkeypatch.context() as patch:
        note_puts(patch, die_after=die_after)
        with pytest.raises(KeyboardInterrupt):
            upload(folder, URL, s3.options)
    with pytest.raises(
        (UnfinishedFolderError, MissingInputError), match=r"upload was not finished|no prepared"
    ):
        mirror(URL, tmp_path / "cache", s3.options)
    sent = note_puts(monkeypatch)
    upload(folder, URL, s3.options)
    assert sent == [*sorted(PLATES)[die_after:], "manifest.json"]
    copy = mirror(URL, tmp_path / "cache", s3.options)
    assert visible(copy) == {name: content for name, content in visible(folder).items()}


def test_a_file_overwritten_by_a_killed_upload_and_then_taken_back_is_sent_again(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(folder, URL, s3.options)
    write(folder, "show/plate0.npy", b"x" * 5000)
    put = Store.put

    def put_and_die(self: Store, file: Path, name: str) -> None:
        put(self, file, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", put_and_die)
        with pytest.raises(KeyboardInterrupt):
            upload(folder, URL, s3.options)
    assert there(s3)["show/plate0.npy"] == b"x" * 5000
    write(folder, "show/plate0.npy", PLATES["show/plate0.npy"])
    upload(folder, URL, s3.options)
    assert there(s3)["show/plate0.npy"] == PLATES["show/plate0.npy"]


def note_fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fetched: list[str] = []
    chunks = Store._chunks

    def noting(self: Store, name: str, file: object) -> Iterator[bytes]:
        fetched.append(name)
        return chunks(self, name, file)

    monkeypatch.setattr(Store, "_chunks", noting)
    return fetched


def changed(folder: Path, s3: S3Server, **files: bytes) -> Sequence[str]:
    for name, content in files.items():
        write(folder, f"show/{name}.npy", content)
    upload(folder, URL, s3.options)
    return sorted(f"show/{name}.npy" for name in files)


def test_a_mirror_fetches_only_what_changed_and_drops_what_went(
    s3: S3Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(folder, URL, s3.options)
    copy = mirror(URL, tmp_path / "cache", s3.options)
    fetched = note_fetches(monkeypatch)
    mirror(URL, tmp_path / "cache", s3.options)
    assert fetched == []
    (folder / "show/plate3.npy").unlink()
    assert changed(folder, s3, plate1=b"y" * 5000) == ["show/plate1.npy"]
    mirror(URL, tmp_path / "cache", s3.options)
    assert fetched == ["show/plate1.npy", "manifest.json"]
    assert visible(copy) == visible(folder)


def test_a_damaged_local_copy_is_mended(s3: S3Server, folder: Path, tmp_path: Path) -> None:
    upload(folder, URL, s3.options)
    copy = mirror(URL, tmp_path / "cache", s3.options)
    write(copy, "show/plate1.npy", b"\0" * 5000)
    mirror(URL, tmp_path / "cache", s3.options)
    assert visible(copy) == {**PLATES, "manifest.json": b"{}"}


def test_a_killed_mirror_has_no_manifest_and_is_gone_on_with(
    s3: S3Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(folder, URL, s3.options)
    copy = mirror(URL, tmp_path / "cache", s3.options)
    changed(folder, s3, plate0=b"a", plate2=b"b")
    chunks = Store._chunks
    monkeypatch.setattr(
        Store, "_chunks", lambda self, name, file: stop() if "plate2" in name else chunks(self, name, file)
    )
    with pytest.raises(KeyboardInterrupt):
        mirror(URL, tmp_path / "cache", s3.options)
    assert "manifest.json" not in visible(copy)
    monkeypatch.undo()
    mirror(URL, tmp_path / "cache", s3.options)
    assert visible(copy) == visible(folder)


def stop() -> Iterator[bytes]:
    raise KeyboardInterrupt


def test_a_local_folder_is_used_as_it_lies(tmp_path: Path) -> None:
    assert mirror(str(tmp_path), tmp_path / "cache", {}) == tmp_path
    assert mirror(f"file://{tmp_path}", tmp_path / "cache", {}) == tmp_path
    assert not (tmp_path / "cache").exists()


def test_any_file_system_will_do_both_ways(folder: Path, tmp_path: Path) -> None:
    upload(folder, f"file://{tmp_path}/share/plates", {})
    assert upload(folder, f"file://{tmp_path}/share/plates", {}) == 0
    assert visible(tmp_path / "share/plates").keys() == {*PLATES, "manifest.json", SUMS}
    upload(folder, "memory://studio/plates", {})
    assert visible(mirror("memory://studio/plates", tmp_path / "cache", {})) == visible(folder)
    fsspec.filesystem("memory").rm("/studio", recursive=True)


def test_what_cannot_be_copied_is_told(s3: S3Server, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(MissingInputError, match=r"empty: has no manifest.json, so there is nothing complete"):
        upload(tmp_path / "empty", URL, s3.options)
    with pytest.raises(MissingInputError, match=r"s3://nowhere/x: is not there \(.*bucket does not exist"):
        upload(folder, "s3://nowhere/x", s3.options)
    with pytest.raises(MissingInputError, match=r"s3://studio/x: holds no prepared folder"):
        mirror("s3://studio/x", cache, s3.options)
    with pytest.raises(UsageError, match="unknown protocol 's4'; did you mean 's3'"):
        mirror("s4://studio/x", cache, {})
    upload(folder, URL, s3.options)
    s3.client.delete_object(Bucket="studio", Key=f"prepared/plates/{SUMS}")
    with pytest.raises(UnfinishedFolderError, match=f"has no {SUMS}: its upload was not finished"):
        mirror(URL, cache, s3.options)
    for content, message in (
        (b"garbage\n", "is no list of SHA-256"),
        (b"0" * 64 + b"  ../x\n", "'../x' is outside"),
    ):
        s3.put(f"studio/prepared/plates/{SUMS}", content)
        with pytest.raises(UnfinishedFolderError, match=message):
            mirror(URL, cache, s3.options)
    assert not cache.exists()
