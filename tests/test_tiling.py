"""Tiles: nothing is left out, nothing counts twice, and no tile is trusted at its rim."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.errors import UsageError
from bitexpand.tiling import Tile, check_overlap, check_tile, largest_tile, smallest_tile, tiles

quick = settings(deadline=None, max_examples=60)
Cut: TypeAlias = tuple[int, int, tuple[int, int], int, int]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    """Height, width, tile, overlap and multiple, as ``tiles`` takes them."""
    multiple = draw(st.sampled_from([1, 2, 8, 16]))
    overlap = multiple * draw(st.integers(1, 40 // multiple))
    more = st.integers(0, 30)
    rows, columns = (smallest_tile(overlap, multiple) + multiple * draw(more) for _ in range(2))
    height, width = (draw(st.integers(1, min(5 * side, 500))) for side in (rows, columns))
    return height, width, (rows, columns), overlap, multiple


@quick
@given(cuts(), st.integers(0, 999))
def test_tiles_blend_into_their_frame(cut: Cut, seed: int) -> None:
    """Of tiles that agree to what they agree on, of those that do not to something between; codes to themselves."""
    height, width = cut[:2]
    random = np.random.default_rng(seed)
    codes = random.integers(0, 4096, (height, width, 1), np.uint16)
    moved_cv = (codes + random.uniform(-0.5, 0.5, codes.shape)).astype(np.float32)
    whole_cv, still_cv, apart_cv = np.full((3, height, width, 1), np.nan, np.float32)
    for number, tile in enumerate(tiles(*cut)):
        tile.blend(moved_cv[tile.window], codes, whole_cv)
        tile.blend(codes[tile.window].astype(np.float32), codes, still_cv)
        tile.blend(codes[tile.window] + np.float32(0.5 * (number % 2)), codes, apart_cv)
    np.testing.assert_allclose(whole_cv, moved_cv, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(still_cv, codes)
    assert (codes <= apart_cv).all()
    assert (apart_cv <= codes + 0.5).all()


@quick
@given(cuts())
def test_tiles_start_on_the_grid_and_are_no_larger_than_asked(cut: Cut) -> None:
    height, width, sides, _, multiple = cut
    for tile in tiles(*cut):
        for span, length, side in ((tile.rows, height, sides[0]), (tile.columns, width, sides[1])):
            assert span.start % multiple == 0
            assert 0 <= span.start < span.stop <= length
            assert span.stop - span.start <= side


@quick
@given(cuts())
def test_the_outer_quarters_of_shared_strips_carry_no_weight(cut: Cut) -> None:
    height, width, _, overlap, _ = cut
    quarter = overlap // 4
    for tile in tiles(*cut):
        for span, length in ((tile.rows, height), (tile.columns, width)):
            stretches = [part.pixels for part in span.parts()]
            assert all(a.stop == b.start for a, b in zip(stretches[:-1], stretches[1:], strict=True))
            assert stretches[0].start == (quarter if span.start > 0 else 0)
            assert stretches[-1].stop == span.stop - span.start - (quarter if span.stop < length else 0)


@quick
@given(cuts())
def test_neighbours_are_nearly_equal_in_size(cut: Cut) -> None:
    rows = {tile.rows: tile.rows.stop - tile.rows.start for tile in tiles(*cut)}
    *all_but_last, last = rows.values()
    assert len(set(all_but_last)) <= 1
    assert all(last <= side for side in all_but_last)


def test_a_frame_that_fits_is_one_tile() -> None:
    (tile,) = tiles(31, 64, (64, 64), 8, 8)
    assert isinstance(tile, Tile)
    assert tile.window == (slice(0, 31), slice(0, 64))
    for span in (tile.rows, tile.columns):
        (part,) = span.parts()
        assert part.is_first
        assert part.is_last
        assert (part.weights == 1).all()


@pytest.mark.parametrize("tile", [7, 0, -64, 64, 575, 577, 600])
def test_a_tile_off_the_grid_or_too_small_is_refused(tile: int) -> None:
    with pytest.raises(UsageError, match=rf"--tile {tile}: give a multiple of 64 from 576 on .*, or auto"):
        check_tile(tile, 256, 64)


@pytest.mark.parametrize("overlap", [0, -8, 7, 9])
def test_an_overlap_off_the_grid_is_refused(overlap: int) -> None:
    with pytest.raises(UsageError, match=f"--overlap {overlap}: give a multiple of 8 px, 8 at least"):
        check_overlap(overlap, 8)


def test_the_smallest_tile_is_accepted() -> None:
    check_overlap(8, 8)
    check_tile(smallest_tile(8, 8), 8, 8)


@quick
@given(cuts(), st.integers(1, 500_000))
def test_the_chosen_tiles_hold_no_more_pixels_than_allowed_and_cost_less_than_squares(
    cut: Cut, pixels: int
) -> None:
    height, width, _, overlap, multiple = cut
    chosen = largest_tile(height, width, pixels, overlap, multiple)
    for side in chosen:
        check_tile(max(side, smallest_tile(overlap, multiple)), overlap, multiple)
    smallest = smallest_tile(overlap, multiple)
    if chosen != (smallest, smallest):
        assert chosen[0] * chosen[1] <= pixels
    side = int(pixels**0.5) // multiple * multiple
    if side >= smallest:
        assert computed(height, width, chosen, cut) <= computed(height, width, (side, side), cut)


def computed(height: int, width: int, tile: tuple[int, int], cut: Cut) -> int:
    """Return how many pixels a network sees, in whole cells."""
    cell = cut[4]
    sizes = (
        [-(-(span.stop - span.start) // cell) * cell for span in (t.rows, t.columns)]
        for t in tiles(height, width, tile, *cut[3:])
    )
    return sum(rows * columns for rows, columns in sizes)


def test_a_frame_within_the_allowance_is_not_cut() -> None:
    assert largest_tile(1000, 100, 1024 * 128, 32, 64) == (1024, 128)
    assert largest_tile(1000, 100, 1024 * 128 - 1, 32, 64) != (1024, 128)
