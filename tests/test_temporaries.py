"""Temporaries: names like no other, and the end of those whose writer is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitexpand import temporaries
from bitexpand.errors import UsageError
from bitexpand.temporaries import prepare_folder


def test_folders_are_made_and_proved(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a/b/c")
    prepare_folder(tmp_path / "a/b/c")
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b", "c"]
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UsageError, match=rf"cannot write to folder '{folder}': .*; choose another -o"):
            prepare_folder(folder)


def test_what_dead_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = temporaries._HOST
    left = [
        f".bitexpand-{host}-{dead.pid}-{n}.{suffix}" for n, suffix in ((0, "exr"), (12, "png"), (3, "probe"))
    ]
    kept = [
        f".bitexpand-{host}-{os.getpid()}-0.exr",
        f".bitexpand-{host}-{os.getppid()}-1.exr",
        f".bitexpand-{host}x-{dead.pid}-0.exr",  # another machine's, on shared storage
        ".bitexpand-notes",
        "a.exr",
    ]
    for name in left + kept:
        (tmp_path / name).touch()
    prepare_folder(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_what_any_machine_left_a_day_ago_is_swept(tmp_path: Path) -> None:
    old, new, notes = (
        tmp_path / f".bitexpand-{name}" for name in ("node7-12-0.exr", "node7-12-1.exr", "notes")
    )
    for path in (old, new, notes):
        path.touch()
    for path in (old, notes):
        os.utime(path, (0, time.time() - 25 * 3600))
    prepare_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {new, notes}
