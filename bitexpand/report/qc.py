"""From a source and its results to the facts of the QC page: verified, measured, and pictured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import bitexpand
from bitexpand import color, frames, provenance, sequence, temporaries
from bitexpand.errors import BitexpandError, ColorError, UsageError
from bitexpand.report import page, view
from bitexpand.report.facts import FrameFacts, Measure, ReportFacts
from bitexpand.report.looks import looks
from bitexpand.storage import is_there
from bitexpand.verify import Check, VerifyJob, verify_sequence

_GAIN, _BANDING = "Gain over doing nothing, dB", "Banding, CAMBI"
_FLICKER = "Flicker where the plate is still, LSB"
MEASURES = (
    Measure("gain_db", "Gain, dB", "low", _GAIN, "gain"),
    Measure("cambi_source", "CAMBI before", "", _BANDING, "before"),
    Measure("cambi_result", "CAMBI after", "high", _BANDING, "after"),
    Measure("cambi_truth", "CAMBI of the truth", "", _BANDING, "truth"),
    Measure("flicker_result_lsb", "Flicker, LSB", "high", _FLICKER, "result"),
    Measure("flicker_truth_lsb", "Flicker of the truth, LSB", "", _FLICKER, "truth"),
    Measure("distinct_source", "Values in use before"),
    Measure("distinct_result", "Values in use after"),
    Measure("mean_move", "Mean move, LSB", "", "Mean move, LSB", "mean move"),
)
"""What the page tells of every frame, where it is known; the first that has a worse end judges the frames."""

_TOLD = ("Software", "colorInteropID", "smpte:TimeCode", "FramesPerSecond", "compression")


@dataclass(frozen=True, kw_only=True)
class QcJob(VerifyJob):
    """A sequence to report on: a ``VerifyJob`` and what the page needs beside.

    Attributes:
        truth: pattern of the originals that the source was rounded from; None is without.
        truth_space: their colour space; None is the plate's.
        display, view: of the OpenColorIO config; None is its default.
        metrics: measure banding and flicker, and with a truth the gain; else only verify and show.
    """

    truth: str | None = None
    truth_space: str | None = None
    display: str | None = None
    view: str | None = None
    metrics: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.truth and not self.metrics:
            raise UsageError("--truth is for the metrics: leave --quick out")
        if self.view and not self.display:
            raise UsageError(f"--view {self.view} needs --display, whose view it is")


def write_report(
    job: QcJob, output: Path, tell: Callable[[str], None] = lambda _: None, threads: int = 2
) -> ReportFacts:
    """Look at a sequence and write the page.

    Args:
        job: what to look at.
        output: the HTML file; its folder is made.
        tell: is called with a line now and then, since long sequences take minutes.
        threads: frames that are read at a time.

    Returns:
        What the page tells; ``passed`` is its verdict.

    Raises:
        MissingInputError: there is no source (a missing result is a fault that the page tells).
        UsageError: a pattern, range, config, space, display or view that cannot be used.
        DiskFullError, WriteError: the page cannot be written.
    """
    temporaries.prepare_folder(output.parent)
    facts = gather(job, tell, threads)
    temporaries.write_text(output, page.render(facts))
    return facts


def gather(job: QcJob, tell: Callable[[str], None] = lambda _: None, threads: int = 2) -> ReportFacts:
    """Return what the page tells of a sequence; as ``write_report``."""
    found = sequence.find_frames(job.source, job.frames, "skip" if job.frames is None else "error")
    stated = _stated(job, found)
    # names that do not exist are refused before an hour's work
    shown, view_notes = _view(stated, is_told=bool(job.in_space or job.config or job.display))
    tell("verifying")
    checks = list(verify_sequence(job, threads))
    measured, measure_notes = _measured(stated, checks, tell)
    facts = [_of_check(check, measured.get(check.number, {})) for check in checks]
    tell("drawing pictures")
    seen = looks(stated, facts, MEASURES, threads)
    return ReportFacts(
        source=job.source,
        result=job.result,
        truth=job.truth or "",
        frames=tuple(look.facts for look in seen),
        missing_sources=sequence.format_frames(found.missing),
        measures=tuple(m for m in MEASURES if any(m.key in look.facts.measures for look in seen)),
        provenance=_provenance([look.info for look in seen if look.info]),
        notes=(*_unknown(checks), *view_notes, *measure_notes),
        view=shown,
        version=bitexpand.__version__,
    )


def _stated(job: QcJob, found: sequence.Frames) -> QcJob:
    """Return the job with what the first result that can be read says of its spaces."""
    for frame in found.present:
        with suppress(BitexpandError):
            info = frames.read_info(sequence.output_path(job.result, frame.number, frame.path))
            told = {name: provenance.read_text(info, name) for name in ("config", "in_space", "out_space")}
            return replace(job, **{name: getattr(job, name) or text for name, text in told.items()})
    return job


def _view(job: QcJob, *, is_told: bool) -> tuple[view.View | None, tuple[str, ...]]:
    """Return how the page shows the plate, or why it shows its code values; refuse names that the user told."""
    if not job.in_space:
        return None, (
            "The plate's encoding is not stated (--in-space), so pictures show code values, and exposure multiplies"
            " these instead of light.",
        )
    try:
        return view.bake(color.load_config(job.config), job.in_space, job.display, job.view), ()
    except BitexpandError as error:
        if is_told and not isinstance(error, ColorError):
            raise
        return None, (f"Pictures show code values, as no view can be had of {job.in_space}: {error}.",)


def _measured(
    job: QcJob, checks: Sequence[Check], tell: Callable[[str], None]
) -> tuple[dict[int | None, Mapping[str, float]], tuple[str, ...]]:
    """Return the metrics by frame number, and remarks on them."""
    if not job.metrics or not any(check.faults for check in checks):
        return {}, ()
    from bitexpand.compare import CompareJob, compare_sequences  # its libraries take a while to load

    comparison = CompareJob(
        candidate=job.result,
        truth=job.truth,
        source=job.source,
        frames=job.frames,
        bits=job.bits,
        config=job.config,
        in_space=job.in_space,
        out_space=job.out_space,
        truth_space=job.truth_space,
    )
    measured: dict[int | None, Mapping[str, float]] = {}
    remarks: dict[str, None] = {}
    failed: list[str] = []
    known = {check.number for check in checks if check.faults}
    for number, found in enumerate(compare_sequences(comparison), 1):
        tell(f"measuring {number} of {len(checks)}")
        measured[found.number] = {m.key: found.values[m.key] for m in MEASURES if m.key in found.values}
        remarks |= dict.fromkeys(found.notes)
        if found.error and found.number in known:
            failed.append(f"frame {found.name}, {found.error}")
    if failed:
        remarks[f"Not measured: {failed[0]}{f', and {len(failed) - 1} more' if failed[1:] else ''}"] = None
    return measured, tuple(remarks)


def _of_check(check: Check, measures: Mapping[str, float]) -> FrameFacts:
    facts = FrameFacts(
        check.number,
        str(check.source),
        str(check.result),
        error=check.error,
        missing=bool(check.error) and not is_there(check.result),
        bound=check.bound,
        alpha_mismatched=check.alpha_mismatched,
        measures=measures,
    )
    if check.faults is None:
        return facts
    faults = check.faults
    return replace(
        facts,
        samples=faults.samples,
        mismatched=faults.mismatched,
        not_finite=faults.not_finite,
        largest_move=faults.largest_move,
    )


def _unknown(checks: Iterable[Check]) -> tuple[str, ...]:
    """Return what was assumed of results that do not say how they were made."""
    silent = [check for check in checks if check.faults and not check.says_how]
    if not silent:
        return ()
    which = sequence.format_frames(check.number for check in silent if check.number is not None)
    return (
        f"Not stated by the results{f' {which}' if which else ''}, which hold no bitexpand attributes: how they"
        " were made, from what, and in which encoding. They were held against the source by --bits, --source,"
        " --bound, --in-space and --out-space, or their defaults.",
    )


def _provenance(headers: Sequence[frames.FrameInfo]) -> dict[str, str]:
    """Return what the results say of their making; where they differ, how many values there are."""
    told: dict[str, dict[str, None]] = {}
    for info in headers:
        kept = [a for a in info.attributes if a.name.startswith("bitexpand:") or a.name in _TOLD]
        file = f"{info.format}, {info.container}, {info.data.size}, {', '.join(info.channels)}"
        for name, text in {"file": file, **{a.name: str(a.value) for a in kept}}.items():
            told.setdefault(name, {})[text] = None
    return {name: _values(list(texts)) for name, texts in told.items()}


def _values(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{len(texts)} different: {texts[0]} ... {texts[-1]}"
