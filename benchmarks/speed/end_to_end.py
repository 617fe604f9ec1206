"""A shot from PNG to half EXR by one command, start included: ours, other programs', and an eager U-Net's time."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed import clock, eager, peers
from benchmarks.speed.bench import DEFAULT, Bench
from benchmarks.speed.figures import YARDSTICK, Figure, Size


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield the seconds a frame of each program, and what is aimed at."""
    networks = eager.calls(bench)
    for call in networks.values():
        call()
    for size in bench.sizes:
        seconds = _one_size(bench, size, networks)
        yield from (Figure(what, value, "s", size) for what, value in seconds.items())
        yield from _aims(bench, size, seconds)


def _one_size(bench: Bench, size: Size, networks: dict[str, clock.Call]) -> dict[str, float]:
    """Return seconds a frame."""
    shot, count = bench.shot(size), bench.count(size)
    commands = peers.conversions(shot, count) | {
        _ours(model): bench.seq(shot, model) for model in bench.models
    }
    programs = {what: clock.command(words) for what, words in commands.items()}
    seconds = clock.take_turns({**programs, **networks}, bench.repeats)
    crops = eager.frames_in_crops(size)
    return {what: value * crops if what in networks else value / count for what, value in seconds.items()}


def _aims(bench: Bench, size: Size, seconds: dict[str, float]) -> Iterator[Figure]:
    named = f"{size[0]}x{size[1]}"
    if DEFAULT in bench.models:
        ours = seconds[_ours(DEFAULT)]
        yield Figure(
            f"{_ours(DEFAULT)} over `oiiotool`, {named}", ours / seconds[YARDSTICK], "ratio", at_most=6
        )
        faster = seconds[eager.EAGER] / ours
        yield Figure(f"eager `unet28m` over {_ours(DEFAULT)}, {named}", faster, "ratio", at_least=30)
    engine = seconds[eager.EAGER] / seconds[eager.ENGINE]
    yield Figure(f"eager `unet28m` over the engine's, beside {named}", engine, "ratio", at_least=1.5)


def _ours(model: str) -> str:
    return f"`bitexpand seq`, {model}"
