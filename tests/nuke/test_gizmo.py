"""The node's file: a real Tcl interpreter reads it, and file, Python and command line speak of the same things."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from nuke_fixtures import GIZMO, host_fixture, nuke_fixture, nuke_tcl  # noqa: F401

import bitexpand
from bitexpand.cli import cli
from bitexpand.color import load_config
from bitexpand.models.registry import MODELS

SCRIPTS = sorted(path for kind in ("*.gizmo", "*.nk") for path in GIZMO.rglob(kind))
MODULES = sorted([*GIZMO.glob("*.py"), *GIZMO.glob("bitexpand_nuke/*.py")])


@pytest.fixture(scope="module")
def group() -> nuke_tcl.ScriptNode:
    (node,) = nuke_tcl.load(GIZMO / "BitExpand.gizmo").children
    return node


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_load_in_tcl(path: Path) -> None:
    assert nuke_tcl.load(path).children


def test_a_group_so_that_scripts_carry_it_with_them(group: nuke_tcl.ScriptNode) -> None:
    assert group.class_name == "Group"
    switch = group.child("Shown")
    assert [above.name for above in switch.inputs if above] == ["Input", "Result"]
    assert switch.knobs["which"] == "{parent.show}"
    assert group.user_knob("show").menu == ["source", "result"]
    assert group.child("Output1").inputs == [switch]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Group {\n name A\n", "missing close-brace"),
        ("Group {\n name A\n}\n", "lack their end_group"),
        ("end_group", "without a group"),
        ("Read {\n file\n}", "a knob without a value"),
        ("Read {\n addUserKnob {22 b T x y}\n}", "what is 'y'?"),
        ("remove everything", "no command of Nuke's files: remove"),
    ],
)
def test_what_nuke_would_refuse_is_refused(text: str, reason: str) -> None:
    with pytest.raises(nuke_tcl.ScriptError, match=reason):
        nuke_tcl.loads(text)


def test_every_knob_that_the_python_touches_exists(group: nuke_tcl.ScriptNode) -> None:
    known = {knob.name for knob in group.user_knobs}
    touched = {name for path in MODULES for name in _touched(path)}
    assert len(touched) > 20
    assert touched <= known


def test_every_knob_is_touched_or_only_looks(group: nuke_tcl.ScriptNode) -> None:
    touched = {name for path in MODULES for name in _touched(path)}
    unused = {knob.name for knob in group.user_knobs if knob.kind not in (20, 22, 26)} - touched
    assert not unused


def test_every_script_that_the_gizmo_calls_exists(group: nuke_tcl.ScriptNode) -> None:
    from bitexpand_nuke import panel

    scripts = [knob.text for knob in group.user_knobs if knob.kind == 22]
    scripts += [group.knobs["onCreate"], group.knobs["knobChanged"]]
    called = {name for script in scripts for name in re.findall(r"panel\.(\w+)\(", script)}
    assert called == {
        *("expand", "cancel", "reload", "reveal", "open_qc", "send_to_farm"),
        *("created", "changed"),
    }
    for name in called:
        assert callable(getattr(panel, name))
    for script in scripts:
        compile(script, "knob", "exec")
        assert "except ImportError" in script  # a script opens where BitExpand is not installed


def test_versions_agree(group: nuke_tcl.ScriptNode) -> None:
    import bitexpand_nuke

    assert group.knobs["node_version"] == bitexpand_nuke.VERSION == bitexpand.__version__


@pytest.mark.parametrize(
    ("knob", "option", "unset"),
    [("source_kind", "source_kind", None), ("depth", "depth", "auto"), ("existing", "existing", None)],
)
def test_menus_offer_what_the_command_takes(
    group: nuke_tcl.ScriptNode, knob: str, option: str, unset: str | None
) -> None:
    (parameter,) = (p for p in cli.commands["seq"].params if p.name == option)
    metavar = str(parameter.make_metavar(cli.commands["seq"].make_context("seq", ["x", "-o", "y"])))
    offered = [word for word in group.user_knob(knob).menu if word != unset]
    assert set(offered) <= set(metavar.strip("[]").split("|"))


def test_the_models_are_those_of_the_registry(group: nuke_tcl.ScriptNode) -> None:
    assert group.user_knob("model").menu == [*(row.name for row in MODELS), "weights file"]


def test_other_names_of_spaces_are_those_of_the_config() -> None:
    from bitexpand_nuke import spaces

    config = load_config()
    for name, *aliases in spaces.SAME:
        assert {config.canonical(alias) for alias in aliases} == {name}
    for name, _ in spaces.NUKE_DEFAULT:
        assert config.canonical(name) == name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_nuke_imports_is_python_37_and_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0
    }
    allowed = "__future__ collections dataclasses functools json os queue re shutil signal subprocess sys"
    assert imported <= {*allowed.split(), "threading", "time", "typing", "nuke", "bitexpand_nuke"}


def _touched(path: Path) -> set[str]:
    """Return the names of the node's knobs in a module, as in ``node["x"]`` or ``text(node, "x")``."""
    found = set()
    for part in ast.walk(ast.parse(path.read_text())):
        if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "node":
            found |= {part.slice.value} if isinstance(part.slice, ast.Constant) else set()
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Name)
            and part.func.id in ("text", "number")
        ):
            first, second = part.args
            if isinstance(first, ast.Name) and first.id == "node" and isinstance(second, ast.Constant):
                found.add(str(second.value))
    return found
