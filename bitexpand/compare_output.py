"""A comparison told: a table as the frames come, a summary below it, JSON and CSV with every number."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from bitexpand import __version__
from bitexpand.compare import CompareJob, FrameComparison, compare_sequences
from bitexpand.compare_summary import Summary, summarize
from bitexpand.errors import UsageError
from bitexpand.metrics.strata import STRATA
from bitexpand.temporaries import prepare_file, write_text

_FACTS = ("frame", "candidate", "truth", "source", "error", "notes")  # the columns of CSV before the numbers
BEGINNING = {"--json": b'{\n  "comparison"', "--csv": ",".join(_FACTS).encode()}  # of a file that is ours


@dataclass(frozen=True)
class _Column:
    """A column of the table: its name, its title, its unit, its decimals."""

    name: str
    title: str
    unit: str
    decimals: int

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} {self.unit}".rstrip()

    def text(self, value: float | None) -> str:
        """Return a value, "-" where there is none; a share in percent."""
        if value is None or math.isnan(value):
            return "-"
        return _percent(value) if self.name.endswith("_share") else f"{value:.{self.decimals}f}"


_WITH_TRUTH = (
    _Column("gain_db", "gain", "dB", 2),
    _Column("psnr_cv_db", "PSNR", "dB", 2),
    _Column("ssim_cv", "SSIM", "", 6),
    _Column("psnr_srgb_db", "sRGB", "dB", 2),
    _Column("psnr_linear_db", "linear", "dB", 2),
    _Column("oklab_mean", "delta E", "", 6),
    _Column("error_max_lsb", "max", "LSB", 3),
    _Column("match_share", "match", "%", 4),
    _Column("cambi_distance", "CAMBI off", "", 3),
    _Column("flicker_error_lsb", "flicker", "LSB", 4),
)
_WITHOUT_TRUTH = (
    _Column("match_share", "match", "%", 4),
    _Column("in_bin_share", "in bin", "%", 4),
    _Column("largest_move_lsb", "move", "LSB", 3),
    _Column("cambi_source", "CAMBI was", "", 3),
    _Column("cambi_result", "CAMBI is", "", 3),
    _Column("distinct_source", "values were", "", 0),
    _Column("distinct_result", "values are", "", 0),
    _Column("flicker_result_lsb", "flicker", "LSB", 4),
)
_MORE = (
    _Column("ssim_srgb", "SSIM on sRGB", "", 6),
    _Column("ssim_linear", "SSIM on scene-linear", "", 6),
    _Column("error_mean_lsb", "mean error", "LSB", 4),
    _Column("error_p999_lsb", "99.9 % of errors", "LSB", 4),
    _Column("oklab_p99", "Oklab delta E, 99 %", "", 6),
    _Column("lpips", "LPIPS", "", 6),
    _Column("flip", "FLIP", "", 6),
    _Column("cvvdp_jod", "ColorVideoVDP", "JOD", 4),
    _Column("in_bin_share", "in bin", "%", 4),
    _Column("largest_move_lsb", "largest move", "LSB", 3),
    _Column("idempotence_lsb", "idempotence", "LSB", 4),
    _Column("still_share", "still pixels", "%", 2),
    _Column("flicker_result_lsb", "flicker of the result", "LSB", 4),
    _Column("flicker_truth_lsb", "flicker of the truth", "LSB", 4),
)
_BANDING = {
    "CAMBI": "cambi_{}",
    "distinct values": "distinct_{}",
    "runs, gamma 0.6, px": "runs_gamma_0.6_{}_px",
    "runs, gamma 1.6, px": "runs_gamma_1.6_{}_px",
    "runs, display, px": "runs_display_{}_px",
    "runs, +3 stops, px": "runs_plus_3_stops_{}_px",
}
_ROLES = ("source", "result", "truth")
_STDOUT = Path("-")
_NARROWEST = 8  # characters, of a column


def tell(
    job: CompareJob,
    say: Callable[[str], None],
    json_to: Path | None = None,
    csv_to: Path | None = None,
    threads: int = 2,
) -> int:
    """Compare, and tell of it as it goes: the whole command.

    Args:
        job: what to compare.
        say: prints a text on a line of its own.
        json_to, csv_to: a file, or "-" to print that instead of the table; None is without.
        threads: frames at a time.

    Returns:
        The exit code: 0, or 1 where a frame could not be compared.

    Raises:
        BitexpandError: as ``compare_sequences``, ``temporaries.prepare_file`` and ``write_text``.
    """
    wanted = {option: to for option, to in (("--json", json_to), ("--csv", csv_to)) if to is not None}
    printed = [option for option, to in wanted.items() if to == _STDOUT]
    if len(printed) > 1:
        raise UsageError("--json - and --csv - would be mixed: give one of them a file")
    for option, to in wanted.items():
        if to != _STDOUT:
            prepare_file(option, to, BEGINNING[option], "comparison")
    table, comparisons = Table(job.truth is not None), list[FrameComparison]()
    with closing(compare_sequences(job, threads)) as frames:
        for found in frames:
            comparisons.append(found)
            if not printed:
                say(table.row(found))
    summary = summarize(comparisons)
    for option, to in wanted.items():
        text = csv_text(comparisons) if option == "--csv" else json_text(job, comparisons, summary)
        if to == _STDOUT:
            say(text.removesuffix("\n"))
        else:
            write_text(to, text)
    if not printed:
        say(table.summary(summary))
    return 1 if summary.failed else 0


class Table:
    """Lines of a comparison as its frames come."""

    def __init__(self, has_truth: bool) -> None:
        self._columns = _WITH_TRUTH if has_truth else _WITHOUT_TRUTH
        self._width = 0

    def row(self, found: FrameComparison) -> str:
        """Return a frame's line, the first one below the titles."""
        header = "" if self._width else f"{self._header(found.name)}\n"
        if found.error is not None:
            return f"{header}{found.name:<{self._width}}  FAULT {found.error}"
        return header + self._line(found.name, found.values)

    def summary(self, summary: Summary) -> str:
        """Return what stands below the frames: means, worst values, the other metrics, remarks, verdict."""
        shown = {column.name for column in self._columns}
        worst = {name: extreme.value for name, extreme in summary.worst.items()}
        lines = [self._line("mean", summary.values), self._line("worst", worst), ""] if summary.values else []
        more = [column for column in _MORE if column.name in summary.values and column.name not in shown]
        lines += [f"{column.heading:<28}{column.text(summary.values[column.name]):>12}" for column in more]
        lines += [*_strata_lines(summary.values), *_banding_lines(summary.values)]
        lines += [f"note: {note}" for note in summary.notes]
        return "\n".join([*lines, verdict(summary)])

    def _header(self, name: str) -> str:
        self._width = max(_NARROWEST, len(name))
        return self._cells("frame", (column.heading for column in self._columns))

    def _line(self, name: str, values: Mapping[str, float]) -> str:
        return self._cells(name, (column.text(values.get(column.name)) for column in self._columns))

    def _cells(self, name: str, texts: Iterable[str]) -> str:
        widths = (max(_NARROWEST, len(column.heading)) for column in self._columns)
        return f"{name:<{self._width}}" + "".join(f"  {t:>{w}}" for t, w in zip(texts, widths, strict=True))


def verdict(summary: Summary) -> str:
    """Return how many frames were compared, and which is the worst by what."""
    compared = summary.frames - summary.failed
    line = f"{compared} frame{'s' * (compared != 1)} compared"
    if summary.failed:
        line = f"FAULT: {summary.failed} of {summary.frames} frames could not be compared; {line}"
    if summary.worst_by is None:
        return line
    worst = summary.worst[summary.worst_by]
    column = next(c for c in (*_WITH_TRUTH, *_WITHOUT_TRUTH) if c.name == summary.worst_by)
    return f"{line}; worst frame {worst.frame}: {column.title} {column.text(worst.value)} {column.unit}"


def json_text(job: CompareJob, comparisons: Sequence[FrameComparison], summary: Summary) -> str:
    """Return everything as JSON, in which what is not defined is null."""
    document = {
        "comparison": job.patterns(),
        "bitexpand": __version__,
        "settings": asdict(job),
        "frames": [{**_facts(found), **_numbers(found.values)} for found in comparisons],
        "summary": {
            "frames": summary.frames,
            "failed": summary.failed,
            "worst_frame": None if summary.worst_by is None else summary.worst[summary.worst_by].frame,
            "worst_by": summary.worst_by,
            "values": _numbers(summary.values),
            "worst": {name: asdict(extreme) for name, extreme in summary.worst.items()},
            "notes": list(summary.notes),
        },
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def csv_text(comparisons: Sequence[FrameComparison]) -> str:
    """Return a row a frame, with every column that any frame has; what is not defined stays empty."""
    names = list(dict.fromkeys(name for found in comparisons for name in found.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FACTS, *names])
    for found in comparisons:
        facts = {**_facts(found), "notes": "; ".join(found.notes)}
        values = (found.values.get(name, math.nan) for name in names)
        writer.writerow([*facts.values(), *("" if math.isnan(v) else f"{v:.9g}" for v in values)])
    return text.getvalue()


def _strata_lines(values: Mapping[str, float]) -> Iterator[str]:
    """Yield gain over doing nothing by what the truth is like."""
    here = [stratum for stratum in STRATA if values.get(f"{stratum}_share")]
    if not here:
        return
    yield _cells("gain by stratum", here)
    yield _cells("  share, %", (_percent(values[f"{stratum}_share"], 1) for stratum in here))
    yield _cells("  gain, dB", (_number(values.get(f"gain_{stratum}_db"), 2) for stratum in here))


def _banding_lines(values: Mapping[str, float]) -> Iterator[str]:
    """Yield banding in source, result and truth, side by side."""
    roles = [role for role in _ROLES if f"distinct_{role}" in values]
    if not roles:
        return
    yield _cells("banding", roles)
    for title, name in _BANDING.items():
        row = [values.get(name.format(role)) for role in roles]
        if any(value is not None for value in row):
            yield _cells(f"  {title}", (_number(value, 0 if "distinct" in name else 3) for value in row))


def _cells(title: str, cells: Iterable[str]) -> str:
    return f"{title:<28}" + "".join(f"{cell:>12}" for cell in cells)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _percent(share: float, decimals: int = 4) -> str:
    # Never rounds up to 100: one sample in a billion is a fault.
    return "100" if share == 1 else f"{min(100 * share, 100 - 10.0**-decimals):.{decimals}f}"


def _facts(found: FrameComparison) -> dict[str, object]:
    paths = {name: getattr(found, name) for name in ("candidate", "truth", "source")}
    texts = {name: None if path is None else str(path) for name, path in paths.items()}
    return {"frame": found.number, **texts, "error": found.error, "notes": list(found.notes)}


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
