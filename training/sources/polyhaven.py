"""Poly Haven's HDRIs (CC0), by its public API: a list of assets, and of the files of each with size and MD5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from bitexpand.errors import MissingInputError, UnknownNameError, UsageError
from training.sources.base import Original, SourceSettings
from training.sources.download import Expected
from training.sources.web import Json, ServerError, Web

LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class _Asset:
    """What the API says of an asset, as far as we ask; it says more."""

    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    """One file of an asset: where it is, its bytes, and their MD5."""

    url: str
    size: Annotated[int, Field(gt=0)]
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


_Files = Mapping[str, Mapping[str, _File]]  # by resolution, then by format


@dataclass(frozen=True, kw_only=True)
class PolyHaven(SourceSettings):
    """HDRIs of Poly Haven.

    Attributes:
        assets: ids of those wanted; empty takes all.
        resolution: as the site names it: "1k", "2k", "4k", "8k", and more for some.
        format: "exr", or "hdr", which has far fewer steps to learn from.
        categories: take only assets that are in one of these; empty takes all.
        limit: take only so many, the first by id.
        url: of the API.
    """

    kind: Literal["polyhaven"]
    assets: tuple[str, ...] = ()
    resolution: Annotated[str, Field(pattern=r"^\d+k$")] = "2k"
    format: Literal["exr", "hdr"] = "exr"
    categories: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=1)] | None = None
    url: str = "https://api.polyhaven.com"

    def __post_init__(self) -> None:
        super().__post_init__()
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ValueError(f"url '{self.url}' must begin with https:// and a server's name")

    def list(self) -> Sequence[Original]:
        """Ask for the ids of all HDRIs and take those wanted; what each offers is asked when it is fetched."""
        with Web() as web:
            known = _read(Mapping[str, _Asset], web.json(f"{self._api}/assets", type="hdris"), self.url)
        for asset in self.assets:
            if asset not in known:
                raise UnknownNameError("Poly Haven asset", asset, known)
        offered = {category for asset in known.values() for category in asset.categories}
        for category in self.categories:
            if category not in offered:
                raise UnknownNameError("Poly Haven category", category, offered)
        wanted = sorted(set(self.assets or known))
        if self.categories:
            wanted = [a for a in wanted if set(known[a].categories) & set(self.categories)]
        if not wanted:
            raise MissingInputError(
                f"{self.url}: offers no HDRI that is wanted; ask for other categories or assets"
            )
        return [self._original(asset) for asset in wanted[: self.limit]]

    def fetch(self, original: Original, cache: Path) -> Path:
        """Download a picture, unless it lies in the cache in the version that the site offers now."""
        with Web() as web:
            files = web.json(original.origin)
            file = self._choose(_read(Mapping[str, object], files, original.origin), original)
            expected = Expected(file.url, file.md5, file.size, ("md5", file.md5))
            target = cache / f"{original.name}.{expected.token}{original.suffix}"
            web.download(target, expected)
        return target

    @property
    def _api(self) -> str:
        return self.url.rstrip("/")

    def _original(self, asset: str) -> Original:
        origin = f"{self._api}/files/{quote(asset, safe='')}"
        return Original(asset, f".{self.format}", self.scene_of(asset), origin, LICENCE)

    def _choose(self, files: Mapping[str, object], original: Original) -> _File:
        offered = _read(_Files, files.get("hdri", {}), original.origin)
        formats = {resolution: f for resolution, f in offered.items() if self.format in f}
        if self.resolution not in formats:
            known = ", ".join(sorted(formats, key=lambda r: (len(r), r))) or "none"
            raise UsageError(
                f"Poly Haven asset '{original.name}' is not offered in resolution '{self.resolution}' as "
                f"{self.format}; its resolutions are: {known}"
            )
        return formats[self.resolution][self.format]


def _read(kind: Any, answer: Json, origin: str) -> Json:  # noqa: ANN401  (a type expression)
    """Check an answer against what the API is known to say."""
    try:
        return TypeAdapter(kind).validate_python(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ServerError(
            f"{origin}: the answer is not the API's as it is known ({where or 'it'}: {first['msg']})"
        ) from error
