"""What goes with a TorchScript archive to Nuke: the Cattery folder, and the script that makes the .cat."""

from __future__ import annotations

from pathlib import Path

from bitexpand.errors import UsageError
from bitexpand.shipped import shipped_file

NODE = "BitExpandLive"
ARCHIVE = f"{NODE}.pt"
SCRIPT = "make_cat.nk"
CATTERY = Path("Cattery", "BitExpand")
_TEMPLATES = ("nuke_gizmo", "live")
_SPECIAL = set('[]{}$"\\\n')


def check_folder(folder: Path) -> None:
    """Refuse a folder that Nuke would not read as it is written.

    Raises:
        UsageError: its path holds a character that Tcl would substitute.
    """
    path = folder.absolute().as_posix()
    if special := sorted(_SPECIAL.intersection(path)):
        raise UsageError(
            f"-o {folder}: Nuke would read {' '.join(map(repr, special))} in the path as an expression;"
            " choose a folder without"
        )


def companions(folder: Path) -> dict[str, bytes]:
    """Return the files that go beside the archive, by their paths in ``folder``."""
    files = {
        (CATTERY / name).as_posix(): shipped_file(*_TEMPLATES, name).read_bytes()
        for name in (f"{NODE}.gizmo", f"{NODE}.png", "cat.json")
    }
    where = folder.absolute()
    script = shipped_file(*_TEMPLATES, SCRIPT).read_text("utf-8")
    script = script.replace("@TORCHSCRIPT@", (where / ARCHIVE).as_posix())
    script = script.replace("@CAT@", (where / CATTERY / f"{NODE}.cat").as_posix())
    return {**files, SCRIPT: script.encode()}
