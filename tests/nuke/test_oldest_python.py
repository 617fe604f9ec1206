"""From a clean home folder under the oldest Python there is: install, load, expand the example plate, verify."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from nuke_fixtures import COMMAND, ROOT

from bitexpand.verify import VerifyJob, verify_sequence

PLATE = ROOT / "examples" / "plate" / "dusk_####.png"
PYENV = Path.home() / ".pyenv" / "versions"


def _oldest() -> str:
    """Return the oldest Python from 3.7 that runs and has Tcl; this one at the worst."""
    for minor in range(7, sys.version_info.minor):
        named = shutil.which(f"python3.{minor}")
        built = sorted(PYENV.glob(f"3.{minor}.*/bin/python"))
        for candidate in [*filter(None, [named]), *map(str, built)]:
            probe = [candidate, "-c", "import sys, tkinter; tkinter.Tcl(); assert sys.version_info >= (3, 7)"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return candidate
    return sys.executable


def test_install_load_expand_verify(call_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    call_cli("nuke-install")
    folder = tmp_path / ".nuke"
    foreign = {"PYTHONHOME": "", "PYTHONDONTWRITEBYTECODE": "1", "OCIO": "/nuke/config.ocio"}
    done = subprocess.run(
        [_oldest(), ROOT / "tests" / "nuke" / "life.py", folder, PLATE, "1001", "1002"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **foreign,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
        },
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    print(f"the node lived under Python {facts['python']}")
    assert facts["messages"] == []
    assert (
        facts["said"]
        == "2 frames written, 0 were there; read as raw, as Nuke's colour config has no 'ACEScg'"
    )
    assert facts["file"] == f"{folder}/out/dusk.1001.exr"
    assert facts["raw"] is True
    assert facts["follows"] == "Read1: dusk_%04d.png 1001-1002"
    job = VerifyJob(source=str(PLATE), result=f"{folder}/out/dusk.####.exr", frames="1001-1002")
    assert [check.passed for check in verify_sequence(job)] == [True, True]
