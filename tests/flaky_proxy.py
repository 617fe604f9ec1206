"""A line between a client and a server that a test can cut."""

from __future__ import annotations

import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TypeAlias

Fault: TypeAlias = Literal["drop", "halve"] | None
_BLOCK = 1 << 16
_HALF = 600  # bytes of an answer: its header, and some of what we test with


class FlakyProxy:
    """Hands bytes on, but for faults.

    Attributes:
        url: where it listens.
        fault: told each block that a client sends; "drop" ends the connection at once, "halve" in the answer.
        faults: how many there were.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.fault: Callable[[bytes], Fault] = lambda _: None
        self.faults = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        answer_left = sys.maxsize
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            while answer_left > 0:
                readable, _, _ = select.select([client, server], [], [])
                block = readable[0].recv(_BLOCK)
                if not block:
                    return
                if readable[0] is server:
                    client.sendall(block[:answer_left])
                    answer_left -= len(block)
                    continue
                fault = self.fault(block)
                self.faults += fault is not None
                if fault == "drop":
                    return
                answer_left = _HALF if fault else answer_left
                server.sendall(block)


@contextmanager
def flaky(url: str) -> Iterator[FlakyProxy]:
    """Open a proxy to a server."""
    host, _, port = url.removeprefix("http://").partition(":")
    proxy = FlakyProxy((host, int(port)))
    try:
        yield proxy
    finally:
        proxy.close()
