"""Which plate a node follows, whatever lies between it and the Read."""

from __future__ import annotations

from types import ModuleType

import pytest
from nuke_fixtures import host_fixture, nuke_fixture, nuke_tcl, plate_fixture  # noqa: F401


def _node(nuke: ModuleType, text: str) -> object:
    return nuke.build(nuke_tcl.loads(text).children[0], nuke.root())


def _group(nuke: ModuleType, inner: str) -> object:
    spec = nuke_tcl.loads(f"Group {{\n inputs 0\n}}\n{inner}\nend_group\n").children[0]
    return nuke.build(spec, nuke.root())


def _found(node: object) -> tuple[str, int, int]:
    from bitexpand_nuke.upstream import find_plate

    plate = find_plate(node)  # pyright: ignore[reportArgumentType]  the fake's node
    return plate.read, plate.first, plate.last


def test_through_dot_noop_and_disabled_nodes(host: ModuleType, nuke: ModuleType, plate: str) -> None:
    above = host.read(plate, 1001, 1003)
    for text in (
        "Dot {\n}",
        "NoOp {\n}",
        "Grade {\n disable true\n}",
        "Switch {\n disable true\n which 7\n}",
    ):
        node = _node(nuke, text)
        host.link(node, above)
        above = node
    assert _found(host.bitexpand(above)) == ("Read1", 1001, 1003)


def test_the_active_input_of_a_switch(host: ModuleType, nuke: ModuleType, plate: str) -> None:
    switch = _node(nuke, "Switch {\n inputs 2\n which 1\n}")
    host.link(switch, host.read(plate, 1001, 1002), host.read(plate, 1001, 1003))
    node = host.bitexpand(switch)
    assert _found(node) == ("Read2", 1001, 1003)
    switch["which"].setValue(0)  # pyright: ignore[reportIndexIssue]
    assert _found(node) == ("Read1", 1001, 1002)


def test_a_read_inside_a_group(host: ModuleType, nuke: ModuleType) -> None:
    inside = _group(
        nuke, 'Read {\n inputs 0\n file "a_####.dpx"\n first 1\n last 9\n}\nDot {\n}\nOutput {\n}'
    )
    inside.node("Read1")["on_error"].setValue("black")  # pyright: ignore[reportAttributeAccessIssue]
    assert _found(host.bitexpand(inside)) == ("Group1.Read1", 1, 9)


def test_through_a_group_from_its_second_input(host: ModuleType, nuke: ModuleType, plate: str) -> None:
    passing = _group(nuke, "Input {\n inputs 0\n number 1\n}\nOutput {\n}")
    host.link(passing, host.read(plate, 1, 1), host.read(plate, 1001, 1002))
    assert _found(host.bitexpand(passing)) == ("Read2", 1001, 1002)


def test_a_node_inside_a_group_follows_what_is_outside(
    host: ModuleType, nuke: ModuleType, plate: str
) -> None:
    around = _group(nuke, "Input {\n inputs 0\n}\nDot {\n}\nOutput {\n}")
    host.link(around, host.read(plate, 1001, 1002))
    assert _found(around.node("Output1")) == ("Read1", 1001, 1002)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_panel_says_what_it_follows(host: ModuleType, nuke: ModuleType, plate: str) -> None:
    node = host.bitexpand(host.read(plate, 1001, 1003))
    assert node["plate"].value() == "Read1: shot_%04d.png 1001-1003"
    host.link(node, _node(nuke, "Grade {\n inputs 0\n}"))
    assert "which changes the picture" in node["plate"].value()


@pytest.mark.parametrize(
    ("said", "colorspace", "raw"),
    [
        ({"colorspace": "Cineon"}, "Cineon", False),
        ({}, "sRGB", False),
        ({"raw": True}, "sRGB", True),
    ],
)
def test_what_the_read_decodes_with(
    host: ModuleType, plate: str, said: dict[str, object], colorspace: str, raw: bool
) -> None:
    from bitexpand_nuke.upstream import find_plate

    found = find_plate(host.bitexpand(host.read(plate, 1001, 1003, **said)))
    assert (found.colorspace, found.raw, found.skips_missing) == (colorspace, raw, False)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ("", "has no Read above it; connect it"),
        (
            "Grade {\n inputs 0\n}",
            "between BitExpand1 and its Read is Grade1 (Grade), which changes the picture",
        ),
        ('Read {\n inputs 0\n file ""\n}', "Read1 names no file"),
        ('Read {\n inputs 0\n file "/x/plate.mov"\n}', "reads a movie, /x/plate.mov"),
        ('Read {\n inputs 0\n file "/gone/a_####.png"\n}', "Read1 has an error at frame 1001"),
        ('Read {\n inputs 0\n file "a.png"\n disable true\n}', "Read1 is disabled"),
        ('Read {\n inputs 0\n file "/x/a_%V_####.png"\n}', "holds a view"),
    ],
)
def test_plates_that_cannot_be_expanded(host: ModuleType, nuke: ModuleType, build: str, reason: str) -> None:
    from bitexpand_nuke.errors import NodeError
    from bitexpand_nuke.upstream import find_plate

    node = host.bitexpand(_node(nuke, build)) if build else nuke.createNode("BitExpand")
    with pytest.raises(NodeError) as refused:
        find_plate(node)
    assert reason in str(refused.value)
    host.press(node, "expand")
    assert nuke.messages == [str(refused.value)]
    assert node["status"].value() == str(refused.value)


def test_a_node_below_another_is_told_so(host: ModuleType, nuke: ModuleType, plate: str) -> None:
    below = host.bitexpand(host.bitexpand(host.read(plate, 1001, 1003)))
    host.press(below, "expand")
    assert "BitExpand1 above expands this plate already" in nuke.messages[0]
