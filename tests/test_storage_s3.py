"""Frames on S3, against real servers: the command line, what it asks of them, and how it bears their failures."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from conftest import Cli
from expansions import digests
from flaky_proxy import Fault, flaky
from plates import save_shot
from s3server import S3Server, running, seaweed

from bitexpand import storage
from bitexpand.errors import WriteError
from bitexpand.jobs import Job
from bitexpand.location import RemotePath
from bitexpand.pipeline import expand_sequence

pytestmark = pytest.mark.usefixtures("one_thread")

IN, OUT = "s3://plates/show/in/shot_####.png", "s3://results/v1/shot_####.exr"


@pytest.fixture(scope="module", params=["moto", "seaweedfs"])
def any_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    with running() if request.param == "moto" else seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture
def shot(tmp_path: Path) -> str:
    """Six frames on this machine."""
    return save_shot(tmp_path / "in", 6)


@pytest.fixture
def options(tiny: str) -> tuple[str, ...]:
    return ("--model", tiny, "--device", "cpu", "--threads", "1", "--progress", "plain")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary copies that must be empty at the end, and connections that end with the test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    storage._scratch_folder.cache_clear()
    yield folder
    storage._scratch_folder.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    assert not list(folder.iterdir())


def fill(server: S3Server, shot: str, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> S3Server:
    """Lead the command to a server that holds the shot, or to a proxy before it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url or server.url)
    server.clear()
    for bucket in ("plates", "results"):
        server.client.create_bucket(Bucket=bucket)
    for file in Path(shot).parent.iterdir():
        server.client.put_object(Bucket="plates", Key=f"show/in/{file.name}", Body=file.read_bytes())
    return server


@pytest.fixture
def server(any_server: S3Server, shot: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    return fill(any_server, shot, monkeypatch)


@pytest.fixture
def aws(moto: S3Server, shot: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    return fill(moto, shot, monkeypatch)


def parts_left(server: S3Server) -> list[Any]:
    return server.client.list_multipart_uploads(Bucket="results").get("Uploads", [])


def test_from_store_to_store_and_proved(
    server: S3Server, shot: str, options: tuple[str, ...], tmp_path: Path, call_cli: Cli
) -> None:
    call_cli("seq", IN, "-o", OUT, *options).said("frame 1006 -> s3://results/v1/shot_1006.exr", "6 written")
    call_cli("seq", shot, "-o", tmp_path / "out/shot_####.exr", *options)
    here = {f"v1/{p.name}": p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert server.content("results") == here
    call_cli("verify", IN, OUT).said("OK: 6 frames; 100 % of")
    call_cli("seq", IN, "-o", OUT, *options).said("frame 1001 is done already", "6 skipped")
    assert server.content("results") == here
    assert not parts_left(server)


def test_one_end_may_be_here(
    server: S3Server, shot: str, options: tuple[str, ...], tmp_path: Path, call_cli: Cli
) -> None:
    here = tmp_path / "out/shot_####.exr"
    call_cli("seq", IN, "-o", here, *options).said("6 written")
    call_cli("seq", shot, "-o", OUT, *options).said("6 written")
    call_cli("verify", IN, here).said("OK: 6 frames")
    call_cli("verify", shot, OUT).said("OK: 6 frames")
    assert set(server.content("results").values()) == {p.read_bytes() for p in here.parent.iterdir()}


def test_a_rerun_does_the_rest_and_replaces_nothing_foreign(
    server: S3Server, options: tuple[str, ...], call_cli: Cli
) -> None:
    call_cli("seq", IN, "-o", OUT, "--frames", "1001-1004", *options).said("4 written")
    server.client.delete_object(Bucket="results", Key="v1/shot_1002.exr")
    server.put("results/v1/shot_1003.exr", b"notes of the compositor")
    server.put("results/v1/shot_1004.exr", b"")
    call_cli("seq", IN, "-o", OUT, *options, expect=1).said(
        "frame 1001 is done already",
        "frame 1002 -> ",
        "s3://results/v1/shot_1003.exr: exists and bitexpand did not write it; choose another -o",
        "4 written, 1 skipped, 1 failed",
    )
    assert server.content("results")["v1/shot_1003.exr"] == b"notes of the compositor"
    call_cli("seq", IN, "-o", OUT, "--existing", "error", *options, expect=2).said("6 of 6 outputs exist")
    call_cli("seq", IN, "-o", OUT, "--existing", "overwrite", *options).said("6 written")
    call_cli("verify", IN, OUT)


def test_a_long_folder_is_listed_once_and_nothing_else_is_asked_of_its_frames(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2000, 2030):
        aws.put(f"plates/show/in/shot_{number}.png", b"not read")
    asked: Counter[str] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        asked[f"{method} {kwargs.get('Bucket')}"] += 1
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    call_cli("seq", IN, "-o", OUT, "--frames", "1001-1003", "--existing", "error", *options)
    assert asked["get_object plates"] == asked["put_object results"] == 3
    assert asked["head_object plates"] + asked["list_objects_v2 plates"] <= 5, "a file? a folder? which?"
    assert asked["head_object results"] + asked["list_objects_v2 results"] <= 4
    assert set(asked) <= {
        *(f"{method} plates" for method in ("get_object", "head_object", "list_objects_v2")),
        *(f"{method} results" for method in ("put_object", "head_object", "list_objects_v2")),
        *(f"{method}_multipart_upload results" for method in ("create", "abort")),
        "upload_part results",
    }


def test_uploads_bear_a_checksum_that_the_server_checks(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli
) -> None:
    call_cli("seq", IN, "-o", OUT, "--frames", "1001", *options)
    head = aws.client.head_object(Bucket="results", Key="v1/shot_1001.exr", ChecksumMode="ENABLED")
    assert [name for name in head if name.startswith("Checksum")]


def test_tasks_with_the_same_frames_all_succeed(aws: S3Server, shot: str, tiny: str, tmp_path: Path) -> None:
    job = Job(input=IN, output=OUT, model=tiny, device="cpu", threads=1, existing="overwrite")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: [r.status for r in expand_sequence(job)], range(2)))
    assert runs == [["written"] * 6] * 2
    alone = replace(job, input=shot, output=str(tmp_path / "alone/v1/shot_####.exr"))
    assert {r.status for r in expand_sequence(alone)} == {"written"}
    stored = {name: hashlib.sha256(content).hexdigest() for name, content in aws.content("results").items()}
    assert stored == digests(tmp_path / "alone")


# Large objects


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 takes parts of 5 MiB and more; s3fs makes them of 50."""
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)


@pytest.mark.usefixtures("small_parts")
def test_a_large_object_goes_in_parts(server: S3Server) -> None:
    content = np.random.default_rng(0).bytes(13 << 20)
    url = RemotePath("s3://results/large.bin")
    with storage.uploading(url) as file:
        file.write_bytes(content)
    stored = server.client.get_object(Bucket="results", Key="large.bin")
    assert stored["ETag"].endswith('-3"')
    assert hashlib.sha256(stored["Body"].read()).digest() == hashlib.sha256(content).digest()
    with storage.fetched(url) as copy:
        assert copy.read_bytes() == content


@pytest.mark.usefixtures("small_parts")
def test_of_a_large_object_readers_see_the_old_until_the_new_is_whole(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("results/large.bin", b"old")
    call, seen = s3fs.S3FileSystem._call_s3, []

    async def watched(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        answer = await call(self, method, *args, **kwargs)
        seen.append((method, server.client.get_object(Bucket="results", Key="large.bin")["ContentLength"]))
        if method == "upload_part" and kwargs["PartNumber"] == 2 and is_broken:
            raise ConnectionResetError(104, "Connection reset by peer")
        return answer

    def upload() -> None:
        with storage.uploading(RemotePath("s3://results/large.bin")) as file:
            file.write_bytes(bytes(11 << 20))

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", watched)
    is_broken = True
    with pytest.raises(WriteError, match="s3://results/large.bin: the store failed"):
        upload()
    assert {size for _, size in seen} == {3}
    assert not parts_left(server), "what was sent is taken back"
    is_broken = False
    upload()
    assert {size for method, size in seen if method != "complete_multipart_upload"} == {3}
    assert seen[-1] == ("complete_multipart_upload", 11 << 20)


# Refusals


@pytest.mark.parametrize(
    ("source", "to", "code", "fragments"),
    [
        ("s3://nowhere/in/shot_####.png", OUT, 3, ("s3://nowhere/in: is not there", "bucket does not exist")),
        ("s3://plates/none/shot_####.png", OUT, 3, ("s3://plates/none: is not there",)),
        (
            "s3://plates/show/in/shit_####.png",
            OUT,
            3,
            ("nothing in 's3://plates/show/in' matches", "found shot_####.png 1001-1006"),
        ),
        (
            "s3://plates/show/in/shot_1009.png",
            OUT,
            3,
            ("nothing in 's3://plates/show/in' matches 'shot_1009.png'",),
        ),
        (
            "s3://plates/show/in",
            OUT,
            2,
            ("is a folder; give a file pattern, such as 's3://plates/show/in/shot_####.png'",),
        ),
        (IN, "s3://nowhere/shot_####.exr", 2, ("s3://nowhere: is not there", "bucket does not exist")),
        (IN, "s3://results/", 2, ("output 's3://results/' is a folder",)),
        (IN, IN, 2, ("would overwrite the source 's3://plates/show/in/shot_1001.png'",)),
    ],
)
def test_what_is_not_there(
    aws: S3Server,
    options: tuple[str, ...],
    call_cli: Cli,
    source: str,
    to: str,
    code: int,
    fragments: tuple[str, ...],
) -> None:
    call_cli("seq", source, "-o", to, *options, expect=code).said(*fragments)
    assert not aws.content("results")


def test_without_credentials(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    outcome = call_cli("seq", IN, "-o", OUT, *options, expect=2)
    outcome.said("access is refused (Unable to locate credentials)", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")


@pytest.mark.parametrize("any_server", ["seaweedfs"], indirect=True)
def test_who_may_not_is_told_before_any_work(
    server: S3Server, shot: str, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    call_cli("seq", IN, "-o", OUT, *options, expect=2).said("access is refused", "check the credentials")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    call_cli("seq", shot, "-o", OUT, *options, expect=2).said("s3://results/v1: access is refused")
    assert not server.content("results")


def test_a_frame_that_vanishes_fails_alone(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_in = storage.names_in

    def then_one_goes(folder: RemotePath) -> list[str]:
        names = names_in(folder)
        aws.client.delete_object(Bucket="plates", Key="show/in/shot_1003.png")
        return names

    monkeypatch.setattr(storage, "names_in", then_one_goes)
    call_cli("seq", IN, "-o", OUT, *options, expect=1).said(
        "frame 1003 FAILED: s3://plates/show/in/shot_1003.png: is not there", "5 written, 1 failed"
    )


# Lines that break


@pytest.fixture
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users set them; the client's own five waits take a minute."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)


@pytest.mark.usefixtures("few_tries")
@pytest.mark.parametrize("fault", ["drop", "halve"])
def test_a_line_that_breaks_once_is_taken_up_again(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    broken: set[bytes] = set()

    def first_of_each(block: bytes) -> Fault:
        line = block.partition(b"\r\n")[0]
        is_first = line.startswith(b"GET /plates/show/in/shot_") and line not in broken
        broken.add(line)
        return fault if is_first else None

    with flaky(aws.url) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        line.fault = first_of_each
        call_cli("seq", IN, "-o", OUT, *options).said("6 written")
        assert line.faults == 6
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    s3fs.S3FileSystem.clear_instance_cache()
    call_cli("verify", IN, OUT)


@pytest.mark.usefixtures("few_tries")
def test_a_line_that_stays_broken_fails_its_frames_and_the_same_command_goes_on(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(block: bytes) -> Fault:
        if block.startswith(b"GET /plates/show/in/shot_1002"):
            return "halve"
        return "drop" if block.startswith(b"PUT /results/v1/shot_1004") else None

    with flaky(aws.url) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        line.fault = some
        call_cli("seq", IN, "-o", OUT, *options, expect=1).said(
            "frame 1002 FAILED: s3://plates/show/in/shot_1002.png: the store failed",
            "frame 1004 FAILED: s3://results/v1/shot_1004.exr: the store failed",
            "4 written, 2 failed",
        )
        assert sorted(aws.content("results")) == [f"v1/shot_{n}.exr" for n in (1001, 1003, 1005, 1006)]
        call_cli("verify", IN, OUT, expect=1).said("1002 FAULT s3://results", "1004 FAULT")
        line.fault = lambda _: None
        call_cli("seq", IN, "-o", OUT, *options).said("2 written, 4 skipped")
        call_cli("verify", IN, OUT).said("OK: 6 frames")


@pytest.mark.usefixtures("few_tries")
def test_a_store_that_is_not_there(
    aws: S3Server, options: tuple[str, ...], call_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    call_cli("seq", IN, "-o", OUT, *options, expect=1).said("the store failed (Could not connect")
