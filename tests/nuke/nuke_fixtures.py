"""A fresh fake Nuke for each test, with the node as it lies in this repository, and a small plate.

Imported by the tests here under other names than the fixtures have, as a second conftest would hide the first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from plates import save_shot

pytest.importorskip("tkinter", reason="Nuke's files are Tcl: install python3-tk")
import nuke_tcl  # noqa: E402, F401  once there is Tcl

ROOT = Path(__file__).parents[2]
GIZMO = ROOT / "nuke_gizmo"
COMMAND = Path(sys.executable).with_name("bitexpand")
for _folder in (ROOT / "tests" / "nuke" / "fake_nuke", GIZMO):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Nuke as a person uses it: started with the node on its path, and ``bitexpand`` in BITEXPAND_BIN."""
    import host

    monkeypatch.setenv("BITEXPAND_BIN", str(COMMAND))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OCIO", raising=False)
    host.reset()
    folder = tmp_path / "home" / ".nuke"
    folder.mkdir(parents=True)
    (folder / "init.py").write_text(f"import nuke\nnuke.pluginAddPath({str(GIZMO)!r})\n")
    host.start(str(folder))
    yield host
    host.reset()
    sys.path.insert(0, str(GIZMO))


@pytest.fixture(name="nuke")
def nuke_fixture(host: ModuleType) -> ModuleType:
    """The fake module itself."""
    return sys.modules["nuke"]


@pytest.fixture(name="plate")
def plate_fixture(tmp_path: Path) -> str:
    """Pattern of a shot of three small frames, 1001 to 1003."""
    return save_shot(tmp_path / "plates", 3)
