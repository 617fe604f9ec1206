"""The quality benchmark: its truths are what they say, its sums are right, its tables are complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import Nothing, Truth, small_trial

from benchmarks.quality import __main__ as command
from benchmarks.quality import grain, kinds, peers, plates, ramps, scenes, sections
from benchmarks.quality.banding import bandings, pooled_ratio
from benchmarks.quality.command_line import CommandLine
from benchmarks.quality.tables import Table
from benchmarks.quality.trial import (
    Outcome,
    Trial,
    mean_gain,
    outcomes,
    outcomes_by,
    pooled,
    violations,
    worst_gain,
)
from bitexpand.code_values import Floats, to_signal
from bitexpand.errors import BitexpandError
from bitexpand.frames import read_frame
from bitexpand.metrics.strata import MAX_GAIN, STRATA, Errors, strata
from training.manifest import Manifest, PlateRow

KNOWN_ORACLE = {0.1: 10.1, 0.2: 5.1, 0.35: 2.3, 0.5: 1.26, 1.0: 0.35}  # dB


@pytest.mark.parametrize("sigma", grain.SIGMAS)
@pytest.mark.parametrize("blur", grain.BLURS.values())
def test_the_oracle_gains_what_is_known(sigma: float, blur: float) -> None:
    trials = grain.grain_trials(sigma, blur, 256)
    assert grain.oracle_errors(trials).gain() == pytest.approx(KNOWN_ORACLE[sigma], rel=0.02)
    strengths = [np.std(known.trial.truth_cv - known.plate_cv) for known in trials]
    assert strengths == pytest.approx([sigma] * 2, rel=0.02)


@given(offset=st.floats(-3, 3), sigma=st.floats(0.05, 2))
def test_the_oracle_is_the_mean_of_the_gaussian_in_the_bin(offset: float, sigma: float) -> None:
    within = np.linspace(-0.5, 0.5, 4001)
    logarithm = -0.5 * ((within - offset) / sigma) ** 2
    weights = np.exp(logarithm - logarithm.max())
    guess = grain.oracle(np.array([100 + offset], np.float32), np.array([100.0], np.float32), sigma)
    assert guess[0] - 100 == pytest.approx(np.sum(within * weights) / weights.sum(), abs=2e-3)


def test_the_oracle_takes_the_edge_of_bins_out_of_reach() -> None:
    guess = grain.oracle(np.array([90, 110], np.float32), np.full(2, 100, np.float32), 0.1)
    assert guess == pytest.approx([99.5, 100.5], abs=1e-2)


@given(width=st.sampled_from(ramps.WIDTHS), angle=st.floats(0, 360), edge=st.booleans())
def test_ramps_have_the_slope_that_they_say(width: int, angle: float, edge: bool) -> None:
    plate_cv = ramps.ramp(width, angle, edge=edge, side=64).astype(np.float64)
    down, across = np.gradient(plate_cv, axis=(0, 1))
    slope = np.hypot(down, across)
    beside = np.abs(slope - 1 / width) < 1e-4
    assert beside.mean() == 1 if not edge else beside.mean() > 0.9
    crossed = slope[~beside]
    assert not edge or crossed.max() > 15


def test_an_edge_divides_its_ramp_by_40_lsb() -> None:
    plain, crossed = (ramps.ramp(32, 20, edge=edge, side=128) for edge in (False, True))
    heights, samples = np.unique(np.round(crossed - plain, 2), return_counts=True)
    assert set(heights[samples > 500]) == {0, 40}


def test_channels_of_a_ramp_differ_in_phase() -> None:
    phases = np.sort(ramps.ramp(8, 0, side=16)[0, 0] % 1)
    assert np.diff(phases) == pytest.approx([1 / 3, 1 / 3], abs=1e-4)


def test_the_synthetic_frames_hold_what_they_say() -> None:
    shares = {
        trial.name: np.bincount(strata(trial.truth_cv).ravel(), minlength=len(STRATA)) / trial.truth_cv.size
        for trial in scenes.scene_trials()
    }
    assert shares["sky"][:2].sum() > 0.99  # flat and smooth
    assert shares["film-like"][STRATA.index("steep")] > 0.25
    assert shares["film-like"][STRATA.index("grainy")] < 0.02
    for plate_cv in scenes.smooth_plates(grain.SIDE).values():
        assert (strata(plate_cv) <= STRATA.index("smooth")).all()


@pytest.mark.parametrize("curve", plates.CURVES)
def test_every_curve_holds_the_plates_and_rounds_them(curve: str) -> None:
    trials = plates.cg_trials(curve, limit=32)
    assert [trial.name for trial in trials] == [f"plate_00{n}0" for n in range(1, 8)]
    for trial in trials:
        assert trial.codes.shape == (32, 32, 3)
        assert np.abs(trial.codes - trial.truth_cv).max() <= 0.5
        assert len(np.unique(trial.truth_cv)) > 30


def prepared_folder(folder: Path) -> Path:
    """Write a prepared folder: a plate of our own, one that is a benchmark plate, and one to train on."""
    plate_log = to_signal(small_trial().truth_cv, 8)
    unknown = np.zeros(plate_log.shape[:2], bool)
    unknown[:7] = True
    np.save(folder / "plate.npy", plate_log)
    np.save(folder / "unknown.npy", unknown)
    (ours,) = plates._digests([next(plates.PLATES.glob("*.exr"))])
    rows = [
        PlateRow("a/train", "plate.npy", None, 40, 56, "one", "train", "made", "CC0-1.0", "made", "0", "0"),
        PlateRow(
            "b/new", "plate.npy", "unknown.npy", 40, 56, "2", "val", "made", "CC0-1.0", "made", "0", "0"
        ),
        PlateRow("c/ours", "plate.npy", None, 40, 56, "3", "val", "made", "CC0-1.0", "made", ours, "0"),
    ]
    Manifest("ACEScct", "bitexpand", "float", tuple(rows)).save(folder)
    return folder


def test_a_prepared_folder_gives_its_validation_plates_that_are_not_ours(tmp_path: Path) -> None:
    (trial,) = plates.prepared_trials("ACEScct", prepared_folder(tmp_path))
    assert trial.name == "b/new"
    assert trial.truth_cv == pytest.approx(small_trial().truth_cv, abs=1e-4)
    assert trial.known is not None
    assert not trial.known[:7].any()
    assert trial.known[7:].all()
    assert outcomes(Nothing(), [trial])[0].errors.samples.sum() == 33 * 56 * 3
    (other,) = plates.prepared_trials("ARRI LogC4", tmp_path)
    assert np.abs(other.truth_cv - trial.truth_cv).mean() > 1


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_each_kind_keeps_the_truth_and_makes_the_codes_it_says(kind: kinds.Kind) -> None:
    plain, made = plates.cg_trials(plates.ACESCCT, limit=24), kind.trials(limit=24)
    differences = [trial.codes - trial.truth_cv for trial in made]
    for before, after in zip(plain, made, strict=True):
        assert np.array_equal(before.truth_cv, after.truth_cv)
        assert after.source == kind.source
        assert after.name == f"{kind.name}/{before.name}"
    farthest = max(float(np.abs(difference).max()) for difference in differences)
    limits = {"truncated": (0.9, 1.0), "dithered": (0.9, 1.0), "triangular": (1.1, 1.5), "lossy": (0.5, 60)}
    least, most = limits[kind.source]
    assert least <= farthest <= most
    if kind.source == "truncated":
        assert max(float(difference.max()) for difference in differences) <= 0
        assert np.array_equal(made[0].untouched_cv, made[0].codes + np.float32(0.5))
    for told, untold in zip(made, kinds.as_rounded(made), strict=True):
        assert untold.source == "rounded"
        assert np.array_equal(untold.untouched_cv, told.untouched_cv)  # what nobody touches is the same


def test_gains_are_what_the_formula_says(tmp_path: Path) -> None:
    trials = [small_trial(1), small_trial(2, 24, 33)]
    measured = outcomes(CommandLine("smooth", tmp_path, "results", threads=1), trials)
    for trial, outcome in zip(trials, measured, strict=True):
        result = read_frame(tmp_path / "results" / "group" / "rounded" / f"{trial.name}.exr")
        assert result.info.container == "float"
        before = np.mean((trial.codes - trial.truth_cv.astype(np.float64)) ** 2)
        after = np.mean((result.pixels.astype(float) * 255 - trial.truth_cv) ** 2)
        assert outcome.gain() == pytest.approx(10 * np.log10(before / after), abs=1e-3)
        assert outcome.gain() > 1
    assert mean_gain(measured) == pytest.approx(np.mean([o.gain() for o in measured]))
    assert worst_gain(measured) == min(o.gain() for o in measured)


def test_a_model_that_fails_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BitexpandError, match=r"`bitexpand batch .* failed with exit code 2"):
        outcomes(CommandLine("smoth", tmp_path, "results"), [small_trial()])


def outcome_of(name: str, **gains: tuple[float, int]) -> Outcome:
    """Return an outcome of given gains in dB and samples by stratum, others without samples."""
    told = [gains.get(stratum, (0.0, 0)) for stratum in STRATA]
    samples = np.array([count for _, count in told])
    after = samples * 10 ** (-np.array([gain for gain, _ in told]) / 10)
    return Outcome("curve", name, Errors(samples.astype(float), after, samples))


def test_violations_are_listed_worst_first_and_small_strata_left_out() -> None:
    measured = [
        outcome_of("good", flat=(9.0, 500), steep=(-0.01, 500), edge=(-3.0, 15)),
        outcome_of("mixed", smooth=(5.0, 900), grainy=(-0.3, 100)),
        outcome_of("bad", ramp=(-1.0, 100)),
    ]
    found = [(v.name, v.stratum, round(v.gain, 2), round(v.share, 2)) for v in violations(measured)]
    assert found == [("bad", "all", -1.0, 1.0), ("bad", "ramp", -1.0, 1.0), ("mixed", "grainy", -0.3, 0.1)]
    worst = violations(measured)[0]
    assert (worst.before, worst.after) == pytest.approx((1, 10**0.05))  # each sample's error was 1 LSB
    assert np.isnan(measured[0].gain("edge"))
    assert pooled(measured).samples.sum() == 2115


def test_means_of_nothing_are_no_number() -> None:
    assert np.isnan(mean_gain([]))
    assert np.isnan(worst_gain([]))
    assert np.isnan(mean_gain([outcome_of("flat", flat=(3.0, 10))], "edge"))


def test_series_are_told_apart() -> None:
    series = {"one": [small_trial(1)], "none": [], "two": [small_trial(2), small_trial(3)]}
    measured = outcomes_by(Nothing(), series)
    names = {label: [o.name for o in outcomes] for label, outcomes in measured.items()}
    assert names == {"one": ["folder/plate_1"], "none": [], "two": ["folder/plate_2", "folder/plate_3"]}


def test_banding_of_nothing_done_and_of_the_truth() -> None:
    pytest.importorskip("imageio_ffmpeg", reason="CAMBI needs imageio-ffmpeg")
    ramp_cv = ramps.ramp(32, 20, side=224)
    trials = [Trial.rounded("ramps", "ramp", ramp_cv), small_trial()]  # the second is too small for CAMBI
    before, after = (bandings(method, trials) for method in (Nothing(), Truth()))
    assert [b.name for b in before] == ["ramp"]
    assert before[0].before > before[0].truth + 1
    assert pooled_ratio(before) == before[0].ratio == 1
    assert pooled_ratio(after) == 0
    assert np.isnan(pooled_ratio([]))


@pytest.fixture
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every section measure a little of what it would."""
    monkeypatch.setattr(plates, "CURVES", ("ACEScct", "ARRI LogC4"))
    monkeypatch.setattr(sections, "KINDS", kinds.KINDS[:2])
    monkeypatch.setattr(
        scenes,
        "scene_trials",
        lambda: [replace(small_trial(n), name=name) for n, name in enumerate(("sky", "film-like"))],
    )
    some_ramps = {(w, e): ramps.ramp_trials(w, e, 48) for w in ramps.WIDTHS for e in (False, True)}
    monkeypatch.setattr(sections, "all_ramp_trials", lambda: some_ramps)
    some_grain = {"0.5 LSB, white": grain.grain_trials(0.5, 0, 48)}
    monkeypatch.setattr(sections, "all_grain_trials", lambda: some_grain)
    monkeypatch.setattr(peers, "available", lambda: ([peers.Peer("POCS", peers.pocs)], ["Absent left out"]))


@pytest.mark.usefixtures("small_sections")
@pytest.mark.parametrize("section", sections.SECTIONS)
def test_doing_nothing_gains_nothing_in_any_section(section: str, tmp_path: Path) -> None:
    subject = sections.Subject([Nothing(), Truth()], prepared_folder(tmp_path), limit=32)
    tables = list(sections.SECTIONS[section](subject))
    told = {"nothing": set(), "truth": set()}
    for table in tables:
        assert len(set(table.columns)) == len(table.columns)
        for row in table.rows:
            for column, cell in zip(table.columns, row, strict=True):
                names = [name for name in told if name in (column, row[0]) or name in table.title]
                if isinstance(cell, float) and not np.isnan(cell) and len(names) == 1:
                    told[names[0]].add(cell)
    if section == "cambi":
        assert not told["nothing"]  # these plates are too small for it
    else:
        assert told == {"nothing": {0.0}, "truth": {MAX_GAIN}}


@pytest.mark.usefixtures("small_sections")
def test_what_is_worse_than_nothing_is_told(tmp_path: Path) -> None:
    class Worse(Nothing):
        name = "worse"

        def expand(self, trials: Sequence[Trial]) -> list[Floats]:
            return [trial.untouched_cv + np.float32(0.7) for trial in trials]

    *_, lost = sections.plates_section(sections.Subject([Worse()], prepared_folder(tmp_path), limit=32))
    told = {(row[0], row[1]) for row in lost.rows}
    names = [*(f"plate_00{n}0" for n in range(1, 8)), "b/new"]
    assert told == {(curve, name) for curve in plates.CURVES for name in names}
    gains = [row[3] for row in lost.rows]
    assert gains == sorted(gains)
    assert f"{len(lost.rows)} of {len(lost.rows)}" in lost.title


def test_a_table_as_markdown_and_as_facts() -> None:
    table = Table("Title", ("plate", "gain"), [("a", 1.234), ("b", float("nan"))], note="Note.")
    assert (
        table.markdown() == "**Title**\n\n| plate | gain |\n| --- | --- |\n| a | +1.23 |\n| b |  |\n\nNote."
    )
    assert "| a | 1.23 |" in replace(table, signed=False).markdown()
    assert replace(table, rows=[], note="").markdown() == "**Title**"
    rows = [{"plate": "a", "gain": 1.234}, {"plate": "b", "gain": None}]
    assert table.facts() == {"title": "Title", "rows": rows, "note": "Note."}


@pytest.mark.usefixtures("small_sections")
def test_the_command_prints_tables_and_writes_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "numbers.json"
    options = ["--limit", "24", "--threads", "1", "--json", str(numbers)]
    assert command.main(["--models", "smooth", "--only", "scenes", *options]) == 0
    said = capsys.readouterr()
    assert "| smooth | sky |" in said.out
    assert said.err == "measuring scenes ...\n"
    (table,) = json.loads(numbers.read_text())["tables"]
    assert table["rows"][0]["all"] > 1


def test_the_fast_models_are_measured_by_default_and_all_on_demand() -> None:
    assert command._models(None) == ["pyramid", "smooth"]
    assert {"pyramid", "smooth"} < set(command._models("all"))
    assert command._sections(None) == list(sections.SECTIONS)
    assert command._sections("peers,plates") == ["plates", "peers"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--models", "pyramide"], 2, "error: unknown model 'pyramide'; did you mean 'pyramid'"),
        (["--models", "gone.safetensors"], 3, "gone.safetensors"),
        (["--only", "ramp"], 2, "error: unknown section 'ramp'; did you mean 'ramps'"),
        (["--only", "grain", "--json", "gone/numbers.json"], 2, "gone/numbers.json: its folder is not there"),
        (["--models", "smooth", "--only", "plates", "--prepared", "gone"], 3, "is no prepared folder"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_measured(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(tmp_path / a) if a.startswith("gone") else a for a in arguments]
    assert command.main(arguments) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


@pytest.mark.parametrize("limit", ["0", "-3", "x"])
def test_a_limit_that_is_no_size_is_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([f"--limit={limit}"])
    assert f"'{limit}' is not a whole number above 0" in capsys.readouterr().err
