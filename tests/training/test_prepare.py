"""Prepare: plates are what the originals are in log, a run goes on where it stopped, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from conftest import hidden_files
from originals import light, save
from small_recipes import pictures, plate, recipe

from bitexpand.errors import DiskFullError, MissingInputError, PlateError, UsageError
from training.manifest import Manifest
from training.plan import Chunk
from training.prepare import Failure, Progress, load_recipe, prepare, prepare_chunk
from training.sources.base import Original
from training.sources.folder import Folder


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no statistics, which takes longer than the rest of a small run; their own tests do."""
    monkeypatch.setattr("training.statistics_picture.draw", lambda title, rows: b"")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def acescct(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the code values of S-2016-001, "ACEScct", equation 1."""
    log = (np.log2(np.maximum(linear, 1e-9), dtype=np.float64) + 9.72) / 17.52
    return np.where(linear <= 0.0078125, 10.5402377416545 * linear + 0.0729055341958355, log)


def test_from_yaml_to_a_folder_with_paths_relative_to_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = light(channels=1).repeat(3, axis=2)  # a neutral stays one whatever the primaries
    save(tmp_path / "show" / "shots" / "sea.exr", pixels)
    (tmp_path / "show" / "plates.yaml").write_text(
        yaml.safe_dump(
            {
                "output": "../plates",
                "split": {"train": 100, "val": 0, "test": 0},
                "sources": [{"kind": "folder", "path": "shots", "name": "own", "licence": "CC-BY-4.0"}],
            }
        )
    )
    monkeypatch.chdir("/")
    prepared = prepare(load_recipe(tmp_path / "show" / "plates.yaml"))
    assert prepared.folder == tmp_path / "plates"
    assert Manifest.load(tmp_path / "plates") == prepared.manifest
    (row,) = prepared.manifest.plates
    assert (row.name, row.scene, row.split, row.licence) == ("own/sea", "sea", "train", "CC-BY-4.0")
    assert (prepared.manifest.encoding, prepared.manifest.storage) == ("ACEScct", "float")
    plate_log = plate(prepared, "own/sea")
    assert plate_log.dtype == np.float32
    np.testing.assert_allclose(plate_log, acescct(pixels), atol=2e-6)
    assert {path.name for path in (tmp_path / "plates").iterdir()} == {
        "own", "manifest.json", "statistics.json", "statistics.png", "failures.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "plates" / "failures.json").read_text()) == []


def test_float_clips_nothing_and_uint16_is_rounded(tmp_path: Path) -> None:
    pixels = light()
    pixels[0, 0], pixels[0, 1] = -0.5, 3e4
    save(tmp_path / "in" / "a.exr", pixels)
    as_float = plate(prepare(recipe(tmp_path)), "folder/a")
    assert as_float.min() < 0
    assert as_float.max() > 1
    stored = plate(prepare(recipe(tmp_path, storage="uint16", output=str(tmp_path / "out16"))), "folder/a")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, np.rint(as_float.clip(0, 1) * np.float32(65535)))


def test_a_second_run_makes_nothing_again(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 3)
    first = prepare(recipe(tmp_path))
    plates = contents(tmp_path / "out" / "folder")
    second = prepare(recipe(tmp_path))
    assert (first.kept, second.kept) == (0, 3)
    assert contents(tmp_path / "out" / "folder") == plates
    assert second.manifest == first.manifest
    assert second.manifest.digest() == first.manifest.digest()


def test_what_changed_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 4)
    first = prepare(recipe(tmp_path))
    folder = tmp_path / "out" / "folder"
    save(tmp_path / "in" / "plate_0000.exr", light(seed=99))
    (folder / "plate_0001.npy").write_bytes((folder / "plate_0001.npy").read_bytes()[:-1])
    (folder / "plate_0002.json").write_text("{")
    second = prepare(recipe(tmp_path))
    assert second.kept == 1
    assert Manifest.load(tmp_path / "out") == second.manifest
    changed = [a.name for a, b in zip(first.manifest.plates, second.manifest.plates, strict=True) if a != b]
    assert changed == ["folder/plate_0000"]


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "ARRI LogC4"},
        {"storage": "uint16"},
        {"config": "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"},
    ],
)
def test_other_settings_make_other_plates(change: Mapping[str, str], tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    prepare(recipe(tmp_path))
    assert prepare(recipe(tmp_path, **change)).kept == 0
    back = prepare(recipe(tmp_path))
    assert back.kept == 0
    assert plate(back, "folder/plate_0000").dtype == np.float32


def test_other_readings_make_other_plates(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    source = Folder(kind="folder", path=str(tmp_path / "in"))
    prepare(recipe(tmp_path, source))
    assert prepare(recipe(tmp_path, replace(source, space="ACEScg"))).kept == 0
    assert prepare(recipe(tmp_path, replace(source, space="ACEScg", ceiling=1e5))).kept == 0


def test_a_manifest_never_speaks_of_plates_that_were_replaced(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    prepare(recipe(tmp_path))

    def stop(progress: Progress) -> None:
        if progress.stage == "prepare":
            raise KeyboardInterrupt

    prepare(recipe(tmp_path), stop)  # there is nothing to make
    Manifest.load(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        prepare(recipe(tmp_path, encoding="ARRI LogC4"), stop)
    with pytest.raises(MissingInputError, match="is no prepared folder"):
        Manifest.load(tmp_path / "out")


def test_unknown_pixels_are_stored_beside_the_plate(tmp_path: Path) -> None:
    pixels = light(60, 60)
    pixels[0, 0] = 2000
    save(tmp_path / "in" / "a.exr", pixels)
    source = Folder(kind="folder", path=str(tmp_path / "in"), ceiling=1000.0)
    prepared = prepare(recipe(tmp_path, source))
    (row,) = Manifest.load(tmp_path / "out").plates
    assert row.unknown == "folder/a.unknown"
    unknown = np.load(tmp_path / "out" / row.unknown)
    assert unknown.sum() == 17 * 17
    assert prepare(recipe(tmp_path, source)).kept == 1
    (tmp_path / "out" / row.unknown).unlink()
    assert prepare(recipe(tmp_path, source)).kept == 0
    pixels[::10, ::10] = 2000
    save(tmp_path / "in" / "a.exr", pixels)
    save(tmp_path / "in" / "b.exr", light())
    prepared = prepare(recipe(tmp_path, source))
    assert [failure.name for failure in prepared.failures] == ["folder/a"]
    assert "no pixel of it is to be trusted; leave it out with 'skip', or raise 'ceiling'" in str(
        prepared.failures[0]
    )


def test_bad_pictures_are_left_out_and_all_others_prepared(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 2)
    bad = light()
    bad[3, 4, 0] = np.nan
    save(folder / "nan.exr", bad)
    save(folder / "grid" / "fake.exr", np.zeros((50, 50, 3), np.float32))
    (folder / "broken.cr2").write_bytes(b"no raw file")
    (folder / "copy.exr").write_bytes((folder / "plate_0001.exr").read_bytes())
    seen: list[Progress] = []
    prepared = prepare(recipe(tmp_path), seen.append)
    assert [row.name for row in prepared.manifest.plates] == ["folder/copy", "folder/plate_0000"]
    reasons = {failure.name: failure.reason for failure in prepared.failures}
    for name, reason in (
        ("folder/nan", "1 samples are NaN or infinite"),
        ("folder/grid/fake", "has 1 different values"),
        ("folder/broken", "LibRaw cannot read it"),
        ("folder/plate_0001", "is the same file as 'folder/copy'"),
    ):
        assert reason in reasons.pop(name)
    assert not reasons
    written = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert tuple(Failure(**entry) for entry in written) == prepared.failures
    assert [(p.stage, p.done, p.total) for p in seen] == [
        *(("fetch", done, 6) for done in range(1, 7)),
        *(("prepare", done, 5) for done in range(1, 6)),
    ]
    assert sum(p.failure is not None for p in seen) == 3
    assert not hidden_files(tmp_path / "out")


@dataclass(frozen=True, kw_only=True)
class Flaky(Folder):
    """A folder, one picture of which cannot be fetched."""

    error: type[BaseException] = PlateError

    def fetch(self, original: Original, cache: Path) -> Path:
        if original.name == "plate_0001":
            raise self.error("the server is on fire")
        return super().fetch(original, cache)


def test_a_picture_that_cannot_be_fetched_is_left_out(tmp_path: Path) -> None:
    source = Flaky(kind="folder", path=str(pictures(tmp_path / "in", 3)))
    prepared = prepare(recipe(tmp_path, source))
    assert [str(failure) for failure in prepared.failures] == ["folder/plate_0001: the server is on fire"]
    assert len(prepared.manifest.plates) == 2
    assert str(prepare(recipe(tmp_path, replace(source, error=MemoryError))).failures[0]).startswith(
        "folder/plate_0001: does not fit into memory"
    )
    with pytest.raises(DiskFullError, match="on fire"):
        prepare(recipe(tmp_path, replace(source, error=DiskFullError)))
    with pytest.raises(ZeroDivisionError):  # no error of a user's: it must not hide in a list
        prepare(recipe(tmp_path, replace(source, error=ZeroDivisionError)))


def test_light_that_the_encoding_cannot_take_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    huge = light()
    huge[5, 5] = 3e38
    save(tmp_path / "in" / "huge.exr", huge)
    source = Folder(kind="folder", path=str(tmp_path / "in"), space="Linear P3-D65")
    prepared = prepare(recipe(tmp_path, source, encoding="Linear Rec.709 (sRGB)"))
    assert [failure.name for failure in prepared.failures] == ["folder/huge"]
    assert "choose an encoding that takes negative and very bright light" in prepared.failures[0].reason


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_chunks_and_then_the_whole_is_what_one_run_makes(count: int, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 6)
    save(folder / "flat.exr", np.zeros((50, 50, 3), np.float32))
    for name in ("twin", "triplet"):
        (folder / f"{name}.exr").write_bytes((folder / "plate_0001.exr").read_bytes())
    alone = prepare(recipe(tmp_path))
    wanted = recipe(tmp_path, output=str(tmp_path / "shared"))
    parts = [prepare_chunk(wanted, Chunk(number, count)) for number in range(count, 0, -1)]
    assert not (tmp_path / "shared" / "manifest.json").exists()
    assert sum(len(part.manifest.plates) for part in parts) >= len(alone.manifest.plates)
    whole = prepare(wanted)
    assert whole.kept == len(whole.manifest.plates) == 6
    assert whole.failures == alone.failures
    assert {name: content for name, (_, content) in contents(tmp_path / "shared").items()} == {
        name: content for name, (_, content) in contents(tmp_path / "out").items()
    }


def test_a_chunk_that_never_ran_is_made_up_for(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 5)
    prepare_chunk(recipe(tmp_path), Chunk(2, 2))
    whole = prepare(recipe(tmp_path))
    assert (whole.kept, len(whole.manifest.plates)) == (2, 5)


def test_a_chunk_that_replaces_plates_takes_the_manifest_away(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 4)
    prepare(recipe(tmp_path))
    prepare_chunk(recipe(tmp_path), Chunk(1, 2))
    Manifest.load(tmp_path / "out")  # nothing was made again
    prepare_chunk(recipe(tmp_path, storage="uint16"), Chunk(1, 2))
    with pytest.raises(MissingInputError, match="is no prepared folder"):
        Manifest.load(tmp_path / "out")


CHILD = """
import sys, time
from pathlib import Path
from training.prepare import load_recipe, prepare
def slowly(progress):
    print(progress.stage, progress.done, flush=True)
    time.sleep(0.02)
prepare(load_recipe(Path(sys.argv[1])), slowly)
"""


def test_a_killed_run_leaves_nothing_half_and_is_gone_on_with(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path / "in" / f"{number:02d}.exr", light(200, 300, seed=number))
    path = tmp_path / "a.yaml"
    path.write_text(
        "{output: out, split: {train: 100, val: 0, test: 0}, sources: [{kind: folder, path: in}]}"
    )
    child = subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line == "prepare 2\n":
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    plates = [path for path in (tmp_path / "out").rglob("*.npy") if not path.name.startswith(".")]
    assert 2 <= len(plates) < 30
    for found in plates:
        assert np.load(found, mmap_mode="r").shape == (200, 300, 3)
    assert not (tmp_path / "out" / "manifest.json").exists()
    prepared = prepare(load_recipe(path))
    assert 2 <= prepared.kept < 30
    assert len(Manifest.load(tmp_path / "out").plates) == 30
    assert not hidden_files(tmp_path / "out")


def test_a_full_disk_keeps_what_was_made_and_is_gone_on_with(
    tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    for number in range(6):
        save(tmp_path / "in" / f"{number}.exr", light(100, 160, seed=number))  # 192 kB each, as a plate
    disk = small_disk(1400)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(600 << 10))
    wanted = recipe(tmp_path, output=str(disk / "out"))
    with pytest.raises(
        DiskFullError, match=r"\.npy: the disk is full; free some room and run the same command again"
    ):
        prepare(wanted)
    plates = sorted((disk / "out" / "folder").glob("*.npy"))
    assert 1 <= len(plates) <= 4
    assert all(np.load(found).shape == (100, 160, 3) for found in plates)
    assert not hidden_files(disk)
    ballast.unlink()
    prepared = prepare(wanted)
    assert prepared.kept >= 1
    assert len(Manifest.load(disk / "out").plates) == 6


def test_an_output_that_is_no_folder(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UsageError, match=r"key 'output': cannot write to '.*/out' \(.*\); choose another"):
        prepare(recipe(tmp_path))


def test_the_prepared_folder_is_copied_to_a_url(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    prepare(recipe(tmp_path, upload=f"file://{tmp_path / 'copy'}"))
    copied, made = contents(tmp_path / "copy"), contents(tmp_path / "out")
    assert {name: copied[name][1] for name in made} == {name: content for name, (_, content) in made.items()}
