"""The live node's files in a real Tcl interpreter: they fit each other, the archive, and its arithmetic."""

from __future__ import annotations

import json
import re
import tkinter
from pathlib import Path

import nuke_tcl
import pytest
from nuke_fixtures import GIZMO

from bitexpand.export.nuke import companions
from bitexpand.export.torchscript import Archive

LIVE = GIZMO / "live"
KNOBS = {"strength": "1", "bound": "0.5", "bits": "8"}


@pytest.fixture(scope="module")
def gizmo() -> nuke_tcl.ScriptNode:
    (node,) = nuke_tcl.load(LIVE / "BitExpandLive.gizmo").children
    return node


def test_from_linear_through_the_encoding_and_back(gizmo: nuke_tcl.ScriptNode) -> None:
    assert gizmo.class_name == "Gizmo"
    node = gizmo.child("Output1")
    chain = []
    while node.inputs and node.inputs[-1]:
        node = node.inputs[-1]  # of two, the second is A, what was computed
        chain.append(node.name)
    assert chain == [
        "OnlyColour", "ToWorking", "Guard", "Inference1", "Quantise", "ToEncoding", "Input1",
    ]  # fmt: skip
    above, there = gizmo.child("ToEncoding").knobs, gizmo.child("ToWorking").knobs
    assert above["in_colorspace"] == "scene_linear"
    assert there["in_colorspace"] == "{ToEncoding.out_colorspace}"
    assert there["out_colorspace"] == "{ToEncoding.in_colorspace}"


def test_what_is_no_colour_comes_from_the_plate(gizmo: nuke_tcl.ScriptNode) -> None:
    copy = gizmo.child("OnlyColour")
    assert [node.name for node in copy.inputs if node] == ["Input1", "ToWorking"]
    assert [copy.knobs[f"to{i}"] for i in range(3)] == ["rgba.red", "rgba.green", "rgba.blue"]
    guard = gizmo.child("Guard")
    assert [node.name for node in guard.inputs if node] == ["Quantise", "Inference1"]


def test_every_knob_is_one_of_a_node_inside(gizmo: nuke_tcl.ScriptNode) -> None:
    links = {knob.name: knob.text for knob in gizmo.user_knobs if knob.kind == 41}
    assert set(KNOBS) < set(links)
    for name, link in links.items():
        node, knob = link.split(".")
        assert gizmo.child(node)
        assert knob == name
    assert gizmo.user_knob("out_colorspace").text == "ToEncoding.out_colorspace"


def test_the_archive_has_the_knobs(gizmo: nuke_tcl.ScriptNode) -> None:
    (creator,) = nuke_tcl.load(LIVE / "make_cat.nk").children
    assert creator.class_name == "CatFileCreator"
    made = {knob.name: creator.knobs[knob.name] for knob in creator.user_knobs if knob.kind != 20}
    assert made == KNOBS
    serialised = dict(
        pair.split(":") for pair in gizmo.child("Inference1").knobs["serialiseKnob"].split(";") if pair
    )
    assert serialised == KNOBS
    archive = Archive(None)  # pyright: ignore[reportArgumentType]
    assert {name: f"{getattr(archive, name):g}" for name in KNOBS} == KNOBS
    kinds = {knob.name: knob.kind for knob in creator.user_knobs}
    assert (kinds["strength"], kinds["bound"], kinds["bits"]) == (
        7,
        7,
        3,
    )  # Float, Float, Int, as the attributes
    assert isinstance(archive.bits, int)
    for channels in ("channelsIn", "channelsOut"):
        assert creator.knobs[channels] == "rgba.red,rgba.green,rgba.blue"


def test_the_files_name_each_other(gizmo: nuke_tcl.ScriptNode, tmp_path: Path) -> None:
    files = companions(tmp_path / "a folder")
    catalogue = json.loads(files["Cattery/BitExpand/cat.json"])
    for entry in catalogue["cats"]:
        for name in (entry["filepath"], entry["icon"]):
            assert f"Cattery/BitExpand/{name}" in files
    (creator,) = nuke_tcl.loads(files["make_cat.nk"].decode()).children
    assert creator.knobs["torchScriptFile"] == f"{tmp_path.as_posix()}/a folder/BitExpandLive.pt"
    cat = Path(creator.knobs["catFile"])
    assert cat.parent == tmp_path / "a folder" / "Cattery" / "BitExpand"
    assert f"plugins -all {cat.name}]" in gizmo.child("Inference1").knobs["modelFile"]


@pytest.mark.parametrize("bits", [8, 10])
def test_the_quantiser_gives_code_values(gizmo: nuke_tcl.ScriptNode, bits: int) -> None:
    knobs, peak = gizmo.child("Quantise").knobs, 2**bits - 1
    for channel, expression in zip("rgb", ("expr0", "expr1", "expr2"), strict=True):

        def quantised(value: float) -> float:
            return evaluate(knobs[expression], {channel: value, "peak": peak})  # noqa: B023

        for code in (0, 1, 100, peak - 1, peak):
            for error in (-0.3, 0, 0.3):
                assert quantised((code + error) / peak) == pytest.approx(code / peak, abs=1e-12)
        for value in (-0.2, 1.3):
            assert quantised(value) == value
    assert evaluate(knobs["temp_expr0"], {"Inference1.bits": bits}) == peak


def test_the_guard_holds_to_the_bound(gizmo: nuke_tcl.ScriptNode) -> None:
    knobs = gizmo.child("Guard").knobs
    reach = evaluate(knobs["temp_expr0"], {"Inference1.bits": 8, "Inference1.bound": 0.5})
    assert reach == pytest.approx(0.5 / 255)
    for i, channel in enumerate("rgb"):
        for result, expected in ((0.5, 0.5), (0.9, 0.5 + reach), (0.1, 0.5 - reach)):
            names = {f"A{channel}": result, f"B{channel}": 0.5, "reach": reach}
            assert evaluate(knobs[f"expr{i}"], names) == expected


def evaluate(expression: str, names: dict[str, float]) -> float:
    """Evaluate one of Nuke's expressions in Tcl, whose operators are the same."""
    tcl = tkinter.Tcl()
    tcl.eval("proc tcl::mathfunc::clamp {x low high} {expr {min(max($x, $low), $high)}}")
    for i, name in enumerate(sorted(names, key=len, reverse=True)):
        tcl.setvar(f"v{i}", repr(float(names[name])))
        expression = re.sub(rf"\b{re.escape(name)}\b(?!\()", f"$v{i}", expression)
    return float(tcl.eval(f"expr {{{expression}}}"))
