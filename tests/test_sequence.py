"""Patterns, frame ranges and outputs, on real folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fileseq.constants import PAD_STYLE_HASH1
from fileseq.exceptions import FileSeqException
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.errors import MissingInputError, UsageError
from bitexpand.sequence import (
    MAX_FRAMES,
    Frames,
    NumberedPath,
    check_output,
    find_frames,
    format_frames,
    output_path,
    parse_frames,
)

numbers = st.integers(-200, 200)
part = st.one_of(
    numbers.map(str),
    st.builds("{}-{}".format, numbers, numbers),
    st.builds("{}-{}{}{}".format, numbers, numbers, st.sampled_from("xy:"), st.integers(2, 9)),
)


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def shot(folder: Path, first: int, last: int, stem: str = "shot_", width: int = 4) -> Path:
    return touch(folder, *(f"{stem}{n:0{width}d}.png" for n in range(first, last + 1)))


def found(pattern: Path | str, frames: str | None = None) -> list[int | None]:
    return [frame.number for frame in find_frames(str(pattern), frames, "error").present]


def refused(message: str, pattern: Path | str, frames: str | None = None) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        find_frames(str(pattern), frames, "error")


def missing(message: str, pattern: Path | str, frames: str | None = None) -> None:
    with pytest.raises(MissingInputError, match=re.escape(message)):
        find_frames(str(pattern), frames, "error")


# Frame ranges


@settings(deadline=None)
@given(st.lists(part, min_size=1, max_size=6).map(",".join))
def test_ranges_mean_what_fileseq_says(text: str) -> None:
    expected = list(FrameSet(text))
    if expected:
        assert parse_frames(text) == expected
    else:
        with pytest.raises(UsageError, match="holds no frame"):
            parse_frames(text)


@settings(deadline=None)
@given(st.lists(st.integers(-(10**6), 10**6), min_size=1))
def test_a_formatted_range_reads_back_sorted_and_unique(frames: list[int]) -> None:
    assert parse_frames(format_frames(frames)) == sorted(set(frames))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1001-1007x2", [1001, 1003, 1005, 1007]),
        ("1-10:3", [1, 4, 7, 10, 3, 5, 9, 2, 6, 8]),
        ("1-10y3", [2, 3, 5, 6, 8, 9]),
        ("1,5,7", [1, 5, 7]),
        ("-3--1", [-3, -2, -1]),
        ("3-1,2", [3, 2, 1]),
        (" 1 - 4 x 2 , 9", [1, 3, 9]),
    ],
)
def test_every_documented_form_is_read(text: str, expected: list[int]) -> None:
    assert parse_frames(text) == expected


@pytest.mark.parametrize(
    "text",
    ["abc", "5-", "", " ", ",", "1,,2", "1-3,", "1 5", "1.5", "1-2x0.5", "1-5x0", "1-5x-2", "1..5", "１"],
)
def test_a_bad_range_is_named_and_the_forms_are_shown(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_frames(text)
    assert f"cannot read frame range '{text}'" in str(error.value)
    for form in ("1001-1100x2", "1-10:3", "1-10y3", "1,5,7", "-5-10"):
        assert form in str(error.value)


def test_a_bad_part_of_a_long_list_is_named_on_its_own() -> None:
    with pytest.raises(UsageError, match=re.escape("'1-3,7-,9' (at '7-')")):
        parse_frames("1-3,7-,9")


@pytest.mark.parametrize("text", ["1-100000000", "1-99999999999y2", "1-9:99999999999", "-500000-500000,7"])
def test_a_huge_range_is_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError, match=r"holds [\d,]+ frames; the limit is 1,000,000"):
        parse_frames(text)


def test_a_long_list_does_not_take_quadratic_time() -> None:
    assert len(parse_frames(",".join(str(n) for n in range(0, 40_000, 2)))) == 20_000


# Tokens


@pytest.mark.parametrize("token", ["####", "%04d", "@@@@", "$F4"])
def test_every_padded_token_finds_the_same_frames(token: str, tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1003)
    touch(tmp_path, "shot_01001.png", "shot_1.png", "shot_1001.exr", "shot_1001.png.bak", "shot_x.png")
    frames = find_frames(str(tmp_path / f"shot_{token}.png"), None, "error")
    assert frames.present == tuple(NumberedPath(n, tmp_path / f"shot_{n}.png") for n in (1001, 1002, 1003))
    assert frames.is_sequence
    assert frames.missing == ()
    assert str(frames) == f"{tmp_path}/shot_{token}.png 1001-1003"


@pytest.mark.parametrize("token", ["%d", "$F", "#", "@"])
def test_an_unpadded_token_takes_no_leading_zero(token: str, tmp_path: Path) -> None:
    touch(tmp_path, "a9.png", "a10.png", "a-2.png", "a-1.png", "a011.png")
    assert found(tmp_path / f"a{token}.png", "-2--1,9,10") == [-2, -1, 9, 10]


def test_numbers_wider_than_the_padding_are_written_in_full(tmp_path: Path) -> None:
    shot(tmp_path, 9998, 10001)
    assert found(tmp_path / "shot_####.png") == [9998, 9999, 10000, 10001]
    assert output_path("o_####.exr", 10001, Path("shot_10001.png")) == Path("o_10001.exr")


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.from_regex(r"-?(0{0,3}[0-9]{1,5})", fullmatch=True), min_size=1, max_size=8), st.integers(1, 5)
)
def test_strict_padding_is_that_of_fileseq(
    tmp_path_factory: pytest.TempPathFactory, digits: set[str], width: int
) -> None:
    digits = {text for text in digits if not re.fullmatch("-0+", text)}  # minus zero is no frame of ours
    folder = touch(tmp_path_factory.mktemp("plate"), *(f"shot_{text}.png" for text in digits))
    pattern = f"{folder}/shot_{'#' * width}.png"
    try:
        on_disk = FileSequence.findSequenceOnDisk(pattern, strictPadding=True, pad_style=PAD_STYLE_HASH1)
    except FileSeqException:
        missing("nothing in", pattern)
    else:
        frames = find_frames(pattern, None, "skip")
        assert [str(frame.path) for frame in frames.present] == sorted(
            on_disk, key=lambda p: int(p[len(folder.as_posix()) + 6 : -4])
        )


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(1, 6))
def test_what_is_written_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, number: int, width: int
) -> None:
    pattern = str(tmp_path_factory.getbasetemp() / f"o{number}_{width}_{'#' * width}.exr")
    written = output_path(pattern, number, Path("shot_1.png"))
    assert isinstance(written, Path)
    written.touch()
    assert find_frames(pattern, None, "error").present == (NumberedPath(number, written),)
    written.unlink()


def test_the_range_gives_the_order(tmp_path: Path) -> None:
    shot(tmp_path, 1, 10)
    assert found(tmp_path / "shot_####.png", "9-1x4,2,9") == [9, 5, 1, 2]


def test_a_token_may_stand_inside_the_name(tmp_path: Path) -> None:
    touch(tmp_path, "shot_1001_v2.png", "shot_1002_v2.png", "shot_1002_v3.png")
    assert found(tmp_path / "shot_####_v2.png") == [1001, 1002]


@pytest.mark.parametrize("folder", ["v#2", "shot@home", "100%", "50%d", "a $F b", "it's [1] {x}", "плёнка"])
def test_folders_are_literal(folder: str, tmp_path: Path) -> None:
    shot(tmp_path / folder, 1, 2)
    frames = find_frames(str(tmp_path / folder / "shot_####.png"), None, "error")
    check_output(str(tmp_path / folder / "out_####.exr"), frames)
    assert output_path(f"{folder}/out_%03d.exr", 7, frames.present[0].path) == Path(folder, "out_007.exr")


def test_brackets_beside_a_token_are_literal(tmp_path: Path) -> None:
    shot(shot(tmp_path, 1, 2, stem="sky[1]_"), 7, 8, stem="sky1_")
    assert found(tmp_path / "sky[1]_####.png") == [1, 2]
    assert found(tmp_path / "sky[1]_*.png") == [7, 8]


def test_two_tokens_in_one_name_are_refused(tmp_path: Path) -> None:
    shot(tmp_path, 1, 2, stem="cam@2_")
    refused(
        "input 'cam@2_####.png' holds 2 frame tokens ('@', '####'); keep one", tmp_path / "cam@2_####.png"
    )
    refused("where the rest is part of the name, give 'cam@2_*.png'", tmp_path / "cam@2_####.png")
    frames = find_frames(str(tmp_path / "cam@2_*.png"), None, "error")
    check_output(str(tmp_path / "cam@2_####.exr"), frames)
    assert output_path("cam@2_####.exr", 1, frames.present[0].path) == Path("cam@2_0001.exr")


# Gaps and files that are not there


def test_missing_frames_are_named_as_a_range(tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1012)
    for number in (1004, 1005, 1006, 1010):
        (tmp_path / f"shot_{number}.png").unlink()
    pattern = tmp_path / "shot_####.png"
    missing(f"4 of 12 frames of '{pattern}' are missing: 1004-1006,1010; ", pattern)
    missing("--on-missing skip", pattern, "1001-1012")
    missing("2 of 3 frames", pattern, "1003-1005")
    frames = find_frames(str(pattern), "1007-1003", "skip")
    assert [frame.number for frame in frames.present] == [1007, 1003]
    assert frames.missing == (1006, 1005, 1004)


def test_a_range_that_misses_the_sequence_says_what_is_there(tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1010)
    for policy in ("error", "skip"):
        with pytest.raises(MissingInputError, match=r"none of the frames 1-10 .* on disk are 1001-1010"):
            find_frames(str(tmp_path / "shot_####.png"), "1-10", policy)


def test_the_nearest_sequences_are_shown(tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1010, stem="shot_b_")
    touch(tmp_path, "reference.jpg", ".shot_1001.png")
    missing(f"nothing in '{tmp_path}' matches 'shot_####.png'", tmp_path / "shot_####.png")
    missing("found shot_b_####.png 1001-1010, reference.jpg", tmp_path / "shot_####.png")
    missing("found shot_b_####.png 1001-1010", tmp_path / "shot_1001.png")
    missing("found shot_b_####.png 1001-1010", tmp_path / "shto_*.png")
    missing("found shot_b_####.png 1001-1010", tmp_path / "shot_b_#####.png")
    missing("a wildcard and a frame token cannot be mixed", tmp_path / "*_####.png")


def test_an_empty_folder_and_a_missing_one_have_their_own_messages(tmp_path: Path) -> None:
    missing("it holds no files", tmp_path / "shot_####.png")
    missing(
        f"the folder '{tmp_path}/shwo/plates' is not there; what exists of it is '{tmp_path}'",
        tmp_path / "shwo/plates/a.png",
    )
    missing("frame tokens and wildcards work in the file name only", tmp_path / "*/shot_####.png")
    touch(tmp_path, "file")
    missing("cannot be listed: Not a directory", tmp_path / "file/shot_####.png")


def test_a_gap_of_millions_is_not_expanded(tmp_path: Path) -> None:
    touch(tmp_path, "shot_0001.png", f"shot_{10**9}.png")
    refused(
        "runs from 1 to 1000000000 with only 2 files; give the frames you mean with --frames",
        tmp_path / "shot_####.png",
    )
    assert found(tmp_path / "shot_####.png", f"1,{10**9}") == [1, 10**9]


def test_a_long_list_of_missing_frames_is_cut(tmp_path: Path) -> None:
    numbers = [n for n in range(1000, 3000) if n * n % 7 in (1, 2)]
    touch(tmp_path, *(f"shot_{n}.png" for n in numbers))
    with pytest.raises(MissingInputError) as error:
        find_frames(str(tmp_path / "shot_####.png"), None, "error")
    assert len(str(error.value)) < 400
    assert ",...; to go on" in str(error.value)


def test_broken_links_and_folders_are_no_frames(tmp_path: Path) -> None:
    shot(tmp_path, 1, 1)
    (tmp_path / "shot_0002.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "shot_0003.png").symlink_to("shot_0003.png")
    (tmp_path / "shot_0004.png").mkdir()
    (tmp_path / "shot_0005.png").symlink_to("shot_0001.png")
    missing("are missing: 2-4", tmp_path / "shot_####.png")


# Single files


@pytest.mark.parametrize(
    "name",
    [
        "a#b.png",
        "shot_####.png",
        "%04d.png",
        "cam@.png",
        "sky[1].png",
        "{x}.png",
        "my plate.png",
        'it\'s "it".png',
        "Übung – 空.png",
        "*.png",
    ],
)
def test_an_existing_name_is_literal(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name, "shot_1001.png", "sky1.png")
    frames = find_frames(str(tmp_path / name), None, "error")
    assert frames == Frames(
        str(tmp_path / name), (NumberedPath(None, tmp_path / name),), (), is_sequence=False
    )
    output = str(tmp_path / name.replace(".png", ".exr"))
    check_output(output, frames)
    assert output_path(output, None, frames.present[0].path) == Path(output)


@pytest.mark.parametrize(
    ("name", "number"),
    [("shot_1001.png", 1001), ("a.7.png", 7), ("shot_-5.png", -5), ("shot-5.png", 5), ("v2_a.png", None)],
)
def test_a_single_file_keeps_its_number(name: str, number: int | None, tmp_path: Path) -> None:
    frames = find_frames(str(touch(tmp_path, name) / name), None, "error")
    assert frames.present[0].number == number
    assert not frames.is_sequence
    if number is not None:
        assert output_path("out_####.exr", number, frames.present[0].path) == Path(
            f"out_{str(number).zfill(4)}.exr"
        )


def test_a_range_with_a_single_file_is_refused(tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1003)
    assert found(tmp_path / "shot_1001.png", "1001") == [1001]
    refused(
        "is one file, so a frame range cannot be given with it; for a sequence give a pattern, "
        f"such as '{tmp_path}/shot_####.png'",
        tmp_path / "shot_1001.png",
        "1001-1003",
    )


def test_an_empty_pattern_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused("the input pattern is empty", " ")
    refused(f"'{tmp_path}' is a folder; give a file pattern, such as '{tmp_path}/shot_####.png'", tmp_path)
    shot(tmp_path, 1, 3, stem="sky_")
    touch(tmp_path, "a.txt")
    refused(f"such as '{tmp_path}/sky_####.png'", tmp_path)


# Wildcards


@pytest.mark.parametrize("wildcard", ["shot_*.png", "shot_10[0-9][0-9].png", "shot_????.png", "*"])
def test_a_wildcard_finds_one_sequence(wildcard: str, tmp_path: Path) -> None:
    shot(tmp_path, 1001, 1003)
    touch(tmp_path, ".shot_1004.png.tmp")
    frames = find_frames(str(tmp_path / wildcard), None, "error")
    assert [frame.number for frame in frames.present] == [1001, 1002, 1003]
    assert frames.is_sequence


def test_a_wildcard_counts_gaps_and_takes_a_range(tmp_path: Path) -> None:
    shot(tmp_path, 1, 5)
    (tmp_path / "shot_0003.png").unlink()
    missing("are missing: 3", tmp_path / "shot_*.png")
    assert found(tmp_path / "shot_*.png", "5,1") == [5, 1]


def test_a_wildcard_reads_the_number_that_varies(tmp_path: Path) -> None:
    touch(tmp_path, *(f"v2_{n}_left.png" for n in (8, 9, 10)), "v2_-1_left.png")
    assert found(tmp_path / "v*_left.png", "-1,8-10") == [-1, 8, 9, 10]


def test_a_wildcard_with_several_sequences_lists_them(tmp_path: Path) -> None:
    shot(shot(tmp_path, 1001, 1003), 1, 2, stem="shot_b_", width=3)
    refused(
        "matches 2 sequences: shot_####.png 1001-1003, shot_b_###.png 1-2; give the pattern of one",
        tmp_path / "shot_*",
    )
    touch(tmp_path, "v1_1.exr", "v1_2.exr", "v2_1.exr", "v2_2.exr")
    refused("matches 2 sequences: v1_#.exr 1-2, v2_#.exr 1-2", tmp_path / "v*")


def test_a_wildcard_with_unrelated_stills_suggests_batch(tmp_path: Path) -> None:
    touch(tmp_path, "sky.png", "sea.png", "rock2.png")
    refused(
        "matches 3 unrelated files (rock#.png 2, sea.png, sky.png); "
        f"for stills use: bitexpand batch '{tmp_path}/*.png' -o FOLDER",
        tmp_path / "*.png",
    )
    assert found(tmp_path / "sk*.png") == [None]
    assert found(tmp_path / "r*.png") == [2]


def test_a_wildcard_that_finds_a_frame_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a_1.png", "a_01.png", "a_2.png")
    refused("matches frame 1 twice: a_01.png and a_1.png", tmp_path / "a_*.png")


# Outputs


def test_many_frames_need_a_token(tmp_path: Path) -> None:
    frames = find_frames(str(shot(tmp_path, 1, 3) / "shot_####.png"), None, "error")
    with pytest.raises(
        UsageError,
        match=re.escape("names one file for 3 frames; add #### for the frame number, such as 'out_####.exr'"),
    ):
        check_output("out.exr", frames)
    with pytest.raises(
        UsageError, match=re.escape("output 'o_##_%04d.exr' holds 2 frame tokens ('##', '%04d'); keep one")
    ):
        check_output("o_##_%04d.exr", frames)
    with pytest.raises(UsageError, match="holds a wildcard; give a frame token, such as '####'"):
        check_output("out_*.exr", frames)
    check_output("out_####.exr", frames)
    check_output("out.exr", find_frames(str(tmp_path / "shot_####.png"), "2", "error"))


def test_a_token_needs_a_number(tmp_path: Path) -> None:
    frames = find_frames(str(touch(tmp_path, "sky.png") / "sky.png"), None, "error")
    with pytest.raises(
        UsageError, match=r"'out_####.exr' asks for a frame number, and '.*sky.png' has none; drop ####"
    ):
        check_output("out_####.exr", frames)


@pytest.mark.parametrize("suffix", ["", "/"])
def test_an_output_folder_is_refused(suffix: str, tmp_path: Path) -> None:
    frames = find_frames(str(shot(tmp_path, 1, 3) / "shot_####.png"), None, "error")
    for folder in (f"{tmp_path}{suffix}", f"{tmp_path}/new/", "."):
        with pytest.raises(UsageError, match=r"is a folder; give a file pattern, such as '.*shot_####.exr'"):
            check_output(folder, frames)


def test_a_source_is_never_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plate = shot(tmp_path / "plate", 1, 3)
    (tmp_path / "link").symlink_to(plate)
    monkeypatch.chdir(plate)
    frames = find_frames("shot_####.png", None, "error")
    for output in (
        "shot_%04d.png",
        "./shot_@@@@.png",
        "../plate/shot_####.png",
        f"{plate}/SHOT_####.PNG",
        "../link/shot_$F4.png",
    ):
        with pytest.raises(UsageError, match=r"would overwrite the source 'shot_0001.png'"):
            check_output(output, frames)
    check_output("shot_#####.png", frames)


def test_a_collision_in_one_late_frame_is_found(tmp_path: Path) -> None:
    """Frame 12345 is written in full by either token."""
    frames = find_frames(str(shot(tmp_path, 9998, 10000) / "shot_####.png"), None, "error")
    with pytest.raises(UsageError, match="would overwrite the source '.*shot_10000.png'"):
        check_output(str(tmp_path / "shot_#####.png"), frames)


def test_links_are_followed_on_both_sides(tmp_path: Path) -> None:
    plate, out = shot(tmp_path / "plate", 1, 2), touch(tmp_path / "out", "o_0001.png")
    (plate / "shot_0003.png").symlink_to(out / "o_0001.png")
    frames = find_frames(str(plate / "shot_####.png"), None, "error")
    with pytest.raises(
        UsageError, match=r"output '.*o_0001.png' would overwrite the source '.*shot_0003.png'"
    ):
        check_output(str(out / "o_####.png"), frames)
    (out / "p_0002.exr").symlink_to(plate / "shot_0001.png")
    with pytest.raises(
        UsageError, match=r"output '.*p_0002.exr' would overwrite the source '.*shot_0001.png'"
    ):
        check_output(str(out / "p_####.exr"), frames)


def test_two_frames_never_share_an_output() -> None:
    twins = Frames(
        "*", (NumberedPath(1, Path("a_1.png")), NumberedPath(1, Path("b_1.png"))), (), is_sequence=True
    )
    with pytest.raises(UsageError, match=r"'a_1.png' and 'b_1.png' would both be written to 'o_1.exr'"):
        check_output("o_#.exr", twins)


def test_a_folder_of_many_files_is_quick(tmp_path: Path) -> None:
    shot(tmp_path, 1, 10_000, stem="other_")
    shot(tmp_path, 1, 5_000)
    frames = find_frames(str(tmp_path / "shot_####.png"), None, "error")
    check_output(str(tmp_path / "out_####.exr"), frames)
    missing("found shot_####.png 1-5000", tmp_path / "shto_####.png")
    assert len(find_frames(str(tmp_path / "shot_*"), None, "error").present) == 5_000
    assert MAX_FRAMES == 1_000_000
    assert len(os.listdir(tmp_path)) == 15_000
