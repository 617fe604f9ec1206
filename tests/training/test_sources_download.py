"""Downloads that break, repeat, collide and lie: what appears under the file's name is complete and right."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from conftest import hidden_files
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.errors import DiskFullError, WriteError
from training.sources import download as downloads
from training.sources.download import (
    DownloadError,
    Expected,
    InterruptedDownloadError,
    digest,
    download,
    locked,
)

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)


def expected(content: bytes = CONTENT, *, version: str = "1", sized: bool = True) -> Expected:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Expected("http://there/plate.exr", version, len(content) if sized else None, ("md5", md5))


class Server:
    """Serves bytes; breaks after each number of bytes in ``breaks``, in turn; ``ranges``: knows offsets."""

    def __init__(self, content: bytes = CONTENT, breaks: Iterable[int] = (), *, ranges: bool = True) -> None:
        self.content, self.breaks, self.ranges = content, list(breaks), ranges
        self.offsets: list[int] = []

    def __call__(self, offset: int) -> tuple[int, Iterable[bytes]]:
        start = offset if self.ranges else 0
        self.offsets.append(offset)
        return start, self._send(start)

    def _send(self, start: int) -> Iterator[bytes]:
        until = start + self.breaks.pop(0) if self.breaks else len(self.content)
        for at in range(start, min(until, len(self.content)), 100):
            yield self.content[at : min(at + 100, until)]
        if until < len(self.content):
            raise InterruptedDownloadError("the connection broke")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 4000), max_size=6), st.booleans(), st.booleans())
def test_however_often_it_breaks_the_file_is_whole(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[int], ranges: bool, sized: bool
) -> None:
    target = tmp_path_factory.mktemp("cache") / "a" / "plate.exr"
    server = Server(breaks=breaks if ranges else breaks[:3], ranges=ranges)
    download(target, expected(sized=sized), server)
    assert target.read_bytes() == CONTENT
    assert not hidden_files(target.parent)
    if ranges:
        assert server.offsets == sorted(set(server.offsets))  # nothing was fetched twice


def test_a_killed_run_is_gone_on_with_where_it_stopped(tmp_path: Path) -> None:
    target = tmp_path / "plate.exr"

    def killed(offset: int) -> tuple[int, Iterable[bytes]]:
        def send() -> Iterator[bytes]:
            yield CONTENT[:1000]
            raise KeyboardInterrupt

        return offset, send()

    with pytest.raises(KeyboardInterrupt):
        download(target, expected(), killed)
    assert not target.exists()
    server = Server()
    download(target, expected(), server)
    assert (server.offsets, target.read_bytes()) == ([1000], CONTENT)


KILLED = """
import os, signal, sys
from pathlib import Path
from training.sources.download import Expected, download
def send(content):
    yield content[:70_000]
    os.kill(os.getpid(), signal.SIGKILL)
content = bytes(range(256)) * 400
expected = Expected("http://there/plate.exr", "1", len(content), None)
download(Path(sys.argv[1]), expected, lambda offset: (offset, send(content)))
"""


def test_a_process_that_was_killed_outright_leaves_what_the_next_goes_on_with(tmp_path: Path) -> None:
    target, content = tmp_path / "plate.exr", bytes(range(256)) * 400
    done = subprocess.run([sys.executable, "-c", KILLED, target], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    server = Server(content)
    download(target, Expected("http://there/plate.exr", "1", len(content), None), server)
    assert (server.offsets, target.read_bytes(), hidden_files(tmp_path)) == ([70_000], content, [])


def test_what_lies_there_complete_is_not_fetched_again(tmp_path: Path) -> None:
    server = Server()
    for _ in range(2):
        download(tmp_path / "plate.exr", expected(), server)
    assert server.offsets == [0]


def test_a_partial_file_of_an_older_version_is_thrown_away(tmp_path: Path) -> None:
    target, newer = tmp_path / "plate[1].exr", CONTENT[::-1]
    with pytest.raises(DownloadError, match="4 times in a row"):
        download(target, expected(), Server(breaks=[500] + [0] * 9))
    assert len(hidden_files(tmp_path)) == 1
    server = Server(newer)
    download(target, expected(newer, version="2"), server)
    assert (server.offsets, target.read_bytes(), hidden_files(tmp_path)) == ([0], newer, [])


def test_a_server_that_never_ends_a_file_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    server = Server(breaks=[700] * 99, ranges=False)
    with pytest.raises(
        DownloadError, match=r"http://there/plate.exr: the connection broke.*700 bytes are kept"
    ):
        download(tmp_path / "plate.exr", expected(), server)
    assert len(server.offsets) == downloads.TRIES + 1


def test_a_stream_that_ends_early_without_an_error_is_gone_on_with(tmp_path: Path) -> None:
    pieces = [CONTENT[:3000], CONTENT[3000:]]
    download(tmp_path / "plate.exr", expected(), lambda offset: (offset, [pieces.pop(0)]))
    assert (tmp_path / "plate.exr").read_bytes() == CONTENT


def test_a_wrong_checksum_is_fetched_once_more_and_then_an_error(tmp_path: Path) -> None:
    wrong = b"x" * len(CONTENT)
    servers = [Server(wrong), Server()]
    download(tmp_path / "mended.exr", expected(), lambda offset: servers.pop(0)(offset))
    assert (tmp_path / "mended.exr").read_bytes() == CONTENT
    server = Server(wrong)
    found = hashlib.md5(wrong, usedforsecurity=False).hexdigest()
    wanted = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    with pytest.raises(DownloadError, match=f"plate.exr: its md5 is {found}, not {wanted}, twice"):
        download(tmp_path / "plate.exr", expected(), server)
    assert server.offsets == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["mended.exr"]


def test_a_file_that_starts_again_keeps_no_tail_of_its_first_try(tmp_path: Path) -> None:
    untold = Expected("http://there/plate.exr", "1", None, None)
    answers = [Server(breaks=[5000]), Server(b"short", ranges=False)]
    download(tmp_path / "plate.exr", untold, lambda offset: answers.pop(0)(offset))
    assert (tmp_path / "plate.exr").read_bytes() == b"short"


def test_more_than_was_promised_is_not_swallowed(tmp_path: Path) -> None:
    def endless(offset: int) -> tuple[int, Iterable[bytes]]:
        return offset, iter(lambda: b"x" * 1000, None)

    with pytest.raises(DownloadError, match="it has more bytes, not 10240, twice"):
        download(tmp_path / "plate.exr", expected(), endless)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_came_and_the_same_call_goes_on(small_disk: Callable[[int], Path]) -> None:
    content, disk = bytes(120_000), small_disk(200)
    (disk / "filler").write_bytes(bytes(100_000))
    with pytest.raises(
        DiskFullError, match=r"plate.exr.*: the disk is full; free some room and run the command"
    ):
        download(disk / "plate.exr", expected(content), Server(content))
    (disk / "filler").unlink()
    server = Server(content)
    download(disk / "plate.exr", expected(content), server)
    assert (disk / "plate.exr").read_bytes() == content
    assert server.offsets[0] > 50_000


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(WriteError, match=r"cache/plate.exr: cannot be written .*choose another folder"):
        download(tmp_path / "cache" / "plate.exr", expected(), Server())


def test_two_that_want_the_same_file_take_turns(tmp_path: Path) -> None:
    target, server = tmp_path / "plate.exr", Server()
    threads = [threading.Thread(target=download, args=(target, expected(), server)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.offsets, target.read_bytes(), hidden_files(tmp_path)) == ([0], CONTENT, [])


def test_a_lock_that_a_dead_run_left_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with locked(tmp_path / ".lock"):
        pass
    assert not (tmp_path / ".lock").exists()


def test_tokens_tell_objects_and_versions_apart() -> None:
    tokens = {Expected(o, v, None, None).token for o in ("a", "b") for v in ("1", "2")}
    assert len(tokens) == 4
    assert all(len(token) == 12 for token in tokens)


def test_digests_are_those_of_hashlib(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert digest(tmp_path / "file") == hashlib.sha256(CONTENT).hexdigest()
