"""Measured figures, and the Markdown tables that they are told in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from benchmarks import markdown

Size: TypeAlias = tuple[int, int]
Unit: TypeAlias = Literal[
    "s", "ms", "ratio", "share", "frames/s", "GFLOP/s", "GB/s", "GiB", "kMAC", "B", "ns"
]

YARDSTICK = "`oiiotool`: PNG to half EXR"
_DIGITS = {"s": 3, "ratio": 2, "frames/s": 2, "GiB": 2, "kMAC": 1}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        what: was measured, for the table's first column.
        value: in ``unit``.
        unit: "s" with a ``size`` is seconds a frame.
        size: width and height of the frames, or None where there are none.
        at_most, at_least: what is aimed at, one of the two or none.
    """

    what: str
    value: float
    unit: Unit
    size: Size | None = None
    at_most: float | None = None
    at_least: float | None = None

    def text(self) -> str:
        """Return the number as a table shows it."""
        return _text(self.value, self.unit)

    def target(self) -> str:
        """Return what is aimed at, and whether it is missed; "" where nothing is aimed at."""
        if self.at_most is not None:
            aim, reached = f"at most {_text(self.at_most, self.unit)}", self.value <= self.at_most
        elif self.at_least is not None:
            aim, reached = f"at least {_text(self.at_least, self.unit)}", self.value >= self.at_least
        else:
            return ""
        return aim if reached else f"{aim}: missed"

    def facts(self) -> dict[str, object]:
        """Return it as JSON takes it."""
        return asdict(self)


def by_size(figures: Iterable[Figure]) -> str:
    """Return a table of the figures that have a size: a row a thing, a column a size, seconds as ratios too."""
    sized = [figure for figure in figures if figure.size]
    sizes = sorted({figure.size for figure in sized if figure.size})
    cells = {(figure.what, figure.size): figure for figure in sized}
    header = ["a frame of", *(f"{width}x{height}" for width, height in sizes)]
    rows = [
        [what, *(_with_ratio(cells.get((what, size)), cells.get((YARDSTICK, size))) for size in sizes)]
        for what in dict.fromkeys(figure.what for figure in sized)
    ]
    return markdown.table(header, rows)


def plain(figures: Iterable[Figure]) -> str:
    """Return a table of the figures that have no size."""
    rows = [[figure.what, figure.text(), figure.target()] for figure in figures if not figure.size]
    return markdown.table(["what", "measured", "aim"], rows)


def _text(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:.0f} %"
    number = f"{value:,.{_DIGITS.get(unit, 0)}f}"
    return number if unit == "ratio" else f"{number} {unit}"


def _with_ratio(figure: Figure | None, yardstick: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.unit != "s" or yardstick is None:
        return figure.text()
    ratio = figure.value / yardstick.value
    return f"{figure.text()} ({ratio:.{2 if ratio < 10 else 0}f}x)"
