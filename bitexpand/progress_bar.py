"""A run as a bar on a terminal; the only user of rich."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.progress import Task as RichTask
from rich.text import Text

from bitexpand.progress import Reporter, Tally, describe, duration
from bitexpand.results import FrameResult


class Bar(Reporter):
    """A bar with frames done, frames a second and time left; failed frames stay on the screen above it."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._progress = Progress(
            TextColumn("expanding"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("frames"),
            _TallyColumn(self.tally),
            console=Console(file=sys.stdout),
            expand=True,
        )

    def __enter__(self) -> Reporter:
        self._progress.start()
        self._task = self._progress.add_task("", total=self.tally.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, result: FrameResult) -> None:
        """Move the bar."""
        if result.status == "failed":
            self._progress.console.print(describe(result), style="red", markup=False, highlight=False)
        self._progress.update(self._task, completed=self.tally.done)


class _TallyColumn(ProgressColumn):
    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def render(self, task: RichTask) -> Text:
        left = self._tally.seconds_left
        ending = "-:--" if left is None else duration(left)
        return Text(f"{self._tally.frames_per_second:.2f} fps, {ending} left", style="progress.remaining")
