"""Writes bitexpand.ocio: the pinned studio config plus the spaces that plates come in and it lacks.

    python ocio/make_config.py

Everything that is added stands in the tables below. README.md beside this file names the documents.
"""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import PyOpenColorIO as ocio  # noqa: N813  lower case is what OpenColorIO's own documentation uses

PINNED = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
# OpenColorIO 2.2 is what Nuke 15 carries. One transform of the pinned config needs 2.3: see _downgrade.
PROFILE = (2, 2)
NAME = "bitexpand-config-v1.0.0_aces-v1.3_ocio-v2.2"
DESCRIPTION = f"""bitexpand: {PINNED.removeprefix("ocio://")} plus the spaces that plates come in and it lacks
(ARRI LogC3 at every exposure index of ARRI's table, Cineon, DJI D-Log, Adobe RGB). Made by make_config.py."""

# Copied as they are from a later studio config of OpenColorIO; all are native transforms.
LATER = "ocio://studio-config-v4.0.0_aces-v2.0_ocio-v2.5"
LATER_SPACES = ("D-Log D-Gamut", "Linear D-Gamut", "Gamma 2.2 Encoded AdobeRGB", "Linear AdobeRGB")
LATER_CURVES = ("D-Log - Curve",)

# ARRI, "ALEXA Log C Curve - Usage in VFX", H. Brendel, 09-Mar-17, appendix: conversion between Log C
# values (SUP 3.x) and exposure values. t = c log10(a x + b) + d above the cut, e x + f below it; e and f
# follow from the rest, as the two parts meet with the same slope. ARRI gives no row above EI 1600: the
# camera rolls its highlights off there and the formula does not hold. EI 800 is in the pinned config.
LOGC3 = {  # EI: cut, a, b, c, d
    160: (0.005561, 5.555556, 0.080216, 0.269036, 0.381991),
    200: (0.006208, 5.555556, 0.076621, 0.266007, 0.382478),
    250: (0.006871, 5.555556, 0.072941, 0.262978, 0.382966),
    320: (0.007622, 5.555556, 0.068768, 0.259627, 0.383508),
    400: (0.008318, 5.555556, 0.064901, 0.256598, 0.383999),
    500: (0.009031, 5.555556, 0.060939, 0.253569, 0.384493),
    640: (0.009840, 5.555556, 0.056443, 0.250219, 0.385040),
    1000: (0.011361, 5.555556, 0.047996, 0.244161, 0.386036),
    1280: (0.012235, 5.555556, 0.043137, 0.240810, 0.386590),
    1600: (0.013047, 5.555556, 0.038625, 0.237781, 0.387093),
}

# Kodak, "Conversion of 10-bit Log Film Data To 8-bit Linear or Video Data for The Cineon Digital Film
# System", version 2.1, 1995: 0.002 of printing density per 10-bit code, a negative's gamma of 0.6.
CINEON_BLACK, CINEON_WHITE = 95, 685
CINEON_CODES_PER_DECADE = 0.6 / 0.002


@dataclass(frozen=True)
class Added:
    """One log encoding: its curve from code to linear, and the linear spaces it may be the code of."""

    curve_name: str
    curve_aliases: tuple[str, ...]
    family: str
    source: str
    decode: ocio.LogCameraTransform
    spaces: tuple[tuple[str, tuple[str, ...], str], ...]
    """(name, aliases, linear space of the pinned config with the same primaries)"""


def logc3(ei: int) -> Added:
    """Return ARRI LogC3 at one exposure index."""
    cut, a, b, c, d = LOGC3[ei]
    return Added(
        curve_name=f"ARRI LogC3 - Curve (EI{ei})",
        curve_aliases=(
            f"arri_logc3_crv_ei{ei}",
            f"Input - ARRI - Curve - V3 LogC (EI{ei})",
            f"crv_logc3ei{ei}",
        ),
        family="Input/ARRI",
        source='ARRI, "ALEXA Log C Curve - Usage in VFX", 2017',
        decode=_log_camera(log=(c, d), lin=(a, b), cut=cut),
        spaces=(
            (
                f"ARRI LogC3 (EI{ei})",
                (
                    f"arri_logc3_ei{ei}",
                    f"Input - ARRI - V3 LogC (EI{ei}) - Wide Gamut",
                    f"logc3ei{ei}_alexawide",
                ),
                "Linear ARRI Wide Gamut 3",
            ),
        ),
    )


def cineon() -> Added:
    """Return Kodak's Cineon curve; code 95 is 0, code 685 is 1, below code 0 it goes on as a line."""
    offset = 10 ** ((CINEON_BLACK - CINEON_WHITE) / CINEON_CODES_PER_DECADE)
    code_0 = (10 ** (-CINEON_WHITE / CINEON_CODES_PER_DECADE) - offset) / (1 - offset)
    return Added(
        curve_name="Cineon - Curve",
        curve_aliases=("cineon_crv", "crv_cineon"),
        family="Input/Kodak",
        source='Kodak, "Conversion of 10-bit Log Film Data", version 2.1, 1995; codes 95 and 685, gamma 0.6',
        # A logarithm alone has no code for less light than code 0; the line makes every value come back.
        decode=_log_camera(
            log=(CINEON_CODES_PER_DECADE / 1023, CINEON_WHITE / 1023), lin=(1 - offset, offset), cut=code_0
        ),
        # Printing density has no primaries. Nuke's Cineon assumes those of its linear working space.
        spaces=(
            ("Cineon Rec.709", ("cineon_rec709", "Cineon"), "Linear Rec.709 (sRGB)"),
            ("Cineon AP1", ("cineon_ap1",), "ACEScg"),
        ),
    )


def make_config() -> ocio.Config:
    """Return the config; it is validated against the profile version that it claims."""
    config = ocio.Config.CreateFromFile(PINNED)
    config.setName(NAME)
    config.setDescription(DESCRIPTION)
    _downgrade(config)
    for added in (cineon(), *map(logc3, LOGC3)):
        _add(config, added)
    _add_later(config)
    config.validate()
    return config


def _log_camera(log: tuple[float, float], lin: tuple[float, float], cut: float) -> ocio.LogCameraTransform:
    """Return the inverse of log[0] * log10(lin[0] * x + lin[1]) + log[1], a tangent below the cut."""
    return ocio.LogCameraTransform(
        base=10,
        logSideSlope=[log[0]] * 3,
        logSideOffset=[log[1]] * 3,
        linSideSlope=[lin[0]] * 3,
        linSideOffset=[lin[1]] * 3,
        linSideBreak=[cut] * 3,
        direction=ocio.TRANSFORM_DIR_INVERSE,
    )


def _downgrade(config: ocio.Config) -> None:
    """Spell out, in the transforms it consists of, the one built-in that needs a later library."""
    space = config.getColorSpace("Display P3 - Display")
    builtin = space.getTransform(ocio.COLORSPACE_DIR_FROM_REFERENCE)
    native = config.getProcessor(builtin).createGroupTransform()
    space.setTransform(native, ocio.COLORSPACE_DIR_FROM_REFERENCE)
    config.addColorSpace(space)
    config.setVersion(*PROFILE)


def _add(config: ocio.Config, added: Added) -> None:
    for name, aliases, linear in added.spaces:
        config.addColorSpace(
            ocio.ColorSpace(
                referenceSpace=ocio.REFERENCE_SPACE_SCENE,
                name=name,
                aliases=list(aliases),
                family=added.family,
                encoding="log",
                bitDepth=ocio.BIT_DEPTH_F32,
                categories=["file-io"],
                description=f"Convert {name} to ACES2065-1\n\nSource: {added.source}",
                toReference=ocio.GroupTransform([added.decode, *_to_reference(config, linear)]),
            )
        )
    curve = ocio.NamedTransform(
        name=added.curve_name,
        aliases=list(added.curve_aliases),
        family=added.family,
        categories=["file-io"],
        description=f"Convert {added.curve_name} to relative scene linear\n\nSource: {added.source}",
        forwardTransform=added.decode,
    )
    curve.setEncoding("log")
    config.addNamedTransform(curve)


def _to_reference(config: ocio.Config, linear: str) -> list[ocio.Transform]:
    group = config.getProcessor(linear, ocio.ROLE_INTERCHANGE_SCENE).createGroupTransform()
    return list(group)


def _add_later(config: ocio.Config) -> None:
    later = ocio.Config.CreateFromFile(LATER)
    for name in LATER_SPACES:
        space = later.getColorSpace(name)
        # Both are unknown before OpenColorIO 2.5, which would warn at every load.
        space.setInteropID("")
        for attribute in space.getInterchangeAttributes():
            space.setInterchangeAttribute(attribute, "")
        config.addColorSpace(space)
    for name in LATER_CURVES:
        config.addNamedTransform(later.getNamedTransform(name))


if __name__ == "__main__":
    Path(__file__).with_name("bitexpand.ocio").write_text(make_config().serialize(), encoding="utf-8")
