"""Tables of gains: as Markdown for people, as facts for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import markdown
from training.log import strict

Cell = str | float


@dataclass(frozen=True)
class Table:
    """A table of text and numbers.

    Attributes:
        title: a line that says what was measured.
        columns: their headings, no two alike.
        rows: as many cells each; NaN is printed as nothing.
        signed: whether a number above 0 gets its sign, as gains do.
        note: a line below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    signed: bool = True
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown, its title in bold above it; the title alone where there are no rows."""
        body = markdown.table(self.columns, [[self._text(cell) for cell in row] for row in self.rows])
        return "\n\n".join(filter(None, (f"**{self.title}**", body, self.note)))

    def facts(self) -> object:
        """Return the table as strict JSON's kinds: NaN is null."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return strict({"title": self.title, "rows": rows, "note": self.note})

    def _text(self, cell: Cell) -> str:
        if isinstance(cell, str):
            return cell
        if math.isnan(cell):
            return ""
        return f"{cell:+.2f}" if self.signed else f"{cell:.2f}"
