"""Frames in a store of fsspec: read, written, refused. The store is fsspec's own in memory; S3 has other tests."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, hidden_files
from expansions import digests, statuses
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from PIL import Image
from plates import natural, save

from bitexpand import frames, storage
from bitexpand.errors import (
    DiskFullError,
    MissingInputError,
    PlateError,
    StorageError,
    UnknownNameError,
    UsageError,
    WriteError,
)
from bitexpand.frames import Attribute, FrameInfo, Window
from bitexpand.jobs import Job
from bitexpand.location import RemotePath
from bitexpand.pipeline import expand_sequence
from bitexpand.verify import VerifyJob, verify_sequence

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty the store, and keep temporary copies in a folder that must be empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    storage._scratch_folder.cache_clear()
    memory().store.clear()
    yield folder
    storage._scratch_folder.cache_clear()
    assert not list(folder.iterdir())


def memory() -> MemoryFileSystem:
    return MemoryFileSystem()


def put(job: Job) -> Job:
    """Copy the sources of a job to the store, and return the job that reads and writes there."""
    for file in Path(job.input).parent.iterdir():
        memory().pipe_file(f"memory://plates/in/{file.name}", file.read_bytes())
    return replace(job, input="memory://plates/in/shot_####.png", output="memory://results/v1/shot_####.exr")


def stored() -> dict[str, bytes]:
    """Return the results by name."""
    return {
        path.rpartition("/")[2]: bytes(memory().store[path].getvalue()) for path in memory().find("/results")
    }


def test_results_are_the_same_bytes_as_those_of_files(job: Job) -> None:
    assert statuses(job) == statuses(put(job)) == "wwwwww"
    assert stored() == {p.name: p.read_bytes() for p in Path(job.output).parent.iterdir()}


def test_a_rerun_skips_what_is_done_and_does_the_rest(job: Job) -> None:
    remote = put(job)
    assert statuses(replace(remote, frames="1002-1003")) == "ww"
    before = stored()
    assert statuses(remote) == "wsswww"
    assert statuses(replace(remote, strength=0.5, frames="1002")) == "w"
    assert statuses(replace(remote, existing="overwrite", frames="1002-1003")) == "ww"
    assert stored().items() >= before.items()


@pytest.mark.parametrize("ends", ["in", "out"])
def test_one_end_may_be_here(job: Job, ends: str) -> None:
    remote = put(job)
    mixed = replace(remote, input=job.input) if ends == "out" else replace(remote, output=job.output)
    assert statuses(mixed) == "wwwwww"
    assert all(check.passed for check in verify_sequence(VerifyJob(source=mixed.input, result=mixed.output)))
    assert statuses(mixed) == "ssssss"


@pytest.mark.parametrize("pattern", ["shot_%04d.png", "shot_@@@@.png", "shot_$F4.png", "shot_*.png"])
def test_patterns_are_those_of_files(job: Job, pattern: str) -> None:
    remote = replace(put(job), input=f"memory://plates/in/{pattern}", frames="1001,1004")
    assert statuses(remote) == "ww"
    assert sorted(stored()) == ["shot_1001.exr", "shot_1004.exr"]


def test_one_file(job: Job) -> None:
    remote = put(job)
    one = replace(remote, input=remote.input.replace("####", "1002"), output="memory://results/still.exr")
    assert statuses(one) == "w"
    assert list(stored()) == ["still.exr"]


def test_verify_finds_a_changed_and_a_missing_result(job: Job) -> None:
    remote = put(job)
    assert statuses(remote) == "wwwwww"
    memory().pipe_file("memory://results/v1/shot_1002.exr", stored()["shot_1001.exr"])
    memory().rm_file("memory://results/v1/shot_1004.exr")
    checks = list(verify_sequence(VerifyJob(source=remote.input, result=remote.output)))
    assert [check.passed for check in checks] == [True, False, True, False, True, True]
    assert checks[3].error == "memory://results/v1/shot_1004.exr: missing"


def test_a_foreign_object_is_not_replaced(job: Job) -> None:
    remote = put(job)
    memory().pipe_file("memory://results/v1/shot_1003.exr", b"notes of the compositor")
    results = list(expand_sequence(remote))
    assert [r.status[0] for r in results] == list("wwfwww")
    assert "memory://results/v1/shot_1003.exr: exists and bitexpand did not write it" in str(results[2].error)
    assert stored()["shot_1003.exr"] == b"notes of the compositor"
    with pytest.raises(UsageError, match=r"6 of 6 outputs exist, the first is memory://results/v1/shot_1001"):
        statuses(replace(remote, existing="error"))


def test_a_damaged_source_fails_alone_and_by_its_url(job: Job) -> None:
    remote = put(job)
    whole = memory().cat_file("memory://plates/in/shot_1003.png")
    memory().pipe_file("memory://plates/in/shot_1003.png", whole[: len(whole) // 2])
    memory().pipe_file("memory://plates/in/shot_1005.png", b"")
    results = list(expand_sequence(remote))
    assert [r.status[0] for r in results] == list("wwfwfw")
    assert str(results[2].error).startswith("memory://plates/in/shot_1003.png: pixels cannot be read")
    assert (
        str(results[4].error)
        == "memory://plates/in/shot_1005.png: is empty (0 bytes); copy or render it again"
    )
    assert not any(".bitexpand-" in str(r.error) for r in results)


def test_an_object_that_vanishes_fails_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = put(job)
    from bitexpand import pipeline
    from bitexpand.jobs import plan_sequence

    plan = plan_sequence(remote)
    memory().rm_file("memory://plates/in/shot_1002.png")
    results = list(pipeline.run(plan, remote))
    assert [r.status[0] for r in results] == list("wfwwww")
    assert results[1].error == "memory://plates/in/shot_1002.png: is not there"


# Headers


@pytest.mark.parametrize("extension", [".exr", ".png", ".tif", ".dpx"])
@pytest.mark.parametrize("side", [16, 420])
def test_the_header_is_read_from_the_ends_alone(
    extension: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype = np.float16 if extension == ".exr" else np.uint16
    pixels = np.random.default_rng(0).integers(0, 60000, (side, side, 3)).astype(dtype)
    window = Window(0, 0, side, side)
    info = FrameInfo(Path("x"), "x", ("R", "G", "B"), "x", 16, window, window)
    url = RemotePath(f"memory://results/big{extension}")
    frames.write_frame(url, pixels, info, (Attribute("Software", "string", "bitexpand"),))
    whole = frames.read_frame(url)
    assert np.array_equal(whole.pixels, pixels)
    monkeypatch.setattr(memory(), "get_file", None)
    read = 0

    def count(path: str, start: int, end: int) -> bytes:
        nonlocal read
        read += end - start
        return memory().store[memory()._strip_protocol(path)].getvalue()[start:end]

    monkeypatch.setattr(memory(), "cat_file", count)
    assert replace(frames.read_info(url)) == whole.info
    assert read <= max(2 * storage._END_BYTES, 4 * storage._END_BYTES * (side == 16))


def test_a_header_that_its_ends_do_not_hold_is_read_from_the_whole() -> None:
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(content, "JPEG", quality=99, icc_profile=bytes(200_000))
    url = RemotePath("memory://plates/a.jpg")
    memory().pipe_file(str(url), content.getvalue())
    info = frames.read_info(url)
    assert (info.path, info.data.size) == (url, "400x300")
    memory().pipe_file(str(url), content.getvalue()[:150_000])
    with pytest.raises(PlateError, match="memory://plates/a.jpg: "):
        frames.read_info(url)


# Refusals


@pytest.mark.parametrize(
    ("module", "url"), [("fsspec", "memory://a/b_####.png"), ("s3fs", "s3://a/b_####.png")]
)
def test_a_package_that_is_missing_is_named(
    module: str, url: str, call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # which remembers what was imported
    outcome = call_cli("seq", url, "-o", "out_####.exr", expect=2)
    outcome.said("needs a package that is not installed")
    if module == "s3fs":
        outcome.said("run: pip install 'bitexpand[s3]'")


def test_a_protocol_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="unknown protocol 's4'; did you mean .*'s3'"):
        storage.names_in(RemotePath("s4://bucket/in"))


def test_what_is_not_there(call_cli: Cli) -> None:
    memory().pipe_file("memory://plates/in/shot_1001.png", b"1")
    out = "memory://results/a_####.exr"
    call_cli("seq", "memory://plates/none/shot_####.png", "-o", out, expect=3).said(
        "memory://plates/none: is not there"
    )
    call_cli("seq", "memory://plates/in/shit_####.png", "-o", out, expect=3).said(
        "nothing in 'memory://plates/in' matches 'shit_####.png'; found shot_####.png 1001"
    )
    call_cli("seq", "memory://plates/in", "-o", out, expect=2).said(
        "is a folder; give a file pattern, such as 'memory://plates/in/shot_####.png'"
    )
    call_cli(
        "seq", "memory://plates/in/shot_####.png", "-o", "memory://plates/in/shot_####.png", expect=2
    ).said("would overwrite the source 'memory://plates/in/shot_1001.png'")
    call_cli("seq", "memory://plates/in/shot_####.png", "-o", "memory://results/", expect=2).said(
        "is a folder"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("batch", "s3://b/in", "-o", "out"),
        ("batch", "in", "-o", "s3://b/out"),
        ("seq", "in/shot_####.png", "-o", "out/shot_####.exr", "--report", "s3://b/r.json"),
        ("preview", "in/shot_1001.png", "-o", "s3://b/p.png"),
        ("qc", "in/shot_####.png", "in/shot_####.png", "-o", "s3://b/p.html"),
        ("demo", "-o", "s3://b/demo"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_takes_no_url_says_so_and_makes_no_folder_of_its_name(
    arguments: tuple[str, ...], call_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in/shot_1001.png", natural(200, 320))
    before = digests(tmp_path)
    call_cli(*arguments, expect=2).said("s3://b", "of this machine")
    assert digests(tmp_path) == before
    assert not (tmp_path / "s3:").exists()


def test_a_store_that_breaks_off_fails_its_frame_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = put(job)
    put_file = type(memory()).put_file

    def broken(self: MemoryFileSystem, local: str, url: str) -> None:
        if "1003" in url:
            raise ConnectionResetError(104, "Connection reset by peer")
        if "1004" in url:
            raise PermissionError("Access Denied")
        put_file(self, local, url)

    monkeypatch.setattr(type(memory()), "put_file", broken)
    results = list(expand_sequence(remote))
    assert [r.status[0] for r in results] == list("wwffww")
    assert "shot_1003.exr: the store failed ([Errno 104] Connection reset by peer)" in str(results[2].error)
    assert "shot_1004.exr: access is refused (Access Denied); check the credentials" in str(results[3].error)
    assert sorted(stored()) == [f"shot_{n}.exr" for n in (1001, 1002, 1005, 1006)]
    monkeypatch.undo()


def test_no_room_for_copies(small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(16)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    storage._scratch_folder.cache_clear()
    memory().pipe_file("memory://plates/in/shot_1001.png", bytes(100_000))
    with pytest.raises(
        StorageError, match=rf"no room for a temporary copy in {disk}; free some, or set TMPDIR"
    ):
        frames.read_frame(RemotePath("memory://plates/in/shot_1001.png"))
    window = Window(0, 0, 200, 200)
    info = FrameInfo(Path("x"), "x", ("R", "G", "B"), "half", 16, window, window)
    noise = np.random.default_rng(0).random((200, 200, 3)).astype(np.float16)
    target = RemotePath("memory://results/a.exr")
    memory().pipe_file(str(target), b"before")
    with pytest.raises(DiskFullError, match=rf"a.exr: no room for a temporary copy in {disk}"):
        frames.write_frame(target, noise, info)
    assert memory().cat_file(str(target)) == b"before"
    assert not hidden_files(disk)


def test_a_temporary_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    storage._scratch_folder.cache_clear()
    with pytest.raises(UsageError, match="need a folder for temporary copies: set TMPDIR to one"):
        frames.read_frame(RemotePath("memory://plates/a.png"))


def test_what_does_not_read_back_is_not_sent(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = replace(put(job), frames="1001")
    monkeypatch.setattr(frames, "_same_bits", lambda *_: False)
    (result,) = expand_sequence(remote)
    assert "shot_1001.exr: could not be written (the written file does not read back" in str(result.error)
    assert not stored()


def test_errors_are_what_they_say() -> None:
    gone = RemotePath("memory://plates/a.png")
    for read in (frames.read_info, frames.read_frame):
        with pytest.raises(MissingInputError, match=r"^memory://plates/a.png: is not there$"):
            read(gone)


def test_what_fails_while_it_is_written_is_not_sent_and_named_by_its_url() -> None:
    url = RemotePath("memory://plates/a.png")

    def fail() -> None:
        with storage.uploading(url) as file:
            file.touch()
            raise WriteError(f"{file}: broken")

    with pytest.raises(WriteError, match=r"^memory://plates/a.png: broken$"):
        fail()
    assert not memory().store
