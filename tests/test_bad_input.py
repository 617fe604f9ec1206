"""Bad input, as a user meets it: the exit code, a message that says what and where, and nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli, CliProcess, Outcome, hidden_files
from encoded import dpx, pillow, pillow_image, png_claiming
from PIL import Image
from plates import natural, save, save_shot, tiny_model
from safetensors.torch import save_file
from torch import Tensor

from bitexpand.frames import read_frame
from bitexpand.models.smooth import Smooth

USAGE, MISSING, FAILED = 2, 3, 1
SIZE = (24, 32)
ODD_NAMES = ["with space", 'it\'s "quoted"', "br[ack]et {1}", "plätte 日本", "-dash", "semi;colon & $HOME"]


@dataclass(frozen=True)
class Shot:
    """Four frames, 1001 to 1004, and a way to expand them; ``out`` is there only once something is written.

    The model is a tiny random one, and runs on one thread: torch's threads wait busily where tests share cores.
    """

    folder: Path
    source: str
    model: str
    run: Cli

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def frame(self, number: int) -> Path:
        return Path(self.source.replace("####", str(number)))

    def target(self, number: int) -> Path:
        return self.out / f"shot_{number}.exr"

    def expand(
        self, *options: str | Path, expect: int = 0, source: str | None = None, to: str | Path | None = None
    ) -> Outcome:
        return self.seq(source or self.source, to or self.out / "shot_####.exr", *options, expect=expect)

    def seq(self, source: str, to: str | Path, *options: str | Path, expect: int = 0) -> Outcome:
        fixed = ("--model", self.model, "--threads", "1")
        return self.run("seq", source, "-o", to, *fixed, *options, expect=expect)

    def batch(self, *arguments: str | Path, expect: int = 0) -> Outcome:
        return self.run("batch", *arguments, "--model", self.model, "--threads", "1", expect=expect)

    def refuse(self, *options: str | Path, expect: int = USAGE, **places: str | Path | None) -> Outcome:
        """Expand, which must be refused before anything is written."""
        before = snapshot(self.folder)
        outcome = self.expand(*options, expect=expect, **places)  # pyright: ignore[reportArgumentType]
        assert snapshot(self.folder) == before
        return outcome

    def holds(self, *numbers: int) -> None:
        """Assert that these frames are there, complete, and nothing else is."""
        assert sorted(path.name for path in self.out.rglob("*")) == [f"shot_{n}.exr" for n in numbers]
        for number in numbers:
            assert read_frame(self.target(number)).pixels.shape == (*SIZE, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def shot(tmp_path: Path, model: str, call_cli: Cli) -> Shot:
    return Shot(tmp_path, save_shot(tmp_path / "in", 4, *SIZE), model, call_cli)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return the content of every file below a folder, None for folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def png(seed: int = 0, channels: int = 3, height: int = SIZE[0], width: int = SIZE[1]) -> bytes:
    return pillow(natural(height, width, channels, seed=seed).astype(np.uint8), "PNG")


# Frames that are missing or damaged


def test_missing_frames_stop_the_run(shot: Shot) -> None:
    shot.frame(1002).unlink()
    outcome = shot.refuse(expect=MISSING)
    outcome.said("1 of 4 frames", "shot_####.png", "1002", "--on-missing skip")
    shot.refuse("--frames", "1001-1006", expect=MISSING).said("3 of 6 frames", "1002,1005-1006")


def test_missing_frames_can_be_skipped(shot: Shot) -> None:
    shot.frame(1002).unlink()
    outcome = shot.expand("--on-missing", "skip")
    assert "1 missing frames (1002)" in outcome.err
    shot.holds(1001, 1003, 1004)


@pytest.mark.parametrize(
    ("source", "fragments"),
    [
        ("in/shto_####.png", ("nothing in", "shto_####.png", "found shot_####.png 1001-1004")),
        ("inn/shot_####.png", ("the folder", "inn", "is not there")),
        ("in/shot_####.tif", ("matches 'shot_####.tif'", "found shot_####.png 1001-1004")),
        ("in/shot_1009.png", ("shot_1009.png", "found")),
    ],
)
def test_a_source_that_is_not_there(shot: Shot, source: str, fragments: tuple[str, ...]) -> None:
    shot.refuse(source=str(shot.folder / source), expect=MISSING).said(*fragments)


def test_frames_that_are_not_there_at_all(shot: Shot) -> None:
    outcome = shot.refuse("--frames", "1-9", "--on-missing", "skip", expect=MISSING)
    outcome.said("none of the frames 1-9", "on disk are 1001-1004")


DAMAGED = {
    "truncated": (png()[:-80], "pixels cannot be read"),
    "zero bytes": (b"", "is empty (0 bytes); copy or render it again"),
    "header only": (png()[:33], "copy or render it again"),
    "text": (b"Dear all, please find attached...\n" * 9, "not an image that bitexpand reads"),
    "huge": (png_claiming(100_000, 100_000), "larger than any plate"),
    "16 bits": (
        pillow(natural(*SIZE, 1).astype(np.uint16) * 255, "PNG"),
        "a 16-bit source has nothing to expand",
    ),
    "CMYK": (pillow_image(Image.new("CMYK", SIZE), "JPEG"), "is CMYK; convert it to RGB first"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("number", [1001, 1003])
def test_a_damaged_frame_fails_alone(damage: str, number: int, shot: Shot) -> None:
    content, message = DAMAGED[damage]
    shot.frame(number).write_bytes(content)
    outcome = shot.expand(expect=FAILED)
    outcome.said(f"frame {number} FAILED: {shot.frame(number)}", message, "3 written, 1 failed")
    shot.holds(*sorted({1001, 1002, 1003, 1004} - {number}))
    shot.frame(number).write_bytes(png(seed=9))
    shot.expand().said("1 written, 3 skipped")
    shot.holds(1001, 1002, 1003, 1004)


CHANGED = {
    "size": (png(height=25), "height 25 instead of 24"),
    "grey": (png(channels=1), "colour channels 1 instead of 3"),
    "alpha": (
        pillow(natural(*SIZE, 3).repeat(2, 2)[..., :4].astype(np.uint8), "PNG"),
        "alpha True instead of False",
    ),
    "bits": (dpx(natural(*SIZE, 3, bits=10), 10), "bits 10 instead of 8"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_frame_unlike_the_first_fails_alone(change: str, shot: Shot) -> None:
    content, message = CHANGED[change]
    shot.frame(1003).write_bytes(content)
    outcome = shot.expand(expect=FAILED)
    outcome.said(
        f"frame 1003 FAILED: {shot.frame(1003)}", "differs from the first frame", message, "bitexpand batch"
    )
    shot.holds(1001, 1002, 1004)
    shot.expand(expect=FAILED).said("3 skipped, 1 failed")  # a rerun does not let it pass either
    shot.expand("--dry-run", expect=FAILED).said("FAULT", str(shot.frame(1003)))


def test_a_sequence_of_16_bits_or_floats(shot: Shot) -> None:
    shot.expand(to=shot.out / "a_####.png")
    deep = str(shot.out / "a_####.png")
    outcome = shot.expand(source=deep, expect=FAILED)
    outcome.said("a_1001.png: a 16-bit source has nothing to expand", "--bits", "4 failed")
    shot.expand(to=shot.out / "a_####.exr")
    outcome = shot.expand(source=str(shot.out / "a_####.exr"), expect=FAILED)
    outcome.said("a_1001.exr: a openexr file is no 8 to 12-bit source", "4 failed")
    assert not list(shot.out.glob("shot_*"))


# Patterns and paths


def test_many_frames_need_a_token(shot: Shot) -> None:
    outcome = shot.refuse(to=shot.out / "shot.exr")
    outcome.said("names one file for 4 frames", "add #### for the frame number", "shot_####.exr")


def test_a_source_is_never_overwritten(shot: Shot) -> None:
    shot.refuse(to=shot.source).said("would overwrite the source", "shot_1001.png")
    (shot.folder / "link").symlink_to("in")
    shot.refuse(to=shot.folder / "link/shot_####.png").said("would overwrite the source")
    shot.refuse(source=str(shot.frame(1001)), to=shot.frame(1001)).said("would overwrite the source")
    shot.refuse("--existing", "overwrite", to=shot.folder / "in/../in/shot_%04d.png").said(
        "overwrite the source"
    )


@pytest.mark.parametrize(
    ("to", "fragments"),
    [
        ("out/shot_####.jpg", ("cannot write 'shot_1", ".exr, .png, .tif, .tiff, .dpx")),
        ("out/shot_####", ("cannot write",)),
        ("in", ("is a folder", "give a file pattern")),
        ("out/shot_*.exr", ("holds a wildcard", "####")),
        ("out/a_####_b_####.exr", ("2 frame tokens",)),
        ("out/" + 250 * "é" + "####.exr", ("output name 'éé", "is longer than 255 bytes; shorten -o")),
    ],
)
def test_outputs_that_cannot_be(shot: Shot, to: str, fragments: tuple[str, ...]) -> None:
    shot.refuse(to=shot.folder / to).said(*fragments)


@pytest.fixture(params=["below a file", "in /proc", "read-only"])
def unwritable(request: pytest.FixtureRequest, shot: Shot) -> Iterator[Path]:
    folder = shot.folder / "closed"
    if request.param == "below a file":
        folder.write_bytes(b"something else")
        yield folder / "out"
    elif request.param == "in /proc":
        yield Path("/proc/out")
    else:
        folder.mkdir()
        try:
            command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a tmpfs")
        yield folder / "out"
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written(shot: Shot, unwritable: Path) -> None:
    shot.refuse(to=unwritable / "shot_####.exr").said(
        f"cannot write to folder '{unwritable}'", "choose another -o"
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_work(name: str, shot: Shot) -> None:
    tmp_path = shot.folder
    source = tmp_path / name / f"{name} 1001.png"
    save(source, natural(*SIZE))
    save(source.with_name(f"{name} 1002.png"), natural(*SIZE, seed=1))
    pattern, result = str(source).replace("1001", "####"), str(tmp_path / f"{name} out" / f"{name}.####.exr")
    report = tmp_path / f"{name}.json"
    shot.seq(pattern, result, "--report", report).said("2 written")
    shot.run("verify", pattern, result).said("OK: 2 frames")
    shot.run("inspect", source).said(f"{name} 1001.png")
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert [frame["source"] for frame in facts["frames"]] == [
        str(source),
        str(source).replace("1001", "1002"),
    ]
    shot.batch(tmp_path / name, "-o", tmp_path / f"{name} stills").said("2 written")
    assert hidden_files(tmp_path) == []


def test_names_that_the_terminal_cannot_show(tmp_path: Path, run_cli: CliProcess) -> None:
    save(tmp_path / "plätte_1001.png", natural(*SIZE))
    save(tmp_path / "plätte_1002.png", natural(*SIZE))
    (tmp_path / "plätte_1002.png").write_bytes(b"")
    arguments = ("seq", tmp_path / "plätte_####.png", "-o", tmp_path / "ö_####.exr", "--model", "smooth")
    outcome = run_cli(*arguments, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, expect=FAILED)
    outcome.said("frame 1002 FAILED", "1 written, 1 failed")
    assert (tmp_path / "ö_1001.exr").is_file()


def test_names_that_are_not_utf8(shot: Shot) -> None:
    folder = shot.folder / os.fsdecode(b"\xff")
    folder.mkdir()
    for number in (1001, 1002):
        shutil.copy(shot.frame(number), folder)
    source = str(folder / "shot_####.png")
    shot.expand(source=source, expect=FAILED).said("its name is not UTF-8, rename it", "2 failed")
    shot.expand(to=folder / "shot_####.exr", expect=FAILED).said(
        "its name is not UTF-8, rename it", "4 failed"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["shot_1001.png", "shot_1002.png"]


# Names and values of options


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (("--model", "smoth"), ("unknown model 'smoth'; did you mean 'smooth'?",)),
        (("--in-space", "acescctt"), ("unknown colour space 'acescctt'; did you mean 'ACEScct'",)),
        (("--in-space", "ACEScct", "--out-space", "acsecg"), ("unknown colour space 'acsecg'", "'ACEScg'")),
        (("--out-space", "ACEScg"), ("--out-space needs --in-space",)),
        (("--compression", "zipp"), ("unknown openexr compression 'zipp'; did you mean 'zip'",)),
        (("--compression", "lzw"), ("unknown openexr compression 'lzw'", "zip")),
        (("--compression", "dwaa"), ("--compression dwaa is lossy", "--bound")),
        (("--depth", "uint16"), ("--depth uint16: a .exr file takes half or float",)),
        (("--depth", "int8"), ("'int8' is not one of 'half', 'float', 'uint16'",)),
        (("--progress", "fancy"), ("--progress fancy: give one of auto, bar, plain, json, openjd, none",)),
        (("--existing", "replace"), ("'replace' is not one of 'skip', 'overwrite', 'error'",)),
        (("--on-missing", "ignore"), ("'ignore' is not one of 'error', 'skip'",)),
        (("--precision", "fp8"), ("'fp8' is not one of",)),
        (("--device", "potato"), ("--device potato: give auto, cpu, cuda, cuda:N or mps",)),
        (("--device", "cuda:x"), ("--device cuda:x: give auto, cpu, cuda",)),
        (("--tile", "7"), ("--tile 7: give", "or auto")),
        (("--tile", "big"), ("'big' is neither auto nor a number of pixels",)),
        (("--tile", "-64"), ("--tile -64: give",)),
        (("--overlap", "-5"), ("--overlap -5",)),
        (("--strength", "1.5"), ("--strength 1.5: give a number from 0 (no change) to 1",)),
        (("--strength", "nan"), ("--strength nan: give",)),
        (("--bound", "0"), ("--bound 0", "in LSB")),
        (("--bound", "nan"), ("--bound nan", "in LSB")),
        (("--bound", "inf"), ("--bound inf", "in LSB")),
        (("--bound", "half"), ("'half' is not a valid float",)),
        (("--bits", "1"), ("--bits 1: give 2 to 12",)),
        (("--bits", "16"), ("--bits 16: give 2 to 12",)),
        (("--post-smooth", "-1"), ("--post-smooth -1",)),
        (("--threads", "0"), ("--threads", "0 is not in the range")),
        (("--frames", "1001-"), ("cannot read frame range '1001-'", "accepted are 1001-1100")),
        (("--frames", "one"), ("cannot read frame range 'one'",)),
        (("--modle", "smooth"), ("No such option", "--model")),
        (("extra",), ("unexpected extra argument", "extra")),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(shot: Shot, options: tuple[str, ...], fragments: tuple[str, ...]) -> None:
    shot.refuse(*options).said(*fragments)


def test_tiles_and_overlaps_off_the_grid(shot: Shot) -> None:
    shot.refuse("--overlap", "5").said("--overlap 5: give a multiple of 8")
    shot.refuse("--overlap", "8", "--tile", "22").said("--tile 22: give a multiple of 8")


def test_commands_that_are_not_there(call_cli: Cli) -> None:
    call_cli("sequence", expect=USAGE).said("No such command 'sequence'")
    call_cli("seq", expect=USAGE).said("Missing argument 'INPUT'")
    call_cli("seq", "a_####.png", expect=USAGE).said("Missing option", "--output")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(shot: Shot, device: str) -> None:
    shot.refuse("--device", device).said(
        f"--device {device}: this machine has 0 CUDA devices; use cpu or auto"
    )


@pytest.mark.parametrize("config", ["gone.ocio", "broken.ocio"])
def test_a_config_that_cannot_be_used(shot: Shot, config: str) -> None:
    (shot.folder / "broken.ocio").write_text("ocio_profile_version: 2\nroles: [what]\n")
    path = shot.folder / config
    outcome = shot.refuse(
        "--config", path, "--in-space", "ACEScct", expect=MISSING if "gone" in config else USAGE
    )
    outcome.said(str(path))


def test_bits_that_the_file_cannot_have(shot: Shot) -> None:
    outcome = shot.expand("--bits", "10", expect=FAILED)
    outcome.said("frame 1001 FAILED", "shot_1001.png: --bits 10 does not fit its 8-bit samples", "4 failed")
    shot.holds()


def test_half_is_too_coarse_for_12_bits(shot: Shot) -> None:
    for number in (1001, 1002, 1003, 1004):
        shot.frame(number).with_suffix(".dpx").write_bytes(dpx(natural(*SIZE, bits=12, seed=number), 12))
    source = shot.source.replace(".png", ".dpx")
    outcome = shot.expand("--depth", "half", source=source, expect=USAGE)
    outcome.said("half samples are too coarse for 12-bit code values; use --depth float")
    shot.holds()
    shot.expand(source=source).said("4 written")
    assert read_frame(shot.target(1001)).info.container == "float"


def test_depths_of_other_formats(shot: Shot) -> None:
    shot.refuse("--depth", "half", to=shot.out / "a_####.png").said("--depth half: a .png file takes uint16")
    shot.refuse("--depth", "float", to=shot.out / "a_####.dpx").said(
        "--depth float: a .dpx file takes uint16"
    )


def test_lossy_compression_is_held_to_a_wider_bound(shot: Shot) -> None:
    outcome = shot.expand("--compression", "b44", "--bound", "0.51", expect=FAILED)
    outcome.said(
        "the compression moves", "beyond --bound 0.51", "lossless compression or a wider bound", "4 failed"
    )
    shot.holds()
    shot.expand("--compression", "dwaa:1", "--bound", "8").said("4 written")
    shot.holds(1001, 1002, 1003, 1004)


# What is there already


def test_files_of_others_are_not_overwritten(shot: Shot) -> None:
    shot.out.mkdir()
    shot.target(1002).write_bytes(b"somebody's notes")
    shutil.copy(shot.frame(1001), shot.target(1003))
    outcome = shot.expand(expect=FAILED)
    for number in (1002, 1003):
        outcome.said(f"frame {number} FAILED: {shot.target(number)}: exists and bitexpand did not write it")
    outcome.said("choose another -o", "--existing overwrite", "2 written, 2 failed")
    assert shot.target(1002).read_bytes() == b"somebody's notes"
    assert shot.target(1003).read_bytes() == shot.frame(1001).read_bytes()
    shot.expand("--existing", "overwrite").said("4 written")
    shot.holds(1001, 1002, 1003, 1004)


def test_existing_error_stops_before_anything(shot: Shot) -> None:
    shot.expand("--frames", "1002-1003")
    outcome = shot.refuse("--existing", "error")
    outcome.said("2 of 4 outputs exist", "shot_1002.exr")


def test_a_truncated_result_is_made_again(shot: Shot) -> None:
    shot.expand()
    complete = snapshot(shot.out)
    shot.target(1001).write_bytes(shot.target(1001).read_bytes()[:-100])
    shot.target(1002).write_bytes(b"")
    shot.expand().said("2 written, 2 skipped")
    assert snapshot(shot.out) == complete


def test_a_failed_frame_keeps_its_older_result(shot: Shot) -> None:
    shot.expand()
    complete = snapshot(shot.out)
    shot.frame(1003).write_bytes(png()[:-80])
    shot.expand("--existing", "overwrite", expect=FAILED).said("frame 1003 FAILED", "3 written, 1 failed")
    assert snapshot(shot.out) == complete


# Weights


class Evil:
    """What a hostile pickle holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self.path,)  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "folder", "foreign", "other config"])
def test_a_weights_file_that_is_none(shot: Shot, damage: str) -> None:
    weights = Path(shot.model).read_bytes()
    path = shot.folder / "net.safetensors"
    if damage == "folder":
        path.mkdir()
    elif damage == "foreign":
        save_file({"w": torch.zeros(3)}, path)
    else:
        flipped = bytearray(weights)
        flipped[-5] ^= 1
        other = weights.replace(b'\\"factor\\": 2', b'\\"factor\\": 4')
        contents = {"cut": weights[:-7], "flipped": bytes(flipped), "text": b"weights", "empty": b""}
        path.write_bytes(contents.get(damage, other))
    assert damage != "other config" or path.read_bytes() != weights
    shot.refuse("--model", path).said(str(path), "pass a file written by bitexpand's training")


def test_a_weights_file_that_is_not_there(shot: Shot) -> None:
    shot.refuse("--model", shot.folder / "gone.safetensors", expect=MISSING).said("gone.safetensors: no such")


def test_a_pickle_is_not_run(shot: Shot) -> None:
    path, trace = shot.folder / "net.pt", shot.folder / "it ran"
    path.write_bytes(pickle.dumps(Evil(trace)))
    torch.save(Evil(trace), shot.folder / "net2.pt")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for file in (path, shot.folder / "net2.pt"):
            shot.refuse("--model", file).said(str(file))
    assert not trace.exists()
    assert seen == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_is_not_finite(shot: Shot, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(_: Smooth, plate: Tensor) -> Tensor:
        spoilt = plate.clone()
        spoilt[..., 3, 5] = value
        return spoilt

    monkeypatch.setattr(Smooth, "forward", forward)
    outcome = shot.expand("--model", "smooth", expect=FAILED)
    for number in (1001, 1002, 1003, 1004):
        outcome.said(f"frame {number} FAILED: model smooth: 3 of 2304 samples are not finite")
    shot.holds()


# Disks


@pytest.mark.parametrize("extension", ["exr", "png", "tif", "dpx"])
def test_a_full_disk(extension: str, shot: Shot, small_disk: Callable[[int], Path]) -> None:
    grain = np.random.default_rng(0)
    for number in range(1001, 1005):
        save(shot.frame(number), grain.integers(0, 256, (150, 200, 3)))
    folder = small_disk(512)  # a frame is about 180 kB
    report = shot.folder / "report.json"
    arguments = (shot.source, folder / f"a_####.{extension}", "--report", report)
    outcome = shot.seq(*arguments, expect=FAILED)
    outcome.said("the disk is full; free some room and run the same command again", f".{extension}: the disk")
    written = sorted(folder.iterdir())
    assert 1 <= len(written) <= 3
    for path in written:
        assert read_frame(path).pixels.shape == (150, 200, 3)
    statuses = [frame["status"] for frame in json.loads(report.read_text())["frames"]]
    assert statuses[-1] == "failed"
    assert set(statuses[:-1]) == {"written"}  # a frame in flight beside the one that failed may be there too
    before = {path: path.read_bytes() for path in written}
    shot.seq(*arguments, expect=FAILED).said("the disk is full", "is done already")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    shot.seq(*arguments, "--existing", "overwrite", expect=FAILED)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_report_on_a_full_disk(shot: Shot, small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(16)
    (folder / "room").write_bytes(bytes(16 * 1024))
    outcome = shot.expand("--report", folder / "report.json", expect=FAILED)
    outcome.said(str(folder / "report.json"), "the disk is full")
    assert sorted(path.name for path in folder.iterdir()) == ["room"]


@contextmanager
def small_files() -> Iterator[None]:
    """Let this process write no file of more than 20 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("extension", ["exr", "png", "tif", "dpx"])
def test_a_limit_on_file_size(extension: str, shot: Shot) -> None:
    save(shot.frame(1003), natural(150, 200))
    with small_files():
        outcome = shot.batch(shot.folder / "in", "-o", shot.out, "--format", extension, expect=FAILED)
    outcome.said("shot_1003.png FAILED", "could not be written", "3 written, 1 failed")
    assert sorted(path.stem for path in shot.out.iterdir()) == ["shot_1001", "shot_1002", "shot_1004"]


def test_a_report_that_cannot_be_written_stops_before_anything(shot: Shot) -> None:
    shot.refuse("--report", shot.frame(1001) / "report.json").said("report.json")
    shot.refuse("--report", "/proc/report.json").said("/proc/report.json")
    shot.refuse("--report", shot.folder).said("report")
    shot.refuse("--report", shot.frame(1001)).said(
        "shot_1001.png: exists and is no report; choose another name"
    )
    report = shot.folder / "new folder/report.json"
    shot.expand("--report", report)
    assert json.loads(report.read_text())["written"] == 4
    shot.expand("--report", report)
    assert json.loads(report.read_text())["skipped"] == 4


# Memory


def test_a_claim_of_100000_by_100000_pixels_takes_no_memory(shot: Shot, run_cli: CliProcess) -> None:
    measure = """
import atexit, resource, sys
import bitexpand.pipeline
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr))
"""
    shot.frame(1002).write_bytes(png_claiming(100_000, 100_000))
    shot.frame(1003).write_bytes(pillow(natural(*SIZE).astype(np.uint8), "BMP"))
    claim = bytearray(shot.frame(1003).read_bytes())
    struct.pack_into("<2i", claim, 18, 100_000, 100_000)
    shot.frame(1003).write_bytes(claim)
    target = shot.out / "shot_####.exr"
    outcome = run_cli("seq", shot.source, "-o", target, "--model", "smooth", before=measure, expect=FAILED)
    outcome.said("frame 1002 FAILED", "larger than any plate", "frame 1003 FAILED", "2 written, 2 failed")
    assert int(outcome.err.split()[-1]) < 400 << 10  # KiB
    shot.holds(1001, 1004)
    shot.run("inspect", shot.frame(1002), expect=FAILED).said("larger than any plate")


# Other commands


def test_verify_names_what_is_wrong(shot: Shot) -> None:
    shot.expand()
    result = str(shot.out / "shot_####.exr")
    shot.run("verify", shot.source, result).said("OK: 4 frames", "100 %")
    shot.target(1001).unlink()
    shot.target(1002).write_bytes(shot.target(1002).read_bytes()[:-99])
    shot.target(1003).write_bytes(b"text")
    shutil.copy(shot.frame(1004), shot.target(1004))
    outcome = shot.run("verify", shot.source, result, expect=FAILED)
    outcome.said("frame 1001 FAULT", "missing", "frame 1002 FAULT", "frame 1003 FAULT", "frame 1004 FAULT")
    outcome.said("FAULT: 4 of 4 frames")
    shot.run("verify", shot.source.replace("shot", "shto"), result, expect=MISSING).said("nothing in")
    facts = json.loads(shot.run("verify", shot.source, result, "--json", expect=FAILED).out)
    assert [check["passed"] for check in facts] == [False] * 4


def test_verify_notices_a_changed_pixel(shot: Shot) -> None:
    shot.expand("--compression", "none")
    content = bytearray(shot.target(1003).read_bytes())
    content[-200:] = bytes(200)
    shot.target(1003).write_bytes(content)
    outcome = shot.run("verify", shot.source, shot.out / "shot_####.exr", expect=FAILED)
    outcome.said("frame 1003", "FAULT: 1 of 4 frames")


def test_inspect_of_what_is_no_image(shot: Shot) -> None:
    (shot.folder / "notes.png").write_text("notes")
    shot.run("inspect", shot.folder / "gone.png", expect=MISSING).said("gone.png")
    shot.run("inspect", shot.folder / "notes.png", expect=FAILED).said("notes.png: not an image")
    outcome = shot.run("inspect", shot.folder / "notes.png", shot.frame(1001), expect=FAILED)
    outcome.said("notes.png: not an image", "shot_1001.png")


def test_batch_refuses_what_it_cannot_do(shot: Shot) -> None:
    def batch(*arguments: str | Path, expect: int) -> Outcome:
        before = snapshot(shot.folder)
        outcome = shot.batch(*arguments, expect=expect)
        assert snapshot(shot.folder) == before
        return outcome

    (shot.folder / "notes.txt").write_text("notes")
    batch("-o", shot.out, expect=USAGE).said("no input")
    batch(shot.folder / "gone.png", "-o", shot.out, expect=MISSING).said("gone.png")
    batch(shot.folder / "notes.txt", "-o", shot.out, expect=USAGE).said("notes.txt", "accepted are")
    batch("--list", shot.folder / "gone.txt", "-o", shot.out, expect=MISSING).said("gone.txt")
    batch(shot.folder / "in", "-o", shot.frame(1001), expect=USAGE).said("shot_1001.png", "is a file")
    shutil.copy(shot.frame(1001), shot.folder / "in/shot_1001.tif")
    batch(shot.folder / "in", "-o", shot.out, expect=USAGE).said("would both be written to", "shot_1001.exr")
    batch(shot.folder / "in", "-o", shot.folder / "in", "--format", "png", expect=USAGE).said(
        "overwrite the source"
    )


def test_one_bad_still_does_not_stop_a_batch(shot: Shot) -> None:
    shot.frame(1002).write_bytes(png()[:-80])
    shot.frame(1003).write_bytes(png(height=9, channels=1))
    outcome = shot.batch(shot.folder / "in", "-o", shot.out, expect=FAILED)
    outcome.said(f"{shot.frame(1002)} FAILED: {shot.frame(1002)}", "3 written, 1 failed")
    assert sorted(path.name for path in shot.out.iterdir()) == [f"shot_{n}.exr" for n in (1001, 1003, 1004)]


@pytest.mark.parametrize("style", ["plain", "json", "openjd", "none", "bar"])
def test_every_style_of_progress_tells_of_failures(shot: Shot, style: str) -> None:
    shot.frame(1002).write_bytes(b"")
    shot.expand("--progress", style, expect=FAILED).said("1002")
