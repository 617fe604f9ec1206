"""HTTP as a polite client speaks it: says who it is, waits when told to, tries again, takes up broken downloads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from bitexpand import __version__
from bitexpand.errors import BitexpandError, MissingInputError
from training.sources.download import DownloadError, Expected, InterruptedDownloadError, download

if TYPE_CHECKING:  # urllib3 1 has no such name
    from urllib3 import BaseHTTPResponse

USER_AGENT = f"bitexpand/{__version__} (prepares plates for training)"
RETRIES = 4  # of one request, for connections that fail and answers that say "later"
BACKOFF = 0.25  # seconds, doubled with each retry
LONGEST_WAIT = 300.0  # seconds that a server may ask us to wait before each retry
PIECE = 1 << 14  # bytes read at a time: what a connection that breaks loses at most
TIMEOUTS = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer

_LATER = (429, 500, 502, 503, 504)
_START = re.compile(r"bytes (\d+)-")

Json: TypeAlias = Any


class ServerError(BitexpandError):
    """A server that cannot be reached, refuses, or does not speak as it should."""


class _Patience(Retry):
    """Retries that honour ``Retry-After`` up to LONGEST_WAIT, so that no answer can stop a run for days."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_WAIT)


def _session() -> requests.Session:
    patience = _Patience(
        total=RETRIES, backoff_factor=BACKOFF, status_forcelist=_LATER, allowed_methods=["GET"],
        raise_on_status=False,
    )  # fmt: skip
    session = requests.Session()
    # Compressed answers would make the offsets of a broken download mean nothing.
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=patience))
    return session


@dataclass(frozen=True)
class Web:
    """A session with its connections; one thread at a time. Use it in a ``with``."""

    session: requests.Session = field(default_factory=_session)

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def json(self, url: str, **query: str) -> Json:
        """GET a JSON document.

        Raises:
            MissingInputError: the server says that there is no such thing.
            ServerError: it cannot be reached, refuses, or answers something that is no JSON.
        """
        with _reached(url), self.session.get(url, params=query, timeout=TIMEOUTS) as response:
            _check(response)
            try:
                return response.json()
            except requests.JSONDecodeError as error:
                raise ServerError(
                    f"{url}: the server's answer is no JSON ({response.text[:60]!r})"
                ) from error

    def download(self, target: Path, expected: Expected) -> None:
        """Download ``expected.origin`` into a file; see :func:`training.sources.download.download`."""
        with contextlib.ExitStack() as open_responses:

            def read_from(offset: int) -> tuple[int, Iterable[bytes]]:
                open_responses.close()
                response = open_responses.enter_context(self._open(expected.origin, offset))
                return _start(response, offset), _chunks(response)

            download(target, expected, read_from)

    def _open(self, url: str, offset: int) -> requests.Response:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with _reached(url):
            response = self.session.get(url, headers=headers, timeout=TIMEOUTS, stream=True)
        try:
            _check(response)
        except BitexpandError:
            response.close()
            raise
        return response


def _start(response: requests.Response, offset: int) -> int:
    """Return where the answer starts: a server that knows no ranges sends everything, with status 200."""
    if response.status_code != requests.codes.partial_content:
        return 0
    told = _START.match(response.headers.get("Content-Range", ""))
    if not told or int(told[1]) != offset:
        range_ = response.headers.get("Content-Range", "nothing")
        raise DownloadError(f"{response.url}: asked for bytes from {offset} on, the server sent {range_}")
    return offset


def _chunks(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(PIECE)
    except requests.RequestException as error:
        raise InterruptedDownloadError(f"the connection broke ({_reason(error)})") from error


def _check(response: requests.Response) -> None:
    status = f"{response.status_code} {response.reason or ''}".strip()
    if response.status_code in (requests.codes.not_found, requests.codes.gone):
        raise MissingInputError(f"{response.url}: the server says {status}")
    if response.status_code in _LATER:
        raise ServerError(
            f"{response.url}: the server says {status}, also after {RETRIES} more tries; try again later"
        )
    if not response.ok:
        raise ServerError(f"{response.url}: the server says {status}")


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
        raise ServerError(f"{url}: no address that can be asked ({error})") from error
    except requests.RequestException as error:
        raise ServerError(
            f"{url}: the server cannot be reached ({_reason(error)}); check the address, the network and its proxy"
        ) from error


def _reason(error: Exception) -> str:
    """Return the innermost reason of requests' nested exceptions, on one line."""
    inner: object = error
    for _ in range(5):
        arguments = getattr(inner, "args", ())
        inner = (
            getattr(inner, "reason", None)
            or next((a for a in arguments if isinstance(a, Exception)), None)
            or inner
        )
    return " ".join(str(inner).split()) or type(inner).__name__
