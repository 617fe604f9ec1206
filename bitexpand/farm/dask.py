"""Dask, for those who have a cluster but no farm: each chunk is a ``bitexpand seq`` of its own on a worker.

The folder holds ``tasks.json``, every command of the job, and ``run.py``, which runs them on a scheduler and waits.
A worker needs bitexpand as a command; Dask's own process imports nothing of it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bitexpand.errors import FarmError, UsageError
from bitexpand.farm import dask_run
from bitexpand.farm.job import FarmJob


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write the commands of a job, and the script that runs them on a scheduler, into a folder.

    Returns:
        The files, ``run.py`` first.

    Raises:
        UsageError: there are farm options, and Dask has none.
    """
    if job.farm_options:
        key, value = job.farm_options[0]
        raise UsageError(f"farm option '{key}={value}': Dask takes none; --gpu asks for its resource GPU")
    script, tasks = folder / "run.py", folder / "tasks.json"
    script.write_bytes(Path(dask_run.__file__).read_bytes())
    tasks.write_text(json.dumps(_tasks(job), indent=1) + "\n", encoding="utf-8")
    return [script, tasks]


def submit(job: FarmJob, folder: Path) -> str:
    """Run a written job on the scheduler to its end, telling of each task, and return a line on it.

    Raises:
        UsageError: no scheduler was named, or Dask is not installed here.
        FarmError: the scheduler does not answer, or tasks failed; they have been named.
        KeyboardInterrupt: Ctrl-C; what ran has been ended.
    """
    if not job.scheduler:
        raise UsageError("Dask needs the address of its scheduler, such as --scheduler tcp://farm:8786")
    if not find_spec("distributed"):
        raise UsageError("this needs Dask: pip install 'bitexpand[dask]'")
    with subprocess.Popen([sys.executable, *_arguments(job, folder)]) as running:
        try:
            code = running.wait()
        except KeyboardInterrupt:
            running.terminate()  # which Ctrl-C in a terminal has done already, and a signal to us alone has not
            running.wait()
            raise
    if code == dask_run.INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise FarmError(f"{job.name} is not done on {job.scheduler}; what failed stands above")
    return f"{job.name} is done on {job.scheduler}"


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that runs a written job."""
    return shlex.join(["python", *_arguments(job, folder)])


def _arguments(job: FarmJob, folder: Path) -> tuple[str, ...]:
    return str(folder / "run.py"), f"--scheduler={job.scheduler or 'tcp://HOST:8786'}"


def _tasks(job: FarmJob) -> dict[str, object]:
    """Return the job as ``dask_run`` reads it; a step that is not ``always`` needs all before it."""
    steps = []
    if job.verify:
        steps.append({"name": "verification", "command": job.verify_command(), "always": True})
    if job.qc:
        steps.append({"name": "QC page", "command": job.qc_command(), "always": False})
    chunks = [{"name": f"frames {frames}", "command": job.seq_command(frames)} for frames in job.chunks()]
    return {"name": job.name, "gpu": job.gpu, "chunks": chunks, "steps": steps}
