"""Statistics: right on plates whose numbers are known, and a picture that stays readable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rows import row

from bitexpand.code_values import from_signal
from bitexpand.metrics.strata import STRATA, strata
from training import statistics
from training.manifest import SPLITS, Manifest
from training.statistics import PlateStatistics, measure, summary

SOME = PlateStatistics(100, 10, 6, (50, 60, 70), 8.0, (100, 0, 100, 70, 0, 0))


def test_levels_and_clipping() -> None:
    plate_log = np.zeros((32, 64, 3), np.float32)
    plate_log[..., 0] = 0.5
    plate_log[..., 1] = np.linspace(0.1, 0.9, 2048).reshape(32, 64)
    plate_log[..., 2] = np.where(np.arange(64) < 16, 1.5, 0.25)
    plate_log[0, 0, 0] = -0.1
    measured = measure(plate_log, plate_log, None)
    assert measured.levels == (2, 2048, 2)
    assert (measured.pixels, measured.clipped, measured.unknown) == (2048, 1 + 16 * 32, 0)


def test_dynamic_range_is_between_percentiles_of_positive_light() -> None:
    stops = np.linspace(0, 10, 100_000)
    light = np.repeat((2**stops).astype(np.float32).reshape(250, 400, 1), 3, axis=2)
    measured = measure(light, light, None)
    assert measured.stops == pytest.approx(10 * 0.998, abs=0.01)
    light[:125] *= -1  # the lower half is gone
    assert measure(light, light, None).stops == pytest.approx(5 * 0.998, abs=0.01)
    unknown = np.zeros((250, 400), bool)
    unknown[200:] = True
    measured = measure(light, light, unknown)
    assert measured.stops == pytest.approx(3 * 0.998, abs=0.01)
    assert measured.unknown == 50 * 400
    assert measure(light, -np.abs(light), None).stops is None


def test_strata_are_those_of_the_whole_plate_and_leave_out_what_is_unknown() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:1100, 0:40]
    steep = np.where(y < 600, x / 40, np.sin(y / 9) / 3 + 0.5)
    plate_log = (
        (steep + random.normal(0, 0.002, (3, 1100, 40)) * (y > 900)).transpose(1, 2, 0).astype(np.float32)
    )
    labels = strata(from_signal(plate_log.clip(0, 1), 8))
    assert len(np.unique(labels)) >= 3
    assert measure(plate_log, plate_log, None).strata == tuple(
        np.bincount(labels.ravel(), minlength=len(STRATA))
    )
    unknown = random.random((1100, 40)) < 0.3
    expected = tuple(np.bincount(labels[~unknown].ravel(), minlength=len(STRATA)))
    assert measure(plate_log, plate_log, unknown).strata == expected


def test_a_summary_pools_counts_and_spreads_the_rest() -> None:
    other = PlateStatistics(300, 0, 0, (10, 20, 30), None, (30, 0, 0, 0, 0, 0))
    pooled = summary([SOME, other])
    assert (pooled["plates"], pooled["pixels"]) == (2, 400)
    assert pooled["levels"] == {"min": 10, "median": 40.0, "max": 70}
    assert pooled["stops"] == {"min": 8.0, "median": 8.0, "max": 8.0}
    assert pooled["strata"]["flat"] == pytest.approx(130 / 300)
    assert sum(pooled["strata"].values()) == pytest.approx(1)
    assert pooled["clipped"] == pytest.approx(6 / 1200)
    assert pooled["unknown"] == pytest.approx(10 / 400)
    assert summary([other])["stops"] is None


@pytest.mark.parametrize(
    ("count", "rows"),
    [(1, 1), (40, 40), (41, 14), (1200, 3)],  # plates; three plates are a scene; one source has three splits
)
def test_the_picture_keeps_its_size(count: int, rows: int, tmp_path: Path) -> None:
    plates = tuple(
        row(f"plate $_{i}\u65e5", SPLITS[i // 3 % 3], scene=f"scene {i // 3}", source="a source")
        for i in range(count)
    )
    manifest = Manifest("ACEScct", "bitexpand", "float", plates)
    measured = {plate.name: SOME for plate in plates}
    assert len(statistics._rows(plates, measured)) == rows
    statistics.save(tmp_path, manifest, measured)
    with Image.open(tmp_path / "statistics.png") as picture:
        picture.load()
        assert picture.width == 1540
        assert 250 < picture.height < 1300
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 6  # bars were drawn
    content = json.loads((tmp_path / "statistics.json").read_text())
    assert (content["encoding"], content["overall"]["plates"], len(content["plates"])) == (
        "ACEScct",
        count,
        count,
    )
    assert sum(split["plates"] for split in content["splits"].values()) == count


def test_rows_that_stand_for_several_plates_say_how_many() -> None:
    plates = tuple(row(f"{i}", SPLITS[i % 2], source="cg") for i in range(50))
    labels = [label for label, _ in statistics._rows(plates, {plate.name: SOME for plate in plates})]
    assert labels == ["train: cg (25)", "val: cg (25)"]
