"""OpenJD bundles, run for real by ``openjd run``, which is a farm of one worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, Outcome, hidden_files
from farm_shots import BITEXPAND, results, small_job, source
from plates import save_shot

from bitexpand.farm import openjd
from bitexpand.farm.job import FarmJob
from bitexpand.verify import VerifyJob, verify_sequence

OPENJD = Path(sys.executable).with_name("openjd")
pytestmark = pytest.mark.skipif(not OPENJD.exists(), reason="openjd-cli is not installed")
ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# Reading alone is allowed: the Python of a test machine may lie in a home folder.
READS_ALL = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")


def command_of(bundle: Path, *arguments: str) -> list[str]:
    return [str(OPENJD), *openjd.run_command(bundle)[1:], *arguments]


def run(bundle: Path, *arguments: str, expect: int = 0, prefix: tuple[str, ...] = ()) -> Outcome:
    """Run tasks of a bundle as a worker does."""
    command = [*prefix, *command_of(bundle, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd="/")
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert done.returncode == expect, outcome
    return outcome


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    return folder


def verify_job(job: FarmJob, frames: str | None = None) -> VerifyJob:
    return VerifyJob(source=job.expansion.input, result=job.expansion.output, frames=frames)


def passed(job: FarmJob) -> bool:
    """Verify all frames, from the files."""
    checks = list(verify_sequence(verify_job(job)))
    return len(checks) == len(job.frames) and all(check.passed for check in checks)


def test_submitted_and_run_at_once(tmp_path: Path, call_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{OPENJD.parent}:{os.environ['PATH']}")
    pattern, output = save_shot(tmp_path / "in", 3), tmp_path / "out dir" / "shot_####.exr"
    command = f"{sys.executable} -m bitexpand"
    options = ["--model", "smooth", "--threads", "1", "--no-verify", "--no-qc", "--command", command]
    call_cli("submit", "openjd", pattern, "-o", output, *options, "--bundle", tmp_path / "b", "--run").said(
        "shot: done on this machine, 1 tasks"
    )
    assert len(list(output.parent.glob("*.exr"))) == 3
    reports = sorted((output.parent / "shot_review").glob("frames_*.json"))
    assert sum(json.loads(report.read_text())["written"] for report in reports) == 3


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_bundle_runs_from_another_folder_and_as_another_user(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    can = subprocess.run([*ANOTHER_USER, *READS_ALL, "true"], capture_output=True, check=False) if (
        shutil.which("setpriv") and os.getuid() == 0
    ) else None  # fmt: skip
    if can is None or can.returncode:
        pytest.skip("only root can become another user, by setpriv")
    job = small_job(open_folder, 6, 2)
    written, moved = open_folder / "mine", open_folder / "moved"
    written.mkdir()
    openjd.write(job, written)
    shutil.move(written, moved)
    for folder in (open_folder / "out", open_folder / "tmp"):
        folder.mkdir()
        os.chown(folder, 65534, 65534)
    monkeypatch.setenv("TMPDIR", str(open_folder / "tmp"))
    ran = run(moved, "-p", "Frames=1001-1006:2", prefix=(*ANOTHER_USER, *READS_ALL))
    ran.said("Frames(CHUNK[INT]) = 1001,1003", "openjd_progress: 100.0", "OK: 3 frames", "qc.html: passed")
    assert [path.name[5:9] for path in results(job)] == ["1001", "1003", "1005"]
    assert {path.stat().st_uid for path in results(job)} == {65534}


def test_a_bad_frame_fails_its_task_and_no_other(tmp_path: Path, bundle: Path) -> None:
    job = small_job(tmp_path, 6, 3, on_missing="skip")
    openjd.write(job, bundle)
    source(job, 1002).write_bytes(source(job, 1002).read_bytes()[:60])
    source(job, 1005).unlink()  # and one that goes missing after the job was submitted
    first = run(bundle, "--step", "Expand", "-tp", "Frames=1001-1003", expect=1)
    first.said(
        "frame 1002 FAILED", "openjd_fail: 2 written, 1 failed", "failed: frame 1002", "exited with code: 1 "
    )
    second = run(bundle, "--step", "Expand", "-tp", "Frames=1004-1006")
    second.said("1 missing frames (1005) left out", "2 written", "exited with code: 0 ")
    assert [path.name[5:9] for path in results(job)] == ["1001", "1003", "1004", "1006"]
    report = json.loads(Path(job.review, "frames_1001.json").read_text())
    assert (report["written"], report["failed"]) == (2, 1)
    assert json.loads(Path(job.review, "frames_1004.json").read_text())["missing"] == [1005]


def test_tasks_that_overlap_leave_whole_frames(tmp_path: Path, bundle: Path) -> None:
    job = small_job(tmp_path, 5, 3)
    openjd.write(job, bundle)
    tasks = json.dumps([{"Frames": "1001-1004"}, {"Frames": "1001-1005:2"}])
    run(bundle, "--step", "Expand", "--tasks", tasks).said(
        "frame 1001 is done already", "1 written, 2 skipped"
    )
    assert passed(job)


def test_a_worker_without_the_weights_says_so(tmp_path: Path, bundle: Path, tiny: str) -> None:
    weights = tmp_path / "mine.safetensors"
    shutil.copy(tiny, weights)
    job = small_job(tmp_path, 2, 2, model=str(weights))
    openjd.write(job, bundle)
    weights.unlink()
    ran = run(bundle, "--step", "Expand", expect=1)
    ran.said(f"{weights}", "exited with code: 3 ")
    assert "Traceback" not in ran.out
    assert not results(job)


def test_a_task_that_is_cancelled_leaves_no_half_frame(tmp_path: Path, bundle: Path) -> None:
    job = small_job(tmp_path, 40, 40, size=(192, 256))
    openjd.write(job, bundle)
    with subprocess.Popen(
        command_of(bundle, "--step", "Expand"), stdout=subprocess.PIPE, text=True
    ) as process:
        give_up = time.monotonic() + 60
        while len(results(job)) < 2 and time.monotonic() < give_up:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; finished frames are complete" in said
    done = results(job)
    assert 2 <= len(done) < 40
    assert not hidden_files(tmp_path / "out")
    first, last = done[0].name[5:9], done[-1].name[5:9]
    checks = list(verify_sequence(verify_job(job, f"{first}-{last}")))
    assert len(checks) == len(done)
    assert all(check.passed for check in checks)


def test_the_library_checks_what_we_write(tmp_path: Path, bundle: Path) -> None:
    openjd.write(small_job(tmp_path, 3, 2), bundle)
    template = str(bundle / openjd.TEMPLATE)
    done = subprocess.run([OPENJD, "check", template], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passes validation checks" in done.stdout
    assert BITEXPAND[0] in (bundle / openjd.PARAMETERS).read_text()
