"""The bitexpand command: where it is, which version, and the environment that it runs in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from . import VERSION
from .errors import NodeError

FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "DYLD_FRAMEWORK_PATH",
    "DYLD_INSERT_LIBRARIES",
    "QT_PLUGIN_PATH",
    "OCIO",
)
"""Variables that are meant for Nuke and its Python; its OpenColorIO config is passed on by ``--config`` alone."""

END_WITH_STDIN = "BITEXPAND_END_WITH_STDIN"
"""Tells bitexpand to stop when its stdin closes: then Nuke's end, however it comes, is its end too."""

INSTALLED_BY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "installed_by.txt")
"""Written by ``bitexpand nuke-install``: the command that did it."""

NO_WINDOW = 0x08000000 if os.name == "nt" else 0
"""Keeps Windows from opening a console."""

_THREE_WAYS = (
    "Point at it in one of three ways: the 'bitexpand' knob in the node's Setup tab, the environment variable "
    "BITEXPAND_BIN, or the PATH that Nuke is started with"
)
_versions: dict[tuple[str, float], str] = {}


def find(said: str) -> str:
    """Return the path of the command: of the knob, BITEXPAND_BIN, the PATH, or what installed this node.

    Raises:
        NodeError: it is nowhere, or what was named is no program.
    """
    for origin, text in (("the node's knob", said), ("BITEXPAND_BIN", os.environ.get("BITEXPAND_BIN", ""))):
        if text.strip():
            return _program(origin, os.path.expanduser(text.strip()))
    found = shutil.which("bitexpand") or _installer()
    if not found:
        raise NodeError(f"the bitexpand command was not found. {_THREE_WAYS}")
    return found


def check_version(command: str, node_version: str) -> None:
    """Check that node, panel and command speak of the same things: all of one major and minor version.

    Raises:
        NodeError: they do not, or the command does not run.
    """
    if _series(node_version) != _series(VERSION):
        raise NodeError(
            f"this node was made by BitExpand {node_version}, and {VERSION} is installed in Nuke; "
            "make a new BitExpand node and set it as this one"
        )
    found = version(command)
    if _series(found) != _series(VERSION):
        raise NodeError(
            f"the node is of BitExpand {VERSION}, and {command} is {found}; "
            f"run 'bitexpand nuke-install' of {found} and restart Nuke, or point at a bitexpand {VERSION}. "
            + _THREE_WAYS
        )


def version(command: str) -> str:
    """Return what ``bitexpand --version`` says, asked once for each file.

    Raises:
        NodeError: it does not run or says something else.
    """
    key = (command, os.path.getmtime(command))
    if key not in _versions:
        try:
            told = run(command, "--version")
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NodeError(f"{command} does not run: {error}") from error
        match = re.search(r"bitexpand, version (\S+)", told)
        if not match:
            raise NodeError(f"{command} --version does not answer as bitexpand does: {told.strip()[:300]}")
        _versions[key] = match.group(1)
    return _versions[key]


def run(command: str, *arguments: str) -> str:
    """Return what a short command says on stdout and stderr."""
    done = subprocess.run(
        [command, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
        creationflags=NO_WINDOW,
    )
    return done.stdout.decode("utf-8", "replace")


def environment() -> dict[str, str]:
    """Return the environment of the command: Nuke's without what is Nuke's alone."""
    kept = {
        name: value for name, value in os.environ.items() if name not in FOREIGN and name != END_WITH_STDIN
    }
    kept["PYTHONIOENCODING"] = "utf-8"
    return kept


def _program(origin: str, path: str) -> str:
    found = shutil.which(path)
    if not found:
        raise NodeError(f"{origin} names {path}, which is no program. {_THREE_WAYS}")
    return found


def _installer() -> str | None:
    try:
        with open(INSTALLED_BY, encoding="utf-8") as file:
            return shutil.which(file.read().strip())
    except OSError:
        return None


def _series(text: str) -> list[str]:
    return text.split(".")[:2]
