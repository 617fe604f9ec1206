"""The stages of a frame, each by itself: decode, expand, the guard's part of that, encode, write."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.speed import clock
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure, Size
from benchmarks.speed.plates import FIRST
from bitexpand.code_values import to_signal
from bitexpand.color import conversion, load_config
from bitexpand.encoding import Encoding
from bitexpand.frames import Pixels, write_frame
from bitexpand.guard import Guard
from bitexpand.header import FrameInfo, Window
from bitexpand.pipeline import keep_freed_memory
from bitexpand.plate import Plate, read_plate

_SPACES = ("ACEScct", "ACEScg")


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield the seconds a frame of every stage."""
    keep_freed_memory()  # as the command line does
    for size in bench.sizes:
        calls = _calls(bench, size)
        for call in calls.values():
            call()  # the first frame finds no memory, no code and no weights ready
        for what, seconds in clock.take_turns(calls, bench.repeats).items():
            yield Figure(what, seconds, "s", size)


def _calls(bench: Bench, size: Size) -> dict[str, clock.Call]:
    source = bench.shot(size) / f"plate_{FIRST}.png"
    plate = read_plate(source)
    same = Encoding(plate.bits, "half")
    color = conversion(load_config(None), *_SPACES)
    linear = Encoding(plate.bits, "float", conversion=color)
    expanders = {model: bench.expander(model) for model in bench.models}
    expanded_cv = next(iter(expanders.values())).expand_frame(plate.codes, same.limits()).plate_cv
    expand = {
        f"expand: {model}, guard included": partial(expander.expand_frame, plate.codes, same.limits())
        for model, expander in expanders.items()
    }
    return {
        "decode": partial(read_plate, source),
        **expand,
        "guard": _guard(plate, same, torch.from_numpy(expanded_cv), next(iter(expanders.values())).device),
        "encode: half, checked": partial(same.encode, expanded_cv, plate.codes),
        "colour: ACEScct to ACEScg": partial(color.apply, to_signal(expanded_cv, plate.bits)),
        "encode: ACEScct to ACEScg, float, checked": partial(linear.encode, expanded_cv, plate.codes),
        "write: half EXR, read back": _write(
            source.with_name("stage.exr"), same.encode(expanded_cv, plate.codes)
        ),
    }


def _guard(plate: Plate, encoding: Encoding, estimate_cv: torch.Tensor, device: torch.device) -> clock.Call:
    codes = torch.from_numpy(plate.codes if device.type == "cpu" else plate.codes.astype("int32")).to(device)
    return partial(Guard(encoding.limits(), device), codes, estimate_cv.to(device))


def _write(path: Path, pixels: Pixels) -> clock.Call:
    height, width, _ = pixels.shape
    window = Window(0, 0, width, height)
    info = FrameInfo(path, "openexr", ("R", "G", "B"), "half", 16, window, window)
    return partial(write_frame, path, pixels, info)
