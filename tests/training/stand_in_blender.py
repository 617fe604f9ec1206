"""A program that behaves as Blender does, where a test is about the process and not about the pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from bitexpand.code_values import Floats

STAND_IN = """#!{python}
import json, os, shutil, sys
with open({log!r}, "a") as log:
    log.write("start\\n")
for job in json.load(open(sys.argv[-1])):
{first}
    shutil.copyfile({picture!r}, job["output"])
{second}
    print("rendered", job["name"], flush=True)
"""


class StandIn:
    """A file that behaves as Blender does, and counts its starts."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "blender", folder / "starts.log"
        self.picture = folder / "picture.exr"
        save_exr(self.picture, np.random.default_rng(0).random((64, 64, 3), np.float32))

    def make(self, first: str = "", second: str = "") -> str:
        """Write it; ``first`` and ``second`` are lines of Python before and after a picture is there."""
        lines = {"first": f"    {first or 'pass'}", "second": f"    {second or 'pass'}"}
        names = {"python": sys.executable, "log": str(self.log), "picture": str(self.picture)}
        self.path.write_text(STAND_IN.format(**lines, **names))
        self.path.chmod(0o755)
        return str(self.path)

    @property
    def starts(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


def save_exr(path: Path, pixels: Floats) -> None:
    """Write a float EXR of linear light."""
    height, width, channels = pixels.shape
    output = oiio.ImageOutput.create(str(path))
    assert output
    assert output.open(str(path), oiio.ImageSpec(width, height, channels, "float"))
    assert output.write_image(pixels)
    assert output.close()
