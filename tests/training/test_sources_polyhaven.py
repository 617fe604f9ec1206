"""Poly Haven's API, spoken to a server on loopback that has its shapes and, at will, its troubles."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bitexpand import __version__
from bitexpand.errors import BitexpandError, MissingInputError, UnknownNameError, UsageError
from training.settings import build
from training.sources import download as downloads
from training.sources import web
from training.sources.download import DownloadError
from training.sources.polyhaven import PolyHaven
from training.sources.web import ServerError

PICTURE = hashlib.sha256(b"a picture").digest() * 4096
ASSETS = {
    "belfast_sunset": {"name": "Belfast Sunset", "type": 0, "categories": ["skies", "outdoor"]},
    "kloofendal": {"name": "Kloofendal", "type": 0, "categories": ["skies", "nature"]},
    "lythwood_room": {
        "name": "Lythwood Room",
        "type": 0,
        "categories": ["indoor"],
        "max_resolution": [16384],
    },
}


class PolyHavenServer:
    """A server with the API's shapes.

    Attributes:
        asked: every request: path, query included, and the Range asked for.
        agents: what clients said they were.
        troubles: for requests of the picture in turn: "break" (half-way), "wrong", 429, 503 or "" (none).
        ranges: whether it knows ranges.
        answers: replaces the JSON under a path.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.agents: set[str | None] = set()
        self.troubles: list[str | int] = []
        self.ranges = True
        self.answers: dict[str, Any] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def ranges_asked(self) -> list[str | None]:
        """Return the ranges that were asked for of the picture."""
        return [range_ for path, range_ in self.asked if path.startswith("/dl/")]

    def files(self, asset: str) -> dict[str, Any]:
        md5 = hashlib.md5(PICTURE, usedforsecurity=False).hexdigest()
        url = f"{self.url}/dl/{asset}"
        one = {kind: {"url": f"{url}.{kind}", "size": len(PICTURE), "md5": md5} for kind in ("exr", "hdr")}
        hdri = {"1k": {"hdr": one["hdr"]}, "2k": one, "16k": one}
        return {"hdri": hdri, "tonemapped": {"url": f"{url}.jpg", "size": 1, "md5": md5}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...  # pyright: ignore

            def do_GET(self) -> None:  # noqa: N802
                path = self.path.partition("?")[0]
                outer.asked.append((self.path, self.headers["Range"]))
                outer.agents.add(self.headers["User-Agent"])
                if path in outer.answers:
                    self.answer(200, outer.answers[path])
                elif path == "/assets":
                    self.answer(200, json.dumps(ASSETS).encode())
                elif path.startswith("/files/") and path[7:] in ASSETS:
                    self.answer(200, json.dumps(outer.files(path[7:])).encode())
                elif path.startswith("/dl/"):
                    self.picture(outer.troubles.pop(0) if outer.troubles else "")
                else:
                    self.answer(404, b"no such thing")

            def picture(self, trouble: str | int) -> None:
                if isinstance(trouble, int):
                    self.answer(trouble, b"later", {"Retry-After": "1"} if trouble == 429 else {})
                    return
                content = b"x" * len(PICTURE) if trouble == "wrong" else PICTURE
                start, status, headers = 0, 200, {}
                if outer.ranges and self.headers["Range"]:
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                    status = 206
                    headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                body = content[start:]
                self.answer(status, body, headers, len(body) // 2 if trouble == "break" else len(body))

            def answer(
                self, status: int, body: bytes, headers: dict[str, str] | None = None, sent: int | None = None
            ) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[:sent])
                if sent is not None and sent < len(body):
                    self.close_connection = True

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PolyHavenServer]:
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)
    monkeypatch.setattr(web, "BACKOFF", 0.0)
    running = PolyHavenServer()
    yield running
    running.close()


def source(server: PolyHavenServer, **keys: Any) -> PolyHaven:  # noqa: ANN401
    return build(PolyHaven, {"kind": "polyhaven", "url": server.url, **keys}, Path("prepare.yaml"))


def fetched(server: PolyHavenServer, cache: Path) -> Path:
    haven = source(server, assets=["kloofendal"])
    return haven.fetch(haven.list()[0], cache)


def test_all_hdris_are_listed_by_one_question_from_a_client_that_says_who_it_is(
    server: PolyHavenServer,
) -> None:
    listed = source(server, scene="(belfast)_").list()
    assert [(o.name, o.suffix, o.scene, o.licence) for o in listed] == [
        ("belfast_sunset", ".exr", "belfast", "CC0-1.0"),
        ("kloofendal", ".exr", "kloofendal", "CC0-1.0"),
        ("lythwood_room", ".exr", "lythwood_room", "CC0-1.0"),
    ]
    assert server.asked == [("/assets?type=hdris", None)]
    assert listed[0].origin == f"{server.url}/files/belfast_sunset"
    assert [agent and f"bitexpand/{__version__}" in agent for agent in server.agents] == [True]


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"categories": ["skies"]}, ["belfast_sunset", "kloofendal"]),
        ({"categories": ["nature", "indoor"]}, ["kloofendal", "lythwood_room"]),
        ({"limit": 2}, ["belfast_sunset", "kloofendal"]),
        ({"assets": ["lythwood_room", "kloofendal", "kloofendal"]}, ["kloofendal", "lythwood_room"]),
    ],
)
def test_what_is_wanted_is_chosen(server: PolyHavenServer, keys: dict[str, Any], names: list[str]) -> None:
    assert [original.name for original in source(server, **keys).list()] == names


def test_a_picture_is_fetched_once_and_lies_under_the_name_of_its_version(
    server: PolyHavenServer, tmp_path: Path
) -> None:
    file = fetched(server, tmp_path)
    assert file.read_bytes() == PICTURE
    assert (file.parent, file.suffix) == (tmp_path, ".exr")
    assert file.name.startswith("kloofendal.")
    assert fetched(server, tmp_path) == file
    assert server.ranges_asked() == [None]


def test_a_broken_download_is_taken_up_where_it_broke(server: PolyHavenServer, tmp_path: Path) -> None:
    server.troubles += ["break", "break"]
    assert fetched(server, tmp_path).read_bytes() == PICTURE
    half = len(PICTURE) // 2
    assert server.ranges_asked() == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_server_without_ranges_starts_again(server: PolyHavenServer, tmp_path: Path) -> None:
    server.ranges = False
    server.troubles.append("break")
    assert fetched(server, tmp_path).read_bytes() == PICTURE


def test_a_wrong_md5_is_fetched_again_and_then_told(server: PolyHavenServer, tmp_path: Path) -> None:
    server.troubles.append("wrong")
    fetched(server, tmp_path).unlink()
    server.troubles += ["wrong", "wrong"]
    bad, good = (hashlib.md5(b, usedforsecurity=False).hexdigest() for b in (b"x" * len(PICTURE), PICTURE))
    with pytest.raises(DownloadError, match=rf"{server.url}/dl/kloofendal.exr: its md5 is {bad}, not {good}"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_waits_as_long_as_it_is_told_but_not_for_ever(
    server: PolyHavenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    server.troubles = [429, 503, 429]
    assert fetched(server, tmp_path).read_bytes() == PICTURE
    assert [wait for wait in waits if wait] == [1, 1]
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.5)
    server.troubles = [429] * 99
    with pytest.raises(ServerError, match=r"the server says 429 .*also after 4 more tries; try again later"):
        fetched(server, tmp_path / "elsewhere")
    assert waits[-1] == 0.5


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web, "BACKOFF", 0.0)
    gone = PolyHavenServer()
    haven = source(gone)
    original = haven.list()[0]
    gone.close()
    for call in (haven.list, lambda: haven.fetch(original, tmp_path)):
        with pytest.raises(ServerError, match=rf"{gone.url}/.*cannot be reached \(.*[Rr]efused") as told:
            call()
        assert "check the address, the network and its proxy" in str(told.value)


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        (
            {"assets": ["kloofendaal"]},
            UnknownNameError,
            "unknown Poly Haven asset 'kloofendaal'; did you mean 'kl",
        ),
        (
            {"categories": ["sky"]},
            UnknownNameError,
            "unknown Poly Haven category 'sky'; did you mean 'skies'",
        ),
        (
            {"assets": ["lythwood_room"], "categories": ["skies"]},
            MissingInputError,
            "offers no HDRI that is wanted; ask for other categories or assets",
        ),
    ],
)
def test_what_is_not_offered_is_told(
    server: PolyHavenServer, keys: dict[str, Any], kind: type[BitexpandError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        source(server, **keys).list()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"resolution": "8k"},
            "'kloofendal' is not offered in resolution '8k' as exr; its resolutions are: 2k, 16k",
        ),
        (
            {"resolution": "4k", "format": "hdr"},
            "in resolution '4k' as hdr; its resolutions are: 1k, 2k, 16k",
        ),
    ],
)
def test_a_resolution_that_is_not_offered_tells_which_are(
    server: PolyHavenServer, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    haven = source(server, assets=["kloofendal"], **keys)
    with pytest.raises(UsageError, match=message):
        haven.fetch(haven.list()[0], tmp_path)


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        ("/assets", b"<html>moved</html>", "the server's answer is no JSON"),
        ("/assets", b'["kloofendal"]', "the answer is not the API's as it is known"),
        (
            "/files/kloofendal",
            b'{"hdri": {"2k": {"exr": {"url": "u", "size": 1, "md5": "?"}}}}',
            r"2k.exr.md5",
        ),
        ("/files/kloofendal", b"{}", "its resolutions are: none"),
    ],
)
def test_an_answer_of_another_shape_is_told(
    server: PolyHavenServer, tmp_path: Path, path: str, answer: bytes, message: str
) -> None:
    haven = source(server, assets=["kloofendal"])
    original = haven.list()[0]
    server.answers[path] = answer
    with pytest.raises(BitexpandError, match=message):
        haven.fetch(original, tmp_path) if path.startswith("/files") else haven.list()


def test_an_asset_that_went_is_missing(
    server: PolyHavenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    haven = source(server)
    original = haven.list()[0]
    monkeypatch.delitem(ASSETS, original.name)
    with pytest.raises(MissingInputError, match=f"/files/{original.name}: the server says 404"):
        haven.fetch(original, tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format": "png"}, "key 'format': input should be 'exr' or 'hdr'"),
        ({"resolution": "big"}, "key 'resolution': string should match pattern"),
        ({"limit": 0}, "key 'limit': input should be greater than or equal to 1"),
        ({"url": "ftp://here"}, "url 'ftp://here' must begin with https://"),
        ({"resolutoin": "2k"}, "unknown key 'resolutoin'; did you mean 'resolution'"),
    ],
)
def test_bad_keys_are_told(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(PolyHaven, {"kind": "polyhaven", **keys}, Path("prepare.yaml"))
