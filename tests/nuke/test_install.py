"""``bitexpand nuke-install``: from a clean home folder to a node in a menu, and back without a trace."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Cli, hidden_files
from expansions import digests
from hypothesis import given
from hypothesis import strategies as st
from nuke_fixtures import GIZMO, host_fixture, nuke_fixture  # noqa: F401

from bitexpand import nuke_install
from bitexpand.errors import UsageError, WriteError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_from_a_clean_home_to_a_menu_and_back(
    call_cli: Cli, home: Path, host: ModuleType, nuke: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_cli("nuke-install").said(f"{home}/.nuke/bitexpand: the node", "start Nuke again")
    assert not hidden_files(home / ".nuke")
    host.reset()
    for name in [name for name in sys.modules if name.startswith("bitexpand_nuke")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(GIZMO)])
    host.start(str(home / ".nuke"))
    item = nuke.menus["Nodes"].items["BitExpand"].items["BitExpand"]
    assert item.icon == "BitExpand.png"
    assert any(os.path.exists(os.path.join(folder, item.icon)) for folder in nuke._plugin_paths)
    exec(item.script, {"nuke": nuke})
    assert nuke.toNode("BitExpand1").knob("expand")

    from bitexpand_nuke import executable

    assert Path(executable.__file__).is_relative_to(home)
    monkeypatch.delenv("BITEXPAND_BIN")
    monkeypatch.setenv("PATH", "/nowhere")
    assert (
        executable.find("") == nuke_install.own_command()
    )  # the one that installed it, as nothing else is said
    call_cli("nuke-install", "--uninstall").said(f"removed {home}/.nuke/bitexpand")
    assert list((home / ".nuke").iterdir()) == []


def test_without_a_gui_only_the_icons_are_added(home: Path, host: ModuleType, nuke: ModuleType) -> None:
    nuke_install.install(home / ".nuke2")
    host.reset(gui=False)
    host.start(str(home / ".nuke2"))
    assert not nuke.menus
    assert nuke._plugin_paths == [
        str(home / f".nuke2{part}") for part in ("", "/bitexpand", "/bitexpand/icons")
    ]


@given(st.binary(max_size=60).filter(lambda text: nuke_install.LINE.encode() not in text))
def test_the_init_of_the_user_survives_byte_for_byte(text: bytes) -> None:
    with_line = nuke_install._with_line(text)
    assert with_line.startswith(text)
    assert with_line.count(nuke_install.LINE.encode()) == 1
    assert nuke_install._with_line(with_line) == with_line
    assert nuke_install._without_line(with_line) == text


def test_again_replaces_and_keeps_what_is_not_ours(call_cli: Cli, home: Path) -> None:
    folder = home / ".nuke"
    call_cli("nuke-install", folder)
    first = digests(folder)
    (folder / "bitexpand" / "stale.py").write_text("old")
    listed = json.loads((folder / "bitexpand" / nuke_install.MANIFEST).read_text())
    listed["files"].append("stale.py")
    (folder / "bitexpand" / nuke_install.MANIFEST).write_text(json.dumps(listed))
    (folder / "bitexpand" / "notes.txt").write_text("mine")
    call_cli("nuke-install", folder).said(f"not ours, so it stays: {folder}/bitexpand/notes.txt")
    again = digests(folder)
    assert again.pop("bitexpand/notes.txt")
    assert again == first
    call_cli("nuke-install", "--uninstall", folder).said("notes.txt")
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == [
        "bitexpand",
        "bitexpand/notes.txt",
    ]


def test_an_init_that_is_a_link_stays_one(home: Path) -> None:
    (home / "dotfiles.py").write_text("# mine\n")
    (home / "dotfiles.py").chmod(0o640)
    (home / ".nuke").mkdir()
    (home / ".nuke" / "init.py").symlink_to(home / "dotfiles.py")
    nuke_install.install(home / ".nuke")
    assert (home / ".nuke" / "init.py").is_symlink()
    assert (home / "dotfiles.py").read_text() == f"# mine\n{nuke_install.LINE}\n"
    assert (home / "dotfiles.py").stat().st_mode & 0o777 == 0o640
    nuke_install.uninstall(home / ".nuke")
    assert (home / "dotfiles.py").read_text() == "# mine\n"


def test_print_installs_nothing(call_cli: Cli, home: Path) -> None:
    done = call_cli("nuke-install", "--print")
    assert f'export NUKE_PATH="{GIZMO}:$NUKE_PATH"' in done.out
    assert "export BITEXPAND_BIN=" in done.out
    assert not list(home.iterdir())
    call_cli("nuke-install", "--print", "--uninstall", expect=2).said("--print installs nothing")


def test_a_folder_that_is_not_ours_is_left_alone(call_cli: Cli, home: Path) -> None:
    (home / ".nuke" / "bitexpand").mkdir(parents=True)
    (home / ".nuke" / "bitexpand" / "theirs.py").write_text("theirs")
    before = digests(home)
    call_cli("nuke-install", expect=2).said("exists and was not put there by nuke-install; move it away")
    call_cli("nuke-install", "--uninstall", expect=2).said(f"BitExpand is not installed in {home}/.nuke")
    assert digests(home) == before


def test_folders_that_cannot_be_used(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(UsageError, match="is a file; give Nuke's folder"):
        nuke_install.install(home / "file")
    with pytest.raises(WriteError, match="cannot be written"):
        nuke_install.install(home / "file" / "below")
    (home / ".nuke" / "init.py").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"init\.py.*cannot be written"):
        nuke_install.install(home / ".nuke")
