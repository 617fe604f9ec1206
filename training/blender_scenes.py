"""Random lit scenes, rendered by Blender; runs inside Blender's Python and knows nothing of the rest.

::

    blender --background --factory-startup --python blender_scenes.py -- JOBS.json
    python blender_scenes.py JOBS.json        a Python with the package bpy

``JOBS.json`` is a list of pictures: ``name``, ``output`` (an EXR), ``seed`` (text: all of the scene), ``frame``
(from 0), ``size``, ``samples`` and ``hdri`` (an environment's path, or ""). After each one a line "rendered NAME"
is printed. What a picture shows is decided by its seed alone; only the last bits may differ between two renders.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import tempfile
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Vector  # pyright: ignore[reportMissingImports]

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # Blender does not look beside its scripts
import blender_things as things  # noqa: E402  (needs the line above)

OLDEST = (5, 0, 0)  # the sky models have other names before
MIDDLE_GREY = 0.18
METER_WIDTH, METER_SAMPLES = 48, 8


def main() -> None:
    """Render all pictures that the file named by the last argument asks for."""
    if bpy.app.version < OLDEST:
        sys.exit(f"Blender {bpy.app.version_string} is too old: 5.0 or newer is needed")
    with open(sys.argv[-1], encoding="utf-8") as file:
        jobs = json.load(file)
    for job in jobs:
        render(job)
        print(f"rendered {job['name']}", flush=True)


def render(job: dict[str, Any]) -> None:
    """Build the scene of a picture, meter it, and write it as 32-bit float EXR in linear Rec.709."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene, rng = bpy.context.scene, random.Random(job["seed"])
    _configure(scene, rng)
    look = rng.choice(LOOKS)
    look(rng, job["hdri"])
    stops = rng.triangular(-2.0, 1.5, -0.3)
    lens = _camera(scene, rng, look)
    _meter(scene, job, stops)
    lens.move(job["frame"], max(job["size"]))
    scene.render.resolution_x, scene.render.resolution_y = job["size"]
    scene.cycles.samples = job["samples"]
    _write(scene, job["output"])


def _configure(scene: Any, rng: random.Random) -> None:  # noqa: ANN401  (Blender's types are its own)
    scene.render.engine = "CYCLES"
    scene.render.resolution_percentage = 100
    scene.render.use_file_extension = False
    scene.render.use_persistent_data = True  # what the metering built, the picture uses
    scene.render.use_stamp_date = scene.render.use_stamp_render_time = False  # the same scene, the same bytes
    scene.view_settings.view_transform = "Raw"
    pictures = scene.render.image_settings
    pictures.file_format, pictures.color_mode = "OPEN_EXR", "RGB"
    pictures.color_depth, pictures.exr_codec = "32", "ZIP"
    cycles = scene.cycles
    cycles.device, cycles.seed = "CPU", rng.randrange(2**31)
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "ACCURATE"
    cycles.use_adaptive_sampling = False
    cycles.sample_clamp_indirect = 10.0  # fireflies are no truth
    cycles.max_bounces, cycles.volume_bounces = 8, 1


def _write(scene: Any, path: str) -> None:  # noqa: ANN401
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)


def _meter(scene: Any, job: dict[str, Any], stops: float) -> None:  # noqa: ANN401
    """Expose for the median of a small render, ``stops`` above middle grey, in steps of an eighth of a stop."""
    width, height = job["size"]
    scene.render.resolution_x, scene.render.resolution_y = METER_WIDTH, max(8, METER_WIDTH * height // width)
    scene.cycles.samples = METER_SAMPLES
    with tempfile.TemporaryDirectory(prefix="bitexpand-") as folder:
        path = os.path.join(folder, "meter.exr")
        _write(scene, path)
        picture = bpy.data.images.load(path)
        values = list(picture.pixels)
        bpy.data.images.remove(picture)
    greens = sorted(values[1::4])
    median = max(greens[len(greens) // 2], greens[99 * len(greens) // 100] / 64, 1e-6)
    scene.cycles.film_exposure = 2 ** (round(8 * (stops + math.log2(MIDDLE_GREY / median))) / 8)


class _Lens:
    """A camera and the slow move that a sequence makes with it: 0.2 to 1.5 px a frame, turning and sliding."""

    def __init__(self, camera: Any, rng: random.Random, distance: float) -> None:  # noqa: ANN401
        self.camera, self.distance = camera, distance
        heading = rng.uniform(0, 2 * math.pi)
        speed = rng.uniform(0.2, 1.2)
        self.turn = (speed * math.cos(heading), speed * math.sin(heading))
        self.slide = rng.uniform(-0.8, 0.8)

    def move(self, frame: int, side: int) -> None:
        """Go to a frame of the move; ``side`` is the picture's longer side in pixels, which the angle is of."""
        pixel = self.camera.data.angle / side
        self.camera.rotation_euler.rotate_axis("Y", self.turn[0] * pixel * frame)
        self.camera.rotation_euler.rotate_axis("X", self.turn[1] * pixel * frame)
        sideways = self.camera.rotation_euler.to_matrix() @ Vector((1, 0, 0))
        self.camera.location += sideways * (self.slide * pixel * self.distance * frame)


def _camera(scene: Any, rng: random.Random, look: Any) -> _Lens:  # noqa: ANN401
    data = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    data.lens = rng.choice((24, 28, 35, 50, 50, 85))
    azimuth, distance = rng.uniform(-0.6, 0.6), rng.uniform(3.0, 5.5) * data.lens / 35
    if look is landscape:
        target = Vector((rng.uniform(-2, 2), 20, rng.uniform(1.0, 6.0)))
        camera.location = (0, -distance, rng.uniform(0.6, 2.0))
    else:
        target = things.EYE + Vector((rng.uniform(-0.6, 0.6), 0, rng.uniform(-0.3, 0.5)))
        distance = min(distance, 6.5) if look is room else distance
        height = rng.uniform(0.5, 2.2)
        camera.location = (distance * math.sin(azimuth), -distance * math.cos(azimuth), height)
    camera.rotation_euler = (target - camera.location).to_track_quat("-Z", "Y").to_euler()
    camera.rotation_euler.rotate_axis("Z", rng.gauss(0, 0.03))
    data.dof.use_dof = rng.random() < 0.8
    data.dof.focus_distance = distance * rng.choice((0.7, 0.9, 1.0, 1.0, 1.3))
    data.dof.aperture_fstop = rng.choice(
        (0.3, 0.7, 1.4, 2.8)
    )  # as wide as a macro shot's: metres are small here
    return _Lens(camera, rng, distance)


def studio(rng: random.Random, hdri: str) -> None:
    """Objects on a seamless backdrop under soft area lights, as for a product shot."""
    things.backdrop(rng)
    things.objects(rng, rng.randint(3, 7), 1.8)
    things.lamps(rng, rng.randint(1, 3))
    things.environment(rng, "" if rng.random() < 0.5 else hdri, strength=0.3)
    if rng.random() < 0.2:
        things.fog(rng, 0.03)


def room(rng: random.Random, hdri: str) -> None:
    """Objects between plain walls; light falls in from an open side and from lamps."""
    for location, rotation in (
        ((0, 0, 0), (0, 0, 0)),
        ((0, 4, 3), (math.pi / 2, 0, 0)),
        ((-4, 0, 3), (0, math.pi / 2, 0)),
        ((0, 0, 5), (math.pi, 0, 0)),
    ):
        bpy.ops.mesh.primitive_plane_add(size=16, location=location, rotation=rotation)
        things.cover(rng, "wall")
    things.objects(rng, rng.randint(3, 7), 2.2)
    things.lamps(rng, rng.randint(1, 3))
    if rng.random() < 0.6:
        things.sun(rng)
    things.environment(rng, hdri, strength=0.5)
    if rng.random() < 0.3:
        things.fog(rng, 0.03)


def outdoors(rng: random.Random, hdri: str) -> None:
    """Objects on uneven ground under a sky or a panorama."""
    things.terrain(rng, size=60, height=rng.uniform(0.05, 0.4), scale=rng.uniform(0.15, 0.5), centre=(0, 15))
    things.objects(rng, rng.randint(4, 9), 3.0)
    things.environment(rng, hdri, strength=1.0)
    if rng.random() < 0.35:
        things.fog(rng, 0.02)


def landscape(rng: random.Random, hdri: str) -> None:
    """Mostly sky, over ridges that fade into haze."""
    things.terrain(rng, size=80, height=rng.uniform(0.3, 1.2), scale=0.08, centre=(0, 20))
    for distance in (30, 60, 110):
        things.terrain(
            rng, 3.0 * distance, 0.12 * distance * rng.uniform(0.5, 1.5), 4 / distance, (0, 2.2 * distance)
        )
    if rng.random() < 0.5:
        things.objects(rng, rng.randint(1, 4), 4.0)
    things.environment(rng, hdri, strength=1.0)
    if rng.random() < 0.6:
        things.fog(rng, 0.006, size=600)


LOOKS = (studio, studio, room, outdoors, outdoors, landscape)


if __name__ == "__main__":
    main()
