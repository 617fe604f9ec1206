"""From pictures to a prepared folder: plates in one log space, a manifest, statistics, and what was left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bitexpand import temporaries
from bitexpand.color import load_config
from bitexpand.errors import BitexpandError, MemoryShortageError, UsageError, WriteError
from bitexpand.plate import file_digest
from bitexpand.temporaries import prepare_folder
from training import manifest as manifests
from training import plates, statistics
from training.manifest import Manifest, PlateRow
from training.plan import Chunk, Picture, check_splits, plan
from training.plates import Made, Target
from training.recipe import Recipe, load_recipe, source_name
from training.remote import upload

__all__ = [
    "FAILURES_NAME",
    "Failure",
    "Prepared",
    "Progress",
    "load_recipe",
    "prepare",
    "prepare_chunk",
]

FAILURES_NAME = "failures.json"
WORKERS = min(os.cpu_count() or 1, 4)  # each holds a plate: a 16K HDRI is 1.6 GB


@dataclass(frozen=True)
class Failure:
    """A picture that was left out.

    Attributes:
        name: what the plate would be called.
        origin: where its original comes from.
        reason: what is wrong with it, and what to do.
    """

    name: str
    origin: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` has made.

    Attributes:
        manifest: as it lies in ``folder``; of a chunk, which writes none, what it knows.
        folder: of the plates.
        failures: the pictures that were left out, in the order of the recipe.
        kept: how many plates lay there already and were not made again.
    """

    manifest: Manifest
    folder: Path
    failures: tuple[Failure, ...]
    kept: int


@dataclass(frozen=True)
class Progress:
    """One picture has been fetched or prepared, or has failed to be."""

    stage: Literal["fetch", "prepare"]
    done: int
    total: int
    name: str
    failure: str | None = None


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class _Fetched:
    picture: Picture
    path: Path
    sha256: str


def prepare(recipe: Recipe, on_progress: OnProgress | None = None) -> Prepared:
    """Prepare all pictures of a recipe.

    A picture that cannot be used is left out with its reason, and so is a second copy of one. Plates that lie there
    complete, made of the same original with the same settings, are not made again: a run that was killed, or whose
    disk was full, goes on with the same recipe. The manifest is written last.

    Raises:
        UsageError: a key of the recipe cannot be used, a scene is pinned to two splits, or a split is empty.
        DiskFullError, WriteError: the output cannot be written; the plates made so far are complete.
        BitexpandError: a source cannot be listed, or the folder not uploaded.
    """
    prepared, made = _prepare(recipe, plan(recipe), on_progress)
    _finish(prepared, made, recipe)
    if recipe.upload:
        upload(prepared.folder, recipe.upload, recipe.upload_options)
    return prepared


def prepare_chunk(recipe: Recipe, chunk: Chunk, on_progress: OnProgress | None = None) -> Prepared:
    """Prepare a chunk of the pictures into the folder that all chunks share, and write no manifest.

    Chunks know nothing of each other and can run at the same time, anywhere. ``prepare``, when they have ended,
    finds their plates, makes what is missing, and writes the manifest that it would have written alone.

    Raises:
        as ``prepare``.
    """
    return _prepare(recipe, chunk.of(plan(recipe)), on_progress)[0]


def _prepare(
    recipe: Recipe, pictures: Sequence[Picture], on_progress: OnProgress | None
) -> tuple[Prepared, dict[str, Made]]:
    """Make the plates of pictures, and return also what is known of each, by name."""
    config = load_config(recipe.config)
    target = Target(config, config.canonical(recipe.encoding), recipe.storage)
    folder = Path(recipe.output)
    report = on_progress or (lambda progress: None)
    failures: dict[str, Failure] = {}
    fetched = _fetch(pictures, Path(recipe.cache), failures, report)
    originals = _without_copies(fetched, failures)
    _remove_plates(folder, {one.picture.name for one in fetched} - {one.picture.name for one in originals})
    made, kept = _make(originals, folder, target, failures, report)
    left_out = tuple(failures[picture.name] for picture in pictures if picture.name in failures)
    manifest = Manifest(target.encoding, config.name, target.storage, _rows(originals, made))
    return Prepared(manifest, folder, left_out, kept), made


def _fetch(
    pictures: Sequence[Picture], cache: Path, failures: dict[str, Failure], report: OnProgress
) -> list[_Fetched]:
    """Fetch all pictures, one after the other out of politeness to servers, and hash them beside."""
    hashed: list[tuple[Picture, Path, Future[str]]] = []
    with _pool() as pool:
        for done, picture in enumerate(pictures, 1):
            with _noting(picture, failures):
                path = picture.source.fetch(picture.original, cache / source_name(picture.source))
                hashed.append((picture, path, pool.submit(file_digest, path)))
            report(Progress("fetch", done, len(pictures), picture.name, _reason(failures, picture)))
        fetched: list[_Fetched] = []
        for picture, path, digest in hashed:
            with _noting(picture, failures):
                fetched.append(_Fetched(picture, path, digest.result()))
    return fetched


def _without_copies(fetched: Sequence[_Fetched], failures: dict[str, Failure]) -> list[_Fetched]:
    """Leave out what has the same bytes as a picture before it: it would count twice, or sit in two splits."""
    first: dict[str, _Fetched] = {}
    for one in fetched:
        other = first.setdefault(one.sha256, one)
        if other is not one:
            reason = f"is the same file as '{other.picture.name}' ({one.path}); leave one out with 'skip'"
            failures[one.picture.name] = Failure(one.picture.name, one.picture.original.origin, reason)
    return list(first.values())


def _remove_plates(folder: Path, copies: set[str]) -> None:
    """Remove the plates of copies, which chunks that did not know the original may have made."""
    for name in copies:
        if plates.exists(folder, name):
            (folder / manifests.FILE_NAME).unlink(missing_ok=True)  # it may speak of them
            plates.remove(folder, name)


def _make(
    fetched: Sequence[_Fetched],
    folder: Path,
    target: Target,
    failures: dict[str, Failure],
    report: OnProgress,
) -> tuple[dict[str, Made], int]:
    """Make the plates that are not there yet; return what is known of all, by name, and how many were there."""
    _prepare_folders(folder, {folder, *((folder / one.picture.name).parent for one in fetched)})
    prints = {one.picture.name: target.fingerprint(one.sha256, one.picture.reading) for one in fetched}
    found = {
        name: plates.find(folder, name, fingerprint, target.storage) for name, fingerprint in prints.items()
    }
    if any(made is None and (folder / plates.plate_file(name)).exists() for name, made in found.items()):
        # a plate is about to be replaced, and the manifest speaks of the old one
        (folder / manifests.FILE_NAME).unlink(missing_ok=True)
    kept = {name: made for name, made in found.items() if made is not None}
    made = dict(kept)
    with _pool() as pool:
        waiting = [
            (
                one.picture,
                pool.submit(plates.make, one.path, folder, name, one.picture.reading, target, prints[name]),
            )
            for one in fetched
            if (name := one.picture.name) not in kept
        ]
        for done, (picture, future) in enumerate(waiting, len(kept) + 1):
            with _noting(picture, failures):
                made[picture.name] = future.result()
            report(Progress("prepare", done, len(fetched), picture.name, _reason(failures, picture)))
    return made, len(kept)


def _rows(fetched: Sequence[_Fetched], made: dict[str, Made]) -> tuple[PlateRow, ...]:
    rows = []
    for one in fetched:
        picture = one.picture
        if picture.name not in made:
            continue
        plate = made[picture.name]
        rows.append(
            PlateRow(
                name=picture.name,
                file=plates.plate_file(picture.name),
                unknown=plates.unknown_file(picture.name) if plate.has_unknown else None,
                height=plate.height,
                width=plate.width,
                scene=picture.scene,
                split=picture.split,
                source=source_name(picture.source),
                licence=picture.licence,
                origin=picture.original.origin,
                original_sha256=one.sha256,
                sha256=plate.sha256,
                notes=plate.notes,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.name))


def _finish(prepared: Prepared, made: dict[str, Made], recipe: Recipe) -> None:
    folder, manifest, failures = prepared.folder, prepared.manifest, prepared.failures
    content = json.dumps([asdict(failure) for failure in failures], indent=1)
    temporaries.write_text(folder / FAILURES_NAME, content + "\n")
    there = f"{len(manifest.plates)} plates"
    if failures:
        listed = folder / FAILURES_NAME
        there += f" ({len(failures)} pictures were left out, all in {listed}, the first is {failures[0]})"
    check_splits((row.split for row in manifest.plates), recipe.split, there)
    statistics.save(folder, manifest, {name: plate.statistics for name, plate in made.items()})
    manifest.save(folder)


def _prepare_folders(root: Path, folders: set[Path]) -> None:
    try:
        for folder in sorted(folders):
            prepare_folder(folder)
    except UsageError as error:
        raise UsageError(
            f"key 'output': cannot write to '{root}' ({error.__cause__}); choose another"
        ) from error


@contextmanager
def _noting(picture: Picture, failures: dict[str, Failure]) -> Iterator[None]:
    """Note an error of one picture, and go on; what keeps all of them from being written is raised."""
    try:
        yield
    except WriteError:
        raise
    except (BitexpandError, OSError) as error:
        failures[picture.name] = Failure(picture.name, picture.original.origin, str(error))
    except MemoryError:
        error = MemoryShortageError(
            "does not fit into memory; give a smaller one, or leave it out with 'skip'"
        )
        failures[picture.name] = Failure(picture.name, picture.original.origin, str(error))


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Give a pool that drops what it has not begun when the block fails, and does not wait for all of it."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _reason(failures: dict[str, Failure], picture: Picture) -> str | None:
    failure = failures.get(picture.name)
    return None if failure is None else failure.reason
