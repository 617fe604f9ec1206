"""The YAML of ``prepare``: where pictures come from, and what they become."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from bitexpand.color import SHIPPED_CONFIG, conversion, load_config
from bitexpand.errors import BitexpandError, UnknownNameError, UsageError
from training.manifest import SPLITS, Split, Storage
from training.settings import STRICT, build, read_yaml, resolve
from training.sources.blender import Blender
from training.sources.folder import Folder
from training.sources.packages import Packages
from training.sources.polyhaven import PolyHaven
from training.sources.store import Options

AnySource: TypeAlias = Folder | PolyHaven | Packages | Blender

KINDS: dict[str, type[AnySource]] = {
    "folder": Folder,
    "polyhaven": PolyHaven,
    "packages": Packages,
    "blender": Blender,
}
_PATHS = ("path", "cache", "hdris", "blender")  # keys of sources that are paths


@dataclass(frozen=True)
class Shares:
    """Percent of the scenes in each split; 0 for none."""

    __pydantic_config__ = STRICT

    train: float = 80
    val: float = 10
    test: float = 10

    def __post_init__(self) -> None:
        shares = [getattr(self, split) for split in SPLITS]
        if min(shares) < 0 or abs(sum(shares) - 100) > 1e-6:
            raise ValueError(f"train, val and test must be 0 or more and 100 together, not {sum(shares):g}")

    def of(self, split: Split) -> float:
        """Return the percent of a split."""
        return getattr(self, split)


@dataclass(frozen=True)
class Recipe:
    """What ``prepare`` makes of which pictures. Paths are relative to the YAML file's folder.

    Attributes:
        output: the folder of the prepared plates.
        sources: where the pictures come from; a scene of the same name in two of them is the same scene.
        encoding: OCIO space to store, a log one, or any whose values lie within 0 and 1.
        config: OCIO config that has it, as ``bitexpand.color.load_config`` takes it.
        storage: "float" keeps every bit; "uint16" takes half the room and clips to 0..1.
        cache: where sources fetch to.
        split: shares of the splits.
        seed: of the split; another one is another split.
        upload: URL, such as "s3://bucket/plates", that the finished folder is copied to; "" is none.
        upload_options: fsspec storage options of it, such as an endpoint_url; no credentials.
    """

    __pydantic_config__ = STRICT

    output: str
    sources: tuple[AnySource, ...]
    encoding: str = "ACEScct"
    config: str = SHIPPED_CONFIG
    storage: Storage = "float"
    cache: str = "cache"
    split: Shares = Shares()
    seed: int = 0
    upload: str = ""
    upload_options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty, must have at least one")
        names = [source_name(source) for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called '{twice[0]}'; give each its own 'name'")
        for name in names:
            if name in (".", "..") or "/" in name or "\\" in name:
                raise ValueError(f"the source name '{name}' cannot be a folder's")
        if "://" in self.output:
            raise ValueError("output must be a local folder; 'upload' copies it to a URL")


def source_name(source: AnySource) -> str:
    """Return what a source is called: its name, or its kind."""
    return source.name or source.kind


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; its paths become absolute.

    Raises:
        MissingInputError: there is no such file, or no such OCIO config.
        UsageError: a key that is unknown, missing or of the wrong type, a space that the config does not have; the
            message names file and key.
    """
    content = read_yaml(path)
    recipe = build(Recipe, {**content, "sources": _sources(content.get("sources"), path)}, path)
    recipe = replace(
        recipe,
        output=resolve(recipe.output, path),
        cache=resolve(recipe.cache, path),
        config=_config_place(recipe.config, path),
        sources=tuple(_resolved(source, path) for source in recipe.sources),
    )
    _check_spaces(recipe, path)
    return recipe


def _sources(content: object, path: Path) -> tuple[AnySource, ...]:
    """Build each source by its kind, so that a wrong key is compared with the keys of that kind alone."""
    if not isinstance(content, list) or not all(isinstance(source, dict) for source in content):
        raise UsageError(f"{path}: key 'sources' must be a list, each with a 'kind': {', '.join(KINDS)}")
    return tuple(_source(source, path, f"sources.{i}") for i, source in enumerate(content))


def _source(content: dict[str, Any], path: Path, key: str) -> AnySource:
    kind = content.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{path}: key '{key}.kind': {UnknownNameError('kind of source', str(kind), KINDS)}")
    return build(KINDS[kind], content, path, key)


def _resolved(source: AnySource, path: Path) -> AnySource:
    given = {key: getattr(source, key, "") for key in _PATHS}
    # "blender" may be a mere name to look up on PATH
    places = {key: place for key, place in given.items() if place and (key != "blender" or "/" in place)}
    return replace(source, **{key: resolve(place, path) for key, place in places.items()})


def _config_place(config: str, path: Path) -> str:
    return config if config in ("", SHIPPED_CONFIG) else resolve(config, path)


def _check_spaces(recipe: Recipe, path: Path) -> None:
    with _at(path, "config"):
        config = load_config(recipe.config)
    with _at(path, "encoding"):
        config.canonical(recipe.encoding)
    for number, source in enumerate(recipe.sources):
        for key in ("space", "integer_space"):
            space = getattr(source, key)
            if space is not None:
                with _at(path, f"sources.{number}.{key}"):
                    conversion(config, space, recipe.encoding)


@contextmanager
def _at(path: Path, key: str) -> Iterator[None]:
    """Say which key of the recipe an error is about."""
    try:
        yield
    except BitexpandError as error:
        error.args = (f"{path}: key '{key}': {error}",)
        raise
