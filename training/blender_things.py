"""What stands in a random scene, what it is made of, and what lights it; needs Blender's Python alone."""

from __future__ import annotations

import math
import random
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Color, Vector, noise  # pyright: ignore[reportMissingImports]

EYE = Vector((0, 0, 0.8))  # what cameras and lamps look at: the objects' middle, in metres

SURFACES = ("rough", "rough", "rough", "glossy", "metal", "glass", "wax", "glow")
TEXTURED = {"rough": 0.6, "ground": 1.0, "metal": 0.4, "glossy": 0.4, "wall": 0.3}  # how often


def objects(rng: random.Random, count: int, spread: float) -> None:
    """Put objects of all kinds side by side, none inside another."""
    taken: list[tuple[float, float, float]] = []
    for _ in range(200):
        radius = rng.uniform(0.25, 0.75)
        x, y = rng.uniform(-spread, spread), rng.uniform(-0.5 * spread, spread)
        if all(math.hypot(x - a, y - b) > radius + r for a, b, r in taken):
            taken.append((x, y, radius))
            _object(rng, x, y, radius)
        if len(taken) == count:
            return


def _object(rng: random.Random, x: float, y: float, radius: float) -> None:
    add = rng.choice((_ball, _ball, _box, _cylinder, _cone, _ring, _monkey, _blob, _twist))
    add()
    thing = bpy.context.object
    thing.rotation_euler = (0, 0, rng.uniform(0, 2 * math.pi))
    if add in (_ring, _monkey, _blob):
        thing.rotation_euler = [rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), thing.rotation_euler[2]]
    if add is _blob:
        _displace(thing, Vector([rng.uniform(0, 100) for _ in range(3)]), rng.uniform(0.8, 2.0))
    if add is _twist:
        bend = thing.modifiers.new("twist", "SIMPLE_DEFORM")
        bend.deform_method, bend.deform_axis, bend.angle = "TWIST", "Z", rng.uniform(1.0, 4.0)
    thing.scale = (radius, radius, radius * rng.uniform(0.8, 1.4))
    thing.location = (x, y, -_lowest(thing) - 0.02)
    cover(rng, rng.choice(SURFACES))


def _lowest(thing: Any) -> float:  # noqa: ANN401
    """Return the height of the lowest point of a thing that stands at 0."""
    bent = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())  # with its modifiers
    return min((bent.matrix_world @ point.co).z for point in bent.data.vertices)


def _ball() -> None:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48)
    bpy.ops.object.shade_smooth()


def _box() -> None:
    bpy.ops.mesh.primitive_cube_add(size=1.6)
    _round_edges(0.1)


def _cylinder() -> None:
    bpy.ops.mesh.primitive_cylinder_add(vertices=96, radius=0.8, depth=2.0)
    _round_edges(0.06)


def _cone() -> None:
    bpy.ops.mesh.primitive_cone_add(vertices=96, radius1=0.9, radius2=0.1, depth=2.0)
    _round_edges(0.05)


def _ring() -> None:
    bpy.ops.mesh.primitive_torus_add(
        major_segments=96, minor_segments=48, major_radius=0.75, minor_radius=0.25
    )
    bpy.ops.object.shade_smooth()


def _monkey() -> None:
    bpy.ops.mesh.primitive_monkey_add()
    fine = bpy.context.object.modifiers.new("fine", "SUBSURF")
    fine.render_levels = fine.levels = 3
    bpy.ops.object.shade_smooth()


def _blob() -> None:
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=6, radius=0.8)
    bpy.ops.object.shade_smooth()


def _twist() -> None:
    bpy.ops.mesh.primitive_cube_add(size=1.2)
    thing = bpy.context.object
    thing.scale = (1, 1, 2)
    bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    _round_edges(0.12)
    fine = thing.modifiers.new("fine", "SUBSURF")
    fine.subdivision_type = "SIMPLE"
    fine.render_levels = fine.levels = 4


def _round_edges(width: float) -> None:
    edges = bpy.context.object.modifiers.new("round", "BEVEL")
    edges.width, edges.segments, edges.limit_method = width, 5, "ANGLE"
    bpy.ops.object.shade_smooth_by_angle(angle=math.radians(40))


def _displace(thing: Any, seed: Any, scale: float) -> None:  # noqa: ANN401
    """Push the points of a ball out and in by fractal noise."""
    for point in thing.data.vertices:
        point.co *= 1 + 0.35 * noise.fractal(point.co * scale + seed, 1.0, 2.0, 4)


def terrain(
    rng: random.Random, size: float, height: float, scale: float, centre: tuple[float, float]
) -> None:
    """Lay down uneven ground; ``scale`` is the number of hills a metre, ``height`` that of the hills."""
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=256, y_subdivisions=256, size=size, location=(*centre, 0))
    thing = bpy.context.object
    offset = Vector((*centre, rng.uniform(0, 1000)))
    for point in thing.data.vertices:
        point.co.z = height * noise.fractal((point.co + offset) * scale, 1.0, 2.1, 7)
    bpy.ops.object.shade_smooth()
    cover(rng, "ground")


def backdrop(rng: random.Random) -> None:
    """Raise a seamless sweep of paper behind the objects."""
    rows = [(y, 0.0) for y in (-30.0, -10.0, 0.0, 3.0)]
    rows += [(3 + 3 * math.sin(a), 3 - 3 * math.cos(a)) for a in (i * math.pi / 64 for i in range(1, 33))]
    rows += [(6.0, 8.0), (6.0, 20.0)]
    points = [(x, y, z) for y, z in rows for x in (-25.0, 25.0)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(rows) - 1)]
    mesh = bpy.data.meshes.new("backdrop")
    mesh.from_pydata(points, [], faces)
    mesh.shade_smooth()
    thing = bpy.data.objects.new("backdrop", mesh)
    bpy.context.collection.objects.link(thing)
    bpy.context.view_layer.objects.active = thing
    cover(rng, "wall")


def cover(rng: random.Random, surface: str) -> None:
    """Give the active object a principled material."""
    material = bpy.data.materials.new(surface)
    bpy.context.object.data.materials.append(material)
    nodes, shader = material.node_tree.nodes, material.node_tree.nodes["Principled BSDF"]
    color = _color(rng, 0.5 if surface in ("wall", "ground") else 1.0)
    set_to = {"Roughness": rng.uniform(0.4, 0.95), "Specular IOR Level": rng.uniform(0.1, 0.6)}
    if surface == "metal":
        set_to = {"Metallic": 1.0, "Roughness": rng.uniform(0.05, 0.5)}
    elif surface == "glossy":
        set_to = {"Roughness": rng.uniform(0.03, 0.3), "Coat Weight": rng.random()}
    elif surface == "glass":
        color = tuple(0.7 + 0.3 * c for c in color)
        set_to = {"Transmission Weight": 1.0, "Roughness": rng.choice((0.0, 0.1, 0.3)), "IOR": 1.45}
    elif surface == "wax":
        set_to = {"Subsurface Weight": 1.0, "Subsurface Scale": rng.uniform(0.05, 0.3), "Roughness": 0.4}
    elif surface == "glow":
        set_to = {"Emission Strength": rng.uniform(1.0, 12.0)}
        shader.inputs["Emission Color"].default_value = (*color, 1)
    shader.inputs["Base Color"].default_value = (*color, 1)
    for name, value in set_to.items():
        shader.inputs[name].default_value = value
    if rng.random() < TEXTURED.get(surface, 0):
        _texture(rng, material.node_tree.links, nodes, shader, color)


def _texture(rng: random.Random, links: Any, nodes: Any, shader: Any, color: tuple[float, ...]) -> None:  # noqa: ANN401
    """Vary colour and relief by a procedural texture in the object's own coordinates."""
    place = nodes.new("ShaderNodeTexCoord").outputs["Object"]
    kind = rng.choice(("Noise", "Noise", "Noise", "Voronoi", "Wave"))
    pattern = nodes.new(f"ShaderNodeTex{kind}")
    pattern.inputs["Scale"].default_value = rng.choice((1.5, 3, 6, 15))
    if kind == "Noise":
        pattern.inputs["Detail"].default_value = rng.uniform(2, 10)
    if kind == "Wave":
        pattern.inputs["Distortion"].default_value = rng.uniform(0, 12)
    links.new(place, pattern.inputs["Vector"])
    value = pattern.outputs["Distance" if kind == "Voronoi" else "Factor" if kind == "Noise" else "Fac"]
    ramp = nodes.new("ShaderNodeValToRGB")
    darker = rng.uniform(0.4, 0.9)
    ramp.color_ramp.elements[0].color = (*(darker * c for c in color), 1)
    ramp.color_ramp.elements[1].color = (*(min(1, c * (2 - darker)) for c in color), 1)
    links.new(value, ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    bump = nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value = rng.uniform(0, 0.3)
    bump.inputs["Distance"].default_value = 0.05
    links.new(value, bump.inputs["Height"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def _color(rng: random.Random, saturation: float) -> tuple[float, ...]:
    """Draw a diffuse colour between coal and snow, linear Rec.709."""
    color = Color()
    color.hsv = (rng.random(), saturation * rng.triangular(0.0, 1.0, 0.6), 2 ** rng.uniform(-4.0, -0.25))
    return tuple(color)


def lamps(rng: random.Random, count: int) -> None:
    """Hang soft area lights and spots around the objects."""
    for _ in range(count):
        kind = rng.choice(("AREA", "AREA", "SPOT"))
        data = bpy.data.lights.new("lamp", kind)
        data.energy = rng.uniform(100, 600)
        warm = rng.uniform(-0.35, 0.35)
        data.color = (1 + min(0, warm), 0.9, 1 - max(0, warm))
        if kind == "AREA":
            data.shape, data.size = "DISK", rng.uniform(0.3, 3.0)
        else:
            data.spot_size, data.spot_blend = rng.uniform(0.5, 1.2), rng.uniform(0.2, 1.0)
            data.shadow_soft_size = rng.uniform(0.05, 0.4)
        _hang(data, Vector((rng.uniform(-3, 3), rng.uniform(-4, 1.5), rng.uniform(2, 4.5))))


def sun(rng: random.Random) -> None:
    """Let a sun shine in from the front."""
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.angle = rng.uniform(2, 8), math.radians(rng.uniform(0.5, 6))
    _hang(data, Vector((rng.uniform(2, 6), rng.uniform(-6, -2), rng.uniform(3, 6))))


def _hang(data: Any, location: Any) -> None:  # noqa: ANN401
    lamp = bpy.data.objects.new(data.name, data)
    bpy.context.collection.objects.link(lamp)
    lamp.location = location
    lamp.rotation_euler = (EYE - location).to_track_quat("-Z", "Y").to_euler()


def environment(rng: random.Random, hdri: str, strength: float) -> None:
    """Light the scene from all around: by a panorama, or by one of Blender's physical skies."""
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    nodes, links = world.node_tree.nodes, world.node_tree.links
    background = nodes["Background"]
    background.inputs["Strength"].default_value = strength
    if hdri:
        source = nodes.new("ShaderNodeTexEnvironment")
        source.image = bpy.data.images.load(hdri)
        source.interpolation = "Cubic"  # a sky of few pixels shows no facets
        turn = nodes.new("ShaderNodeMapping")
        turn.inputs["Rotation"].default_value = (0, 0, rng.uniform(0, 2 * math.pi))
        links.new(nodes.new("ShaderNodeTexCoord").outputs["Generated"], turn.inputs["Vector"])
        links.new(turn.outputs["Vector"], source.inputs["Vector"])
    else:
        source = nodes.new("ShaderNodeTexSky")
        source.sky_type = rng.choice(("MULTIPLE_SCATTERING", "MULTIPLE_SCATTERING", "SINGLE_SCATTERING"))
        source.sun_elevation = math.radians(rng.choice((rng.uniform(1, 12), rng.uniform(12, 60))))
        source.sun_rotation = rng.uniform(0, 2 * math.pi)
        source.sun_size = math.radians(rng.uniform(0.5, 3))
        source.air_density, source.aerosol_density = rng.uniform(0.7, 2.5), rng.uniform(0.3, 4.0)
        source.ozone_density = rng.uniform(0.5, 3.0)
    links.new(source.outputs["Color"], background.inputs["Color"])


def fog(rng: random.Random, density: float, size: float = 60) -> None:
    """Fill a box around everything with even fog; ``density`` is the most of it, a metre."""
    bpy.ops.mesh.primitive_cube_add(size=size, location=(0, 0, 0.1 * size))
    material = bpy.data.materials.new("fog")
    bpy.context.object.data.materials.append(material)
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.remove(nodes["Principled BSDF"])
    volume = nodes.new("ShaderNodeVolumeScatter")
    volume.inputs["Density"].default_value = density * rng.uniform(0.1, 1.0)
    volume.inputs["Anisotropy"].default_value = rng.uniform(0.0, 0.6)
    links.new(volume.outputs["Volume"], nodes["Material Output"].inputs["Volume"])
