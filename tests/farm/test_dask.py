"""Dask for real: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import Cli, hidden_files
from farm_shots import BITEXPAND, ROOT, results, small_job, source, states
from slurm_cluster import wait_for

from bitexpand.errors import FarmError, UsageError
from bitexpand.farm import dask
from bitexpand.farm.job import FarmJob

pytestmark = pytest.mark.timeout(300)
pytest.importorskip("distributed", reason="no Dask here: pip install 'bitexpand[dask]'")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a scheduler with two workers."""
    folder = tmp_path_factory.mktemp("dask")
    address = folder / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    daemons = [("scheduler", "--port", "0", "--scheduler-file", address, *local)]
    daemons += [
        ("worker", "--scheduler-file", address, "--nthreads", "1", "--local-directory", folder / name, *local)
        for name in ("one", "two")
    ]
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, daemon)], cwd=folder, stdout=log, stderr=log
            )
            for daemon in daemons
        ]
    wait_for(lambda: (folder / "log").read_text().count("Registered to") == 2, "both workers are there")
    yield json.loads(address.read_text())["address"]
    family = [
        process for daemon in started for process in psutil.Process(daemon.pid).children(recursive=True)
    ]
    for daemon in reversed(started):
        daemon.terminate()
        daemon.wait(20)
    assert not psutil.wait_procs(family, 10)[1]


def written(job: FarmJob, folder: Path) -> Path:
    folder.mkdir()
    return dask.write(job, folder)[0]


def start(script: Path, scheduler: str) -> subprocess.Popen[str]:
    command = [sys.executable, script, "--scheduler", scheduler]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end and return the exit code and what was said."""
    try:
        said, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert "Traceback" not in said
    return process.returncode, said


def test_submitted_by_the_command_line(
    scheduler: str, tmp_path: Path, call_cli: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    job = small_job(tmp_path / "a shot's", 4, 2)
    shot = (job.expansion.input, "-o", job.expansion.output, "--model", "smooth", "--threads", "1")
    how = ("--chunk", "2", "--scheduler", scheduler, "--command", shlex.join(BITEXPAND))
    said = call_cli("submit", "dask", *shot, *how, "--bundle", tmp_path / "the job", "--run").out
    assert f"is done on {scheduler}" in said
    lines = capfd.readouterr().out.splitlines()
    assert sorted(re.findall(r"frames (\S+): ok", " ".join(lines))) == ["1001-1002", "1003-1004"]
    assert lines[-3:] == ["[1/1] verification: ok", "[1/1] QC page: ok", "shot: done"]
    assert len(results(job)) == 4
    assert Path(job.page).exists()


def test_a_chunk_that_fails_is_named_and_the_others_are_done(
    scheduler: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = small_job(tmp_path, 4, 2, scheduler=scheduler)
    bad = source(job, 1004)
    bad.write_bytes(bad.read_bytes()[:60])
    script = written(job, tmp_path / "job")
    with pytest.raises(FarmError, match=f"shot is not done on {scheduler}; what failed stands above"):
        dask.submit(job, script.parent)
    said = capfd.readouterr().out
    assert "frames 1003-1004: FAILED with exit code 1\n" in said
    assert "    " in said
    assert "frame 1004 FAILED" in said
    assert "verification: FAILED" in said
    assert "QC page" not in said
    assert len(results(job)) == 3
    assert not hidden_files(tmp_path)


def test_ctrl_c_ends_what_runs_and_begins_nothing_else(scheduler: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, 36, 12, size=(64, 96), verify=False, qc=False)
    script = written(job, tmp_path / "job")
    running = start(script, scheduler)
    wait_for(lambda: len(results(job)) > 1, "some frames are done")
    running.send_signal(signal.SIGINT)
    code, said = finish(running)
    assert code == 130, said
    assert "interrupted; finished frames are complete, the same command goes on" in said
    before = states(job)
    assert 1 < len(before) < 36
    assert not hidden_files(tmp_path)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if job.expansion.input in (p.info["cmdline"] or ())
    ]
    code, said = finish(start(script, scheduler))
    assert code == 0, said
    assert len(results(job)) == 36
    assert states(job).items() >= before.items()


def test_a_command_that_no_worker_has(
    scheduler: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = replace(
        small_job(tmp_path, 1, 1, scheduler=scheduler), command=("bitexpant",), verify=False, qc=False
    )
    with pytest.raises(FarmError):
        dask.submit(job, written(job, tmp_path / "job").parent)
    assert "exit code 127\n    bitexpant: No such file or directory" in capfd.readouterr().out


def test_a_scheduler_that_is_not_there(tmp_path: Path) -> None:
    job = small_job(tmp_path, 1, 1)
    script = written(job, tmp_path / "job")
    with pytest.raises(UsageError, match="address of its scheduler, such as --scheduler tcp://farm:8786"):
        dask.submit(job, script.parent)
    for address in ("tcp://127.0.0.1:1", "no address"):
        code, said = finish(start(script, address))
        assert code == 1
        assert f"error: no Dask scheduler answers at {address} (" in said


def test_no_dask_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, 1, 1, scheduler="tcp://127.0.0.1:1")
    script = written(job, tmp_path / "job")
    monkeypatch.setattr(dask, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"this needs Dask: pip install 'bitexpand\[dask\]'"):
        dask.submit(job, script.parent)
    hidden = ["-c", "import sys; sys.modules['distributed'] = None; sys.argv[:1] = []; import runpy; "
              "runpy.run_path(sys.argv[0], run_name='__main__')"]  # fmt: skip
    command = [sys.executable, *hidden, str(script), "--scheduler", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, "error: this needs Dask: pip install 'bitexpand[dask]'\n")


def test_dask_takes_no_farm_options(tmp_path: Path) -> None:
    job = replace(small_job(tmp_path, 1, 1), farm_options=(("partition", "short"),))
    with pytest.raises(UsageError, match="farm option 'partition=short': Dask takes none"):
        dask.write(job, tmp_path)
