"""Slurm for real: a shot over two nodes, one of which dies, fills up, lacks a file, or is told to stop."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Cli, hidden_files
from farm_shots import BITEXPAND, results, small_job, source, states
from plates import tiny_model
from slurm_cluster import SlurmCluster, slurm_cluster, wait_for

from bitexpand.errors import FarmError
from bitexpand.farm import slurm
from bitexpand.farm.job import FarmJob

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[SlurmCluster]:
    with slurm_cluster() as running:
        yield running


@pytest.fixture
def cluster(running_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    for name, value in running_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return running_cluster


@dataclass(frozen=True)
class Submitted:
    """A job that Slurm took: the ids of its steps, and where their logs are."""

    cluster: SlurmCluster
    ids: list[str]
    logs: Path

    def outcome(self, step: int = 0) -> list[str]:
        """Wait for a step and return the state and exit code of each of its tasks."""
        return [f"{task['JobState']} {task['ExitCode']}" for task in self.cluster.wait(self.ids[step])]

    def log(self, pattern: str) -> str:
        return "\n".join(path.read_text() for path in sorted(self.logs.glob(pattern)))


def submitted(cluster: SlurmCluster, job: FarmJob, folder: Path, chunks: str | None = None) -> Submitted:
    """Write a job, perhaps with other chunks, and hand it over."""
    folder.mkdir()
    slurm.write(job, folder)
    if chunks:
        (folder / slurm.CHUNKS_NAME).write_text(chunks)
    said = slurm.submit(job, folder)
    return Submitted(cluster, re.findall(r"job (\d+)", said), folder / "logs")


OK, FAILED = "COMPLETED 0:0", "FAILED 1:0"


def test_a_node_that_dies_half_way(cluster: SlurmCluster, tmp_path: Path, call_cli: Cli) -> None:
    job = small_job(tmp_path / "a shot's", 160, 20, size=(64, 96), qc=False)
    run = submitted(cluster, job, tmp_path / "the job's")
    chunks = [range(1001 + at, 1021 + at) for at in range(0, 160, 20)]

    def torn() -> str:
        """Return the index of the task that has done a part of its frames on n2."""
        done = {int(path.stem[-4:]) for path in results(job)}
        return next(
            (
                task["ArrayTaskId"]
                for task in cluster.tasks(run.ids[0])
                if len(done) > 40 and (task["JobState"], task.get("NodeList")) == ("RUNNING", "n2")
                if 2 <= len(done & set(chunks[int(task["ArrayTaskId"])])) < 15
            ),
            "",
        )

    hit: list[str] = []
    wait_for(lambda: bool(hit.append(torn()) or hit[-1]), "n2 is amid a chunk")
    cluster.kill_node("n2")
    before = states(job)
    assert 40 < len(before) < 140
    tasks = cluster.wait(run.ids[0])
    assert [task["JobState"] for task in tasks] == ["COMPLETED"] * 8
    assert [task["ArrayTaskId"] for task in tasks if task["Restarts"] == "1"] == [hit[-1]]
    assert run.outcome(1) == [OK]
    assert "160 frames" in run.log("verify_*.log")
    after = states(job)
    assert {name: after[name] for name in before} == before
    told = Counter(re.findall(r"frame (\d+) -> ", run.log("expand_*.log")))
    assert set(told.values()) == {1}
    assert len(told) >= 156  # the dead node may not have told of its last frames
    cluster.start_node("n2")
    for left in (tmp_path / "a shot's").rglob(".bitexpand-*"):
        os.utime(left, (0, 0))  # a day goes by
    call_cli(*job.seq_command("1001")[3:])
    assert not hidden_files(tmp_path)


def test_a_task_that_is_cancelled_with_notice(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = small_job(tmp_path, 60, 60, size=(96, 128), qc=False)
    run = submitted(cluster, job, tmp_path / "first")
    wait_for(lambda: len(results(job)) > 3, "some frames are done")
    cluster.run("scancel", run.ids[0])
    assert run.outcome() == ["CANCELLED 130:0"]
    assert "interrupted; finished frames are complete" in run.log("expand_*.log")
    assert not hidden_files(tmp_path)
    before = states(job)
    assert 3 < len(before) < 60
    assert run.outcome(1) == [FAILED]
    again = submitted(cluster, job, tmp_path / "second")
    assert (again.outcome(), again.outcome(1)) == ([OK], [OK])
    assert states(job).items() >= before.items()


def test_a_bad_frame_fails_its_own_task_alone(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = small_job(tmp_path, 6, 2)
    bad = source(job, 1004)
    bad.write_bytes(bad.read_bytes()[:60])
    run = submitted(cluster, job, tmp_path / "job")
    assert run.outcome() == [OK, FAILED, OK]
    assert "frame 1004 FAILED" in run.log("expand_*_1.log")
    assert len(results(job)) == 5
    assert run.outcome(1) == [FAILED]
    assert "1004" in run.log("verify_*.log")
    assert not run.log("qc_*.log")  # a page of a shot that is not whole is not asked for
    wait_for(lambda: "JobState=CANCELLED" in cluster.run("scontrol", "show", "job", run.ids[2]), "no page")
    assert not hidden_files(tmp_path)


def test_submitted_by_the_command_line_and_a_frame_vanishes(
    cluster: SlurmCluster, tmp_path: Path, call_cli: Cli
) -> None:
    job = small_job(tmp_path, 4, 2)
    shot = (job.expansion.input, "-o", job.expansion.output, "--model", "smooth", "--threads", "1")
    cut = (
        "--chunk",
        "2",
        "--on-missing",
        "skip",
        "--no-verify",
        "--no-qc",
        "--command",
        shlex.join(BITEXPAND),
    )
    cluster.run("scontrol", "update", "partitionname=farm", "state=down")  # until the frame is gone
    said = call_cli("submit", "slurm", *shot, *cut, "--bundle", tmp_path / "job", "--run").out
    source(job, 1003).unlink()
    cluster.run("scontrol", "update", "partitionname=farm", "state=up")
    run = Submitted(cluster, re.findall(r"Slurm job (\d+): 2 tasks", said), tmp_path / "job" / "logs")
    assert run.outcome() == [OK, OK]
    reports = [json.loads(path.read_text()) for path in sorted(Path(job.review).glob("*.json"))]
    assert [report["missing"] for report in reports] == [[], [1003]]
    assert [path.stem for path in results(job)] == ["shot_1001", "shot_1002", "shot_1004"]


def test_workers_on_the_same_frames(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = small_job(tmp_path, 12, 6)
    run = submitted(cluster, job, tmp_path / "job", chunks="1001-1012\n1001-1009,1007-1012\n")
    assert [run.outcome(step) for step in range(3)] == [[OK, OK], [OK], [OK]]
    assert Path(job.page).stat().st_size > 10_000
    assert len(results(job)) == 12
    assert not hidden_files(tmp_path)


def test_a_disk_that_is_full_on_one_worker(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = small_job(tmp_path, 6, 3, qc=False)
    folder = tmp_path / "out"
    folder.mkdir()
    on_n2 = [*cluster.inside("n2"), "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    subprocess.run(on_n2, check=True)
    run = submitted(cluster, job, tmp_path / "first")
    tasks = {task["NodeList"]: task["ArrayTaskId"] for task in cluster.wait(run.ids[0])}
    assert sorted(run.outcome()) == [OK, FAILED]
    assert "the disk is full" in run.log(f"expand_*_{tasks['n2']}.log")
    assert len(results(job)) == 3
    subprocess.run([*cluster.inside("n2"), "umount", str(folder)], check=True)
    again = submitted(cluster, job, tmp_path / "second")
    assert (again.outcome(), again.outcome(1)) == ([OK, OK], [OK])
    assert not hidden_files(tmp_path)


def test_a_worker_without_the_weights(cluster: SlurmCluster, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    job = small_job(tmp_path, 4, 2, model=tiny_model(weights), verify=False, qc=False)
    subprocess.run([*cluster.inside("n2"), "mount", "-t", "tmpfs", "tmpfs", str(weights)], check=True)
    run = submitted(cluster, job, tmp_path / "job")
    tasks = {task["NodeList"]: task for task in cluster.wait(run.ids[0])}
    subprocess.run([*cluster.inside("n2"), "umount", str(weights)], check=True)
    assert (tasks["n1"]["JobState"], tasks["n2"]["JobState"]) == ("COMPLETED", "FAILED")
    said = run.log(f"expand_*_{tasks['n2']['ArrayTaskId']}.log")
    assert f"{job.expansion.model}" in said
    assert "Traceback" not in said
    assert len(results(job)) == 2


def test_what_slurm_refuses_is_told_and_not_queued(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = small_job(tmp_path, 4, 2)
    for number, (change, words) in enumerate(
        {
            (("gpu", True),): "sbatch: error: .*gres.*; nothing is queued$",
            (("farm_options", (("partition", "nowhere"),)),): "invalid partition specified: nowhere",
            (
                ("frames", tuple(range(1001, 4001))),
                ("chunk", 1),
            ): "a larger --chunk makes fewer tasks than 3000",
        }.items()
    ):
        folder = tmp_path / f"job{number}"
        refused = replace(job, **dict(change))
        with pytest.raises(FarmError, match=f"(?s){words}"):
            submitted(cluster, refused, folder)
    assert cluster.run("squeue", "-h") == ""
    assert not (tmp_path / "out").exists()
