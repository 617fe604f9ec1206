"""What is to be prepared: every picture of every source, its name, its scene, and the scene's split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from bitexpand.errors import UsageError
from training.linear import Reading
from training.manifest import SPLITS, Split
from training.recipe import AnySource, Recipe, Shares, source_name
from training.sources.base import Original


@dataclass(frozen=True)
class Picture:
    """One picture that a recipe asks for.

    Attributes:
        name: unique in the prepared folder: its source's name, a slash, its own.
        source: where it is fetched.
        original: as the source knows it.
        scene: what must stay within one split.
        split: of that scene.
        reading: how it is read.
        licence: SPDX identifier.
    """

    name: str
    source: AnySource
    original: Original
    scene: str
    split: Split
    reading: Reading
    licence: str


@dataclass(frozen=True)
class Chunk:
    """The share of the pictures that one of several machines prepares: every ``count``-th, from ``number`` on.

    Raises:
        UsageError: there is no such chunk.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"chunk '{self}': give K/N with K from 1 to N, such as 3/8")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, pictures: Sequence[Picture]) -> Sequence[Picture]:
        """Return its share; neighbours, which are often alike in size, go to different chunks."""
        return pictures[self.number - 1 :: self.count]


def parse_chunk(text: str) -> Chunk:
    """Read a chunk such as "3/8".

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None:
        raise UsageError(f"chunk '{text}': give K/N with K from 1 to N, such as 3/8")
    return Chunk(int(match[1]), int(match[2]))


def plan(recipe: Recipe) -> tuple[Picture, ...]:
    """List the pictures of all sources, in the order of the recipe, and assign their splits.

    Raises:
        UsageError: a scene pinned to two splits, two pictures of one name, a split that would be empty.
        BitexpandError: a source cannot be listed.
    """
    offered = [
        (source, original)
        for source in recipe.sources
        for original in source.list()
        if not _matches(original, source.skip)
    ]
    names = [_name(source, original) for source, original in offered]
    for first, second in zip(sorted(names), sorted(names)[1:], strict=False):
        if first == second:
            raise UsageError(f"two pictures are called '{first}'; rename one, or leave one out with 'skip'")
    scenes = [_scene(source, original) for source, original in offered]
    pins: list[Split | None] = [_pin(source, original) for source, original in offered]
    pinned = tuple(zip(names, scenes, pins, strict=True))
    splits = assign(pinned, recipe.split, recipe.seed)
    check_splits(splits.values(), recipe.split, f"{len(splits)} scenes")
    return tuple(
        Picture(
            name,
            source,
            original,
            scene,
            splits[scene],
            _reading(source, original),
            _licence(source, original),
        )
        for (source, original), name, scene in zip(offered, names, scenes, strict=True)
    )


def assign(pictures: Sequence[tuple[str, str, Split | None]], shares: Shares, seed: int) -> dict[str, Split]:
    """Say which split each scene is in.

    A scene's place is a hash of itself and the seed, so scenes that come later move none of those that were there:
    what validated once never trains. A split has its share of many scenes, and of a few by chance; pin some then.

    Args:
        pictures: name, scene and pinned split of each; one pin speaks for its whole scene.
        shares: percent of the splits.
        seed: of the hash.

    Raises:
        UsageError: a scene is pinned to two splits; the message names a picture of each.
    """
    pinned: dict[str, tuple[Split, str]] = {}
    for name, scene, pin in pictures:
        if pin is None:
            continue
        split, by = pinned.setdefault(scene, (pin, name))
        if split != pin:
            raise UsageError(
                f"scene '{scene}' is pinned to two splits: '{by}' to '{split}', '{name}' to '{pin}';"
                " a scene must stay within one, so change 'pinned' or 'scene'"
            )
    return {
        scene: pinned[scene][0] if scene in pinned else _drawn(scene, shares, seed)
        for _, scene, _ in pictures
    }


def check_splits(splits: Iterable[Split], shares: Shares, of: str) -> None:
    """Raise UsageError if a split that has a share is not among ``splits``; ``of`` says what there is."""
    present = set(splits)
    for split in SPLITS:
        if shares.of(split) and split not in present:
            raise UsageError(
                f"split '{split}' is empty: it has {shares.of(split):g} percent and none of {of}; add scenes,"
                f" pin some to it (pinned: {{{split}: [PATTERN]}}), or set its share to 0"
            )


def _drawn(scene: str, shares: Shares, seed: int) -> Split:
    place = int.from_bytes(hashlib.sha256(f"{seed}:{scene}".encode()).digest()[:8], "big") / 2**64 * 100
    for split in SPLITS[:-1]:
        if place < shares.of(split):
            return split
        place -= shares.of(split)
    # rounding may leave a crumb beyond the last share
    return next(split for split in reversed(SPLITS) if shares.of(split))


def _name(source: AnySource, original: Original) -> str:
    parts = PurePosixPath(original.name).parts
    assert parts
    assert not {"..", "/"} & set(parts), original.name
    return f"{source_name(source)}/{original.name}"


def _scene(source: AnySource, original: Original) -> str:
    found = re.search(source.scene, original.name) if source.scene else None
    return (found and found.group(1)) or original.scene


def _pin(source: AnySource, original: Original) -> Split | None:
    """Return the pinned split: the recipe's word counts before the source's."""
    pins: list[Split] = [split for split, patterns in source.pinned.items() if _matches(original, patterns)]
    if len(pins) > 1:
        raise UsageError(f"'{_name(source, original)}' is pinned to two splits, '{pins[0]}' and '{pins[1]}'")
    if pins:
        return pins[0]
    if original.split is None:
        return None
    return SPLITS[SPLITS.index(original.split)]


def _matches(original: Original, patterns: Iterable[str]) -> bool:
    """Tell whether a pattern fits a picture's name or its last part, each with or without its suffix."""
    names = (original.name, PurePosixPath(original.name).name)
    return any(
        fnmatchcase(name + suffix, p) for name in names for suffix in ("", original.suffix) for p in patterns
    )


def _reading(source: AnySource, original: Original) -> Reading:
    return Reading(
        original.space or source.space,
        original.space or source.integer_space,
        source.force,
        source.ceiling if original.ceiling is None else original.ceiling,
    )


def _licence(source: AnySource, original: Original) -> str:
    return source.licence if original.licence == "unknown" else original.licence
