"""Measure the speed of everything on this machine, and print it as Markdown tables.

``python -m benchmarks.speed [--sizes 1536x864,...] [--only A,B] [--model NAME ...] [--threads N] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import torch

from benchmarks.speed import (
    convolutions,
    end_to_end,
    figures,
    machine,
    memory,
    pipeline,
    pixels,
    stages,
    start,
)
from benchmarks.speed.bench import DEFAULT, Bench
from benchmarks.speed.figures import Figure, Size

SECTIONS: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "machine": machine.measure,
    "end_to_end": end_to_end.measure,
    "stages": stages.measure,
    "pipeline": pipeline.measure,
    "convolutions": convolutions.measure,
    "pixels": pixels.measure,
    "memory": memory.measure,
    "start": start.measure,
}
SIZES: tuple[Size, ...] = ((1536, 864), (1920, 1080), (4096, 2160))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    chosen = _parser().parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory(prefix="bitexpand-speed-") as folder:
        bench = Bench(
            Path(folder),
            sizes=tuple(chosen.sizes),
            models=tuple(chosen.model),
            frames=chosen.frames,
            repeats=chosen.repeats,
            long_shot=chosen.long_shot,
            threads=chosen.threads,
            device=chosen.device,
        )
        measured = list(_measure(bench, chosen.only))
    print(_about(bench), figures.by_size(measured), figures.plain(measured), sep="\n\n")
    if chosen.json:
        facts = {"about": _about(bench), "figures": [figure.facts() for figure in measured]}
        chosen.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _measure(bench: Bench, sections: Sequence[str]) -> Iterator[Figure]:
    for name in SECTIONS:
        if name in sections:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            for figure in SECTIONS[name](bench):
                print(f"  {figure.what}: {figure.text()}", file=sys.stderr, flush=True)
                yield figure


def _about(bench: Bench) -> str:
    device = torch.cuda.get_device_name() if bench.device.startswith("cuda") else _processor()
    threads = bench.threads or torch.get_num_threads()
    return (
        f"{date.today():%d %B %Y}, {device}, {os.cpu_count()} cores, {threads} threads, load"
        f" {os.getloadavg()[0]:.1f}, {platform.system()}, Python {platform.python_version()}, torch"
        f" {torch.__version__}; medians of {bench.repeats}; {bench.frames} frames of 1536x864, fewer of larger ones"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_sizes, default=SIZES, metavar="WxH,...", help="of the frames")
    add("--repeats", type=int, default=3, metavar="N", help="runs of which the median counts")
    add("--frames", type=int, default=100, metavar="N", help="of 1536x864 in a shot; fewer of larger ones")
    add("--long-shot", type=int, default=200, metavar="N", help="frames of the shot that memory is told for")
    add("--model", nargs="+", default=[DEFAULT], metavar="NAME", help="names, or weights files")
    add("--threads", type=int, metavar="N", help="CPU threads of the network")
    add("--device", default="cpu", help="cpu, cuda or cuda:N")
    add(
        "--only", type=_sections, default=list(SECTIONS), metavar="A,B", help=f"some of {', '.join(SECTIONS)}"
    )
    add("--json", type=Path, metavar="FILE", help="write all numbers, too")
    return parser


def _sizes(text: str) -> tuple[Size, ...]:
    try:
        return tuple(
            (int(width), int(height)) for width, height in (size.split("x") for size in text.split(","))
        )
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list such as 1536x864,1920x1080") from None


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no section '{unknown[0]}'; give some of {', '.join(SECTIONS)}")
    return names


if __name__ == "__main__":
    main()
