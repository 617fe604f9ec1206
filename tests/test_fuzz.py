"""A thousand damaged images and some hundred damaged weights files: each is read, or refused with our own error.

The readers are C and C++, so they run in a process of their own that says which input it takes next: a crash, a
hang or an exception that is not ours is then told with its input. To see one again::

    python tests/test_fuzz.py images 123 124 FOLDER
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import psutil
import pytest
from encoded import METHOD_A, METHOD_B, dpx, pillow, pillow_image
from PIL import Image

from bitexpand import formats, frames, inspection, provenance
from bitexpand.code_values import peak
from bitexpand.errors import BitexpandError
from bitexpand.plate import read_plate

Family: TypeAlias = Literal["images", "weights"]

CASES: dict[Family, int] = {"images": 1000, "weights": 300}
SEED = 1
SECONDS = 10  # for one input; the slowest takes a hundredth of it
MEMORY = 2 << 30  # beyond what the process has at its start: headers that claim more must be refused
EXTREMES = tuple(bytes.fromhex(f) for f in ("ff", "80", "7f", "ffff", "0001", "0100", "7fffffff", "ffffff7f"))


@pytest.mark.parametrize("family", CASES)
def test_damaged_files_are_read_or_refused(family: Family, tmp_path: Path) -> None:
    command = [sys.executable, __file__, family, "0", str(CASES[family]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    said = done.stdout.decode().splitlines()
    if done.returncode:
        errors = done.stderr.decode(errors="replace").splitlines()
        pytest.fail("\n".join([f"exit code {done.returncode} at {said[-1]}, seed {SEED}", *errors[-30:]]))
    counts = json.loads(said[-1])
    assert counts["refused"] + counts["read"] == CASES[family]
    assert counts["refused"] > CASES[family] / 3  # or the damage is too mild
    assert counts["read"] > CASES[family] / 50


def damage(content: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Return a file with one to six faults: bits, bytes, cuts, splices, fields of ones or zeros, other lengths."""
    damaged = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        if not damaged:
            break
        # half of the faults near the start, where the headers are
        at = dice.randrange(min(len(damaged), dice.choice((len(damaged), 32, 256, 2048))))
        fault = dice.randrange(8)
        if fault == 0:
            damaged[at] ^= 1 << dice.randrange(8)
        elif fault == 1:
            damaged[at] = dice.randrange(256)
        elif fault == 2:
            del damaged[at:]
        elif fault == 3:
            value = dice.choice(EXTREMES)
            damaged[at : at + len(value)] = value
        elif fault == 4:
            zeros = min(dice.randrange(1, 64), len(damaged) - at)
            damaged[at : at + zeros] = bytes(zeros)
        elif fault == 5:
            other = dice.choice(others)
            damaged[at:] = other[dice.randrange(len(other)) :]
        elif fault == 6:
            del damaged[at : at + dice.randrange(1, 32)]
        else:
            damaged[at:at] = damaged[: dice.randrange(1, 64)]
    return bytes(damaged)


def sound_images(folder: Path) -> dict[str, bytes]:
    """Return a small file of every kind that is read, by a name that tells what it is."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    rgb, grey = pixels[..., :3], pixels[..., :1]
    palette = Image.fromarray(rgb).quantize(16)
    files = {
        "rgb.png": pillow(rgb, "PNG", dpi=(72, 144)),
        "rgba.png": pillow(pixels, "PNG"),
        "deep.png": pillow(grey.astype(np.uint16) * 257, "PNG"),
        "palette.png": pillow_image(palette, "PNG"),
        "rgb.jpg": pillow(rgb, "JPEG"),
        "progressive.jpg": pillow(grey, "JPEG", progressive=True, comment=b"comment", dpi=(72, 72)),
        "rgb.tif": pillow(rgb, "TIFF"),
        "lzw.tif": pillow(rgb, "TIFF", compression="tiff_lzw"),
        "zip.tif": pillow(pixels, "TIFF", compression="tiff_adobe_deflate"),
        "packbits.tif": pillow(grey, "TIFF", compression="packbits"),
        "palette.tif": pillow_image(palette, "TIFF"),
        "rgb.tga": pillow(rgb, "TGA"),
        "rle.tga": pillow(pixels, "TGA", compression="tga_rle"),
        "palette.tga": pillow_image(palette, "TGA"),
        "rgb.bmp": pillow(rgb, "BMP"),
        "palette.bmp": pillow_image(palette, "BMP"),
        "lossless.webp": pillow(pixels, "WEBP", lossless=True),
        "lossy.webp": pillow(rgb, "WEBP"),
        "8.dpx": dpx(rgb),
        "10.dpx": dpx(rgb.astype(np.uint16) * 4, 10, METHOD_B, "<"),
        "12.dpx": dpx(grey.astype(np.uint16) * 16, 12, METHOD_A),
    }
    window = frames.Window(0, 0, 16, 12)
    info = frames.FrameInfo(folder, "png", ("R", "G", "B"), "uint8", 8, window, window)
    facts = provenance.attributes("0" * 64, {"model": "smooth", "bits": 8, "bound": 0.5})
    for compression in ("zip", "piz", "none", "rle", "htj2k", "dwaa", "b44"):
        path = folder / f"{compression}.exr"
        frames.write_frame(path, rgb / np.float16(255), info, facts, compression, check=lambda _: None)
        files[path.name] = path.read_bytes()
    return files


def sound_weights(folder: Path) -> dict[str, bytes]:
    """Return weights files of both kinds, of networks with a handful of parameters."""
    import torch
    from plates import TINY, tiny_model

    from bitexpand.models import checkpoint

    path = tiny_model(folder)
    module, _ = checkpoint.read(path)
    buffer = io.BytesIO()
    config = {"channels": list(TINY.channels), "factor": TINY.factor, "fits": list(TINY.fits)}
    torch.save({"architecture": "pyramid", "config": config, "state": module.state_dict()}, buffer)
    return {"tiny.safetensors": Path(path).read_bytes(), "tiny.pt": buffer.getvalue()}


def read_image(path: Path) -> None:
    """Read a file in all the ways that commands do; raises our error where it is refused."""
    for _, result in inspection.inspect_all([str(path)]):
        if not isinstance(result, BitexpandError):
            inspection.describe(result)
    frame = frames.read_frame(path)
    assert frame.pixels.shape == (frame.info.data.height, frame.info.data.width, len(frame.info.channels))
    provenance.read_fingerprint(frame.info)
    plate = read_plate(path) if frame.info.format in formats.SOURCE_FORMATS else None
    if plate is None:
        return
    assert plate.codes.max(initial=0) <= peak(plate.bits)
    if plate.codes.size < 1 << 16:  # whatever the file says of itself can be written
        channels = ("Y",) if plate.codes.shape[2] == 1 else ("R", "G", "B")
        info = replace(plate.info, channels=channels)
        frames.write_frame(
            path.with_name("out.exr"), plate.codes.astype(np.float32), info, info.kept_attributes()
        )


def read_weights(path: Path) -> None:
    """Load a weights file, as ``--model FILE`` does."""
    from bitexpand.models import registry

    assert registry.load(path).module.training is False


def work(family: Family, start: int, stop: int, folder: Path) -> None:
    """Damage and read the inputs from ``start`` up to ``stop``; stops at the first fault."""
    sound: Mapping[str, bytes] = (sound_images if family == "images" else sound_weights)(folder)
    read: Callable[[Path], None] = read_image if family == "images" else read_weights
    names, counts = sorted(sound), Counter[str]()
    in_use = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    for index in range(start, stop):
        name, dice = names[index % len(names)], random.Random(f"{SEED}/{family}/{index}")
        path = folder / f"damaged_{name}"
        path.write_bytes(damage(sound[name], list(sound.values()), dice))
        print(f"input {index}, {path}", flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            read(path)
        except BitexpandError as error:
            counts["refused" if str(error) else "refused without a word"] += 1
        else:
            counts["read"] += 1
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(counts))


if __name__ == "__main__":
    faulthandler.enable()
    wanted, first, last, place = sys.argv[1:]
    work("images" if wanted == "images" else "weights", int(first), int(last), Path(place))
