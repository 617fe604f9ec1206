"""Gains on a prepared folder: by the way that users' plates take, and honest about what they were measured on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plates import tiny_model
from prepared import CONFIG, ENCODING, prepare, row, signal, trained

from bitexpand.code_values import Floats, requantise
from bitexpand.color import conversion, load_config
from bitexpand.engine import Expander
from bitexpand.errors import CheckpointError, MissingInputError, UnknownNameError, UsageError
from bitexpand.metrics.strata import STRATA, Errors, errors
from bitexpand.models import checkpoint
from training import checkpoints
from training.evaluate import Evaluation, PlateErrors, evaluate, lost_text
from training.manifest import Manifest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a prepared folder with a training plate and three validation plates, one with unknown pixels."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


def same(one: Evaluation, other: Evaluation) -> bool:
    return all(
        a.row == b.row
        and (a.errors.after == b.errors.after).all()
        and (a.errors.before == b.errors.before).all()
        for a, b in zip(one.plates, other.plates, strict=True)
    )


def by_hand(truth_cv: Floats, bits: int = 8, known: np.ndarray | None = None) -> Errors:
    input_cv = requantise(truth_cv)
    return errors(input_cv, Expander("smooth").expand(input_cv.astype(np.uint16), bits), truth_cv, known)


def test_each_plate_is_measured_as_by_hand(folder: Path) -> None:
    found = evaluate("smooth", folder)
    assert [plate.row.name for plate in found.plates] == ["own/dusk", "own/noon", "own/rain"]
    expected = by_hand(signal(1) * np.float32(255))
    assert (found.plates[0].errors.after == expected.after).all()
    assert (found.plates[0].errors.before == expected.before).all()
    assert (found.encoding, found.bits, found.split, found.weights_sha256) == (ENCODING, 8, "val", "none")
    assert found.data == Manifest.load(folder).digest()


def test_calm_plates_gain_more_than_grainy_ones(folder: Path) -> None:
    found = evaluate("smooth", folder)
    gains = [plate.errors.gain() for plate in found.plates]
    assert gains[0] > 2
    assert gains == sorted(gains, reverse=True)
    assert found.mean_gain == pytest.approx(np.mean(gains))
    assert found.pooled.samples.sum() == 3 * 48 * 64 * 3 - 20 * 10 * 3  # but for the unknown ones


def test_unknown_pixels_do_not_count(folder: Path) -> None:
    known = ~np.load(folder / "noon_unknown.npy")
    expected = by_hand(signal(2) * np.float32(255), known=known)
    assert (evaluate("smooth", folder).plates[1].errors.after == expected.after).all()


def test_another_curve_is_rounded_there(folder: Path) -> None:
    found = evaluate("smooth", folder, curve="arri_logc3_ei800")
    assert found.encoding == load_config(CONFIG).canonical("arri_logc3_ei800") != ENCODING
    convert = conversion(load_config(CONFIG), ENCODING, found.encoding, lossless=True)
    truth_cv = convert.apply(signal(1) * np.float32(255) / np.float32(255)).clip(0, 1) * np.float32(255)
    assert found.plates[0].errors.gain() == pytest.approx(by_hand(truth_cv).gain(), abs=1e-3)
    assert found.plates[0].errors.before.sum() != evaluate("smooth", folder).plates[0].errors.before.sum()


def test_other_bit_depths(folder: Path) -> None:
    found = evaluate("smooth", folder, bits=10)
    truth_cv = signal(1) * np.float32(255) * np.float32(1023 / 255)
    assert found.plates[0].errors.gain() == pytest.approx(by_hand(truth_cv, 10).gain(), abs=1e-3)
    assert found.plates[0].errors.before.sum() / found.plates[0].errors.samples.sum() == pytest.approx(
        1 / 12, rel=0.1
    )


def test_a_part_of_each_plate(folder: Path) -> None:
    found = evaluate("smooth", folder, limit=32)
    assert {int(plate.errors.samples.sum()) for plate in found.plates} <= {
        32 * 32 * 3,
        32 * 32 * 3 - 3 * 12 * 0,
    }
    assert ", the 32 px at their centres, rounded to 8 bits in ACEScct" in found.conditions


def test_progress_is_told_plate_by_plate(folder: Path) -> None:
    told: list[PlateErrors] = []
    assert evaluate("smooth", folder, on_plate=told.append).plates == tuple(told)


def test_a_checkpoint_is_its_moving_average_through_the_engine(folder: Path, tmp_path: Path) -> None:
    path = trained(tmp_path / "best.pt")
    module, architecture, config = checkpoints.load_model(path)
    weights = tmp_path / "weights.safetensors"
    pickled = tmp_path / "weights.pt"
    torch.save({"architecture": architecture, "config": vars(config), "state": module.state_dict()}, pickled)
    checkpoint.save(weights, module, architecture, config)
    of_checkpoint, of_weights, of_pickle = (evaluate(str(p), folder) for p in (path, weights, pickled))
    assert same(of_checkpoint, of_weights)
    assert same(of_pickle, of_weights)
    assert of_checkpoint.weights_sha256 == of_weights.weights_sha256
    assert of_checkpoint.model == str(path)
    assert not same(of_checkpoint, evaluate(tiny_model(tmp_path, seed=5), folder))


def test_a_model_is_the_same_whatever_the_plates_before_it(folder: Path, tmp_path: Path) -> None:
    weights = tiny_model(tmp_path)
    assert same(evaluate(weights, folder), evaluate(weights, folder))


def test_training_data_are_refused_unless_asked_for_and_then_labelled(folder: Path) -> None:
    with pytest.raises(UsageError, match="split 'train' is what models are fitted to") as raised:
        evaluate("smooth", folder, "train")
    assert str(folder) in str(raised.value)
    found = evaluate("smooth", folder, "train", on_training_data=True)
    assert [plate.row.name for plate in found.plates] == ["own/dawn"]
    assert "TRAINING DATA" in found.text()
    assert found.facts()["is_training_data"] is True
    honest = evaluate("smooth", folder)
    assert "TRAINING" not in honest.text()
    assert "checkpoints are chosen by it" in honest.text()
    assert honest.facts()["is_training_data"] is False


def test_an_empty_split_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="no plates in split 'test'"):
        evaluate("smooth", folder, "test")


def test_what_is_neither_weights_nor_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pt"
    torch.save({"model": {}}, foreign)
    with pytest.raises(CheckpointError) as raised:
        evaluate(str(foreign), folder)
    for part in (
        str(foreign),
        "neither a weights file nor a training checkpoint",
        "exactly the keys",
        "not a checkpoint",
    ):
        assert part in str(raised.value), raised.value
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(trained(tmp_path / "best.pt").read_bytes())
    with pytest.raises(CheckpointError, match="not readable as safetensors"):
        evaluate(str(damaged), folder)
    with pytest.raises(MissingInputError, match=r"gone\.pt: no such"):
        evaluate(str(tmp_path / "gone.pt"), folder)
    with pytest.raises(UnknownNameError, match="unknown model 'smoth'; did you mean 'smooth'"):
        evaluate("smoth", folder)


def test_bad_settings(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown colour space 'LogC9'"):
        evaluate("smooth", folder, curve="LogC9")
    with pytest.raises(UsageError, match="bits 14: give 2 to 12"):
        evaluate("smooth", folder, bits=14)
    with pytest.raises(UsageError, match="limit 0: give 1 px or more"):
        evaluate("smooth", folder, limit=0)
    with pytest.raises(MissingInputError, match="is no prepared folder"):
        evaluate("smooth", tmp_path)


def made_up(*plates: tuple[str, dict[str, tuple[float, float, int]]]) -> Evaluation:
    """An evaluation of plates given as {stratum: (error before, error after, samples)}."""
    found = []
    for name, parts in plates:
        sums = [[parts.get(s, (0, 0, 0))[i] for s in STRATA] for i in range(3)]
        at = Errors(np.array(sums[0], float), np.array(sums[1], float), np.array(sums[2], np.int64))
        found.append(PlateErrors(row(name, "val", 8, 8), at))
    return Evaluation("m", "none", "d" * 64, "val", ENCODING, 8, None, tuple(found))


def test_the_mean_counts_plates_alike_and_the_pool_counts_errors() -> None:
    found = made_up(
        ("small", {"flat": (1, 0.1, 10)}), ("large", {"flat": (99, 99, 990)}), ("exact", {"flat": (0, 0, 10)})
    )
    assert found.mean_gain == pytest.approx(5)
    assert found.pooled.gain() == pytest.approx(10 * np.log10(100 / 99.1))
    assert np.isnan(made_up(("exact", {"flat": (0, 0, 10)})).mean_gain)


def test_what_was_lost_is_told_worst_first_and_crumbs_are_not() -> None:
    found = made_up(
        ("a", {"flat": (10, 1, 970), "edge": (1, 2, 20), "steep": (1, 9, 10)}),
        ("b", {"grainy": (10, 12, 1000)}),
    )
    assert [lost_text(loss) for loss in found.losses()] == [
        "own/a (edge, 2.0 % of it): -3.01 dB",
        "own/b (all of it): -0.79 dB",
        "own/b (grainy, 100.0 % of it): -0.79 dB",
    ]
    assert [loss.stratum for loss in found.losses(least_share=0.01)][0] == "steep"
    assert "worse than doing nothing: own/a (edge, 2.0 % of it): -3.01 dB" in found.text()


def test_the_table_and_the_facts_say_the_same(folder: Path) -> None:
    found = evaluate("smooth", folder)
    table = found.table()
    assert table[0] == ("gain in dB", "all", *STRATA)
    assert {len(line) for line in table} == {2 + len(STRATA)}
    titles = [line[0] for line in table[1:]]
    assert titles == [
        "own/dusk",
        "own/noon",
        "own/rain",
        "mean of plates",
        "pooled error",
        "share of samples, %",
    ]
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert facts["mean_gain_db"] == found.mean_gain
    assert [plate["name"] for plate in facts["plates"]] == titles[:3]
    for line, plate in zip(table[1:], [*facts["plates"]], strict=False):
        assert line[1] == f"{plate['gain_db']:+.2f}"
        for cell, stratum in zip(line[2:], STRATA, strict=True):
            gain = plate["strata"][stratum]["gain_db"]
            assert cell == ("–" if gain is None else f"{gain:+.2f}")
    assert sum(part["share"] for part in facts["pooled"]["strata"].values()) == pytest.approx(1)
    lines = found.text().splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert not any(line.endswith(" ") for line in lines)


def test_strata_without_an_error_have_no_gain() -> None:
    found = made_up(("exact", {"flat": (0, 0, 10)}))
    assert found.table()[1] == ("own/exact", *("–" for _ in range(1 + len(STRATA))))
    facts = found.facts()
    assert facts["mean_gain_db"] is None
    assert replace(found, plates=()).facts()["plates"] == []
