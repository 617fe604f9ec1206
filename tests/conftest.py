"""What the tests of several modules share: the command line, called both ways, and a disk that fills up."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import torch
from expansions import six_frames
from plates import tiny_model

from bitexpand.cli import main
from bitexpand.jobs import Job


@dataclass(frozen=True)
class Outcome:
    """What became of a command: its exit code, what it wrote to stdout and to stderr."""

    code: int
    out: str
    err: str

    def said(self, *fragments: str) -> None:
        """Assert that each fragment stands in one of the streams."""
        for fragment in fragments:
            assert fragment in self.out + self.err, f"{fragment!r} is not in:\n{self.out}\n{self.err}"


class Cli(Protocol):
    """Runs ``bitexpand ARGUMENT...``; ``expect`` is the exit code that the test demands."""

    def __call__(self, *arguments: str | Path, expect: int = 0) -> Outcome: ...


class CliProcess(Protocol):
    """As ``Cli`` in a process of its own; ``before`` is Python that runs in it first."""

    def __call__(
        self, *arguments: str | Path, expect: int = 0, before: str = "", env: dict[str, str] | None = None
    ) -> Outcome: ...


@pytest.fixture
def run_cli() -> CliProcess:
    """Run the command in a process of its own, as a user does; it takes two seconds to start."""

    def run(
        *arguments: str | Path, expect: int = 0, before: str = "", env: dict[str, str] | None = None
    ) -> Outcome:
        entry = ["-c", f"{before}\nfrom bitexpand.cli import main\nmain()"] if before else ["-m", "bitexpand"]
        command = [sys.executable, *entry, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, timeout=100, env={**os.environ, **(env or {})}, check=False
        )
        outcome = Outcome(
            done.returncode, done.stdout.decode(), done.stderr.decode(errors="backslashreplace")
        )
        return _checked(outcome, expect)

    return run


@pytest.fixture
def call_cli() -> Cli:
    """Run the command in this process, which is faster, and the same down to the exit code."""

    def call(*arguments: str | Path, expect: int = 0) -> Outcome:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
                main([str(argument) for argument in arguments])
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        code = left.value.code
        assert isinstance(code, int)
        streams = [stream.buffer.getvalue().decode() for stream in (out, err)]  # pyright: ignore
        return _checked(Outcome(code, *streams), expect)

    return call


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts an empty disk of so many KiB and returns its folder."""
    mounted: list[Path] = []

    def mount(kibibytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
        try:
            subprocess.run(["mount", *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a disk that fills up needs the right to mount a tmpfs ({error})")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def hidden_files(folder: Path) -> list[str]:
    """Return the hidden names anywhere below a folder, where a temporary would be."""
    return sorted(path.name for path in folder.rglob(".*"))


def _checked(outcome: Outcome, expect: int) -> Outcome:
    assert outcome.code == expect, f"exit code {outcome.code}\n{outcome.out}\n{outcome.err}"
    assert "Traceback" not in outcome.out + outcome.err, outcome.err
    return outcome


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a tiny random model."""
    return tiny_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def job(tmp_path: Path, tiny: str) -> Job:
    """Return a job over six small frames, with the tiny model."""
    return six_frames(tmp_path, tiny)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other's crumbs make small models a hundred times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
