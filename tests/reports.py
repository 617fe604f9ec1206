"""QC pages for tests: their pictures taken out of the file again, and what their HTML holds.

What a browser makes of them is tested in one; here they are read by Python's own parser.
"""

from __future__ import annotations

import base64
import zlib
from html.parser import HTMLParser
from typing import Any

import numpy as np
import numpy.typing as npt

from bitexpand.report import pictures
from bitexpand.report.facts import FrameFacts, ReportFacts


def unpack(packed: str, shape: tuple[int, ...], scale: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return source and result of a packed picture, (H, W, C) in LSB; NaN where it is not finite."""
    height, width, channels = shape
    halves = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8).reshape(4, channels, -1)
    zigzag = halves[0::2].astype(np.int64) * 256 + halves[1::2]
    deltas, exceptions = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    steps = np.cumsum(deltas, axis=1) % 65536
    codes = (steps + scale // 2) // scale + exceptions
    result = np.where(steps == pictures.NOT_FINITE, np.nan, steps / scale)
    source, result = (p.reshape(channels, height, width).transpose(1, 2, 0) for p in (codes, result))
    return source, result


class Page(HTMLParser):
    """What a page holds: its elements with attributes, the text of scripts and styles, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self.is_open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.is_open = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            self.inline.append((*self.elements[-1], data))
        else:
            self.text += data

    def policy(self) -> str:
        return next(a["content"] or "" for t, a in self.elements if t == "meta" and "http-equiv" in a)


def facts_of(*frames_: FrameFacts, **changes: Any) -> ReportFacts:  # noqa: ANN401
    """Return a report's facts with nothing in them but frames."""
    empty: dict[str, Any] = dict.fromkeys(("source", "result", "truth", "missing_sources", "version"), "x")
    empty |= {"measures": (), "provenance": {}, "notes": (), "view": None}
    return ReportFacts(frames=frames_, **{**empty, **changes})
