"""Puts the BitExpand node where Nuke finds it, and takes it away again.

A Nuke folder, mostly ``~/.nuke``, gets a folder of its own and one line in its ``init.py``. Whatever else is in
that file stays byte for byte.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bitexpand import __version__
from bitexpand.errors import UsageError, WriteError
from bitexpand.shipped import shipped_file

FOLDER = "bitexpand"
LINE = 'import nuke; nuke.pluginAddPath("./bitexpand")  # BitExpand: written by bitexpand nuke-install'
MANIFEST = "bitexpand_install.json"
INSTALLED_BY = Path("bitexpand_nuke", "installed_by.txt")
"""Holds the path of the command that installed the node, which asks for it where nothing else is said."""

_NOT_INSTALLED = shutil.ignore_patterns("__pycache__", "docs", "live", "README.md", INSTALLED_BY.name)


@dataclass(frozen=True)
class Installed:
    """What was done: the node's folder, the changed init.py, and files that were left because they are not ours."""

    folder: Path
    init: Path
    kept: tuple[Path, ...] = ()


def default_folder() -> Path:
    """Return the folder that Nuke reads its user's plug-ins from."""
    return Path.home() / ".nuke"


def install(nuke_folder: Path) -> Installed:
    """Copy the node into a Nuke folder; a second time replaces the first.

    Raises:
        UsageError: the folder is a file, or holds a ``bitexpand`` that this did not put there.
        WriteError: something cannot be written.
    """
    folder, init = nuke_folder / FOLDER, nuke_folder / "init.py"
    if nuke_folder.exists() and not nuke_folder.is_dir():
        raise UsageError(f"{nuke_folder} is a file; give Nuke's folder, mostly {default_folder()}")
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} exists and was not put there by nuke-install; move it away, or give another DIR"
        )
    fresh = nuke_folder / f".{FOLDER}.{os.getpid()}.new"
    try:
        nuke_folder.mkdir(parents=True, exist_ok=True)
        _fill(fresh)
        if folder.exists():
            _remove_ours(folder)
        kept = tuple(_move(fresh, folder))
        _write(init, _with_line(_read(init)))
    except OSError as error:
        raise WriteError(f"{error.filename or nuke_folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Installed(folder, init, kept)


def uninstall(nuke_folder: Path) -> Installed:
    """Take the node away: the files that were installed, and the line in ``init.py``.

    Raises:
        UsageError: it is not installed there.
        WriteError: something cannot be removed.
    """
    folder, init = nuke_folder / FOLDER, nuke_folder / "init.py"
    before = _read(init)
    without = _without_line(before)
    if not (folder / MANIFEST).is_file() and without == before:
        raise UsageError(f"BitExpand is not installed in {nuke_folder}")
    try:
        if without != before and not without:
            init.resolve().unlink()  # it held nothing but our line
        elif without != before:
            _write(init, without)
        kept = _remove_ours(folder) if (folder / MANIFEST).is_file() else []
    except OSError as error:
        raise WriteError(f"{error.filename or nuke_folder}: cannot be removed ({error.strerror})") from error
    return Installed(folder, init, tuple(kept))


def path_lines() -> list[str]:
    """Return the shell's lines that make Nuke find the node where it lies, with nothing copied."""
    source, command = shipped_file("nuke_gizmo"), own_command()
    if os.name == "nt":
        return [f'set "NUKE_PATH={source};%NUKE_PATH%"', f'set "BITEXPAND_BIN={command}"']
    return [f'export NUKE_PATH="{source}:$NUKE_PATH"', f'export BITEXPAND_BIN="{command}"']


def own_command() -> str:
    """Return the path of the ``bitexpand`` that is running."""
    beside = Path(sys.executable).with_name("bitexpand.exe" if os.name == "nt" else "bitexpand")
    return str(beside) if beside.is_file() else shutil.which("bitexpand") or str(beside)


def _fill(fresh: Path) -> None:
    shutil.copytree(shipped_file("nuke_gizmo"), fresh, ignore=_NOT_INSTALLED)
    (fresh / INSTALLED_BY).write_text(own_command() + "\n", encoding="utf-8")
    files = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
    manifest = {"bitexpand": __version__, "files": files}
    (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _move(fresh: Path, folder: Path) -> list[Path]:
    if not folder.exists():
        fresh.rename(folder)
        return []
    kept = sorted(path for path in folder.rglob("*") if path.is_file())  # what the user put beside ours
    shutil.copytree(fresh, folder, dirs_exist_ok=True)
    return kept


def _remove_ours(folder: Path) -> list[Path]:
    """Remove the files of the manifest and what Python compiled from them; return the files that remain."""
    for name in [*json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST]:
        (folder / name).unlink(missing_ok=True)
    for compiled in folder.rglob("__pycache__"):
        shutil.rmtree(compiled)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read(init: Path) -> bytes:
    return init.read_bytes() if init.is_file() else b""


def _with_line(text: bytes) -> bytes:
    if _without_line(text) != text:
        return text
    if text and not text.endswith(b"\n"):
        return (
            text + b"\n" + LINE.encode()
        )  # a file without a last line ending stays one, so that this can be undone
    return text + LINE.encode() + (b"\r\n" if text.endswith(b"\r\n") else b"\n")


def _without_line(text: bytes) -> bytes:
    lines = re.split(rb"(?<=\n)", text)
    kept = b"".join(line for line in lines if line.strip() != LINE.encode())
    return kept.removesuffix(b"\n") if lines[-1] == LINE.encode() else kept


def _write(init: Path, text: bytes) -> None:
    target = init.resolve()  # people keep their dot files as links into a repository
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(text)
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
