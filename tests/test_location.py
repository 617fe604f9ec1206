"""Where frames lie: URLs of stores beside paths."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitexpand.location import RemotePath, location, remote_text

NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=1).filter(
    lambda name: name.strip(".")
)


@given(st.lists(NAMES, min_size=2, max_size=4))
def test_the_parts_of_a_url_are_those_of_its_path(parts: list[str]) -> None:
    url, path = RemotePath("s3://" + "/".join(parts)), PurePosixPath(*parts)
    assert (url.name, url.stem, url.suffix) == (path.name, path.stem, path.suffix)
    assert str(url.parent) == f"s3://{path.parent}"
    assert url.parent / url.name == url
    assert str(url.with_name("x.exr")) == f"s3://{path.with_name('x.exr')}"
    assert location(str(url)) == url


def test_a_bucket_is_its_own_folder() -> None:
    bucket = RemotePath("s3://plates")
    assert bucket.parent == bucket
    assert RemotePath("s3://plates/").name == ""
    assert RemotePath("S3://plates/a").protocol == "s3"


@pytest.mark.parametrize(
    "text", ["a.png", "/a//b.png", "s3:/b/a.png", "a:b", "C://x", "v#2/shot_####.png", ""]
)
def test_paths_stay_paths(text: str) -> None:
    assert location(text) == Path(text)
    assert remote_text(text) is None


def test_a_file_url_is_a_path() -> None:
    assert location("file:///a/b.png") == Path("/a/b.png")


def test_a_url_is_known_again_when_it_was_made_a_path() -> None:
    assert remote_text("s3://b/a.png") == "s3://b/a.png"
    assert remote_text(Path("s3://b/a.png")) == "s3://b/a.png"
    assert remote_text(Path("a/s3:/b")) is None
    assert remote_text(Path("/a")) is None
    assert remote_text(Path()) is None
