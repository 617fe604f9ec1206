"""What an artist can get wrong: each is told clearly, and nothing is lost or begun."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from nuke_fixtures import COMMAND, host_fixture, nuke_fixture, plate_fixture  # noqa: F401
from PIL import Image

Pressed = Callable[..., str]


@pytest.fixture
def pressed(host: ModuleType, nuke: ModuleType, plate: str) -> Pressed:
    """Press a button of a node over the plate and return the one message that follows."""

    def press(button: str = "expand", pattern: str = plate, **knobs: object) -> str:
        node = host.bitexpand(host.read(pattern, 1001, 1003), device="cpu", **knobs)
        host.press(node, button)
        host.pump(lambda: nuke.messages)
        assert node["status"].value() == nuke.messages[0]
        assert node["show"].value() == "source"
        return nuke.messages.pop()

    return press


def _script(folder: Path, text: str) -> str:
    path = folder / "bitexpand"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def _pretend_results(folder: Path) -> None:
    (folder / "plates" / "bitexpand").mkdir()
    for number in (1001, 1002, 1003):
        (folder / "plates" / "bitexpand" / f"shot.{number}.exr").touch()


def test_no_command_anywhere(pressed: Pressed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITEXPAND_BIN")
    monkeypatch.setenv("PATH", "/nowhere")
    said = pressed()
    assert said.startswith("the bitexpand command was not found. ")
    for way in ("'bitexpand' knob in the node's Setup tab", "BITEXPAND_BIN", "the PATH"):
        assert way in said


def test_a_command_that_is_no_program(
    pressed: Pressed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "the node's knob names /gone/bitexpand, which is no program" in pressed(
        executable="/gone/bitexpand"
    )
    monkeypatch.setenv("BITEXPAND_BIN", str(tmp_path))
    assert f"BITEXPAND_BIN names {tmp_path}, which is no program" in pressed()


def test_where_the_command_is_found(
    host: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bitexpand_nuke import executable

    other = _script(tmp_path, "")
    assert executable.find(other) == other
    assert executable.find("") == str(COMMAND)  # BITEXPAND_BIN
    monkeypatch.delenv("BITEXPAND_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert executable.find("") == other
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(executable, "INSTALLED_BY", str(tmp_path / "installed_by.txt"))
    (tmp_path / "installed_by.txt").write_text(str(COMMAND) + "\n")
    assert executable.find("") == str(COMMAND)


def test_versions_that_differ(pressed: Pressed, tmp_path: Path) -> None:
    newer = _script(tmp_path, "print('bitexpand, version 7.1.0')")
    said = pressed(executable=newer)
    assert f"the node is of BitExpand 0.1.0, and {newer} is 7.1.0; run 'bitexpand nuke-install'" in said
    assert "this node was made by BitExpand 0.0.9, and 0.1.0 is installed in Nuke" in pressed(
        node_version="0.0.9"
    )
    assert not (tmp_path / "plates" / "bitexpand").exists()


def test_something_else_called_bitexpand(pressed: Pressed, tmp_path: Path) -> None:
    other = _script(tmp_path, "print('hello')")
    assert f"{other} --version does not answer as bitexpand does: hello" in pressed(executable=other)


def test_a_command_that_dies_says_how(pressed: Pressed, tmp_path: Path) -> None:
    dying = _script(
        tmp_path,
        "import os, sys\n"
        "if '--version' in sys.argv: print('bitexpand, version 0.1.0'); sys.exit()\n"
        "print('half a {'); print('[1]'); print('loading', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)",
    )
    said = pressed(executable=dying)
    assert "loading" in said
    assert "ended by signal 9; 9 often means that memory ran out" in said


def test_a_bit_depth_that_bitexpand_refuses(pressed: Pressed, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 65535, (8, 8), dtype=np.uint16)
    for number in (1001, 1002, 1003):
        Image.fromarray(noise).save(folder / f"a_{number}.png")
    said = pressed(pattern=str(folder / "a_####.png"), model="smooth")
    assert said.startswith("3 of 3 frames failed:\nframe 1001: ")
    assert "bits" in said


def test_frames_that_are_missing(pressed: Pressed, plate: str) -> None:
    said = pressed(range_from="range", frames="1001-1009")
    assert "6 of 9 frames" in said
    assert "are missing: 1004-1009" in said


def test_a_space_that_is_unknown(pressed: Pressed) -> None:
    said = pressed(in_space="ACESccc", out_space="ACEScg", model="smooth")
    assert "unknown colour space 'ACESccc'; did you mean" in said


@pytest.mark.parametrize("folder", ["file/of/results", "file"])
def test_an_output_that_cannot_be_written(pressed: Pressed, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    said = pressed(output=f"{tmp_path}/{folder}/a.####.exr")
    assert f"cannot be written, as {tmp_path}/file is no folder that you may write to" in said


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that not even root may write to")
def test_an_output_that_only_the_system_refuses(pressed: Pressed) -> None:
    assert "/proc" in pressed(output="/proc/none/a.####.exr")


def test_two_nodes_that_write_the_same_files(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str
) -> None:
    knobs = {"model": "weights file", "model_file": tiny, "device": "cpu"}
    one = host.bitexpand(host.read(plate, 1001, 1003), **knobs)
    other = host.bitexpand(host.read(plate, 1001, 1003), **{**knobs, "strength": 0.5})
    host.press(other, "expand")
    assert "BitExpand1 writes the same files with other settings: " in nuke.messages.pop()
    host.press(other, "send_to_farm")
    assert "give one of the two another output" in nuke.messages.pop()

    other["strength"].setValue(
        1
    )  # a copy that would write the very same is welcome, but not at the same time
    host.press(one, "expand")
    host.press(other, "expand")
    assert "another node is writing" in nuke.messages.pop()
    host.wait(one)
    host.press(other, "reload")
    assert other["status"].value().startswith("shows the result")
    assert not nuke.messages


def test_a_script_whose_plate_is_elsewhere_keeps_its_result(
    host: ModuleType, nuke: ModuleType, plate: str, tmp_path: Path
) -> None:
    node = host.bitexpand(host.read(plate, 1001, 1003))
    _pretend_results(tmp_path)
    host.press(node, "reload")
    node.setInput(0, None)
    host.press(node, "reload")
    assert "has no Read above it" in nuke.messages.pop()
    result, file = host.shown(node, 1001)
    assert (result.name(), os.path.basename(file)) == ("Result", "shot.1001.exr")
    assert result["reload"].presses == 2


def test_a_node_that_lost_its_read(host: ModuleType, nuke: ModuleType, plate: str, tmp_path: Path) -> None:
    node = host.bitexpand(host.read(plate, 1001, 1003))
    _pretend_results(tmp_path)
    nuke.delete(node.node("Result"))
    host.press(node, "reload")
    assert "BitExpand1 lost the Read 'Result' inside it; make a new BitExpand node" in nuke.messages[0]


def test_what_opens_a_path(host: ModuleType) -> None:
    from bitexpand_nuke import opener
    from bitexpand_nuke.errors import NodeError

    assert opener.command("/a/b", "linux") == ["xdg-open", "/a/b"]
    assert opener.command("/a/b", "darwin") == ["open", "/a/b"]
    assert opener.command("C:/a/b", "win32") == ["explorer", "C:\\a\\b"]
    with pytest.raises(NodeError, match="/gone is not there yet"):
        opener.open_path("/gone")
