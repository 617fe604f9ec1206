"""The node's whole life in the fake Nuke, with the real ``bitexpand`` as its subprocess."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from conftest import hidden_files
from nuke_fixtures import COMMAND, GIZMO, ROOT, host_fixture, nuke_fixture, plate_fixture  # noqa: F401
from plates import save_shot

from bitexpand.cli import cli
from bitexpand.farm import registry
from bitexpand.frames import read_frame
from bitexpand.verify import VerifyJob, verify_sequence

OWN = {"model": "weights file", "device": "cpu"}


def _verified(source: str, result: str) -> list[bool]:
    return [check.passed for check in verify_sequence(VerifyJob(source=source, result=result))]


def test_expand_shows_the_result(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str, tmp_path: Path
) -> None:
    read = host.read(plate, 1001, 1003, colorspace="Cineon", frame_mode="start at", frame="1", before="black")
    node = host.bitexpand(read, model_file=tiny, **OWN)
    assert host.shown(node, 1002)[0] is read

    host.press(node, "expand")
    assert node["status"].value() == "running"
    assert host.wait(node) == "3 frames written, 0 were there; read as Cineon, as the plate"

    result, file = host.shown(node, 1002)
    assert result.fullName() == "BitExpand1.Result"
    assert file == f"{tmp_path}/plates/bitexpand/shot.1002.exr"
    told = {name: result[name].value() for name in ("first", "last", "colorspace", "raw", "on_error")}
    assert told == {"first": 1001, "last": 1003, "colorspace": "Cineon", "raw": False, "on_error": "error"}
    assert [result[name].value() for name in ("frame_mode", "frame", "before")] == ["start at", "1", "black"]
    assert result["reload"].presses == 1
    assert _verified(plate, f"{tmp_path}/plates/bitexpand/shot.####.exr") == [True] * 3
    assert str(read_frame(Path(file)).pixels.dtype) == "float16"

    (task,) = nuke.progress_tasks
    assert task.name == "BitExpand1: bitexpand seq"
    assert task.progress == [33, 66, 100]
    assert task.said[0].startswith("1 of 3 frames, ")
    assert not nuke.messages


def test_without_a_gui_the_node_is_only_its_read(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = host.read(plate, 1001, 1003)
    node = host.bitexpand(read, model_file=tiny, **OWN)
    host.press(node, "expand")
    host.wait(node)
    kept = {knob.name: node[knob.name].value() for knob in node.user_knobs if knob.kind != 22}
    host.save(str(tmp_path / "comp.nk"))
    copied = host.copy(read, node)

    host.reset(gui=False)  # a render without BitExpand: neither its folder, nor its Python, nor the command
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("BITEXPAND_BIN")
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("bitexpand_nuke")}
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "nuke_gizmo" not in path])
    host.open_script(str(tmp_path / "comp.nk"))
    opened = nuke.toNode("BitExpand1")
    assert host.shown(opened, 1003)[1] == f"{tmp_path}/plates/bitexpand/shot.1003.exr"
    assert {name: opened[name].value() for name in kept} == kept
    host.press(opened, "expand")
    assert "need BitExpand installed: bitexpand nuke-install" in nuke.messages[0]
    sys.modules.update(hidden)

    pasted = host.paste(copied)[1]
    assert pasted.name() == "BitExpand2"
    assert {name: pasted[name].value() for name in kept} == kept
    assert pasted.input(0).name() == "Read2"
    assert host.shown(pasted, 1001)[1] == f"{tmp_path}/plates/bitexpand/shot.1001.exr"

    nuke.addFilenameFilter(lambda path: path.replace(str(tmp_path), "Z:/show"))  # and on another platform
    assert host.shown(opened, 1003)[1] == "Z:/show/plates/bitexpand/shot.1003.exr"


def test_a_script_without_a_gui_runs_to_its_end(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str
) -> None:
    from bitexpand_nuke import panel
    from bitexpand_nuke.errors import NodeError

    nuke.GUI = False  # pyright: ignore[reportAttributeAccessIssue]
    node = host.bitexpand(host.read(plate, 1001, 1002), model_file=tiny, **OWN)
    panel.expand(node)
    assert node["status"].value().startswith("2 frames written")
    node["own_bound"].setValue(True)
    node["bound"].setValue(0)
    with pytest.raises(NodeError, match="give a distance in LSB above"):
        panel.expand(node)
    assert not nuke.progress_tasks


def test_cancel_half_way(host: ModuleType, nuke: ModuleType, tiny: str, tmp_path: Path) -> None:
    from bitexpand_nuke import panel

    source = save_shot(tmp_path / "plates", 200)
    node = host.bitexpand(host.read(source, 1001, 1200), model_file=tiny, **OWN)
    nuke.ProgressTask.cancel_when = lambda task: len(task.progress) > 3
    host.press(node, "expand")
    pid = panel._running[0].job.pid
    said = host.wait(node)
    assert said.startswith("cancelled; ")
    assert "the next run does the rest" in said
    written = sorted((tmp_path / "plates" / "bitexpand").iterdir())
    assert 3 < len(written) < 200
    assert not psutil.pid_exists(pid)
    assert not hidden_files(tmp_path / "plates")
    assert all(_verified(source, f"{tmp_path}/plates/bitexpand/shot.####.exr")[: len(written)])
    assert host.shown(node, 1001)[0].name() == "Read1"  # the plate, as there is no whole result
    assert not nuke.messages

    nuke.ProgressTask.cancel_when = None
    host.press(node, "expand")
    host.press(node, "expand")
    assert "is still running; cancel it first" in nuke.messages.pop()
    host.press(node, "cancel")
    host.pump(lambda: not panel._running)
    host.press(node, "cancel")
    assert node["status"].value() == "nothing is running"

    host.press(node, "expand")  # and a node that is deleted meanwhile is told nothing
    job = panel._running[0].job
    nuke.delete(node)
    job.cancel()
    host.pump(lambda: not panel._running)
    assert not nuke.messages


def test_frames_that_fail_are_told_with_their_reason(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str, tmp_path: Path
) -> None:
    Path(plate.replace("####", "1002")).write_bytes(b"no picture")
    node = host.bitexpand(host.read(plate, 1001, 1003), model_file=tiny, **OWN)
    host.press(node, "expand")
    host.wait(node)
    (message,) = nuke.messages
    assert message.startswith("1 of 3 frames failed:\nframe 1002: ")
    assert "shot_1002.png" in message
    assert node["status"].value() == message
    assert host.shown(node, 1001)[0].name() == "Read1"
    assert sorted(path.name for path in (tmp_path / "plates" / "bitexpand").iterdir()) == [
        "shot.1001.exr",
        "shot.1003.exr",
    ]
    host.press(node, "reload")
    assert node["status"].value() == "shows the plate: 1 of 3 frames are not there: 1002"


def test_the_command_ends_when_nuke_is_killed(tmp_path: Path, tiny: str) -> None:
    source = save_shot(tmp_path / "plates", 400)
    script = f"""
import sys
sys.path[:0] = {[str(ROOT / "tests" / "nuke"), str(ROOT / "tests" / "nuke" / "fake_nuke")]!r}
import host, nuke
nuke._plugin_paths.append({str(GIZMO)!r}); sys.path.insert(0, {str(GIZMO)!r})
node = host.bitexpand(host.read({source!r}, 1001, 1400), model_file={tiny!r}, **{OWN!r})
host.press(node, "expand")
from bitexpand_nuke import panel
print(panel._running[0].job.pid, flush=True)
host.wait(node)
"""
    environment = {**os.environ, "BITEXPAND_BIN": str(COMMAND), "OMP_NUM_THREADS": "1"}
    nuke = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert nuke.stdout is not None
    command = psutil.Process(int(nuke.stdout.readline()))
    results = tmp_path / "plates" / "bitexpand"
    _until(lambda: results.is_dir() and len(list(results.glob("*.exr"))) > 2)
    nuke.kill()
    nuke.wait(timeout=20)
    nuke.stdout.close()
    _until(lambda: not command.is_running() or command.status() == psutil.STATUS_ZOMBIE)
    assert len(list(results.glob("*.exr"))) < 400
    assert not hidden_files(tmp_path / "plates")


def test_qc_reveal_and_reload(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitexpand_nuke import opener

    opened: list[str] = []
    monkeypatch.setattr(opener, "open_path", opened.append)
    node = host.bitexpand(host.read(plate, 1001, 1003), model_file=tiny, **OWN)
    host.press(node, "open_qc")
    assert "nothing to check yet: 3 of 3 frames are not there: 1001-1003" in nuke.messages.pop()
    subprocess.run(
        [
            COMMAND,
            "seq",
            plate,
            "-o",
            tmp_path / "plates/bitexpand/shot.####.exr",
            "--model",
            tiny,
            "--device=cpu",
        ],
        check=True,
        capture_output=True,
    )
    host.press(node, "reload")  # as after a farm job
    assert node["status"].value() == "shows the result, read as sRGB, as the plate"
    assert host.shown(node, 1001)[0].name() == "Result"

    page = f"{tmp_path}/plates/bitexpand/shot_qc.html"
    host.press(node, "open_qc")
    assert host.wait(node) == f"QC passed: {page}"
    stamp = os.stat(page).st_mtime_ns
    host.press(node, "open_qc")
    assert os.stat(page).st_mtime_ns == stamp
    host.press(node, "reveal")
    assert opened == [page, page, f"{tmp_path}/plates/bitexpand"]

    shutil.rmtree(tmp_path / "plates" / "bitexpand")
    host.press(node, "reload")
    assert node["status"].value().startswith("shows the plate: 3 of 3 frames are not there")
    assert host.shown(node, 1001)[0].name() == "Read1"
    assert not nuke.messages


def test_a_still_needs_no_number(
    host: ModuleType, nuke: ModuleType, plate: str, tiny: str, tmp_path: Path
) -> None:
    node = host.bitexpand(host.read(plate.replace("####", "1002"), 1, 1), model_file=tiny, **OWN)
    host.press(node, "expand")
    assert host.wait(node).startswith("1 frames written")
    assert host.shown(node, 1001)[1] == f"{tmp_path}/plates/bitexpand/shot_1002.exr"


def test_send_to_farm_writes_a_job(host: ModuleType, nuke: ModuleType, plate: str, tmp_path: Path) -> None:
    node = host.bitexpand(host.read(plate, 1001, 1003), model="smooth", strength=0.5, chunk=2)
    for name in ("shot_openjd", "shot_openjd_2"):
        host.press(node, "send_to_farm")
        said = host.wait(node)
        assert not nuke.messages
        assert f"written to {tmp_path}/plates/bitexpand/{name}\n" in said
        assert said.endswith("Press Reload when the farm is done.")
        written = (tmp_path / "plates" / "bitexpand" / name / "parameter_values.yaml").read_text()
        assert {"smooth", f"{tmp_path}/plates/bitexpand"} <= set(written.split())
    node["farm_folder"].setValue(f"{tmp_path}/plates")
    host.press(node, "send_to_farm")
    host.wait(node)
    assert "is not empty; name a new folder" in nuke.messages.pop()


@pytest.mark.parametrize("farm", registry.NAMES)
def test_the_farms_of_the_menu_are_known(host: ModuleType, plate: str, farm: str) -> None:
    from bitexpand_nuke import farm as sending
    from bitexpand_nuke.work import work_of

    node = host.bitexpand(host.read(plate, 1001, 1003), farm_target=farm, device="cuda:0", farm_run=True)
    command, target, *rest = sending.arguments(node, work_of(node))
    cli.commands[command].make_context(command, [target, *rest])
    assert set(node["farm_target"].values()) == set(registry.NAMES)
    assert {"--gpu", "--run", "--chunk=10", "--name=shot"} <= set(rest)


def _until(condition, seconds: float = 60) -> None:  # noqa: ANN001
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.02)
