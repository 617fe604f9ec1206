"""What is measured, section by section: each yields tables as soon as they are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.quality import peers, plates, scenes
from benchmarks.quality.banding import bandings, pooled_ratio
from benchmarks.quality.grain import all_grain_trials, oracle_errors
from benchmarks.quality.kinds import KINDS, as_rounded
from benchmarks.quality.ramps import WIDTHS, all_ramp_trials
from benchmarks.quality.tables import Cell, Table
from benchmarks.quality.trial import (
    LEAST_SHARE,
    TOLERANCE,
    Method,
    Outcome,
    mean_gain,
    outcomes,
    outcomes_by,
    pooled,
    violations,
    worst_gain,
)
from bitexpand.metrics.strata import STRATA


@dataclass(frozen=True)
class Subject:
    """What is measured, and on which plates.

    Attributes:
        models: ours.
        prepared: folder of ``python -m training prepare`` whose validation plates are measured too, or None.
        limit: largest side in pixels of the centre of each plate that is used; None is all of it.
    """

    models: Sequence[Method]
    prepared: Path | None = None
    limit: int | None = None


def plates_section(subject: Subject) -> Iterator[Table]:
    """Measure the plates in every curve: each of them, their means, and what came out worse than it went in."""
    measured: dict[str, dict[str, list[Outcome]]] = {model.name: {} for model in subject.models}
    for curve in plates.CURVES:
        trials = plates.cg_trials(curve, limit=subject.limit)
        if subject.prepared:
            trials += plates.prepared_trials(curve, subject.prepared, subject.limit)
        for model in subject.models:
            measured[model.name][curve] = outcomes(model, trials)
    for name, by_curve in measured.items():
        yield from _plates_tables(name, by_curve)


def scenes_section(subject: Subject) -> Iterator[Table]:
    """Measure the sky and the film-like frame."""
    trials = scenes.scene_trials()
    rows = [(model.name, o.name, *_gains(o)) for model in subject.models for o in outcomes(model, trials)]
    yield Table("Synthetic frames, ACEScct: gain in dB", ("model", "frame", "all", *STRATA), rows)


def grain_section(subject: Subject) -> Iterator[Table]:
    """Measure Gaussian grain of known strength, beside the oracle."""
    known = all_grain_trials()
    trials = {label: [g.trial for g in series] for label, series in known.items()}
    oracle = {label: oracle_errors(series).gain() for label, series in known.items()}
    measured = [outcomes_by(model, trials) for model in subject.models]
    rows: list[list[Cell]] = []
    for label, best in oracle.items():
        gains = [pooled(by_label[label]).gain() for by_label in measured]
        rows.append([label, best, *(cell for g in gains for cell in (g, f"{100 * g / best:.0f} %"))])
    headings = [text for model in subject.models for text in (model.name, f"{model.name}, share")]
    note = "The oracle sees each sample alone: of blurred grain, whose neighbours tell more, more can be won."
    yield Table("Grain on smooth plates: gain in dB", ("grain", "oracle", *headings), rows, note=note)


def ramps_section(subject: Subject) -> Iterator[Table]:
    """Measure slow ramps, with and without an edge."""
    trials = all_ramp_trials()
    for model in subject.models:
        measured = outcomes_by(model, trials)
        rows = []
        for width in WIDTHS:
            plain, edge = measured[width, False], measured[width, True]
            gains = mean_gain(plain), worst_gain(plain), mean_gain(edge), worst_gain(edge)
            rows.append((f"1 LSB over {width} px", *gains))
        columns = ("ramp", "mean of angles", "worst angle", "edge: mean", "edge: worst")
        yield Table(f"{model.name} on slow ramps: gain in dB", columns, rows)


def kinds_section(subject: Subject) -> Iterator[Table]:
    """Measure CG plates that were not simply rounded, with and without the right ``--source``."""
    trials = {kind.name: kind.trials(limit=subject.limit) for kind in KINDS}
    for model in subject.models:
        told = outcomes_by(model, trials)
        untold = outcomes_by(model, {name: as_rounded(series) for name, series in trials.items()})
        rows = [
            (kind.name, kind.source, mean_gain(told[kind.name]), worst_gain(told[kind.name]))
            + (mean_gain(untold[kind.name]), worst_gain(untold[kind.name]))
            for kind in KINDS
        ]
        columns = ("plates", "--source", "mean", "worst plate", "as rounded: mean", "as rounded: worst")
        note = "Doing nothing is the middle of what a code value stands for: half a step up where truncated."
        yield Table(f"{model.name} on CG plates by source, ACEScct: gain in dB", columns, rows, note=note)


def cambi_section(subject: Subject) -> Iterator[Table]:
    """Measure how close results come to the banding of the truth."""
    trials = plates.cg_trials(plates.ACESCCT, limit=subject.limit) + scenes.scene_trials()
    for model in subject.models:
        found = bandings(model, trials)
        rows: list[Sequence[Cell]] = [(b.name, b.truth, b.before, b.after, b.ratio) for b in found]
        rows.append(("all together", "", "", "", pooled_ratio(found)))
        columns = ("plate", "truth", "8 bits", "result", "ratio")
        yield Table(
            f"CAMBI of {model.name}, ACEScct",
            columns,
            rows,
            signed=False,
            note="Ratio: |result - truth| / |8 bits - truth|.",
        )


def peers_section(subject: Subject) -> Iterator[Table]:
    """Measure our models and others' filters side by side."""
    found, missing = peers.available()
    cg, synthetic, ramps = (
        plates.cg_trials(plates.ACESCCT, limit=subject.limit),
        scenes.scene_trials(),
        all_ramp_trials(),
    )
    grain = {label: [g.trial for g in series] for label, series in all_grain_trials().items()}
    strengths = [label for label in grain if "white" in label]
    rows: list[Sequence[Cell]] = []
    for method in (*subject.models, *found):
        on_cg, on_scenes = outcomes(method, cg), outcomes(method, synthetic)
        on_ramps, on_grain = outcomes_by(method, ramps), outcomes_by(method, {s: grain[s] for s in strengths})
        plain, edge = (
            [o for (_, e), r in on_ramps.items() if e is edge for o in r] for edge in (False, True)
        )
        strata = (mean_gain(on_cg, stratum) for stratum in ("smooth", "steep"))
        rows.append(
            (method.name, mean_gain(on_cg), worst_gain(on_cg), *strata, *(o.gain() for o in on_scenes))
            + (mean_gain(plain), mean_gain(edge), *(pooled(on_grain[s]).gain() for s in strengths))
        )
    columns = (
        "method",
        "CG plates",
        "worst",
        "smooth",
        "steep",
        "sky",
        "film-like",
        "ramps",
        "ramps with an edge",
    )
    yield Table(
        "Peers, ACEScct: gain in dB",
        (*columns, *(f"grain {s}" for s in strengths)),
        rows,
        note="\n".join(missing),
    )


SECTIONS: Mapping[str, Callable[[Subject], Iterator[Table]]] = MappingProxyType(
    {
        "plates": plates_section,
        "scenes": scenes_section,
        "grain": grain_section,
        "ramps": ramps_section,
        "kinds": kinds_section,
        "cambi": cambi_section,
        "peers": peers_section,
    }
)


def _plates_tables(model: str, by_curve: Mapping[str, list[Outcome]]) -> Iterator[Table]:
    sets = list(dict.fromkeys(_set(o) for measured in by_curve.values() for o in measured))
    for name in sets:
        members = {c: [o for o in measured if _set(o) == name] for c, measured in by_curve.items()}
        rows = [
            (c, *(mean_gain(m, s) for s in ("all", *STRATA)), worst_gain(m), pooled(m).gain())
            for c, m in members.items()
        ]
        columns = ("curve", "all", *STRATA, "worst plate", "pooled error")
        yield Table(f"{model}, {name}: mean of the plates' gains in dB", columns, rows)
    all_outcomes = [o for measured in by_curve.values() for o in measured]
    rows = [(o.group, o.name, *_gains(o)) for o in all_outcomes]
    yield Table(f"{model}, every plate: gain in dB", ("curve", "plate", "all", *STRATA), rows)
    lost = violations(all_outcomes)
    title = (
        f"{model}, below doing nothing by more than {TOLERANCE:g} dB: {len(lost)} of {_cells(all_outcomes)}"
    )
    rows = [
        (v.group, v.name, v.stratum, v.gain, f"{100 * v.share:.0f} %", f"{v.before:.3f}", f"{v.after:.3f}")
        for v in lost
    ]
    columns = ("curve", "plate", "stratum", "gain", "share of the plate", "RMS before, LSB", "after")
    note = (
        "Where most of a stratum is clipped, its truth is known exactly: then both errors are tiny."
        if lost
        else ""
    )
    yield Table(title, columns, rows, note=note)


def _set(outcome: Outcome) -> str:
    """Return what a plate is a member of: the folders of its name; ours have none."""
    return outcome.name.rpartition("/")[0] or "CG plates"


def _gains(outcome: Outcome) -> tuple[float, ...]:
    return outcome.gain(), *(outcome.gain(stratum) for stratum in STRATA)


def _cells(measured: Sequence[Outcome]) -> int:
    """Return how many gains are told of plates: one for each, and for each stratum of at least 2 % of it."""
    large = sum(o.errors.share(stratum) >= LEAST_SHARE for o in measured for stratum in STRATA)
    return len(measured) + large
