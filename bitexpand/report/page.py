"""Facts to one HTML file that needs nothing else: no network, no other file, no inline code that was not hashed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template

from bitexpand.code_values import HALF_BIN
from bitexpand.report import charts, view
from bitexpand.report.facts import FrameFacts, ReportFacts, percent
from bitexpand.report.pictures import Picture
from bitexpand.sequence import format_frames

_HERE = Path(__file__).parent
_UNKNOWN = "\u2013"
_NAMED = 6  # frames that the verdict names one by one


def render(facts: ReportFacts) -> str:
    """Return the page as HTML."""
    style = _file("vendor/img-comparison-slider.css") + _file("page.css")
    component = _file("vendor/img-comparison-slider.js").partition("//# sourceMappingURL")[0]
    script = _file("page.js")
    compared = [frame for frame in facts.frames if not frame.error]
    return Template(_file("page.html")).substitute(
        policy=_policy(style, component, script),
        version=escape(facts.version),
        title=escape(f"QC: {Path(facts.result).name}"),
        style=style,
        state="ok" if facts.passed else "fault",
        headline=_headline(facts),
        paths=_paths(facts),
        tiles=_tiles(facts),
        notes=_items(_all_notes(facts)),
        bound=f"{max((frame.bound for frame in compared), default=HALF_BIN):g}",
        views=_views(facts),
        thumbs="".join(_thumb(i, frame) for i, frame in enumerate(facts.frames)),
        plots="".join(_plots(facts)),
        table=_table(facts),
        provenance=_rows(facts.provenance) or "<tr><td>The results state nothing.</td></tr>",
        encoding=_encoding(facts),
        histograms=_blocks("template", "comb", ((i, f.histogram) for i, f in enumerate(facts.frames))),
        pictures=_pictures(facts),
        facts=_json(facts),
        component=component,
        script=script,
    )


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(style: str, *scripts: str) -> str:
    """Return a Content Security Policy that loads nothing and runs only what this page was written with."""
    allowed = {"style-src": [style], "script-src": scripts}
    hashed = (
        f"{kind} " + " ".join(f"'sha256-{_digest(text)}'" for text in texts)
        for kind, texts in allowed.items()
    )
    return "; ".join(["default-src 'none'", *hashed, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _headline(facts: ReportFacts) -> str:
    count = len(facts.frames)
    what = "frame" if count == 1 else "frames"
    failed = sum(not frame.passed for frame in facts.frames)
    return f"FAULT: {failed} of {count} {what}" if failed else f"OK: {count} {what}"


def _paths(facts: ReportFacts) -> str:
    text = f"{escape(facts.source)} &rarr; {escape(facts.result)}"
    return text + (f", truth {escape(facts.truth)}" if facts.truth else "")


def _tiles(facts: ReportFacts) -> str:
    """Return what a supervisor looks at first."""
    compared = [frame for frame in facts.frames if not frame.error]
    samples = sum(frame.samples for frame in compared)
    mismatched = sum(frame.mismatched for frame in compared)
    broken = sum(frame.not_finite for frame in compared)
    missing = [frame for frame in facts.frames if frame.missing]
    unreadable = [frame for frame in facts.frames if frame.error and not frame.missing]
    is_bin = all(frame.bound <= HALF_BIN for frame in compared)
    tiles = [
        ("Frames compared", f"{len(compared)} of {len(facts.frames)}", len(compared) < len(facts.frames)),
        (
            "Requantisation match" if is_bin else "Within the bound",
            percent(samples - mismatched, samples),
            bool(mismatched),
        ),
        ("NaN or Inf", f"{broken:,}" if compared else "unknown", bool(broken)),
        ("Missing", _named(missing) or "none", bool(missing)),
    ]
    if unreadable:
        tiles.append(("Not comparable", _named(unreadable), True))
    if compared:
        largest = max(frame.largest_move for frame in compared)
        tiles.append(("Largest move", f"{largest:.3f} LSB", bool(mismatched)))
    tiles += [(title, text, False) for title, text in _means(facts)]
    texts = [(name, escape(text), bad) for name, text, bad in tiles]
    if compared:
        texts.append(
            ("Worst frame", f'<a href="#{facts.worst}">{facts.frames[facts.worst].label}</a>', False)
        )
    kinds = {True: ' class="bad"', False: ""}
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd{kinds[bad]}>{text}</dd></div>" for name, text, bad in texts
    )


def _means(facts: ReportFacts) -> list[tuple[str, str]]:
    """Return the mean of what is measured first, the measure that judges the frames."""
    judged = next((measure for measure in facts.measures if measure.worst), None)
    if judged is None:
        return []
    values = [frame.measures.get(judged.key, math.nan) for frame in facts.frames]
    known = [value for value in values if not math.isnan(value)]
    return [(f"{judged.title}, mean", _number(sum(known) / len(known)))] if known else []


def _named(frames: list[FrameFacts]) -> str:
    numbers = [frame.number for frame in frames if frame.number is not None]
    text = format_frames(numbers) if numbers else ", ".join(frame.label for frame in frames)
    parts = text.split(",")
    return text if len(parts) <= _NAMED else f"{', '.join(parts[:_NAMED])} ... ({len(frames)})"


def _all_notes(facts: ReportFacts) -> list[str]:
    notes = list(facts.notes)
    if facts.missing_sources:
        notes.append(f"The source itself lacks the frames {facts.missing_sources}; nothing is said of them.")
    return notes + list(dict.fromkeys(note for frame in facts.frames for note in frame.notes))


def _items(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def _views(facts: ReportFacts) -> str:
    choices = [("view", facts.view.name)] if facts.view else []
    choices.append(("codes", "Code values as they are"))
    return "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in choices)


def _encoding(facts: ReportFacts) -> str:
    if facts.view is None:
        return "The encoding of the plate is not known: code values are shown as they are."
    return f"Shown from {escape(facts.view.space)} through {escape(facts.view.name)}, by OpenColorIO."


def _thumb(index: int, frame: FrameFacts) -> str:
    label = escape(f"Frame {frame.label}" + (f": {'; '.join(frame.faults)}" if frame.faults else ""))
    kind = "" if frame.passed else ' class="bad"'
    return (
        f'<li><a href="#{index}" aria-label="{label}"><canvas width="56" height="56"></canvas>'
        f"<span{kind}>{frame.label}</span></a></li>"
    )


def _plots(facts: ReportFacts) -> Iterable[str]:
    labels = [frame.label for frame in facts.frames]
    faulty = [i for i, frame in enumerate(facts.frames) if not frame.passed]
    for chart in dict.fromkeys(measure.chart for measure in facts.measures if measure.chart):
        lines = [
            charts.Line(m.line, [frame.measures.get(m.key, math.nan) for frame in facts.frames])
            for m in facts.measures
            if m.chart == chart
        ]
        yield charts.plot(chart, labels, lines, faulty)


def _table(facts: ReportFacts) -> str:
    names = ["Frame", "Match", "Largest move, LSB", *(m.title for m in facts.measures), "Faults"]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(_row(i, frame, facts) for i, frame in enumerate(facts.frames))
    return f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"


def _row(index: int, frame: FrameFacts, facts: ReportFacts) -> str:
    cells = [f'<a href="#{index}">{frame.label}</a>', *(escape(text) for _, text in _numbers(frame, facts))]
    cells.append(escape("; ".join(frame.faults)))
    kind = "" if frame.passed else ' class="bad"'
    return f"<tr{kind}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _numbers(frame: FrameFacts, facts: ReportFacts) -> list[tuple[str, str]]:
    match, largest = percent(frame.samples - frame.mismatched, frame.samples), f"{frame.largest_move:.3f}"
    if frame.error:
        match = largest = _UNKNOWN
    values = ((m.title, _number(frame.measures.get(m.key, math.nan))) for m in facts.measures)
    return [
        ("Requantisation match" if frame.bound <= HALF_BIN else "Within the bound", match),
        ("Largest move, LSB", largest),
        *values,
    ]


def _number(value: float) -> str:
    return _UNKNOWN if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rows(pairs: Mapping[str, str]) -> str:
    return "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in pairs.items())


def _blocks(tag: str, name: str, blocks: Iterable[tuple[int, str]]) -> str:
    kind = ' type="text/plain"' if tag == "script" else ""
    return "\n".join(f'<{tag}{kind} id="{name}-{i}">{text}</{tag}>' for i, text in blocks if text)


def _pictures(facts: ReportFacts) -> str:
    blocks = [
        _blocks("script", "whole", ((i, f.whole.packed) for i, f in enumerate(facts.frames) if f.whole)),
        _blocks("script", "detail", ((i, f.detail.packed) for i, f in enumerate(facts.frames) if f.detail)),
    ]
    if facts.view:
        blocks.append(f'<script type="text/plain" id="view-data">{facts.view.packed()}</script>')
    return "\n".join(blocks)


def _json(facts: ReportFacts) -> str:
    """Return what ``page.js`` needs to know; "<" is escaped, so that no text can end the script element."""
    told = {
        "view": facts.view is not None,
        "nodes": view.NODES,
        "floor": view.FLOOR,
        "ceiling": view.CEILING,
        "worst": facts.worst,
        "plot": {"left": charts.LEFT, "width": charts.WIDTH - charts.LEFT - charts.RIGHT},
        "frames": [
            {
                "label": frame.label,
                "bound": frame.bound,
                "faults": frame.faults,
                "numbers": _numbers(frame, facts),
                "whole": _shape(frame.whole),
                "detail": _shape(frame.detail),
            }
            for frame in facts.frames
        ],
    }
    return json.dumps(told).replace("<", "\\u003c")


def _shape(picture: Picture | None) -> dict[str, object] | None:
    return {k: v for k, v in asdict(picture).items() if k != "packed"} if picture else None
