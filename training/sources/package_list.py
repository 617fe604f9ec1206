"""The pictures that package registries hold: every one by name and SHA-256, with its licence and its fixed split.

The split is part of the table: validation pictures never train, in any version of a model, so that gains compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from training.manifest import Split

Manager: TypeAlias = Literal["apt", "npm"]

_REC709 = "Linear Rec.709 (sRGB)"


@dataclass(frozen=True)
class Picture:
    """A picture in a package: its name and suffix, the split that it is in for good, the SHA-256 of its file."""

    file: str
    split: Split
    sha256: str


@dataclass(frozen=True)
class Package:
    """A package that holds pictures.

    Attributes:
        name: what a recipe calls it, and the folder of its pictures.
        manager: "apt" (Debian and its kin) or "npm".
        package, version: as the manager calls them; apt may have another version, whose pictures are checked alike.
        folder: of the pictures in the package; in npm's a picture is a module, "night.exr.js", that exports it.
        licence: SPDX identifier, as the package states it for the pictures.
        space: OCIO space of the pictures.
        pictures: those that are good truths; others in the same folder are left out on purpose.
        ceiling: see :class:`training.sources.base.Original`.
    """

    name: str
    manager: Manager
    package: str
    version: str
    folder: str
    licence: str
    space: str
    pictures: tuple[Picture, ...]
    ceiling: float | None = None


PACKAGES: tuple[Package, ...] = (
    # Poly Haven panoramas of 1024 x 512.
    Package(
        name="studiolights",
        manager="apt",
        package="blender-data",
        version="3.4.1+dfsg-2",
        folder="usr/share/blender/datafiles/studiolights/world",
        licence="CC0-1.0",
        space=_REC709,
        pictures=(
            Picture("city.exr", "train", "70940108df90c0721799d29f758ca79e67e509d9a2636487e639db7779561524"),
            Picture(
                "courtyard.exr", "train", "1518fa37da6a8a389810a7a70262c410553018a51f0be9e248155b9bb363ff3d"
            ),
            Picture(
                "forest.exr", "train", "63ad3243d0f9c29bd1f51b9a3bbf5c0ad25ea39299698dba6cfc29d1660d6008"
            ),
            Picture(
                "interior.exr", "train", "4f6810b182ade346eac6964bf02405adf430c321b8853a644316af4e05d0fdb5"
            ),
            Picture("night.exr", "val", "a46488f5cb744f325abc9f5af3c3eeb5d9393df69b5178fbe727538522120045"),
            Picture(
                "studio.exr", "train", "e501dd8a1172bd0e03903ede7f452300f8368448fe74720600338304d79281d9"
            ),
            Picture(
                "sunrise.exr", "train", "b97206217e29763d62d9a65ad2d7058460acfb4824659e7a59f5bde374f21937"
            ),
            Picture(
                "sunset.exr", "train", "a164f20b86bc43ba4afd66c988a20a9dd5f1a0a5d8e960aed57a33f78119c168"
            ),
        ),
    ),
    # Poly Haven panoramas of 512 x 256, which ring around their lights. Its "sunrise" is the one above.
    Package(
        name="webhdris",
        manager="npm",
        package="@pmndrs/assets",
        version="1.7.0",
        folder="package/hdri",
        licence="CC0-1.0",
        space=_REC709,
        ceiling=1000.0,
        pictures=(
            Picture(
                "apartment.exr", "train", "31c62c03b5686b3d899071070ec1bfc760a3ddc1e6a05915ebc28102fef2fb1c"
            ),
            Picture(
                "bridge.exr", "train", "921f8b95cd1ae8bda602d4d395d8ce5574975ae0df626504eb4387cc963212ea"
            ),
            Picture("city.exr", "train", "82847b3f3e2073d16647be2eb5712dc0f7e37ddc9480a1d45f2270fe8cd048f6"),
            Picture("dawn.exr", "train", "02529d0a04dbc6e761adb9b4f6bcb07b0ef3931b218b394ee6be68b1fe39ce79"),
            Picture(
                "esplanade.exr", "train", "2a3c5a870167dc1a1ad44115cd0c554cfde97fa6ca859f4f90f39771db90b54c"
            ),
            Picture(
                "forest.exr", "train", "6fff311b5f3dad0910d8f334a6d9d88218ffd873d72c679ee1b7e4bccfa140e3"
            ),
            Picture("hall.exr", "train", "205a84e0108d40fb207e077db9bc68a15f329a8af8ee1f82c28524e967963b81"),
            Picture("lab.exr", "train", "4f993660d9c53e97cb23f2d901e06aed9bc0323f6cd9079ec0de02e73634796e"),
            Picture("lobby.exr", "val", "55b54fc7b4efc5e9fef27529208d4abe9614839307f40490b135ce75aa08b72c"),
            Picture("night.exr", "train", "9509f1b917dbb4c98d63b92e9fd12fb79e3376d17ec3186e2de39543e32ce5ff"),
            Picture("park.exr", "train", "00e78fd8fe0ac81f73eb3682b1a4e2e1b909148f1b06d1e52e771d4fec3d02a1"),
            Picture("sky.exr", "train", "a72412700b91a49080a582420476d2ab9a1e8fd181031f4ae7ec5e2596addc2a"),
            Picture(
                "studio.exr", "train", "08038ed9159c24bb732d2218dafa09cef2abaa44f9ce11ec511d87c842d88fad"
            ),
            Picture(
                "sunset.exr", "train", "d09a4d7581f5454f13c3da3c323a231d00a34e60200de7654a895d2d41a7ceb7"
            ),
            Picture("venice.exr", "val", "8200c809a7032efaa7d9fa3a5c64939d7f07d26478bc2418af624150af90dac9"),
            Picture(
                "warehouse.exr", "train", "bb11fe7e9c3037b8db21beab826a7ed7c452a48cb6d361f982ca7311aacba9c1"
            ),
            Picture(
                "workshop.exr", "train", "793ca687c647e032c79ea3a67bd016ad3158d17506540cfa8fdd901550cc0a5d"
            ),
        ),
    ),
    # Photographs of the OpenEXR sample images; "WideColorGamut" beside them is a synthetic chart.
    Package(
        name="openexr",
        manager="apt",
        package="psychtoolbox-3-common",
        version="3.0.18.12.dfsg1-1.1",
        folder="usr/share/psychtoolbox-3/PsychDemos/OpenEXRImages",
        licence="BSD-3-Clause",
        space=_REC709,
        pictures=(
            Picture(
                "CandleGlass.exr", "val", "d84ec54c56a9f3a04cc35ef35097086f3531a511c750b2f78ad5501fb5cca4bf"
            ),
            Picture("Desk.exr", "val", "2734d15e1ce157f73feaae5033b148bdabc98acb3084e9d892c6b01f23c24854"),
            Picture(
                "GoldenGate.exr", "val", "8790ad440e8708a05044d646082e876327ceba759052dffa7adf8eb7c170bca0"
            ),
            Picture("Ocean.exr", "val", "d599c1a768ac86f1c543793b20be42a831a1727a901eb25558b5bdc68470573c"),
            Picture(
                "StillLife.exr", "val", "86a04a36ec10983780d47ae33b2fba0dde269dd687bf53decf5ec0a726e50756"
            ),
        ),
    ),
    # A camera raw of 3522 x 2348: a cloudy sky.
    Package(
        name="rawsky",
        manager="apt",
        package="rawtran-doc",
        version="1.1-1",
        folder="usr/share/doc/rawtran",
        licence="GPL-3.0-or-later",
        space="ACES2065-1",
        pictures=(
            Picture(
                "IMG_5952.CR2", "val", "9f4958fb43824fdc1defb6b262f8bacedb1879041b2d5f60dc5225ee1049d554"
            ),
        ),
    ),
    # 676 x 449 of 16 bits; its cICP chunk says 9, 18: Rec.2020 primaries, hybrid log-gamma (ITU-T H.273).
    Package(
        name="hdrroom",
        manager="apt",
        package="libjxl-testdata",
        version="0.0~git20230110.d6168ff-1",
        folder="usr/share/libjxl-testdata/jxl",
        licence="BSD-3-Clause",
        space="Rec.2100-HLG - Display",
        pictures=(
            Picture(
                "hdr_room.png", "val", "df2efb86c6114dba264c849ac0ae3a073c663d5aa55890fa276b8bd3b0efb2ae"
            ),
        ),
    ),
)
"""Every package, sorted as a recipe without a choice takes them."""
