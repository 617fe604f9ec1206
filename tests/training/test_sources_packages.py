"""Packages of pictures, by the real apt-get, dpkg-deb and npm, out of a tiny repository and registry made here."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import hidden_files

from bitexpand.color import conversion, load_config
from bitexpand.errors import DiskFullError, MissingInputError, UsageError
from bitexpand.frames import read_frame
from training.settings import build
from training.sources import managers, packages
from training.sources.managers import PackageError, read_npm
from training.sources.package_list import PACKAGES, Package, Picture
from training.sources.packages import Packages

SKY, ROOM = b"a sky" * 1000, b"a room" * 1001
VERSION = "1.2-3"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


APT = Package(
    name="skies",
    manager="apt",
    package="bitexpand-test-skies",
    version=VERSION,
    folder="usr/share/skies",
    licence="CC0-1.0",
    space="ACEScg",
    pictures=(Picture("sky.exr", "train", sha256(SKY)), Picture("room.CR2", "val", sha256(ROOM))),
)
NPM = Package(
    name="rooms",
    manager="npm",
    package="@bitexpand-test/rooms",
    version="1.2.3",
    folder="package/hdri",
    licence="CC0-1.0",
    space="ACEScg",
    ceiling=1000.0,
    pictures=(Picture("room.exr", "val", sha256(ROOM)), Picture("sky.exr", "train", sha256(SKY))),
)


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"this machine has no {program}")


def write(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_deb(
    root: Path, repository: Path, version: str = VERSION, files: Mapping[str, bytes] | None = None
) -> None:
    """Build a package with dpkg-deb and a repository of it; apt reads it through a file: address."""
    fields = f"Package: {APT.package}\nVersion: {version}\nArchitecture: all\nMaintainer: me <me@here>\n"
    fields += "Description: pictures\n"
    write(root / "DEBIAN/control", fields)
    for name, content in (files or {"sky.exr": SKY, "room.CR2": ROOM, "other.exr": b"not listed"}).items():
        write(root / APT.folder / name, content)
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir()
    deb = repository / "skies.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, deb], check=True, capture_output=True)
    content = deb.read_bytes()
    fields += f"Filename: ./skies.deb\nSize: {len(content)}\nSHA256: {sha256(content)}\n"
    write(repository / "Packages", fields)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository that apt is set up for; the system's package lists are empty, as on a fresh machine."""
    need("apt-get", "dpkg-deb")
    folder, system = tmp_path / "repository", tmp_path / "system"
    make_deb(tmp_path / "deb", folder)
    write(system / "sources.list", f"deb [trusted=yes] file:{folder} ./\n")
    (system / "lists/partial").mkdir(parents=True)
    settings = {
        "Dir::State::Lists": system / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Etc::SourceList": system / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Cache": system / "cache",
    }
    write(system / "apt.conf", "".join(f'{name} "{value}";\n' for name, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(system / "apt.conf"))
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run an npm registry on loopback that has one package, packed by npm itself."""
    need("npm")
    source, served = tmp_path_factory.mktemp("npm"), tmp_path_factory.mktemp("registry")
    write(source / "package.json", json.dumps({"name": NPM.package, "version": NPM.version}))
    for name, content in {"room": ROOM, "sky": SKY}.items():
        encoded = base64.b64encode(content).decode().rstrip("=")  # such modules have no padding
        write(source / f"hdri/{name}.exr.js", f"export default 'data:application/exr;base64,{encoded}'\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_cache", str(tmp_path_factory.mktemp("npm-cache")))
        patch.setenv("npm_config_registry", url)
        patch.setenv("npm_config_fetch_retries", "0")
        subprocess.run(["npm", "pack", source], cwd=served, check=True, capture_output=True)
        write(served / "@bitexpand-test%2frooms", json.dumps(registered(served, url)))
        yield
    server.shutdown()
    thread.join()
    server.server_close()


def registered(served: Path, url: str) -> dict[str, Any]:
    """Return what a registry says of the package in a folder."""
    (archive,) = served.glob("*.tgz")
    tarball = {"tarball": f"{url}/{archive.name}", "shasum": hashlib.sha1(archive.read_bytes()).hexdigest()}
    version = {"name": NPM.package, "version": NPM.version, "dist": tarball}
    return {"name": NPM.package, "dist-tags": {"latest": NPM.version}, "versions": {NPM.version: version}}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...  # pyright: ignore

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory) / path.lstrip("/"))  # npm's %2f is a part of the name


def source(monkeypatch: pytest.MonkeyPatch, cache: Path, *rows: Package, **keys: Any) -> Packages:  # noqa: ANN401
    monkeypatch.setattr(packages, "PACKAGES", rows)
    return build(Packages, {"kind": "packages", "cache": str(cache), **keys}, Path("prepare.yaml"))


def test_debian_packages_need_no_root_and_no_lists(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    chosen = source(monkeypatch, cache, APT)
    listed = chosen.list()
    assert [(o.name, o.suffix, o.split, o.space, o.ceiling, o.licence) for o in listed] == [
        ("skies/room", ".cr2", "val", "ACEScg", None, "CC0-1.0"),
        ("skies/sky", ".exr", "train", "ACEScg", None, "CC0-1.0"),
    ]
    assert listed[1].origin == f"apt:{APT.package} usr/share/skies/sky.exr"
    assert [chosen.fetch(o, tmp_path / "unused").read_bytes() for o in listed] == [ROOM, SKY]
    assert sorted(path.name for path in (cache / "skies").iterdir()) == ["room.CR2", "sky.exr"]
    assert [name for name in hidden_files(cache) if name != ".apt"] == []
    assert not (tmp_path / "unused").exists()


def test_what_lies_in_the_cache_is_not_fetched_again_but_mended(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = source(monkeypatch, tmp_path / "cache", APT)
    listed = chosen.list()
    (tmp_path / "cache/skies/sky.exr").write_bytes(b"damaged")
    write(tmp_path / "cache/.skies.part/left.deb", "of a killed run")
    assert chosen.fetch(listed[1], tmp_path).read_bytes() == SKY
    shutil.rmtree(repository)
    assert chosen.list() == listed
    assert chosen.fetch(listed[0], tmp_path).read_bytes() == ROOM


def test_another_version_with_the_same_pictures_will_do(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_deb(tmp_path / "deb", repository, version="9.9-1")
    assert len(source(monkeypatch, tmp_path / "cache", APT).list()) == 2


def test_a_picture_that_is_another_one_is_refused(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_deb(tmp_path / "deb", repository, files={"sky.exr": b"repainted"})
    with pytest.raises(MissingInputError, match="no package of pictures can be had") as told:
        source(monkeypatch, tmp_path / "cache", APT).list()
    assert f"its 'sky.exr' has SHA-256 {sha256(b'repainted')}, not {sha256(SKY)}" in str(told.value)
    assert not (tmp_path / "cache/skies/sky.exr").exists()


def test_a_package_without_the_picture_is_told(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(APT, pictures=(Picture("moon.exr", "val", sha256(SKY)),))
    with pytest.raises(
        MissingInputError, match=r"has no file 'usr/share/skies/moon.exr'; it may be of another"
    ):
        source(monkeypatch, tmp_path / "cache", row).list()


def test_npm_packages_are_unpacked_out_of_their_modules(
    registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = source(monkeypatch, tmp_path / "cache", NPM, scene="(rooms)/")
    listed = chosen.list()
    assert [(o.name, o.split, o.scene, o.ceiling) for o in listed] == [
        ("rooms/room", "val", "rooms", 1000.0),
        ("rooms/sky", "train", "rooms", 1000.0),
    ]
    assert [chosen.fetch(o, tmp_path).read_bytes() for o in listed] == [ROOM, SKY]
    assert hidden_files(tmp_path / "cache") == []


def test_a_version_that_npm_does_not_have_is_told(registry: None, tmp_path: Path) -> None:
    with pytest.raises(
        PackageError, match=r"'@bitexpand-test/rooms': 'npm pack' cannot get it \(.*check the network"
    ):
        read_npm(NPM.package, "7.7.7", ["package/hdri/sky.exr.js"], tmp_path)


def test_a_module_without_a_picture_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {f"{NPM.folder}/{p.file}.js": b"export default 'plain'" for p in NPM.pictures}
    monkeypatch.setitem(packages._READERS, "npm", lambda *_: content)
    with pytest.raises(
        MissingInputError, match=r"'package/hdri/room.exr.js' is no module that exports a data URI"
    ):
        source(monkeypatch, tmp_path / "cache", NPM).list()


def test_a_package_that_cannot_be_had_is_left_out_with_a_warning(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = replace(APT, name="lost", package="bitexpand-test-lost")
    chosen = source(monkeypatch, tmp_path / "cache", lost, APT)
    assert [o.name for o in chosen.list()] == ["skies/room", "skies/sky"]
    (record,) = caplog.records
    assert record.name.startswith("training.")
    assert "left out: package 'bitexpand-test-lost': 'apt-get download' cannot get it" in record.message
    assert "Unable to locate package bitexpand-test-lost" in record.message


@pytest.mark.parametrize(("row", "program"), [(APT, "apt-get"), (NPM, "npm")])
def test_a_machine_without_the_manager_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Package, program: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingInputError, match=f"package '{row.package}': this machine has no '{program}'"):
        source(monkeypatch, tmp_path / "cache", row).list()


def test_a_manager_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "bin/npm", "#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin/npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(managers, "TIMEOUT", 0.2)
    with pytest.raises(PackageError, match="'npm pack' took over 0.2 s"):
        read_npm("slow", "1", [], tmp_path)


def test_a_full_disk_is_no_reason_to_leave_a_package_out(
    repository: Path, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_deb(tmp_path / "deb", repository, files={"sky.exr": os.urandom(2 << 20)})
    cache = small_disk(1 << 10) / "cache"
    with pytest.raises(DiskFullError, match=f"{cache}: the disk is full; free some room"):
        source(monkeypatch, cache, APT).list()
    assert list(cache.rglob("*.deb")) == []


def test_a_disk_that_fills_up_while_pictures_are_stored_keeps_those_before(
    small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, large = small_disk(64) / "cache", bytes(100_000)
    row = replace(APT, pictures=(APT.pictures[0], Picture("room.CR2", "val", sha256(large))))
    content = {f"{APT.folder}/sky.exr": SKY, f"{APT.folder}/room.CR2": large}
    monkeypatch.setitem(packages._READERS, "apt", lambda *_: content)
    with pytest.raises(DiskFullError, match=r"room.CR2: the disk is full"):
        source(monkeypatch, cache, row).list()
    assert hidden_files(cache) == []
    assert (cache / "skies/sky.exr").read_bytes() == SKY


def test_unknown_packages_are_told() -> None:
    with pytest.raises(UsageError, match="unknown package 'webhdri'; did you mean 'webhdris'"):
        build(Packages, {"kind": "packages", "packages": ["webhdri"]}, Path("prepare.yaml"))


def test_the_table_is_sound_and_its_split_is_fixed() -> None:
    names = [row.name for row in PACKAGES]
    assert len(set(names)) == len(names)
    pictures = {f"{row.name}/{p.file}": p for row in PACKAGES for p in row.pictures}
    digests = [p.sha256 for p in pictures.values()]
    assert len(set(digests)) == len(digests) == 32
    assert all(len(d) == 64 and int(d, 16) for d in digests)
    config = load_config("bitexpand")
    for row in PACKAGES:
        conversion(config, row.space, "ACEScct")
    assert {name for name, p in pictures.items() if p.split != "train"} == {
        "studiolights/night.exr",
        "webhdris/lobby.exr",
        "webhdris/venice.exr",
        *(f"openexr/{name}.exr" for name in ("CandleGlass", "Desk", "GoldenGate", "Ocean", "StillLife")),
        "rawsky/IMG_5952.CR2",
        "hdrroom/hdr_room.png",
    }
    assert {p.split for p in pictures.values()} == {"train", "val"}
    assert "webhdris/sunrise.exr" not in pictures  # the same panorama as studiolights/sunrise.exr


@pytest.mark.skipif(
    os.environ.get("BITEXPAND_TEST_REGISTRIES") != "1",
    reason="set BITEXPAND_TEST_REGISTRIES=1 to fetch 120 MB",
)
@pytest.mark.timeout(600)
def test_the_real_packages_hold_pictures_that_can_be_read(tmp_path: Path) -> None:
    import rawpy

    real = build(Packages, {"kind": "packages", "cache": str(tmp_path)}, Path("prepare.yaml"))
    listed = real.list()
    assert len(listed) == 32
    for original in listed:
        file = real.fetch(original, tmp_path)
        if original.suffix == ".cr2":
            with rawpy.imread(str(file)) as raw:
                assert raw.raw_image.shape == (2360, 3596)
        else:
            frame = read_frame(file)
            assert frame.info.channels[:3] == ("R", "G", "B")
            assert len(np.unique(frame.pixels[..., 1])) > 2500
