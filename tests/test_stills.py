"""Batch inputs and where their results go, on real folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.errors import MissingInputError, UsageError
from bitexpand.stills import Still, Stills, find_stills, still_outputs

EXTENSIONS = frozenset({".png", ".jpg", ".exr"})
names = st.sets(st.from_regex(r"[a-cA-C]{1,3}\.(png|jpg)", fullmatch=True), min_size=1, max_size=5)


def touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def find(*inputs: Path | str, recursive: bool = False, list_file: Path | None = None) -> Stills:
    return find_stills([str(path) for path in inputs], recursive, list_file, EXTENSIONS)


def places(stills: Stills) -> list[str]:
    return [still.relative.as_posix() for still in stills]


def test_a_folder_gives_its_own_stills_and_counts_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.PNG", "notes.txt", ".b.png.tmp.png", "sub/c.png")
    stills = find(tmp_path)
    assert places(stills) == ["a.PNG", "b.png"]
    assert stills.passed_over == 1
    assert stills.found[0] == Still(tmp_path / "a.PNG", Path("a.PNG"))


def test_recursive_mirrors_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "sky/b.png", "sky/deep/c.png", "sky/readme.md", ".cache/d.png")
    stills = find(tmp_path, recursive=True)
    assert places(stills) == ["a.png", "sky/b.png", "sky/deep/c.png"]
    assert stills.passed_over == 1
    assert still_outputs(stills, Path("out"), ".exr")[2] == (
        tmp_path / "sky/deep/c.png",
        Path("out/sky/deep/c.exr"),
    )


def test_files_and_wildcards_go_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "y/b.png", "y/c.txt", "d/e.png")
    assert places(find(tmp_path / "x/a.png", tmp_path / "y/*")) == ["a.png", "b.png"]
    assert places(find(tmp_path / "[xy]/*.png")) == ["a.png", "b.png"]
    assert places(find(tmp_path / "?", recursive=True)) == ["e.png", "a.png", "b.png"]


@pytest.mark.parametrize("name", ["a#b.png", "sky[1].png", "*.png", "{x} é.png", "it's.png"])
def test_an_existing_name_is_literal(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name, "sky1.png")
    assert places(find(tmp_path / name)) == [name]


def test_a_still_named_twice_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sub/a.png")
    (tmp_path / "link").symlink_to("sub")
    monkeypatch.chdir(tmp_path)
    assert places(find("sub/a.png", "./sub/../sub/a.png", "link", "*/a.png")) == ["a.png"]


# Lists


def test_a_list_is_relative_to_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "plates/a.png", "plates/ü #2.png", "more/b.png", "c.png")
    lines = "\ufeff# today\r\n\r\n a.png\r\nü #2.png\r\n../more\r\n"
    (tmp_path / "plates/list.txt").write_text(lines, encoding="utf-8", newline="")
    stills = find(tmp_path / "c.png", list_file=tmp_path / "plates/list.txt")
    assert places(stills) == ["c.png", "a.png", "ü #2.png", "b.png"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_list_that_is_not_utf8_is_refused(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("ü.png\n", encoding=encoding)
    with pytest.raises(UsageError, match=r"list.txt' is not UTF-8 text; save it so, one path a line"):
        find(list_file=tmp_path / "list.txt")


def test_an_empty_list_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(UsageError, match=r"list.txt' names no image"):
        find(list_file=tmp_path / "list.txt")
    with pytest.raises(MissingInputError, match=r"gone.txt' cannot be read: No such file"):
        find(list_file=tmp_path / "gone.txt")
    with pytest.raises(UsageError, match="no input; give images, folders, wildcards, .* --list"):
        find()


# What is not there, or is not ours


def test_missing_inputs_are_all_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "broken.png").symlink_to("gone.png")
    with pytest.raises(MissingInputError) as error:
        find(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "*.jpg", tmp_path / "broken.png", "")
    listed = f"'{tmp_path}/b.png', '{tmp_path}/*.jpg', '{tmp_path}/broken.png', ''"
    assert str(error.value) == f"4 of 5 inputs are not there: {listed}"
    with pytest.raises(MissingInputError, match=re.escape("'9.png' and 2 more")):
        find(*(f"{n}.png" for n in range(12)))


def test_a_named_file_must_be_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "notes.txt", "none")
    with pytest.raises(UsageError) as error:
        find(tmp_path / "a.png", tmp_path / "notes.txt", tmp_path / "none")
    listed = f"'{tmp_path}/notes.txt', '{tmp_path}/none'"
    assert str(error.value) == f"no image that can be expanded: {listed}; accepted are .exr .jpg .png"


def test_a_folder_without_stills_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "readme.md", "sub/a.png")
    with pytest.raises(
        MissingInputError, match=re.escape(f"no image (.exr .jpg .png) in '{tmp_path}'; to look")
    ):
        find(tmp_path)
    assert len(find(tmp_path, recursive=True)) == 1


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    touch(tmp_path, "plates/z/a.png", "plates/b.png", "elsewhere/c.png")
    for name in ("one", "two", "three"):
        (tmp_path / "plates" / name).symlink_to(tmp_path / "plates")
        (tmp_path / "elsewhere" / name).symlink_to(tmp_path / "plates")
    (tmp_path / "plates/a_link").symlink_to("z")
    (tmp_path / "plates/away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "plates/self").symlink_to("self")
    assert places(find(tmp_path / "plates", recursive=True)) == ["b.png", "z/a.png", "away/c.png"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bitexpand.stills.os.scandir", refuse)
    with pytest.raises(
        MissingInputError, match=re.escape(f"'{tmp_path}' cannot be listed: Permission denied")
    ):
        find(tmp_path)


# Outputs


@settings(deadline=None, max_examples=50)
@given(names)
def test_outputs_never_clash_unnoticed(tmp_path_factory: pytest.TempPathFactory, files: set[str]) -> None:
    stills = find(touch(tmp_path_factory.mktemp("plates"), *files))
    stems = [Path(file).stem.lower() for file in files]
    if len(set(stems)) == len(stems):
        outputs = still_outputs(stills, Path("out"), "exr")
        assert {source.name for source, _ in outputs} == files
        assert all(output == Path("out", f"{source.stem}.exr") for source, output in outputs)
    else:
        with pytest.raises(UsageError, match="would both be written to"):
            still_outputs(stills, Path("out"), "exr")


@pytest.mark.parametrize("twins", [("a.png", "a.jpg"), ("a.png", "A.png"), ("e\u0301.png", "\u00e9.jpg")])
def test_a_clash_names_both(twins: tuple[str, str], tmp_path: Path) -> None:
    first, second = sorted(touch(tmp_path, *twins).iterdir())
    with pytest.raises(UsageError) as error:
        still_outputs(find(tmp_path), tmp_path / "out", ".exr")
    assert f"'{first}' and '{second}' would both be written to '{tmp_path}/out/" in str(error.value)
    assert "rename one, or write them to different folders" in str(error.value)


def test_same_names_from_two_folders_clash(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "y/a.png")
    with pytest.raises(UsageError, match=r"x/a.png' and '.*y/a.png' would both be written to 'out/a.exr'"):
        still_outputs(find(tmp_path / "x", tmp_path / "y"), Path("out"), ".exr")
    assert len(still_outputs(find(tmp_path, recursive=True), Path("out"), ".exr")) == 2


@pytest.mark.parametrize("output", ["plates/out", "link/out", "plates/deep/er"])
def test_results_inside_an_input_folder_are_not_fed_back(output: str, tmp_path: Path) -> None:
    touch(tmp_path, "plates/a.png", "plates/b/c.png")
    (tmp_path / "link").symlink_to("plates")
    once = still_outputs(find(tmp_path / "plates", recursive=True), tmp_path / output, ".exr")
    for _, written in once:
        written.parent.mkdir(parents=True, exist_ok=True)
        written.touch()
    assert still_outputs(find(tmp_path / "plates", recursive=True), tmp_path / output, ".exr") == once


def test_nothing_but_results_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "plates/out/a.exr")
    with pytest.raises(MissingInputError, match=r"nothing but what lies in the output folder '.*plates/out'"):
        still_outputs(find(tmp_path / "plates", recursive=True), tmp_path / "plates/out", ".exr")


def test_results_may_stand_beside_their_sources(tmp_path: Path) -> None:
    touch(tmp_path, "a.b.png", "sub/c.png")
    stills = find(tmp_path, recursive=True)
    assert [output for _, output in still_outputs(stills, tmp_path, ".exr")] == [
        tmp_path / "a.b.exr",
        tmp_path / "sub/c.exr",
    ]
    assert len(still_outputs(find(tmp_path / "sub/c.png"), tmp_path / "sub", ".exr")) == 1


def test_a_source_is_never_overwritten(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.exr", "out/x")
    with pytest.raises(
        UsageError, match=r"in/a.exr' would overwrite the source '.*in/a.exr'; choose another"
    ):
        still_outputs(find(tmp_path / "in"), tmp_path / "in", ".exr")
    (tmp_path / "out/a.exr").symlink_to(tmp_path / "in/a.exr")
    with pytest.raises(UsageError, match=r"out/a.exr' would overwrite the source '.*in/a.exr'"):
        still_outputs(find(tmp_path / "in/a.exr"), tmp_path / "out", ".exr")
    with pytest.raises(UsageError, match=r"the output folder '.*x' is a file"):
        still_outputs(find(tmp_path / "in"), tmp_path / "out/x", ".exr")


def test_many_stills_are_quick(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n % 10}/plate {n}.png" for n in range(5_000)))
    assert len(still_outputs(find(tmp_path, recursive=True), tmp_path / "out", ".exr")) == 5_000
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == 5_000
