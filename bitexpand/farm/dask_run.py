"""Run the commands of ``tasks.json`` on a Dask cluster: ``python run.py --scheduler tcp://HOST:8786``.

It needs ``distributed`` and nothing else, here and on the workers, where each command runs in a process of its own;
Dask reruns those of a worker that dies. Ctrl-C ends the commands that run, with no half a frame. It stands by
itself: a copy lies in every folder that ``bitexpand submit dask`` writes. Exit codes: 0 ok, 1 some failed, 2 usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import uuid
from pathlib import Path
from types import FrameType
from typing import Any

INTERRUPTED = 130
_PATIENCE = 60  # seconds that commands get to end after Ctrl-C


def run_command(command: list[str], stop: str) -> tuple[int, str]:
    """Run a command on a worker until it ends or the event ``stop`` is set; return its exit code and last words.

    Its imports are its own, as it travels to workers that do not have this file.
    """
    import os
    import subprocess
    import tempfile

    from distributed import Event

    asked_to_stop = Event(stop)
    if asked_to_stop.is_set():
        return 130, "not begun"
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        except OSError as error:
            return 127, f"{command[0]}: {error.strerror}"
        while process.poll() is None:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                if asked_to_stop.is_set():
                    process.terminate()
                    process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
        return process.returncode, said.read().decode("utf-8", "replace").strip()


def main(arguments: list[str] | None = None) -> int:
    """Run everything and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the commands of tasks.json on a Dask cluster.")
    parser.add_argument("--scheduler", required=True, metavar="ADDRESS", help="such as tcp://farm:8786")
    parser.add_argument("--tasks", type=Path, default=Path(__file__).with_name("tasks.json"))
    chosen = parser.parse_args(arguments)
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        print("error: this needs Dask: pip install 'bitexpand[dask]'", file=sys.stderr)
        return 2
    job = json.loads(chosen.tasks.read_text(encoding="utf-8"))
    try:
        # A Client that could not connect complains again when it is collected.
        socket.create_connection(get_address_host_port(chosen.scheduler), 10).close()
        client = Client(chosen.scheduler, timeout=10)
    except (OSError, ValueError) as error:
        print(f"error: no Dask scheduler answers at {chosen.scheduler} ({error})", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # which what a script starts in the background ignores at first
    with client:
        return _run(client, job)


def _run(client: Any, job: dict[str, Any]) -> int:  # noqa: ANN401  (Client)
    """Run the chunks side by side, then what follows them one by one."""
    from distributed import Event, wait

    stop = f"bitexpand-stop-{uuid.uuid4().hex}"
    resources = {"GPU": 1} if job["gpu"] else None
    waiting: list[Any] = []

    def finish(tasks: list[dict[str, Any]], resources: dict[str, int] | None) -> int:
        names = {}
        for task in tasks:
            future = client.submit(run_command, task["command"], stop, pure=False, resources=resources)
            names[future.key] = task["name"]
            waiting.append(future)
        return _told(waiting[-len(tasks) :], names)

    try:
        failed = finish(job["chunks"], resources)
        for step in job["steps"]:
            if step["always"] or not failed:
                failed += finish([step], None)
    except KeyboardInterrupt:
        Event(stop, client).set()
        wait(waiting, timeout=_PATIENCE)
        print("interrupted; finished frames are complete, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    print(f"{job['name']}: {f'{failed} tasks failed' if failed else 'done'}", flush=True)
    return 1 if failed else 0


def _told(futures: list[Any], names: dict[str, str]) -> int:
    """Tell of each task when it ends and return how many failed."""
    from distributed import as_completed

    failed = 0
    for done, future in enumerate(as_completed(futures, raise_errors=False), 1):
        code, said = (1, str(future.exception())) if future.status != "finished" else future.result()
        failed += code != 0
        print(
            f"[{done}/{len(futures)}] {names[future.key]}: {f'FAILED with exit code {code}' if code else 'ok'}"
        )
        if code and said:
            print("    " + said.replace("\n", "\n    "))
        sys.stdout.flush()
    return failed


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
