"""Grouping names into sequences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.listing import grouped

names = st.sets(st.from_regex(r"[a-b_.-]{0,3}[0-9]{0,4}_?[0-9]{0,3}\.(png|exr)", fullmatch=True), max_size=12)


@settings(deadline=None)
@given(names)
def test_every_name_is_in_one_group(files: set[str]) -> None:
    members = [name for group in grouped(files) for name in [n for _, n in group.numbered] or [group.pattern]]
    assert sorted(members) == sorted(files)


@settings(deadline=None)
@given(names)
def test_a_name_is_its_prefix_number_and_suffix(files: set[str]) -> None:
    for group in grouped(files):
        assert list(group.numbered) == sorted(group.numbered)
        for number, name in group.numbered:
            assert name.startswith(group.prefix)
            assert name.endswith(group.suffix)
            assert int(name[len(group.prefix) : len(name) - len(group.suffix)]) == number


@pytest.mark.parametrize(
    ("files", "patterns"),
    [
        (["s_0001.png", "s_0002.png", "s_0001.exr"], ["s_####.exr", "s_####.png"]),
        (["s_9.png", "s_10.png"], ["s_#.png"]),
        (["v1_7.png", "v2_7.png"], ["v#_7.png"]),
        (["v1_7.png", "v1_8.png", "v2_7.png"], ["v1_#.png", "v2_#.png"]),
        (["7_left.png", "8_left.png"], ["#_left.png"]),
        (["a-1.png", "a-2.png"], ["a-#.png"]),
        (["sky.png", "sea.png"], ["sea.png", "sky.png"]),
        (["clip.mp4"], ["clip.mp4"]),
    ],
)
def test_the_last_number_that_varies_is_the_frame(files: list[str], patterns: list[str]) -> None:
    assert sorted(group.pattern for group in grouped(files)) == patterns
