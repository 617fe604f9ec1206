"""The pipeline: every frame complete or not there, whatever happens to the others and however often it is run."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pytest
from conftest import hidden_files
from PIL import Image
from plates import natural, save, save_shot, tiny_model

from bitexpand import frames, pipeline, provenance
from bitexpand.code_values import Storage, peak
from bitexpand.engine import Expander
from bitexpand.errors import GuardError, UsageError
from bitexpand.frames import Attribute, FrameInfo, Window, read_frame, read_info
from bitexpand.jobs import Batch, Job, plan_batch, plan_sequence
from bitexpand.pipeline import expand_sequence, run
from bitexpand.plate import Plate, read_plate
from bitexpand.results import FrameResult

SHOW_CONFIG = """
ocio_profile_version: 2.1
roles: {{default: raw}}
file_rules: [!<Rule> {{name: Default, colorspace: raw}}]
displays: {{d: [!<View> {{name: v, colorspace: raw}}]}}
colorspaces:
  - !<ColorSpace> {{name: raw}}
  - !<ColorSpace>
    name: log
    to_scene_reference: !<ExponentTransform> {{value: [{power}, {power}, {power}, 1]}}
"""
P = ParamSpec("P")
R = TypeVar("R")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def job(tmp_path: Path, tiny: str) -> Job:
    """Six frames to expand, 1001 to 1006."""
    return Job(
        input=save_shot(tmp_path / "in", 6),
        output=str(tmp_path / "out" / "shot_####.exr"),
        model=tiny,
        device="cpu",
        threads=1,
    )


def preceded(function: Callable[P, R], act: Callable[..., object]) -> Callable[P, R]:
    """Return ``function`` with ``act`` before every call."""

    def both(*args: P.args, **kwargs: P.kwargs) -> R:
        act(*args, **kwargs)
        return function(*args, **kwargs)

    return both


def fail_at(call: int, error: BaseException) -> Callable[..., None]:
    """Return what raises ``error`` at that call, counted from 1."""
    calls = itertools.count(1)

    def act(*_: object) -> None:
        if next(calls) == call:
            raise error

    return act


def source(job: Job, number: int) -> Path:
    return Path(job.input.replace("####", str(number)))


def target(job: Job, number: int) -> Path:
    return Path(job.output.replace("####", str(number)))


def statuses(job: Job) -> str:
    """Expand and return the first letter of each status: w, s or f."""
    return "".join(result.status[0] for result in expand_sequence(job))


def codes_in(path: Path, bits: int = 8) -> np.ndarray:
    """Read a written frame and round it as anyone would."""
    pixels = read_frame(path).pixels
    signal = pixels.astype(np.float64) / (65535 if pixels.dtype == np.uint16 else 1)
    return np.floor(signal * peak(bits) + 0.5).astype(np.uint16)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a file is written again, even with the same bytes."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_sequence_is_expanded_in_its_order(job: Job) -> None:
    results = list(expand_sequence(replace(job, frames="1003,1001-1002,1004-1006")))
    assert [r.task.number for r in results] == [1003, 1001, 1002, 1004, 1005, 1006]
    for result in results:
        assert (result.status, result.error) == ("written", None)
        assert result.guard is not None
        assert 0 < result.guard.mean_move <= result.guard.largest_move < 0.5
        assert min(result.timing.read, result.timing.expand, result.timing.write) > 0
        stored = read_frame(result.task.target)
        assert (stored.info.container, stored.info.channels) == ("half", ("R", "G", "B"))
        source_codes = read_plate(result.task.source).codes
        assert np.array_equal(codes_in(result.task.target), source_codes)
        assert np.abs(stored.pixels.astype(np.float32) * 255 - source_codes).max() > 0.1, "something happened"
    assert not hidden_files(Path(job.output).parent)


def test_results_keep_their_order_when_writers_do_not(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd_ones_take_long(path: Path, *_: object) -> None:
        time.sleep(0.05 * (int(path.stem[-4:]) % 2))

    monkeypatch.setattr(frames, "write_frame", preceded(frames.write_frame, odd_ones_take_long))
    assert [r.task.number for r in expand_sequence(job)] == list(range(1001, 1007))


@pytest.mark.parametrize("slow", ["reader", "writer", "caller"])
def test_a_handful_of_frames_is_in_flight_however_long_the_shot(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    alive, most = 0, 0
    lock = threading.Lock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def counted(path: Path, bits: int | None = None) -> Plate:
        nonlocal alive, most
        plate = read_plate(path, bits)
        time.sleep(0.002 * (slow == "reader"))
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(plate, gone)
        return plate

    slowly = preceded(frames.write_frame, lambda *_: time.sleep(0.01 * (slow == "writer")))
    monkeypatch.setattr(pipeline, "read_plate", counted)
    monkeypatch.setattr(frames, "write_frame", slowly)
    pattern = save_shot(tmp_path, 50, 8, 8)
    job = Job(input=pattern, output=f"{tmp_path}/o/o_####.exr", model=tiny, device="cpu", threads=1)
    for result in expand_sequence(job):
        assert result.status == "written"
        time.sleep(0.004 * (slow == "caller"))
    assert 1 <= most <= 8
    assert alive == 0


def test_large_frames_are_fewer_in_flight(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LARGE_FRAME", 0)
    plates: weakref.WeakSet[Plate] = weakref.WeakSet()
    most = 0

    def counted(path: Path, bits: int | None = None) -> Plate:
        nonlocal most
        plate = read_plate(path, bits)
        plates.add(plate)
        most = max(most, len(plates))
        return plate

    monkeypatch.setattr(Plate, "__hash__", object.__hash__)
    monkeypatch.setattr(pipeline, "read_plate", counted)
    assert statuses(job) == "wwwwww"
    assert most <= 5


def test_the_same_work_gives_the_same_bytes(job: Job, tmp_path: Path) -> None:
    shot = {"in_space": "ACEScct", "out_space": "ACEScg"}
    for folder in ("a", "b"):
        assert statuses(replace(job, output=f"{tmp_path}/{folder}/shot_####.exr", **shot)) == "wwwwww"
        for extension in ("png", "tif", "dpx"):
            output = f"{tmp_path}/{folder}/shot_####.{extension}"
            assert statuses(replace(job, output=output, frames="1001")) == "w"
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 9


def test_a_rerun_skips_what_is_done(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    before = states(target(job, 1001).parent)
    assert statuses(job) == "ssssss"
    assert statuses(replace(job, threads=1)) == "ssssss"
    assert states(target(job, 1001).parent) == before


def test_a_rerun_does_the_rest(job: Job) -> None:
    assert statuses(replace(job, frames="1002-1003")) == "ww"
    assert statuses(job) == "wsswww"


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.5},
        {"bound": 0.4},
        {"bits": 8, "depth": "float"},
        {"compression": "piz"},
        {"in_space": "ACEScct"},
        {"precision": "bf16"},
        {"post_smooth": 1.0},
    ],
)
def test_another_setting_is_done_again(job: Job, change: dict[str, Any]) -> None:
    one = replace(job, frames="1001")
    assert statuses(one) == "w"
    assert statuses(replace(one, **change)) == "w"
    assert statuses(replace(one, **change)) == "s"
    assert statuses(one) == "w"


def test_another_model_is_done_again(job: Job, tmp_path: Path) -> None:
    one = replace(job, frames="1001")
    assert statuses(one) == "w"
    assert statuses(replace(one, model=tiny_model(tmp_path, seed=1))) == "w"


def test_another_config_of_the_same_name_is_done_again(job: Job, tmp_path: Path) -> None:
    config = tmp_path / "show.ocio"
    one = replace(job, frames="1001", config=str(config), in_space="log", out_space="raw")
    config.write_text(SHOW_CONFIG.format(power=2))
    assert statuses(one) == "w"
    assert statuses(one) == "s"
    config.write_text(SHOW_CONFIG.format(power=3))
    assert statuses(one) == "w"


def test_a_changed_source_is_done_again_and_a_touched_one_is_not(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    save(source(job, 1003), natural(24, 32, seed=77))
    os.utime(source(job, 1004), (1, 1))
    assert statuses(job) == "sswsss"
    assert np.array_equal(codes_in(target(job, 1003)), natural(24, 32, seed=77))


@pytest.mark.parametrize("extension", ["exr", "png", "tif", "dpx"])
def test_a_damaged_result_is_done_again(job: Job, extension: str) -> None:
    job = replace(job, output=job.output.replace("exr", extension))
    assert statuses(job) == "wwwwww"
    good = digests(target(job, 1001).parent)
    whole = target(job, 1002).read_bytes()
    target(job, 1002).write_bytes(whole[: len(whole) // 2])
    target(job, 1003).write_bytes(b"")
    target(job, 1004).unlink()
    target(job, 1005).write_bytes(whole[:60])
    assert statuses(job) == "swwwws"
    assert digests(target(job, 1001).parent) == good


def test_a_bit_that_flipped_in_a_compressed_result_is_noticed(job: Job) -> None:
    job = replace(job, frames="1001")
    assert statuses(job) == "w"
    damaged = bytearray(target(job, 1001).read_bytes())
    damaged[-40] ^= 0x10
    target(job, 1001).write_bytes(damaged)
    assert statuses(job) == "w"


def test_overwrite_does_all_again(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    before = states(target(job, 1001).parent)
    assert statuses(replace(job, existing="overwrite")) == "wwwwww"
    assert all(state != before[name] for name, state in states(target(job, 1001).parent).items())


def foreign_exr(path: Path) -> None:
    window = Window(0, 0, 32, 24)
    info = FrameInfo(path, "openexr", ("R", "G", "B"), "half", 16, window, window)
    frames.write_frame(
        path, np.zeros((24, 32, 3), np.float16), info, (Attribute("Software", "string", "Nuke"),)
    )


def cut_foreign_exr(path: Path) -> None:
    foreign_exr(path)
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    "make",
    [
        foreign_exr,
        cut_foreign_exr,
        lambda path: path.write_text("notes of the compositor"),
        lambda path: save(path.with_suffix(".png"), natural(4, 4)).rename(path),
        lambda path: path.mkdir(),
    ],
    ids=["exr", "cut exr", "text", "png", "folder"],
)
def test_what_bitexpand_did_not_write_is_not_replaced(job: Job, make: Callable[[Path], object]) -> None:
    target(job, 1003).parent.mkdir()
    make(target(job, 1003))
    before = states(target(job, 1003).parent)
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wwfwww")
    assert results[2].error is not None
    assert "exists and bitexpand did not write it; choose another -o" in results[2].error
    assert states(target(job, 1003).parent)["shot_1003.exr"] == before["shot_1003.exr"]
    if target(job, 1003).is_file():
        assert statuses(replace(job, existing="overwrite")) == "wwwwww"


def test_a_frame_that_cannot_be_read_does_not_stop_the_others(job: Job) -> None:
    whole = source(job, 1002).read_bytes()
    source(job, 1002).write_bytes(whole[: len(whole) // 2])
    source(job, 1004).write_bytes(b"")
    source(job, 1005).write_text("a text file")
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wfwffw")
    assert all(str(r.task.source) in (r.error or "") for r in results if r.status == "failed")
    assert sorted(p.name for p in target(job, 1001).parent.iterdir()) == [
        "shot_1001.exr",
        "shot_1003.exr",
        "shot_1006.exr",
    ]
    source(job, 1002).write_bytes(whole)
    assert statuses(job) == "swsffs"


def test_a_source_that_goes_away_fails_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_sequence(job)
    source(job, 1002).unlink()
    digest = pipeline.file_digest

    def refuse(path: Path) -> str:
        if path == source(job, 1004):
            raise PermissionError(13, "Permission denied", str(path))
        return digest(path)

    monkeypatch.setattr(pipeline, "file_digest", refuse)
    results = list(run(plan, job))
    assert [r.status[0] for r in results] == list("wfwfww")
    assert "shot_1002.png: cannot be read (No such file or directory)" in (results[1].error or "")
    assert "shot_1004.png: cannot be read (Permission denied)" in (results[3].error or "")


def test_a_guard_error_fails_the_frame_and_writes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    foul = GuardError("model tiny: 7 of 9 samples are not finite")
    monkeypatch.setattr(Expander, "expand_frame", preceded(Expander.expand_frame, fail_at(2, foul)))
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wfwwww")
    assert results[1].error == "model tiny: 7 of 9 samples are not finite"
    assert not target(job, 1002).exists()


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (natural(24, 30), "width 30 instead of 32"),
        (natural(20, 32), "height 20 instead of 24"),
        (natural(24, 32, 1), "colour channels 1 instead of 3"),
    ],
)
def test_a_frame_of_another_shape_fails_alone_and_on_every_rerun(
    job: Job, odd: np.ndarray, what: str
) -> None:
    save(source(job, 1003), odd)
    for expected in ("wwfwww", "ssfsss"):
        results = list(expand_sequence(job))
        assert "".join(r.status[0] for r in results) == expected
        assert results[2].error is not None
        assert f"shot_1003.png: differs from the first frame of the sequence ({what})" in results[2].error
    assert not target(job, 1003).exists()


def test_a_frame_with_alpha_among_others_without_fails(job: Job) -> None:
    save(source(job, 1002), natural(24, 32), natural(24, 32, 1))
    results = list(expand_sequence(job))
    assert "alpha True instead of False" in (results[1].error or "")


def test_a_setting_that_fits_no_frame_stops_a_sequence(job: Job) -> None:
    with pytest.raises(UsageError, match="half samples are too coarse for 8-bit code values"):
        list(expand_sequence(replace(job, bound=0.05)))
    assert not list(target(job, 1001).parent.iterdir())


def save_16(path: Path, bits: int) -> None:
    Image.fromarray((natural(12, 16, 1, bits) << (16 - bits)).squeeze()).save(path)


def test_a_setting_that_fits_some_stills_fails_the_others(tmp_path: Path, tiny: str) -> None:
    for name in ("a", "c"):
        save(tmp_path / f"in/{name}.png", natural(12, 16))
    window = Window(0, 0, 16, 12)
    info = FrameInfo(tmp_path, "dpx", ("R", "G", "B"), "uint16", 16, window, window)
    frames.write_frame(tmp_path / "in/b.dpx", natural(12, 16, 3, 12) << 4, info)
    batch = Batch(
        inputs=(str(tmp_path / "in"),),
        folder=tmp_path / "out",
        model=tiny,
        device="cpu",
        bits=8,
        depth="half",
    )
    results = list(run(plan_batch(batch), batch))
    assert [r.status for r in results] == ["written", "failed", "written"]
    assert "--bits" in (results[1].error or "")
    batch = replace(batch, folder=tmp_path / "tight", bits=None, bound=0.05)
    assert [r.status for r in run(plan_batch(batch), batch)] == ["failed", "failed", "failed"]


def test_a_batch_takes_what_comes(tmp_path: Path, tiny: str) -> None:
    sources = {
        "in/rgb.png": natural(9, 14),
        "in/grey.png": natural(5, 6, 1),
        "in/sub/one.tif": natural(1, 1),
        "in/sub/deeper/line.bmp": natural(1, 33),
    }
    for name, codes in sources.items():
        save(tmp_path / name, codes)
    save_16(tmp_path / "in/sub/ten.png", 10)
    batch = Batch(
        inputs=(str(tmp_path / "in"),), folder=tmp_path / "out", recursive=True, model=tiny, device="cpu"
    )
    results = list(run(plan_batch(batch), batch))
    assert [r.status for r in results if r.task.source.name != "ten.png"] == ["written"] * 4
    (sixteen,) = [r for r in results if r.task.source.name == "ten.png"]
    assert "16-bit source" in (sixteen.error or "")
    for name, codes in sources.items():
        written = (tmp_path / name.replace("in/", "out/")).with_suffix(".exr")
        assert np.array_equal(codes_in(written), codes)
    assert [r.status[0] for r in run(plan_batch(batch), batch)].count("s") == 4


@pytest.mark.parametrize(
    ("extension", "depth", "container"),
    [
        ("exr", None, "half"),
        ("exr", "float", "float"),
        ("png", None, "uint16"),
        ("tif", "uint16", "uint16"),
        ("dpx", None, "uint16"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_holds_the_plate(
    tmp_path: Path, tiny: str, extension: str, depth: Storage | None, container: str, channels: int
) -> None:
    path = save(tmp_path / "plate.png", natural(15, 22, channels))
    output = tmp_path / f"out.{extension}"
    job = Job(input=str(path), output=str(output), model=tiny, device="cpu", depth=depth)
    assert statuses(job) == "w"
    stored = read_frame(output)
    assert (stored.info.container, stored.pixels.shape) == (container, (15, 22, channels))
    assert np.array_equal(codes_in(output), natural(15, 22, channels))
    assert statuses(job) == "s"


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_deeper_plates_in_16_bit_files(tmp_path: Path, tiny: str, bits: int) -> None:
    save_16(tmp_path / "plate.png", bits)
    job = Job(input=f"{tmp_path}/plate.png", output=f"{tmp_path}/o.exr", model=tiny, device="cpu", bits=bits)
    assert statuses(job) == "w"
    assert read_info(Path(job.output)).container == ("half" if bits == 8 else "float")
    assert np.array_equal(codes_in(Path(job.output), bits), natural(12, 16, 1, bits))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", ["exr", "png", "tif"])
def test_alpha_passes_through_and_multiplies_nothing(
    tmp_path: Path, tiny: str, channels: int, extension: str
) -> None:
    codes, alpha = natural(24, 32, channels), natural(24, 32, 1, seed=9)
    alpha[:8], alpha[8:16] = 0, 3
    path = save(tmp_path / "plate.png", codes, alpha)
    output = tmp_path / f"out.{extension}"
    assert statuses(Job(input=str(path), output=str(output), model=tiny, device="cpu")) == "w"
    written = codes_in(output)
    assert np.array_equal(written[..., :channels], codes), "colour under no alpha is kept"
    assert np.array_equal(written[..., channels:], alpha)


def test_a_grey_plate_becomes_three_channels_only_where_channels_mix(tmp_path: Path, tiny: str) -> None:
    path = save(tmp_path / "plate.png", natural(12, 16, 1), natural(12, 16, 1, seed=3))
    job = Job(input=str(path), output=f"{tmp_path}/o.exr", model=tiny, device="cpu", in_space="ACEScct")
    for out_space, channels in ((None, "YA"), ("ACEScg", "YA"), ("Linear Rec.709 (sRGB)", "RGBA")):
        assert statuses(replace(job, out_space=out_space)) == "w"
        stored = read_frame(Path(job.output))
        assert "".join(stored.info.channels) == channels
        alpha = stored.pixels[..., -1:].astype(np.float32) * 255
        assert np.array_equal(np.rint(alpha), natural(12, 16, 1, seed=3))


def attributes(path: Path) -> dict[str, Any]:
    return {entry.name: entry.value for entry in read_info(path).attributes}


def test_a_frame_says_how_it_was_made(job: Job) -> None:
    job = replace(job, frames="1001", bound=0.4, strength=0.5, in_space="ACEScct", out_space="ACEScg")
    assert statuses(job) == "w"
    said = attributes(target(job, 1001))
    assert said["bitexpand:model"] == "tiny0.safetensors"
    assert len(said["bitexpand:weights"]) == len(said["bitexpand:settings"]) == 64
    assert said["bitexpand:bound"] == pytest.approx(0.4)
    assert (said["bitexpand:strength"], said["bitexpand:bits"]) == (0.5, 8)
    assert said["bitexpand:source"] == "shot_1001.png"
    assert said["bitexpand:source_sha256"] == hashlib.sha256(source(job, 1001).read_bytes()).hexdigest()
    assert (said["bitexpand:in_space"], said["bitexpand:out_space"]) == ("ACEScct", "ACEScg")
    assert said["bitexpand:config"].startswith("ocio://studio-config-")
    assert provenance.read_fingerprint(read_info(target(job, 1001)))


def test_a_space_is_tagged_only_where_it_is_known(job: Job, tmp_path: Path) -> None:
    job, config = replace(job, frames="1001"), tmp_path / "show.ocio"
    config.write_text(SHOW_CONFIG.format(power=2))
    spaces = [
        ({}, None),
        ({"in_space": "ACEScct", "out_space": "ACEScg"}, "lin_ap1_scene"),
        ({"in_space": "ACEScct", "out_space": "ACES2065-1"}, "lin_ap0_scene"),
        ({"in_space": "log", "config": str(config)}, None),
    ]
    for settings, tag in spaces:
        assert statuses(replace(job, **settings)) == "w"
        assert attributes(target(job, 1001)).get("colorInteropID") == tag
        assert "chromaticities" not in attributes(target(job, 1001))


def test_metadata_of_the_source_survives(tmp_path: Path, tiny: str) -> None:
    source_path = tmp_path / "plate.dpx"
    window = Window(0, 0, 16, 12)
    info = FrameInfo(source_path, "dpx", ("R", "G", "B"), "uint16", 16, window, window)
    kept = (
        Attribute("PixelAspectRatio", "float", 2.0),
        Attribute("dpx:FrameRate", "float", 24.0),
        Attribute("DateTime", "string", "2026:01:02 03:04:05"),
        Attribute("Copyright", "string", "the show"),
    )
    frames.write_frame(source_path, natural(12, 16, 3, 8).astype(np.uint16) * 257, info, kept)
    job = Job(input=str(source_path), output=f"{tmp_path}/o.exr", model=tiny, device="cpu", bits=8)
    assert statuses(job) == "w"
    said = attributes(Path(job.output))
    assert said["PixelAspectRatio"] == 2.0
    assert said["DateTime"] == "2026:01:02 03:04:05"
    assert said["Copyright"] == "the show"
    assert "dpx:Transfer" not in said


def test_lossy_compression_is_held_to_its_bound(job: Job) -> None:
    job = replace(job, frames="1001", compression="dwaa", bound=4.0)
    assert statuses(job) == "w"
    moved = (
        read_frame(target(job, 1001)).pixels.astype(np.float32) * 255 - read_plate(source(job, 1001)).codes
    )
    assert np.abs(moved).max() <= 4.01
    (result,) = expand_sequence(replace(job, bound=0.51, compression="dwaa:2000"))
    assert result.status == "failed"
    assert "the compression moves" in (result.error or "")
    assert not hidden_files(target(job, 1001).parent)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_stopping_early_leaves_whole_frames_and_no_threads(job: Job, taken: int) -> None:
    threads = threading.active_count()
    results = run(plan_sequence(job), job)
    for _ in range(taken):
        assert next(results).status == "written"
    results.close()
    assert threading.active_count() == threads
    there = sorted(target(job, 1001).parent.glob("*")) if taken else []
    assert len(there) >= taken
    for path in there:
        assert np.array_equal(codes_in(path), read_plate(source(job, int(path.stem[-4:]))).codes)
    assert not hidden_files(Path(job.input).parents[1])


def test_an_exception_of_the_caller_stops_the_threads(job: Job) -> None:
    threads = threading.active_count()

    def consume() -> None:
        for result in run(plan_sequence(job), job):
            raise KeyboardInterrupt(result.task.number)

    with pytest.raises(KeyboardInterrupt, match="1001"):
        consume()
    assert threading.active_count() == threads
    assert not hidden_files(target(job, 1001).parent)
    assert target(job, 1001).is_file()


def test_an_interrupt_inside_the_model_drops_that_frame(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt = fail_at(3, KeyboardInterrupt())
    monkeypatch.setattr(Expander, "expand_frame", preceded(Expander.expand_frame, interrupt))
    seen: list[FrameResult] = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(run(plan_sequence(job), job))
    monkeypatch.undo()
    assert not hidden_files(target(job, 1001).parent)
    assert not target(job, 1003).exists()
    assert statuses(job)[2:] == "wwww"


def test_remains_of_dead_runs_are_swept_and_those_of_live_ones_are_not(job: Job) -> None:
    folder = target(job, 1001).parent
    folder.mkdir()
    own = frames._temporary_name(".exr")
    dead = own.replace(f"-{os.getpid()}-", "-4194304-")
    elsewhere = own.replace(own.split("-")[1], "another_host").replace(f"-{os.getpid()}-", "-4194304-")
    for name in (own, dead, elsewhere, ".bitexpand-notes"):
        (folder / name).touch()
    assert statuses(job) == "wwwwww"
    assert hidden_files(folder) == sorted([own, elsewhere, ".bitexpand-notes"])


def test_a_bad_setting_is_refused_before_a_folder_is_made(job: Job) -> None:
    with pytest.raises(UsageError, match="--strength 3.0"):
        next(iter(expand_sequence(replace(job, strength=3.0))))
    assert not target(job, 1001).parent.exists()


def test_one_frame_can_be_a_single_file(job: Job, tmp_path: Path) -> None:
    one = replace(job, input=str(source(job, 1002)), output=f"{tmp_path}/still.exr")
    assert statuses(one) == "w"
    assert np.array_equal(codes_in(tmp_path / "still.exr"), natural(24, 32, seed=1))
