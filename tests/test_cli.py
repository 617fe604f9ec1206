"""The command line: says what it can do at once, does it, and leaves with the right code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, CliProcess, hidden_files
from plates import natural, save, save_shot

import bitexpand
from bitexpand import cli, progress
from bitexpand.frames import read_frame, read_info
from bitexpand.models import registry

COMMANDS = sorted(cli.cli.commands)


@pytest.fixture
def shot(tmp_path: Path, tiny: str) -> list[str]:
    """Arguments of a run over three frames."""
    output = str(tmp_path / "out" / "shot_####.exr")
    pattern = save_shot(tmp_path / "in", 3)
    return ["seq", pattern, "-o", output, "--model", tiny, "--device", "cpu", "--threads", "1"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(call_cli: Cli, command: str, option: str) -> None:
    done = call_cli(command, option)
    done.said("Usage: ", command)
    assert len(done.out.splitlines()) > 4
    for option_ in cli.cli.commands[command].params:
        if option_.param_type_name == "option":
            assert max(option_.opts, key=len) in done.out


def test_help_lists_all_commands(call_cli: Cli) -> None:
    call_cli("--help").said("Turn 8-bit plates into true 16-bit EXR", *COMMANDS)
    assert {"seq", "batch", "verify", "inspect", "models", "demo"} <= set(COMMANDS)


def test_every_option_says_its_default_and_units(call_cli: Cli) -> None:
    for command in ("seq", "batch"):
        for option in cli.cli.commands[command].params:
            if option.param_type_name == "option" and option.name != "help":
                assert getattr(option, "help", None), option.name
        words = " ".join(call_cli(command, "--help").out.split())
        for unit in ("in pixels", "LSB", "0 to 1", "RANGE" if command == "seq" else "FILE"):
            assert unit in words


def test_python_m_is_the_command(run_cli: CliProcess) -> None:
    assert run_cli("--version").out == f"bitexpand, version {bitexpand.__version__}\n"


def test_models_are_listed(call_cli: Cli) -> None:
    lines = call_cli("models").out.splitlines()
    assert [line.split()[0] for line in lines] == [row.name for row in registry.MODELS]
    assert all("MIT]" in line for line in lines)
    assert "[ships, " in lines[0]


def test_a_sequence(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    done = call_cli(*shot, "--progress", "plain")
    done.said("[3/3] frame 1003 -> ", "3 written in 0:0")
    assert done.err == ""
    assert len(list((tmp_path / "out").iterdir())) == 3
    call_cli(*shot, "--progress", "plain").said("frame 1001 is done already", "3 skipped in 0:0")
    call_cli(*shot, "--existing", "error", expect=2).said("3 of 3 outputs exist")
    call_cli(*shot, "--existing", "overwrite", "--progress", "openjd").said("openjd_progress: 100.0")


def test_every_option_reaches_the_run(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    options = {
        "--frames": "1001-1003x2",
        "--precision": "bf16",
        "--strength": "0.5",
        "--bound": "0.75",
        "--bits": "8",
        "--config": "bitexpand",
        "--in-space": "ACEScct",
        "--out-space": "ACEScg",
        "--depth": "float",
        "--compression": "piz",
        "--tile": "1024",
        "--overlap": "256",
        "--post-smooth": "1.5",
        "--existing": "overwrite",
        "--on-missing": "skip",
        "--progress": "none",
        "--report": str(tmp_path / "reports" / "run.json"),
    }
    done = call_cli(*shot, *(word for pair in options.items() for word in pair))
    assert (done.out, done.err) == ("", "")
    told = json.loads((tmp_path / "reports" / "run.json").read_text())
    assert [frame["frame"] for frame in told["frames"]] == [1001, 1003]
    for option, value in options.items():
        key = option.removeprefix("--").replace("-", "_")
        if key not in ("progress", "report"):
            assert str(told["settings"][key]) == value, option
    written = read_info(tmp_path / "out" / "shot_1003.exr")
    assert (written.container, written.attribute("compression")) == ("float", "piz")
    assert written.attribute("colorInteropID") == "lin_ap1_scene"


def test_the_source_kind_reaches_the_file_and_verify(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    call_cli(*shot, "--source", "truncated", "--depth", "float", "--progress", "none")
    written = read_frame(tmp_path / "out" / "shot_1001.exr")
    codes = read_frame(tmp_path / "in" / "shot_1001.png").pixels
    assert written.info.attribute("bitexpand:source_kind") == "truncated"
    whole = np.less(codes, 255)
    assert np.array_equal(np.floor(written.pixels.astype(np.float64) * 255 + 1e-4)[whole], codes[whole])
    call_cli("verify", shot[1], tmp_path / "out" / "shot_####.exr").said("OK: 3 frames")
    rounded = ("verify", shot[1], tmp_path / "out" / "shot_####.exr", "--source", "rounded")
    call_cli(*rounded, expect=1).said("FAULT: 3 of 3 frames")
    call_cli(*shot, "--source", "dithred", expect=2).said("'dithred' is not one of 'rounded', 'truncated'")


def test_a_batch(call_cli: Cli, tmp_path: Path, tiny: str) -> None:
    save(tmp_path / "in/a.png", natural(4, 5))
    save(tmp_path / "in/deep/b.png", natural(7, 3, 1))
    options = ["--model", tiny, "--device", "cpu", "--progress", "plain"]
    call_cli("batch", tmp_path / "in", "-o", tmp_path / "out", "--recursive", *options).said("2 written")
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.exr")) == [
        "a.exr",
        "deep/b.exr",
    ]
    (tmp_path / "list.txt").write_text("in/a.png\n")
    listed = ["batch", "--list", tmp_path / "list.txt", "-o", tmp_path / "tif", "--format", "tif", *options]
    call_cli(*listed).said("1 written")
    call_cli("batch", "-o", tmp_path / "none", *options, expect=2).said("no input")


def test_a_dry_run_writes_nothing(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    call_cli(*shot, "--dry-run", "--report", tmp_path / "r.json").said("(32x24 RGB 8 bits) -> ", "(half)")
    (tmp_path / "in/shot_1002.png").write_bytes(b"")
    call_cli(*shot, "--dry-run", expect=1).said("FAULT", "is empty")
    call_cli(*shot, "--dry-run", "--in-space", "ACESct", expect=2).said("did you mean 'ACEScct'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_some_frames_failed_is_1(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    (tmp_path / "in/shot_1002.png").write_text("text")
    for style in ("plain", "json", "openjd", "none", "bar"):
        done = call_cli(*shot, "--existing", "overwrite", "--progress", style, expect=1)
        done.said("1002" if style != "json" else '"failed": 1')
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: "),
        (["sequence"], "No such command 'sequence'"),
        (["seq"], "Missing argument 'INPUT'"),
        (["seq", "IN"], "Missing option '-o'"),
        (["seq", "IN", "-o", "OUT", "--precision", "fp8"], "'fp8' is not one of"),
        (["seq", "IN", "-o", "OUT", "--tile", "big"], "'big' is neither auto nor a number of pixels"),
        (["seq", "IN", "-o", "OUT", "--tile", "7"], "--tile 7: give a multiple of"),
        (["seq", "IN", "-o", "OUT", "--strength", "much"], "'much' is not a valid float"),
        (["seq", "IN", "-o", "OUT", "--strength", "1.5"], "--strength 1.5"),
        (["seq", "IN", "-o", "OUT", "--progress", "loud"], "--progress loud: give one of auto, bar"),
        (["seq", "IN", "-o", "OUT", "--frames", "first"], "cannot read frame range 'first'"),
        (["seq", "IN", "-o", "OUT", "--model", "pyramide"], "did you mean 'pyramid'"),
        (["seq", "IN", "-o", "OUT", "--device", "tpu"], "--device tpu: give auto, cpu, cuda"),
        (["seq", "IN", "-o", "OUT", "--report", "IN/r.json"], "cannot write there"),
        (["seq", "IN", "-o", "OUT.exr"], "names one file for 3 frames"),
        (["verify", "IN"], "Missing argument 'DST'"),
    ],
)
def test_wrong_usage_is_2_and_writes_nothing(
    call_cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pattern = save_shot(tmp_path / "in", 3)
    words = [word.replace("OUT.exr", f"{tmp_path}/o.exr") for word in arguments]
    words = [word.replace("OUT", f"{tmp_path}/out/o_####.exr") for word in words]
    words = [word.replace("IN/", f"{tmp_path}/in/shot_1001.png/").replace("IN", pattern) for word in words]
    call_cli(*words, expect=2).said(message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_missing_input_is_3(call_cli: Cli, shot: list[str], tmp_path: Path) -> None:
    call_cli("seq", tmp_path / "gone_####.png", "-o", tmp_path / "o_####.exr", expect=3)
    (tmp_path / "in/shot_1002.png").unlink()
    call_cli(*shot, expect=3).said("1002")
    call_cli(*shot, "--on-missing", "skip", "--progress", "plain").said(
        "warning: 1 missing frames (1002) left out", "2 written"
    )


def test_an_interrupt_is_130_even_where_python_drops_it(
    call_cli: Cli, shot: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tell = progress.Silent.tell

    def dropped(self: progress.Silent, result: object) -> None:
        cli._interrupt.asked = True  # as if KeyboardInterrupt had been raised inside a destructor
        tell(self, result)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(progress.Silent, "tell", dropped)
    call_cli(*shot, "--progress", "none", expect=130).said("interrupted; finished frames are complete")
    assert not hidden_files(tmp_path)
    monkeypatch.undo()
    call_cli(*shot, "--progress", "none")


@pytest.mark.parametrize("arguments", [["--help"], ["models"]])
def test_a_reader_that_leaves_is_no_error_worth_a_traceback(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "bitexpand", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode in (0, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["seq", "--help"]])
def test_output_that_finds_no_space_is_an_error_in_a_line(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "bitexpand", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no space is left: where the output is printed" in done.stderr


def test_a_reader_that_leaves_a_run_stops_it_cleanly(shot: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitexpand", *shot, "--progress", "plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert not hidden_files(tmp_path)
