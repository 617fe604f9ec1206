"""The picture of a prepared folder's statistics, for people: one row a plate, a scene or a source."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bitexpand.metrics.strata import STRATA

COLORS = dict(zip(STRATA, ("#c6dbef", "#85b9dd", "#4690c6", "#1b62a5", "#0b2f66", "#d98b2b"), strict=True))
_BAR, _RANGE = "#4690c6", "#8a8f98"
_ROW_INCHES, _MOST_LETTERS = 0.24, 44
_PAD = 24  # points between a panel and its title, for the legend


def draw(title: str, rows: Sequence[tuple[str, dict[str, Any]]]) -> bytes:
    """Draw the rows and return a PNG.

    Args:
        title: of the whole picture.
        rows: label and summary, as ``training.statistics.summary`` returns it, from top to bottom.
    """
    figure = Figure(figsize=(14, 1.9 + _ROW_INCHES * max(len(rows), 3)), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(_printable(title), fontsize=13, parse_math=False)
    axes = figure.subplots(1, 4, sharey=True, width_ratios=(5, 2.4, 2.4, 2))
    summaries = [summary for _, summary in rows]
    _strata(axes[0], summaries)
    _spread(axes[1], summaries, "stops", "Dynamic range (stops)")
    axes[1].set_xlim(left=0)
    _spread(axes[2], summaries, "levels", "Levels a channel (thousands)", 1e-3)
    axes[2].set_xlim(0, 65.536)
    _left_out(axes[3], summaries)
    axes[0].set_yticks(
        range(len(rows)), [_printable(label) for label, _ in rows], fontsize=8, parse_math=False
    )
    axes[0].set_ylim(len(rows) - 0.4, -0.6)  # the first row on top
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="x", labelsize=8)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _strata(panel: Axes, summaries: Sequence[dict[str, Any]]) -> None:
    left = [0.0] * len(summaries)
    for stratum in STRATA:
        widths = [100 * summary["strata"][stratum] for summary in summaries]
        panel.barh(range(len(left)), widths, 0.8, left, color=COLORS[stratum], label=stratum)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set_title("Samples by stratum, at 8 bits (%)", fontsize=10, pad=_PAD)
    panel.set_xlim(0, 100)
    _legend(panel)


def _spread(
    panel: Axes, summaries: Sequence[dict[str, Any]], key: str, title: str, scale: float = 1.0
) -> None:
    """Draw the median as a point, and a line from the least to the most."""
    panel.set_title(title, fontsize=10, pad=_PAD)
    panel.plot([], [], "o", color=_BAR, markersize=5, label="median")
    panel.plot([], [], color=_RANGE, linewidth=2, label="least to most")
    _legend(panel)
    panel.grid(axis="x", color="0.9")
    for at, summary in enumerate(summaries):
        spread = summary[key]
        if spread is not None:
            least, median, most = (scale * spread[name] for name in ("min", "median", "max"))
            panel.plot([least, most], [at, at], color=_RANGE, linewidth=2, solid_capstyle="butt")
            panel.plot([median], [at], "o", color=_BAR, markersize=5)


def _left_out(panel: Axes, summaries: Sequence[dict[str, Any]]) -> None:
    panel.set_title("Clipped and unknown (%)", fontsize=10, pad=_PAD)
    for key, offset, color in (("clipped", -0.2, "#b3412d"), ("unknown", 0.2, "#d9a79c")):
        places = [at + offset for at in range(len(summaries))]
        panel.barh(places, [100 * summary[key] for summary in summaries], 0.4, color=color, label=key)
    panel.set_xlim(0, max(1.0, panel.get_xlim()[1]))  # a share that is next to nothing must look like that
    _legend(panel)


def _legend(panel: Axes) -> None:
    """Put the legend between the panel and its title."""
    panel.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(STRATA),
        fontsize=8,
        frameon=False,
        handlelength=1,
        columnspacing=1.2,
    )


def _printable(label: str) -> str:
    """Return a label that the font has letters for, its middle cut out where it is long."""
    label = label.encode("latin-1", "replace").decode("latin-1")
    half = _MOST_LETTERS // 2 - 2
    return label if len(label) <= _MOST_LETTERS else f"{label[:half]}...{label[-half:]}"
