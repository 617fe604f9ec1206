"""Slurm's scripts, without Slurm: what bash makes of them, and what is refused."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from farm_shots import small_job
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitexpand.errors import FarmError, UsageError
from bitexpand.farm import slurm
from bitexpand.farm.job import FarmJob, Handling
from bitexpand.jobs import Job
from bitexpand.sequence import parse_frames

SAY_ARGUMENTS = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
ODD = st.text(st.characters(codec="utf-8", exclude_characters="\0/\r"), min_size=1, max_size=12)


def described(folder: str, frames: tuple[int, ...], chunk: int, threads: int | None = None) -> FarmJob:
    expansion = Job(input=f"/{folder}/a_####.png", output=f"/{folder}/b_####.exr", threads=threads)
    handling = Handling(chunk=chunk, command=SAY_ARGUMENTS)
    return FarmJob(
        **vars(handling), name="shot", expansion=expansion, frames=frames, review=f"/{folder}/review"
    )


def said(folder: Path, script: str, task: int = 0) -> list[str]:
    """Run a script as Slurm would and return the arguments that bitexpand would get."""
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_ON_NODE": "3"}
    done = subprocess.run(
        ["bash", str(folder / script)], cwd=folder, env=environment, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> Path:
    """Put programs of Slurm's names, which are a line of bash each, before the real ones."""
    folder.mkdir()
    for name, line in programs.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folder=ODD, frames=st.sets(st.integers(-5, 2000), min_size=1, max_size=30), chunk=st.integers(1, 12))
def test_bash_hands_over_exactly_the_commands_of_the_job(
    tmp_path_factory: pytest.TempPathFactory, folder: str, frames: set[int], chunk: int
) -> None:
    job, bundle = described(folder, tuple(frames), chunk, threads=2), tmp_path_factory.mktemp("it's a job")
    files = slurm.write(job, bundle)
    assert [file.name for file in files] == ["submit.sh", "expand.sh", "chunks.txt", "verify.sh", "qc.sh"]
    for file in files:
        if file.suffix == ".sh":
            subprocess.run(["bash", "-n", file], check=True)
    own = len(SAY_ARGUMENTS)
    last = job.task_count - 1
    for task in {0, last}:
        assert said(bundle, "expand.sh", task) == list(job.seq_command(list(job.chunks())[task])[own:])
    assert said(bundle, "verify.sh") == list(job.verify_command()[own:])
    assert said(bundle, "qc.sh") == list(job.qc_command()[own:])
    assert f"#SBATCH --array=0-{last}\n" in (bundle / "expand.sh").read_text()


@given(frames=st.sets(st.integers(-50, 2000), min_size=1), chunk=st.integers(1, 50))
def test_the_chunk_list_holds_each_frame_once(
    tmp_path_factory: pytest.TempPathFactory, frames: set[int], chunk: int
) -> None:
    bundle = tmp_path_factory.getbasetemp()
    slurm.write(described("a", tuple(frames), chunk), bundle)
    lines = (bundle / "chunks.txt").read_text().splitlines()
    assert all(len(parse_frames(line)) <= chunk for line in lines)
    assert sorted(number for line in lines for number in parse_frames(line)) == sorted(frames)


def test_a_task_gets_the_threads_that_slurm_gives_it(tmp_path: Path) -> None:
    slurm.write(described("a", (1, 2), 1), tmp_path)
    assert "--threads=3" in said(tmp_path, "expand.sh")
    assert "cpus-per-task" not in (tmp_path / "expand.sh").read_text()
    slurm.write(described("a", (1, 2), 1, threads=8), tmp_path)
    assert "--threads=8" in said(tmp_path, "expand.sh")
    assert "#SBATCH --cpus-per-task=8\n" in (tmp_path / "expand.sh").read_text()


def test_a_task_beyond_the_chunk_list_says_so(tmp_path: Path) -> None:
    slurm.write(described("a", (1, 2), 1), tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as failure:
        said(tmp_path, "expand.sh", task=2)
    assert failure.value.returncode == 2
    assert failure.value.stderr.decode() == f"{tmp_path}/chunks.txt has no line for task 2\n"


def test_a_gpu_is_asked_for_the_expansion_alone(tmp_path: Path) -> None:
    slurm.write(replace(described("a", (1, 2), 1), gpu=True), tmp_path)
    asking = [file.name for file in tmp_path.iterdir() if "#SBATCH --gres=gpu:1\n" in file.read_text()]
    assert asking == ["expand.sh"]


def test_farm_options_go_to_every_step(tmp_path: Path) -> None:
    job = replace(described("a", (1, 2), 1), farm_options=(("comment", "for Ann"), ("exclusive", "")))
    slurm.write(job, tmp_path)
    for script in ("expand.sh", "verify.sh", "qc.sh"):
        assert '#SBATCH --comment="for Ann"\n#SBATCH --exclusive\n' in (tmp_path / script).read_text()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("array", "0-3"), "farm option 'array': the job sets it itself; leave it out"),
        (("p", "short"), "farm option 'p=short': give a long option of sbatch"),
        (("comment", 'a "b"'), "without quotes, backslashes and line breaks"),
        (("comment", "a\n#SBATCH --uid=0"), "without quotes, backslashes and line breaks"),
    ],
)
def test_farm_options_that_a_script_cannot_take(
    tmp_path: Path, option: tuple[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        slurm.write(replace(described("a", (1, 2), 1), farm_options=(option,)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = described("a", (1, 2), 1)
    slurm.write(job, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = shlex.join(["bash", str(tmp_path / "submit.sh")])
    with pytest.raises(FarmError, match=f"'sbatch' is not installed .* run: {command}"):
        slurm.submit(job, tmp_path)


def test_all_steps_are_queued_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    sbatch = (
        f'echo "$@" >>{log}; [[ $* != *qc.sh ]] || {{ echo "no page today" >&2; exit 1; }}; echo "7;mars"'
    )
    fake(tmp_path / "bin", monkeypatch, sbatch=sbatch, scancel=f'echo scancel "$@" >>{log}')
    job = small_job(tmp_path, 2, 1)
    (tmp_path / "job").mkdir()
    slurm.write(job, tmp_path / "job")
    with pytest.raises(FarmError, match="(?s)no page today; nothing is queued"):
        slurm.submit(job, tmp_path / "job")
    assert log.read_text().splitlines() == [
        "--parsable expand.sh",
        "--parsable --dependency=afterany:7 --kill-on-invalid-dep=yes verify.sh",
        "--parsable --dependency=afterok:7 --kill-on-invalid-dep=yes qc.sh",
        "scancel 7 7",
    ]
