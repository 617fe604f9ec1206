"""Blender as a source: settings, what goes wrong, and, where there is a Blender, real renders."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import hidden_files
from hypothesis import given
from hypothesis import strategies as st
from stand_in_blender import StandIn, save_exr

from bitexpand.code_values import Floats
from bitexpand.errors import DiskFullError, MissingInputError, PlateError, UsageError
from bitexpand.frames import read_frame
from training.settings import build
from training.sources import blender
from training.sources.base import Original
from training.sources.blender import Blender, find_blender


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files(cache: Path) -> list[str]:
    """Return the names of all files in a cache, without the version in them."""
    return sorted(f"{p.name.partition('.')[0]}{p.suffix}" for p in cache.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "nothing to render: give a number of stills or sequences"),
        ({"stills": -1}, "key 'stills': input should be greater than or equal to 0, not -1"),
        ({"stills": 1.5}, "key 'stills': .*integer"),
        ({"stills": 1, "frames": 1}, "key 'frames': input should be greater than or equal to 2, not 1"),
        (
            {"stills": 1, "size": [64, 8]},
            r"key 'size\.1': input should be greater than or equal to 16, not 8",
        ),
        ({"stills": 1, "size": [64]}, r"key 'size\.1' is missing"),
        ({"stills": 1, "samples": 0}, "key 'samples': input should be greater than or equal to 1, not 0"),
        ({"stils": 1}, "unknown key 'stils'; did you mean 'stills'"),
        ({"stills": 1, "scene": "("}, "is no regular expression"),
    ],
)
def test_settings_that_cannot_be_are_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Blender, {"kind": "blender", **content}, Path("recipe.yaml"))


def test_it_lists_stills_and_the_frames_of_sequences() -> None:
    content = {"kind": "blender", "stills": 2, "sequences": 1, "frames": 2, "seed": 7, "size": [64, 36]}
    source = build(Blender, content, Path("recipe.yaml"))
    listed = list(source.list())
    names = ["sequence_0001/frame_0001", "sequence_0001/frame_0002", "still_0001", "still_0002"]
    assert [original.name for original in listed] == names
    assert [original.scene for original in listed] == [original.origin for original in listed]
    assert [original.scene for original in listed][1:3] == [
        "blender:seed=7/sequence_0001",
        "blender:seed=7/still_0001",
    ]
    assert len({original.scene for original in listed}) == 3
    assert {(original.suffix, original.licence) for original in listed} == {(".exr", "CC0-1.0")}
    by_name = replace(source, scene="(still|sequence)")
    assert {original.scene for original in by_name.list()} == {"still", "sequence"}


@given(seed=st.integers(-5, 10**6), few=st.integers(1, 30), more=st.integers(0, 30))
def test_more_stills_leave_those_that_are_there(seed: int, few: int, more: int) -> None:
    source = Blender(kind="blender", stills=few, seed=seed)
    assert list(replace(source, stills=few + more, sequences=1).list())[16:][:few] == list(source.list())


def test_pictures_under_one_panorama_are_one_scene(tmp_path: Path) -> None:
    for name in ("dawn.exr", "noon.HDR", "notes.txt"):
        (tmp_path / name).touch()
    scenes = [o.scene for o in Blender(kind="blender", stills=200, hdris=str(tmp_path)).list()]
    assert 60 < sum(scene in ("dawn", "noon") for scene in scenes) < 140
    assert min(scenes.count("dawn"), scenes.count("noon")) > 20
    assert len(set(scenes)) == 2 + sum(scene.startswith("blender:") for scene in scenes)
    other = [o.scene for o in Blender(kind="blender", stills=200, hdris=str(tmp_path), seed=1).list()]
    assert [s in ("dawn", "noon") for s in scenes] != [s in ("dawn", "noon") for s in other]


def test_panoramas_that_are_not_there(tmp_path: Path) -> None:
    source = Blender(kind="blender", stills=1, hdris=str(tmp_path))
    with pytest.raises(
        MissingInputError, match=r"holds no \.exr or \.hdr; key 'hdris' names a folder of panoramas"
    ):
        source.list()
    with pytest.raises(MissingInputError, match="gone: no such folder; key 'hdris'"):
        replace(source, hdris=str(tmp_path / "gone")).list()


def test_blender_is_looked_for_where_it_may_be(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(blender.VARIABLE, raising=False)
    monkeypatch.setattr(blender, "OWN_PYTHON", tmp_path / "own" / "bin" / "python")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingInputError, match=r"no Blender found: .*own/bin/python, .* run scripts/install-blender"
    ):
        find_blender()
    stand_in.make()
    assert find_blender() == stand_in.path
    blender.OWN_PYTHON.parent.mkdir(parents=True)
    blender.OWN_PYTHON.symlink_to(sys.executable)
    assert find_blender() == blender.OWN_PYTHON
    monkeypatch.setenv(blender.VARIABLE, str(stand_in.path))
    assert find_blender() == stand_in.path
    assert find_blender(sys.executable) == Path(sys.executable)
    monkeypatch.setenv(blender.VARIABLE, "/nowhere/blender")
    with pytest.raises(
        MissingInputError, match=r"/nowhere/blender: no executable, named by \$BITEXPAND_BLENDER"
    ):
        find_blender()
    with pytest.raises(
        MissingInputError, match="blender-9: no executable, named by key 'blender'; run scripts/inst"
    ):
        find_blender("blender-9")


def test_a_python_without_bpy_fails_with_its_own_words(cache: Path) -> None:
    source = Blender(kind="blender", stills=1, blender=sys.executable)
    message = "'still_0001' could not be rendered: Blender stopped with exit code 1; .*No module named 'bpy'"
    with pytest.raises(PlateError, match=message):
        source.fetch(source.list()[0], cache)
    assert files(cache) == []


def test_what_cannot_be_started_is_no_blender(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "blender").write_bytes(b"\x7fELF, but not really")
    (tmp_path / "blender").chmod(0o755)
    source = Blender(kind="blender", stills=1, blender=str(tmp_path / "blender"))
    with pytest.raises(
        PlateError, match=r"'still_0001' could not be rendered: .*blender cannot be started \(Exec format"
    ):
        source.fetch(source.list()[0], cache)


def test_missing_pictures_are_rendered_in_one_go_and_only_once(stand_in: StandIn, cache: Path) -> None:
    source = Blender(
        kind="blender", stills=2, sequences=1, frames=2, blender=stand_in.make(), skip=("still_0002",)
    )
    names = ["frame_0001", "frame_0002", "still_0001"]
    for original in source.list()[:3]:
        assert source.fetch(original, cache).read_bytes() == stand_in.picture.read_bytes()
    assert stand_in.starts == 1
    assert files(cache) == [name + suffix for name in names for suffix in (".exr", ".json")]


def test_a_long_list_is_rendered_in_batches(stand_in: StandIn, cache: Path) -> None:
    source = Blender(kind="blender", stills=blender.BATCH + 3, blender=stand_in.make())
    source.fetch(source.list()[1], cache)
    assert len(files(cache)) == 2 * blender.BATCH
    for original in source.list():
        source.fetch(original, cache)
    assert stand_in.starts == 3


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "card"])
def test_a_harmed_picture_is_rendered_again(harm: str, stand_in: StandIn, cache: Path) -> None:
    source = Blender(kind="blender", stills=1, blender=stand_in.make())
    path = source.fetch(source.list()[0], cache)
    good = path.read_bytes()
    damage: dict[str, Callable[[], object]] = {
        "flip": lambda: path.write_bytes(good[:-1] + bytes([good[-1] ^ 1])),
        "truncate": lambda: os.truncate(path, 100),
        "remove": path.unlink,
        "card": lambda: os.truncate(path.with_suffix(".json"), 9),
    }
    damage[harm]()
    assert source.fetch(source.list()[0], cache).read_bytes() == good
    assert stand_in.starts == 2


@pytest.mark.parametrize("change", [{"samples": 3}, {"size": (64, 64)}, {"seed": 1}])
def test_other_settings_are_another_picture(change: dict[str, int], stand_in: StandIn, cache: Path) -> None:
    source = Blender(kind="blender", stills=1, blender=stand_in.make())
    before = source.fetch(source.list()[0], cache)
    changed = replace(source, **change)
    assert changed.fetch(changed.list()[0], cache) != before
    assert source.fetch(source.list()[0], cache) == before
    assert stand_in.starts == 2


def test_a_failure_later_on_does_not_cost_what_is_done(
    stand_in: StandIn, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dies = stand_in.make(first="job['name'] == 'still_0002' and sys.exit('Out of luck')")
    source = Blender(kind="blender", stills=3, blender=dies)
    first, second, third = source.list()
    with caplog.at_level(logging.INFO, "training"):
        assert source.fetch(first, cache).is_file()
    said = (
        "'still_0002' could not be rendered: Blender stopped with exit code 1; its last lines: .*Out of luck"
    )
    assert [r.message for r in caplog.records if r.levelname == "INFO"][-1] == "rendered still_0001, 2 to go"
    assert any(
        r.levelname == "WARNING" and r.message.startswith("picture 'still_0002'") for r in caplog.records
    )
    with pytest.raises(PlateError, match=said):
        source.fetch(second, cache)
    assert source.fetch(third, cache).is_file()
    assert files(cache) == ["still_0001.exr", "still_0001.json", "still_0003.exr", "still_0003.json"]


def test_a_picture_that_blender_takes_for_saved_is_looked_at(stand_in: StandIn, cache: Path) -> None:
    source = Blender(
        kind="blender", stills=1, blender=stand_in.make(second="os.truncate(job['output'], 400)")
    )
    with pytest.raises(PlateError, match="'still_0001' could not be rendered: .*pixels cannot be read"):
        source.fetch(source.list()[0], cache)
    assert files(cache) == []


def test_a_full_disk_says_so(stand_in: StandIn, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(20)
    source = Blender(kind="blender", stills=1, blender=stand_in.make())
    with pytest.raises(
        DiskFullError, match="the disk is full; free some room and run the same command again"
    ):
        source.fetch(source.list()[0], disk)
    assert files(disk) == []


def test_our_libraries_stay_out_of_blenders_python(
    stand_in: StandIn, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "/foreign")
    shows = "sys.exit(repr([k for k, v in os.environ.items() if v == '/foreign']))"
    source = Blender(kind="blender", stills=1, blender=stand_in.make(first=shows))
    with pytest.raises(PlateError, match=r"last lines: \[\]"):
        source.fetch(source.list()[0], cache)


def test_a_killed_run_leaves_nothing_half(stand_in: StandIn, cache: Path) -> None:
    slow = stand_in.make(second="import time; job['name'] == 'still_0002' and time.sleep(5)")
    code = (
        "from pathlib import Path; from training.sources.blender import Blender\n"
        f"source = Blender(kind='blender', stills=2, blender={slow!r})\n"
        f"source.fetch(source.list()[0], Path({str(cache)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 30
    while not (list(cache.glob("still_0001*.json")) and hidden_files(cache)) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = [path for path in files(cache) if not path.startswith(".")]
    assert [name for name in whole if "still" in name] == ["still_0001.exr", "still_0001.json"]
    source = Blender(kind="blender", stills=2, blender=stand_in.make())
    for original in source.list():
        source.fetch(original, cache)
    assert stand_in.starts == 2
    assert hidden_files(cache) == []


@pytest.fixture(scope="module")
def real() -> str:
    """Return the real Blender's path, or skip."""
    try:
        return str(find_blender())
    except MissingInputError as error:
        pytest.skip(str(error))


def test_real_renders_are_clean_float_pictures_of_one_seed(real: str, tmp_path: Path) -> None:
    (tmp_path / "hdris").mkdir()
    dawn = np.linspace(1, 0, 32, dtype=np.float32)[:, None, None] ** 2 * np.ones((32, 64, 3), np.float32)
    save_exr(tmp_path / "hdris" / "dawn.exr", dawn)
    source = Blender(
        kind="blender",
        stills=1,
        sequences=1,
        frames=2,
        size=(64, 36),
        samples=2,
        seed=16,
        blender=real,
        hdris=str(tmp_path / "hdris"),
    )
    originals = source.list()
    assert [original.scene for original in originals].count("dawn") in (1, 2)
    plates = [rendered(source, original, tmp_path / "cache") for original in originals]
    for plate in plates:
        assert plate.shape == (36, 64, 3)
        assert plate.dtype == np.float32
        assert np.isfinite(plate).all()
        assert len(np.unique(plate)) > 1024
        assert 0.02 < np.median(plate) < 1
    first, second, still = plates
    moved = np.abs(np.log2(np.maximum(first, 1e-3) / np.maximum(second, 1e-3)))
    assert 0 < np.median(moved) < 0.2, "frames of a slow move are alike, and not the same"
    apart = np.abs(np.log2(np.maximum(first, 1e-3) / np.maximum(still, 1e-3)))
    assert np.median(apart) > 2 * np.median(moved)
    again = rendered(replace(source, sequences=0), originals[2], tmp_path / "again")
    np.testing.assert_allclose(again, still, rtol=1e-4, atol=1e-5)


def rendered(source: Blender, original: Original, cache: Path) -> Floats:
    """Return the pixels of a picture, and check that its file is what the source promises."""
    frame = read_frame(source.fetch(original, cache))
    assert frame.info.channels == ("R", "G", "B")
    return frame.pixels.astype(np.float32, casting="no")  # refuses half
