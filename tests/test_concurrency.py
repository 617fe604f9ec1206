"""Tasks that meet on shared storage: the same frames at once, what killed ones leave, storage that errs."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest
from conftest import Cli, CliProcess, hidden_files
from expansions import digests, preceded, source, states, statuses, target
from plates import natural, save, save_shot

from bitexpand import frames, pipeline, resume, temporaries
from bitexpand.jobs import Job, plan_sequence
from bitexpand.pipeline import expand_sequence
from bitexpand.verify import VerifyJob, verify_sequence

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 8
NODES = 3

# Importing torch takes seconds. This imports once and forks the commands of a line, which run at the same time,
# each on a node of its own as far as the names of temporaries tell.
CLUSTER = """
import json, os, sys
import bitexpand.cli, bitexpand.pipeline, bitexpand.progress
from bitexpand import temporaries
for line in sys.stdin:
    children, start = [], os.pipe()
    for node, command in enumerate(json.loads(line)):
        child = os.fork()
        if child == 0:
            log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            temporaries._HOST = f"node{node}"
            os.close(start[1])
            os.read(start[0], 1)
            bitexpand.cli.main(command["arguments"])
        children.append(child)
    os.close(start[0])
    os.close(start[1])
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


@dataclass
class Cluster:
    """Runs commands at the same time."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, *commands: list[str]) -> list[int]:
        """Return the exit codes of ``bitexpand`` with each list of arguments, once all have ended."""
        told = [{"arguments": c, "log": str(self.folder / f"log{i}")} for i, c in enumerate(commands)]
        print(json.dumps(told), file=_pipe(self.process.stdin), flush=True)
        return json.loads(_pipe(self.process.stdout).readline())

    def log(self, node: int) -> str:
        return (self.folder / f"log{node}").read_text()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.fixture(scope="module")
def imported() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        _pipe(process.stdin).close()


@pytest.fixture
def cluster(imported: subprocess.Popen[str], tmp_path: Path) -> Cluster:
    return Cluster(imported, tmp_path)


@pytest.fixture
def shot(tmp_path: Path) -> str:
    return save_shot(tmp_path / "in", FRAMES, 96, 128)


def seq(shot: str, folder: Path, model: str, *more: str) -> list[str]:
    settings = ["--model", model, "--device", "cpu", "--threads", "1", "--progress", "json", *more]
    return ["seq", shot, "-o", str(folder / "shot_####.exr"), *settings]


def proved(shot: str, folder: Path) -> bool:
    checks = list(verify_sequence(VerifyJob(source=shot, result=str(folder / "shot_####.exr"))))
    return len(checks) == FRAMES and all(check.passed for check in checks)


# Tasks that meet


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_tasks_with_the_same_frames_all_succeed(
    cluster: Cluster, shot: str, tmp_path: Path, tiny: str, existing: str
) -> None:
    assert cluster.run(seq(shot, tmp_path / "alone", tiny)) == [0]
    together = tmp_path / "together"
    command = seq(shot, together, tiny, "--existing", existing)
    assert cluster.run(*[command] * NODES) == [0] * NODES, [cluster.log(i) for i in range(NODES)]
    written = sum(cluster.log(i).count('"status": "written"') for i in range(NODES))
    assert written == NODES * FRAMES if existing == "overwrite" else written >= FRAMES
    assert digests(together) == digests(tmp_path / "alone")
    assert not hidden_files(tmp_path)


def test_of_tasks_that_stop_where_results_exist_one_succeeds(
    cluster: Cluster, shot: str, tmp_path: Path, tiny: str
) -> None:
    command = seq(shot, tmp_path / "out", tiny, "--existing", "error")
    codes = cluster.run(*[command] * NODES)
    assert 0 in codes
    assert set(codes) <= {0, 2}
    assert proved(shot, tmp_path / "out")
    assert cluster.run(command) == [2]


def test_chunks_that_overlap(cluster: Cluster, shot: str, tmp_path: Path, tiny: str) -> None:
    chunks = ("1001-1006", "1003-1008", "1001-1008x3")
    commands = [seq(shot, tmp_path / "out", tiny, "--frames", chunk) for chunk in chunks]
    assert cluster.run(*commands) == [0] * 3
    assert proved(shot, tmp_path / "out")
    assert not hidden_files(tmp_path)


def test_of_tasks_with_other_settings_each_frame_is_wholly_one_s(
    cluster: Cluster, shot: str, tmp_path: Path, tiny: str
) -> None:
    strengths = ("1", "0.5")
    for strength in strengths:
        assert cluster.run(seq(shot, tmp_path / strength, tiny, "--strength", strength)) == [0]
    commands = [
        seq(shot, tmp_path / "out", tiny, "--strength", s, "--existing", "overwrite") for s in strengths
    ]
    assert cluster.run(*commands) == [0, 0]
    alone = [digests(tmp_path / strength) for strength in strengths]
    for name, digest in digests(tmp_path / "out").items():
        assert digest in [folder[name] for folder in alone]
    assert proved(shot, tmp_path / "out")


@pytest.mark.parametrize("existing", ["skip", "overwrite", "error"])
def test_a_result_that_appears_before_the_rename_is_replaced_whole(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str
) -> None:
    other = replace(job, output=str(tmp_path / "other/shot_####.exr"), strength=0.5)
    assert statuses(other) == "wwwwww"

    def appear(path: Path, *_: object) -> None:
        path.write_bytes(target(other, int(path.stem[-4:])).read_bytes())

    monkeypatch.setattr(frames, "write_frame", preceded(frames.write_frame, appear))
    assert statuses(replace(job, existing=existing)) == "wwwwww"  # type: ignore[arg-type]
    monkeypatch.undo()
    assert statuses(job) == "ssssss"
    assert not hidden_files(tmp_path)


@pytest.mark.parametrize("function", ["_is_ours", "_is_complete"])
def test_a_result_that_vanishes_under_the_look_is_written(
    job: Job, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    assert statuses(job) == "wwwwww"
    vanish: Callable[..., None] = lambda path, *_: path.unlink()  # noqa: E731
    monkeypatch.setattr(resume, function, preceded(getattr(resume, function), vanish))
    assert statuses(job) == "wwwwww"


def test_an_output_folder_that_another_task_makes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pipeline, "prepare", preceded(pipeline.prepare, lambda folder: folder.mkdir(parents=True))
    )
    assert statuses(job) == "wwwwww"


def test_temporaries_of_machines_that_are_clones_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for _ in range(100):
        monkeypatch.setattr(temporaries, "_serial", iter([0]))
        names.add(temporaries.temporary_name(".exr"))
    assert len(names) == 100, "of the same host name, process number and count"


# Tasks that die


@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_a_task_killed_within_a_frame_is_run_again(
    shot: str, tmp_path: Path, tiny: str, moment: str, run_cli: CliProcess, call_cli: Cli
) -> None:
    folder = tmp_path / "out"
    kill = f"""
import itertools, os, signal
calls, call = itertools.count(1), {moment}

def die(*arguments, **options):
    if next(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **options)

{moment} = die
"""
    run_cli(*seq(shot, folder, tiny), before=kill, expect=-signal.SIGKILL)
    done = states(folder)
    left = hidden_files(folder)  # more than one where frames are written side by side
    assert left
    assert all(name.endswith(".exr") for name in left)
    assert 1 < len(done) < FRAMES
    call_cli(*seq(shot, folder, tiny, "--frames", "1001-1008"))
    assert not hidden_files(folder), "the same machine knows that the task is dead"
    assert states(folder).items() >= {name: state for name, state in done.items() if name not in left}.items()
    assert proved(shot, folder)


def test_what_a_task_of_another_machine_left_is_swept_a_day_later_by_the_storage_s_clock(job: Job) -> None:
    folder = target(job, 1001).parent
    folder.mkdir()
    fresh = folder / ".bitexpand-node7.0a1b2c3d.4026531836-4711-0a1b2c3d0.exr"
    stale = folder / ".bitexpand-node8.0a1b2c3d.4026531836-4711-0a1b2c3d0.exr"
    foreign = [folder / name for name in (".bitexpand-notes", ".nfs000000001", ".shot_1001.exr.swp")]
    for path in (fresh, stale, *foreign):
        path.write_bytes(b"half a frame")
    now = stale.stat().st_mtime
    os.utime(fresh, (now, now - 23 * 3600))
    for path in (stale, *foreign):
        os.utime(path, (now, now - 25 * 3600))
    assert statuses(job) == "wwwwww"
    assert sorted(hidden_files(folder)) == sorted(path.name for path in (fresh, *foreign))


def test_a_clock_that_is_wrong_sweeps_nothing_alive(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = target(job, 1001).parent
    folder.mkdir()
    alive = folder / ".bitexpand-node7.0a1b2c3d.4026531836-4711-0a1b2c3d0.exr"
    alive.touch()
    monkeypatch.setattr("time.time", lambda: 2**33)
    assert statuses(job) == "wwwwww"
    assert alive.exists()


# Storage that errs


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO], ids=["ESTALE", "EIO"])
def test_a_frame_that_the_storage_refuses_fails_alone(
    job: Job, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert statuses(replace(job, frames="1003", strength=0.5)) == "w"
    before = target(job, 1003).read_bytes()
    calls = iter(range(100))

    def refuse(_: int) -> None:
        if next(calls) == 2:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    results = list(expand_sequence(job))
    failed = [r for r in results if r.status == "failed"]
    assert len(failed) == 1
    assert f"could not be written ([Errno {number}] {os.strerror(number)}); nothing was left" in str(
        failed[0].error
    )
    assert not hidden_files(target(job, 1001).parent)
    if failed[0].task.number == 1003:
        assert target(job, 1003).read_bytes() == before
    monkeypatch.undo()
    assert sorted(statuses(job)) == list("sssssw")


def _lost(path: str) -> None:
    os.unlink(path)


def _cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _flipped(path: str) -> None:
    with open(path, "rb+") as file:
        file.seek(-40, os.SEEK_END)
        (value,) = file.read(1)
        file.seek(-40, os.SEEK_END)
        file.write(bytes([value ^ 0x10]))


@pytest.mark.parametrize("damage", [_lost, _cut, _flipped], ids=["lost", "cut", "flipped"])
@pytest.mark.parametrize("extension", ["exr", "png", "tif", "dpx"])
def test_what_the_storage_does_not_give_back_is_told_and_leaves_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch, damage: Callable[[str], None], extension: str
) -> None:
    job = replace(job, output=job.output.replace("exr", extension))
    calls = iter(range(100))

    def damaged(handle: int) -> None:
        if next(calls) == 2:
            damage(os.readlink(f"/proc/self/fd/{handle}"))

    monkeypatch.setattr(os, "fsync", damaged)
    results = list(expand_sequence(job))
    (failed,) = [r for r in results if r.status == "failed"]
    assert str(failed.error).startswith(f"{failed.task.target}: could not be written (the written file ")
    assert sorted(digests(Path(job.output).parent)) == [
        r.task.target.name for r in results if r is not failed
    ]
    monkeypatch.undo()
    assert sorted(statuses(job)) == list("sssssw")


def test_a_source_that_goes_while_it_is_read_fails_alone(job: Job) -> None:
    plan = plan_sequence(job)
    source(job, 1002).unlink()
    save(source(job, 1004), natural(24, 32, seed=9))
    results = list(pipeline.run(plan, job))
    assert [r.status[0] for r in results] == list("wfwwww")
    assert f"{source(job, 1002)}: cannot be read" in str(results[1].error)
