"""A real Slurm cluster of two nodes on this machine, for as long as the tests need it.

Each node lives in a process namespace of its own: killing its first process takes the whole node with it at once,
daemon, job steps and all, as a power cut does; and what a dead node leaves lies there with a foreign host's name.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

NODES = ("n1", "n2")
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "unshare", "setpriv")
_SBIN = "/usr/sbin:/sbin"
_ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
)
_CONFIG = """
ClusterName=bitexpand
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
SlurmdTimeout=3
MessageTimeout=3
TCPTimeout=2
KillWait=10
JobRequeue=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PartitionName=farm Nodes=ALL Default=YES State=UP
"""


class SlurmCluster:
    """The running cluster.

    Attributes:
        environment: what its commands need; they find the cluster by it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], stack: ExitStack) -> None:
        self.environment = dict(environment)
        self._folder, self._stack = folder, stack
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, *command: str | Path, expect: int = 0) -> str:
        """Run a command of Slurm, or one that calls them, and return what it said."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == expect, f"{command} exited with {done.returncode}: {done.stdout}"
        return done.stdout

    def start_node(self, name: str) -> None:
        """Start a node and wait until it takes jobs."""
        command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        daemon = [*command, "slurmd", "-D", "-N", name]
        self._nodes[name] = _start(self._folder, name, daemon, self.environment, self._stack)
        wait_for(lambda: self.run("sinfo", "-h", "-N", "-n", name, "-o", "%t") == "idle\n", f"{name} is idle")

    def kill_node(self, name: str) -> None:
        """End every process of a node at once, without a chance to say anything."""
        _end(self._nodes.pop(name), signal.SIGKILL)

    def inside(self, name: str) -> list[str]:
        """Return what to put before a command so that it sees the node's own mounts."""
        (first,) = psutil.Process(self._nodes[name].pid).children()
        return ["nsenter", "--target", str(first.pid), "--mount"]

    def tasks(self, job: str) -> list[dict[str, str]]:
        """Return what Slurm knows of each task of a job, by its own keys such as JobState and NodeList."""
        said = self.run("scontrol", "show", "--oneliner", "job", job)
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines() if line.strip()]

    def wait(self, job: str, timeout: float = 240) -> list[dict[str, str]]:
        """Wait until all tasks of a job have ended and return them, sorted by their index."""
        wait_for(
            lambda: all(task["JobState"] in _ENDED for task in self.tasks(job)), f"job {job} ended", timeout
        )
        return sorted(self.tasks(job), key=lambda task: int(task.get("ArrayTaskId", 0)))


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 120) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain until {what}"
        time.sleep(0.1)


@contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Start a cluster and take it down wholly; skips the test where it cannot run."""
    search = os.environ["PATH"] + os.pathsep + _SBIN
    missing = [program for program in _PROGRAMS if not shutil.which(program, path=search)]
    if missing:
        pytest.skip(
            f"no Slurm here ({', '.join(missing)}): apt-get install slurmctld slurmd slurm-client munge"
        )
    if (
        os.geteuid() != 0
        or subprocess.run(["unshare", "--pid", "--mount", "--fork", "true"], check=False).returncode
    ):
        pytest.skip("Slurm's nodes need root and the right to make namespaces")
    with ExitStack() as stack:
        # Not pytest's own folder: a socket's path has 108 bytes.
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True))
        )
        environment = {**os.environ, "PATH": search, "SLURM_CONF": str(folder / "slurm.conf")}
        _configure(folder)
        munge = {name: folder / f"munge.{name}" for name in ("socket", "key", "pid", "log", "seed")}
        munge["key"].touch(mode=0o600)
        munge["key"].write_bytes(os.urandom(128))
        flags = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in munge.items()]
        _start(folder, "munged", ["munged", "--foreground", "--force", *flags], environment, stack)
        wait_for(munge["socket"].exists, "munged listens")
        _start(folder, "slurmctld", ["slurmctld", "-D"], environment, stack)
        cluster = SlurmCluster(folder, environment, stack)
        for name in NODES:
            cluster.start_node(name)
        yield cluster


def _configure(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    (folder / "state").mkdir()
    text = _CONFIG.format(folder=folder, host=host, port=_free_port())
    for name in NODES:
        (folder / name).mkdir()
        address = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()}"
        text += f"NodeName={name} {address} CPUs=1 RealMemory=1000\n"
    (folder / "slurm.conf").write_text(text)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(
    folder: Path, name: str, command: list[str], environment: Mapping[str, str], stack: ExitStack
) -> subprocess.Popen[bytes]:
    """Start a daemon that goes when the tests go, however they do."""
    with (folder / f"{name}.out").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], env=environment, stdout=log, stderr=log
        )
    stack.callback(_end, process, signal.SIGTERM)
    return process


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a daemon, or the first process of a namespace, which ``unshare`` waits for; kill what stays."""
    if process.poll() is not None:
        return
    daemon = psutil.Process(process.pid)
    target = daemon if daemon.name() != "unshare" else daemon.children()[0]
    target.send_signal(number)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        target.kill()
        process.wait()
