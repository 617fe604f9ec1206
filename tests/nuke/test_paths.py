"""File knobs to paths: expressions, tokens, frame numbers, and frame ranges."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nuke_fixtures import host_fixture, nuke_fixture, plate_fixture  # noqa: F401

from bitexpand.sequence import output_path, parse_frames


def _path(host: ModuleType, text: str) -> str:
    from bitexpand_nuke import paths

    return paths.knob_path(host.read(text)["file"])


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/a/shot_####.png", "/a/shot_%04d.png"),
        ("/a/shot_%05d.png", "/a/shot_%05d.png"),
        ("/a/still.png", "/a/still.png"),
        ("C:\\a\\shot_###.png", "C:/a/shot_%03d.png"),
        ("[value root.project_directory]/shot_####.png", "/show/shot_%04d.png"),
        ("/a/[python 1+1]/shot_####.png", "/a/2/shot_%04d.png"),
        ("/a/v2/shot[python 3]_####.png", "/a/v2/shot3_%04d.png"),
        ("rel/shot_####.png", "/show/rel/shot_%04d.png"),
    ],
)
def test_nuke_evaluates_and_the_number_stays(
    host: ModuleType, nuke: ModuleType, written: str, path: str
) -> None:
    nuke.root()["project_directory"].setValue("/show")
    assert _path(host, written) == path


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("/a/shot_[format %04d [frame]].png", "makes the frame number; write it as ####"),
        ("/a/shot_[frame].png", "makes the frame number"),
        ("/a/[value root.nothing]/shot_####.png", "Nuke does not evaluate the expression"),
        ("/a/[nonsense]/shot_####.png", "write the path out"),
        ("/a/v##/shot_####.png", "the frame number belongs in the file's name, not in a folder's"),
    ],
)
def test_an_expression_in_a_path_is_refused(
    host: ModuleType, nuke: ModuleType, written: str, reason: str
) -> None:
    from bitexpand_nuke.errors import NodeError

    with pytest.raises(NodeError, match=r"Read1\.file: ") as refused:
        _path(host, written)
    assert reason in str(refused.value)


def test_paths_of_another_platform_are_mapped_as_nuke_maps_them(host: ModuleType, nuke: ModuleType) -> None:
    nuke.addFilenameFilter(lambda path: path.replace("Z:/", "/mnt/show/"))
    assert _path(host, "Z:/a/shot_####.png") == "/mnt/show/a/shot_%04d.png"


def test_tokens_of_the_output(host: ModuleType, nuke: ModuleType, plate: str, tmp_path: Path) -> None:
    from bitexpand_nuke.errors import NodeError
    from bitexpand_nuke.work import work_of

    node = host.bitexpand(host.read(plate, 1001, 1003), model="smooth")
    assert work_of(node).output == f"{tmp_path}/plates/bitexpand/shot.%04d.exr"
    node["output"].setValue("{project}/{node}/{model}/{plate}_####.exr")
    with pytest.raises(NodeError, match="{project} has no value here; set the project directory"):
        work_of(node)
    nuke.root()["project_directory"].setValue("/show")
    assert work_of(node).output == "/show/BitExpand1/smooth/shot_%04d.exr"
    node["output"].setValue("{plaet}.####.exr")
    with pytest.raises(NodeError, match=r"there is no token {plaet}; the tokens are {folder}, {model}"):
        work_of(node)
    node["output"].setValue("/show/{script}.exr")
    with pytest.raises(NodeError, match="{script} has no value here; save the script first"):
        work_of(node)
    node["output"].setValue("/show/one.exr")
    with pytest.raises(NodeError, match="names one file for all frames; add ####"):
        work_of(node)
    node["output"].setValue("")
    with pytest.raises(NodeError, match="output: name the files"):
        work_of(node)


PARTS = st.one_of(
    st.integers(-50, 50).map(str),
    st.builds("{}-{}".format, st.integers(-50, 50), st.integers(-50, 50)),
    st.builds(
        "{}-{}{}{}".format,
        st.integers(-50, 50),
        st.integers(-50, 50),
        st.sampled_from("xy:"),
        st.integers(1, 9),
    ),
)


@given(st.lists(PARTS, min_size=1, max_size=4).map(",".join))
def test_ranges_mean_what_the_command_line_means(text: str) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "nuke_gizmo"))
    from bitexpand_nuke import frames

    try:
        expected = sorted(parse_frames(text))
    except Exception:  # noqa: BLE001  such as a range that holds no frame
        return
    assert frames.parse(text) == expected
    assert frames.parse(frames.brief(expected)) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "1-5x0", "1..5", "1-5z2"])
def test_what_is_no_range_is_refused(host: ModuleType, text: str) -> None:
    from bitexpand_nuke import frames
    from bitexpand_nuke.errors import NodeError

    with pytest.raises(NodeError, match="give such as 1001-1100"):
        frames.parse(text)


@given(st.sampled_from(["%04d", "####", "%d", "##"]), st.integers(-3, 123456))
def test_a_frame_has_the_name_that_the_command_gives_it(token: str, frame: int) -> None:
    from bitexpand_nuke import paths

    named = paths.numbered(f"/a/v%02d/shot.{token}.exr", frame)
    assert named == str(output_path(f"/a/v%02d/shot.{token}.exr", frame, Path("shot_1.png")))


def test_frames_on_disk(host: ModuleType, plate: str, tmp_path: Path) -> None:
    from bitexpand_nuke import paths

    for name in ("shot_999.png", "shot_01004.png", "shot_1005.exr", "shot_x.png"):
        (tmp_path / "plates" / name).touch()
    assert paths.on_disk(paths.percent(plate)) == {1001, 1002, 1003}
    assert paths.on_disk("/gone/shot_%04d.png") == set()
