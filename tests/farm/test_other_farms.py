"""Deadline, OpenCue and Tractor: what is written for them, as far as it can be checked without such a farm."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from farm_shots import small_job

from bitexpand import sequence
from bitexpand.errors import FarmError, UnknownNameError, UsageError
from bitexpand.farm import deadline, opencue, registry, tractor
from bitexpand.farm.job import FarmJob

ALFRED = """
import json, sys, tkinter
tcl = tkinter.Tcl()
found = []
def option(words, name):
    return dict(zip(words[::2], words[1::2])).get(name, "")
def job(*words):
    found.append(["Job", option(words, "-title"), option(words, "-priority")])
    tcl.eval(option(words, "-subtasks"))
def task(title, *words):
    tcl.eval(option(words, "-subtasks"))
    found.append(["Task", title])
    tcl.eval(option(words, "-cmds"))
def command(launch, *words):
    found.append(["RemoteCmd", list(tcl.splitlist(launch)), option(words, "-service")])
for name, act in (("Job", job), ("Task", task), ("RemoteCmd", command)):
    tcl.createcommand(name, act)
tcl.eval(open(sys.argv[1]).read())
print(json.dumps(found))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    path.mkdir()
    return path


def with_frames(job: FarmJob, frames: str) -> FarmJob:
    return replace(job, frames=tuple(sequence.parse_frames(frames)))


def spaced(job: FarmJob) -> FarmJob:
    """Return the job with a blank and what shells and Tcl care for in its output."""
    return replace(job, expansion=replace(job.expansion, output="/out $HOME [x]/it's; #1 & co/shot_####.exr"))


def info(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def stand_in(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a command of a farm that is not here into PATH."""
    program = folder / name
    program.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def rendered(arguments: str, first: int, last: int) -> list[str]:
    """Return the words of a task as Deadline's CommandLine plug-in makes them."""
    text = arguments.replace("<STARTFRAME>", str(first)).replace("<ENDFRAME>", str(last))
    return shlex.split(text.replace("<QUOTE>", '"').replace("'", "\\'").replace("$", "\\$"))


@pytest.mark.parametrize(
    ("frames", "listed", "chunk", "ends"),
    [
        ("1001-1006", "1001-1006", 4, (1001, 1004)),
        ("1001-1009x2", "1001-1009x2", 4, (1001, 1007)),
        ("7", "7-7", 4, (7, 7)),
        ("1-3,7", "1-3,7", 1, (7, 7)),
    ],
)
def test_deadline_tasks_have_exactly_their_frames(
    tmp_path: Path, folder: Path, frames: str, listed: str, chunk: int, ends: tuple[int, int]
) -> None:
    job = with_frames(small_job(tmp_path, 2, 4), frames)
    deadline.write(job, folder)
    job_info, plugin = info(folder / "expand_job.txt"), info(folder / "expand_plugin.txt")
    assert (job_info["Plugin"], job_info["Frames"], job_info["ChunkSize"]) == (
        "CommandLine",
        listed,
        str(chunk),
    )
    words = rendered(plugin["Arguments"], *ends)
    given = next(word for word in words if word.startswith("--frames="))
    expected = [n for n in job.frames if ends[0] <= n <= ends[1]]
    assert sequence.parse_frames(given.removeprefix("--frames=")) == expected
    assert "--progress=deadline" in words


def test_deadline_arguments_survive_blanks(tmp_path: Path, folder: Path) -> None:
    job = small_job(tmp_path, 2, 4)
    job = replace(job, expansion=replace(job.expansion, output="/out here/shot_####.exr"))
    deadline.write(job, folder)
    for step, command in (("verify", job.verify_command()), ("qc", job.qc_command())):
        plugin = info(folder / f"{step}_plugin.txt")
        assert (plugin["Executable"], *rendered(plugin["Arguments"], 0, 0)) == command
    bad = replace(job, expansion=replace(job.expansion, output='/out/5" disk/shot_####.exr'))
    with pytest.raises(UsageError, match="holds a quote, angle bracket or line break"):
        deadline.write(bad, folder)


def test_deadline_steps_depend_on_each_other(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(tmp_path, 2, 4, farm_options=(("Pool", "comp"),))
    deadline.write(job, folder)
    script = "print('Result=Success\\nJobID=' + pathlib.Path(sys.argv[1]).name.split('_')[0])"
    stand_in(tmp_path, "deadlinecommand", script, monkeypatch)
    assert deadline.submit(job, folder) == "shot: Deadline jobs expand, verify, qc"
    assert "JobDependencies" not in info(folder / "expand_job.txt")
    assert info(folder / "verify_job.txt")["JobDependencies"] == "expand"
    assert info(folder / "qc_job.txt")["JobDependencies"] == "verify"
    assert info(folder / "qc_job.txt")["Pool"] == "comp"


def test_a_farm_that_refuses_is_quoted(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, 2, 4)
    deadline.write(job, folder)
    stand_in(tmp_path, "deadlinecommand", "sys.exit('no repository here')", monkeypatch)
    with pytest.raises(FarmError, match="'deadlinecommand' failed.*exit code 1: no repository here"):
        deadline.submit(job, folder)
    stand_in(tmp_path, "deadlinecommand", "print('Result=Success')", monkeypatch)
    with pytest.raises(FarmError, match="named no job for step 'expand' of shot"):
        deadline.submit(job, folder)


def test_tractor_reads_every_command(tmp_path: Path, folder: Path) -> None:
    tkinter = pytest.importorskip("tkinter", reason="this Python has no Tcl")
    assert tkinter.TclVersion
    job = spaced(small_job(tmp_path, 5, 2, farm_options=(("priority", "70"), ("service", "bit expand"))))
    (script,) = tractor.write(job, folder)
    assert script.read_text().startswith("##AlfredToDo 3.0\n")
    done = subprocess.run(
        [sys.executable, "-c", ALFRED, str(script)], capture_output=True, text=True, check=True
    )

    found = json.loads(done.stdout)
    assert found[0] == ["Job", "shot", "70"]
    assert [title for kind, title, *_ in found if kind == "Task"] == [
        *job.chunks(),
        "expand",
        "verify",
        "QC page",
    ]
    commands = [command for kind, command, *_ in found if kind == "RemoteCmd"]
    expected = [job.seq_command(chunk, "tractor") for chunk in job.chunks()]
    assert commands == [list(words) for words in (*expected, job.verify_command(), job.qc_command())]
    assert {row[2] for row in found if row[0] == "RemoteCmd"} == {"bit expand"}


def test_tractor_spools(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, 2, 4)
    tractor.write(job, folder)
    stand_in(
        tmp_path, "tractor-spool", "print('jid', pathlib.Path(sys.argv[1]).stat().st_size > 0)", monkeypatch
    )
    assert tractor.submit(job, folder) == "shot: jid True"
    braces = replace(job, expansion=replace(job.expansion, output="/out/{a/shot_####.exr"))
    with pytest.raises(UsageError, match="holds a brace, backslash or line break"):
        tractor.write(braces, folder)


def test_opencue_serialises_every_command(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("outline", reason="opencue-pyoutline is not installed")
    options = (("show", "bees"), ("facility", "local"))
    job = spaced(with_frames(small_job(tmp_path, 2, 4, gpu=True, farm_options=options), "1001-1009x2,1020"))
    (script,) = opencue.write(job, folder)
    reading = (
        "import runpy, sys, outline.cuerun as c\n"
        "build = runpy.run_path(sys.argv[1])['build']\n"
        "print(c.OutlineLauncher(build()).serialize(use_pycuerun=False))"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", reading, str(script)],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spec = ElementTree.fromstring(done.stdout[done.stdout.index("<spec>") :])
    assert spec.findtext("show") == "bees"
    layers = {str(layer.get("name")): layer for layer in spec.iter("layer")}
    expand = layers["expand"]
    assert (expand.findtext("range"), expand.findtext("chunk")) == ("1001-1009x2,1020", "4")
    assert (expand.findtext("cores"), expand.findtext("gpus")) == ("1.0", "1")
    # A shell takes apart what RQD would run, after Cuebot put a chunk's frames in
    line = str(expand.findtext("cmd")).replace("#FRAMESPEC#", "1001-1007x2")
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert tuple(words) == job.seq_command("1001-1007x2")
    assert tuple(shlex.split(str(layers["verify"].findtext("cmd")))) == job.verify_command()
    assert tuple(shlex.split(str(layers["qc_page"].findtext("cmd")))) == job.qc_command()
    depends = [(d.findtext("deplayer"), d.findtext("onlayer")) for d in spec.iter("depend")]
    assert sorted(depends) == [("qc_page", "verify"), ("verify", "expand")]


def test_opencue_tokens_in_paths_are_refused(tmp_path: Path, folder: Path) -> None:
    job = small_job(tmp_path, 2, 4)
    job = replace(job, expansion=replace(job.expansion, output="/out/#FRAME#/shot_####.exr"))
    with pytest.raises(UsageError, match="holds a token of OpenCue's"):
        opencue.write(job, folder)


@pytest.mark.parametrize(
    ("write", "handling", "said"),
    [
        (deadline.write, {"gpu": True}, "name a group of GPU workers"),
        (tractor.write, {"gpu": True}, "name what your GPU blades provide"),
        (
            deadline.write,
            {"farm_options": (("Frames", "1"),)},
            "'Frames=1': give a key of Deadline's job info",
        ),
        (
            tractor.write,
            {"farm_options": (("title", "x"),)},
            "'title': give service, or an option of Tractor's Job",
        ),
        (opencue.write, {"farm_options": (("a b", "x"),)}, "'a b': give show, shot, user"),
    ],
)
def test_what_a_farm_cannot_do_is_said(
    tmp_path: Path, folder: Path, write: Callable[..., Any], handling: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        write(small_job(tmp_path, 2, 4, **handling), folder)


def test_every_farm_writes_something_and_says_how_to_submit_it(tmp_path: Path) -> None:
    job = small_job(tmp_path, 3, 2)
    for row in registry.FARMS:
        folder = tmp_path / row.name
        folder.mkdir()
        files = row.write(job, folder)
        assert files, row.name
        assert all(file.parent == folder and file.stat().st_size for file in files)
        assert str(folder) in row.how(job, folder)
    assert {row.name for row in registry.FARMS if not row.tried} == {
        "deadline-cloud",
        "deadline",
        "opencue",
        "tractor",
    }


def test_an_unknown_farm_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="unknown farm 'slrum'; did you mean 'slurm'"):
        registry.farm("slrum")
