"""The command line that a node's knobs make, and how its result is read."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest
from nuke_fixtures import COMMAND, host_fixture, nuke_fixture, plate_fixture  # noqa: F401

from bitexpand.cli import cli


def _options(host: ModuleType, plate: str, **knobs: object) -> list[str]:
    from bitexpand_nuke.work import work_of

    read = host.read(plate, 1001, 1003, colorspace="sRGB")
    return work_of(host.bitexpand(read, **knobs)).arguments[3:]


def test_an_untouched_node_asks_for_the_defaults(host: ModuleType, plate: str, tmp_path: Path) -> None:
    from bitexpand_nuke.work import work_of

    work = work_of(host.bitexpand(host.read(plate, 1001, 1003)))
    assert work.arguments[:4] == [
        f"{tmp_path}/plates/shot_%04d.png",
        "--output",
        f"{tmp_path}/plates/bitexpand/shot.%04d.exr",
        "--frames=1001-1003",
    ]
    asked = cli.commands["seq"].make_context("seq", list(work.arguments)).params
    plain = cli.commands["seq"].make_context("seq", list(work.arguments[:4])).params
    assert asked == plain


@pytest.mark.parametrize(
    ("knobs", "options"),
    [
        ({"model": "smooth", "strength": 0.5}, {"--model=smooth", "--strength=0.5"}),
        ({"source_kind": "lossy"}, {"--source=lossy"}),
        ({"own_bound": True, "bound": 1.5}, {"--bound=1.5"}),
        (
            {"depth": "float", "tile": 512, "device": "cuda:1"},
            {"--depth=float", "--tile=512", "--device=cuda:1"},
        ),
        ({"in_space": "ACEScct", "out_space": "ACEScg"}, {"--in-space=ACEScct", "--out-space=ACEScg"}),
        ({"out_space": "ACEScg", "config": "bitexpand"}, {"--in-space=sRGB", "--config=bitexpand"}),
        ({"existing": "overwrite"}, {"--existing=overwrite"}),
        ({"range_from": "range", "frames": "1002,1001"}, {"--frames=1002,1001"}),
        ({"range_from": "project"}, {"--frames=1001-1003"}),
        ({"model": "weights file", "model_file": "/w/own.safetensors"}, {"--model=/w/own.safetensors"}),
    ],
)
def test_knobs_become_options(
    host: ModuleType, plate: str, knobs: dict[str, object], options: set[str]
) -> None:
    asked = _options(host, plate, **knobs)
    assert options <= set(asked)
    cli.commands["seq"].make_context("seq", ["in.png", "-o", "out.exr", *asked])  # and the command takes them


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"model": "weights file"}, "model: name the weights file"),
        ({"range_from": "range"}, "frames: give a range such as 1001-1100"),
        ({"range_from": "range", "frames": "ten"}, "frames: cannot read 'ten'"),
        ({"in_space": "ACEScct", "config": "project"}, "config: this project uses one of Nuke's own"),
    ],
)
def test_knobs_that_cannot_be_used(
    host: ModuleType, plate: str, knobs: dict[str, object], reason: str
) -> None:
    from bitexpand_nuke.errors import NodeError

    with pytest.raises(NodeError, match=reason):
        _options(host, plate, **knobs)


def test_a_raw_read_says_no_space(host: ModuleType, plate: str) -> None:
    from bitexpand_nuke.errors import NodeError
    from bitexpand_nuke.work import work_of

    node = host.bitexpand(host.read(plate, 1001, 1003, raw=True), out_space="ACEScg")
    with pytest.raises(NodeError, match="in space: Read1 is raw, so say which colour space"):
        work_of(node)


def test_missing_frames_as_the_read_says(host: ModuleType, plate: str) -> None:
    from bitexpand_nuke.work import work_of

    node = host.bitexpand(host.read(plate, 1001, 1005, on_error="nearest frame"))
    assert work_of(node).skips_missing
    assert work_of(node).expected() == {1001, 1002, 1003}
    node["follow_missing"].setValue(False)
    assert not work_of(node).skips_missing
    assert work_of(node).expected() == set(range(1001, 1006))


def test_the_config_of_the_project_is_passed_on_when_asked(
    host: ModuleType, nuke: ModuleType, plate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitexpand_nuke import executable

    monkeypatch.setenv("OCIO", "/show/config.ocio")
    assert "OCIO" not in executable.environment()
    asked = {"in_space": "ACEScct", "config": "project"}
    assert "--config=/show/config.ocio" in _options(host, plate, **asked)
    nuke.root()["OCIO_config"].setValue("custom")
    nuke.root()["customOCIOConfigPath"].setValue("/job/own.ocio")
    assert "--config=/job/own.ocio" in _options(host, plate, **asked)


def test_the_command_gets_nothing_of_nukes_python(host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitexpand_nuke import executable

    for name in executable.FOREIGN:
        monkeypatch.setenv(name, "/opt/Nuke13")
    given = executable.environment()
    assert not set(executable.FOREIGN) & set(given)
    assert given["PATH"] == os.environ["PATH"]
    assert executable.version(str(COMMAND)) in executable.run(str(COMMAND), "--version")


NUKE_DEFAULT = ["linear", "sRGB", "rec709", "Cineon", "AlexaV3LogC"]
ACES = ["scene_linear (ACES - ACEScg)", "ACES - ACEScg", "ACES - ACEScct", "Utility - sRGB - Texture"]
LINEAR = {"in_space": "ACEScct", "out_space": "ACEScg"}
STUDIO = ["ACEScg", "ACEScct", "sRGB - Texture", "ARRI LogC3 (EI800)"]


@pytest.mark.parametrize(
    ("offered", "of_plate", "spaces", "decoding"),
    [
        (NUKE_DEFAULT, {"colorspace": "Cineon"}, {}, ("Cineon", False)),
        (NUKE_DEFAULT, {}, {}, ("sRGB", False)),
        (NUKE_DEFAULT, {"raw": True}, {}, ("", True)),
        (NUKE_DEFAULT, {}, {"in_space": "ACEScct", "out_space": "ACEScg"}, ("", True)),
        (NUKE_DEFAULT, {}, {"in_space": "ACEScct", "out_space": "Linear Rec.709 (sRGB)"}, ("linear", False)),
        (ACES, {"raw": True}, {"in_space": "ACEScct", "out_space": "ACEScg"}, ("ACES - ACEScg", False)),
        (ACES, {"colorspace": "ACES - ACEScct"}, {}, ("ACES - ACEScct", False)),
        (
            ACES,
            {"raw": True},
            {"in_space": "ACEScct", "out_space": "srgb_tx"},
            ("Utility - sRGB - Texture", False),
        ),
        (["Utility/Raw", "ACES/ACES - ACEScg"], {"raw": True}, LINEAR, ("ACES/ACES - ACEScg", False)),
        (ACES[:1], {"raw": True}, {"in_space": "ACEScct", "out_space": "acescg"}, (ACES[0], False)),
        (
            STUDIO,
            {"raw": True},
            {"in_space": "ACEScct", "out_space": "ARRI LogC3 (EI800)"},
            (STUDIO[3], False),
        ),
        (STUDIO, {"colorspace": "ACEScct"}, {"out_space": "ACES - ACEScg"}, ("ACEScg", False)),
    ],
)
def test_the_result_is_decoded_as_what_it_is(
    host: ModuleType,
    nuke: ModuleType,
    plate: str,
    offered: list[str],
    of_plate: dict[str, object],
    spaces: dict[str, str],
    decoding: tuple[str, bool],
) -> None:
    from bitexpand_nuke import result
    from bitexpand_nuke.work import work_of

    nuke.COLORSPACES[:] = offered
    node = host.bitexpand(host.read(plate, 1001, 1003, **of_plate), **spaces)
    assert result.decoding(work_of(node), offered)[:2] == decoding
