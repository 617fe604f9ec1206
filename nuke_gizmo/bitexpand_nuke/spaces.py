"""Names of colour spaces: the same space is called differently by bitexpand, by ACES 1.x configs and by Nuke."""

from __future__ import annotations

import re

SAME = (
    ("ACES2065-1", "aces2065_1", "ACES - ACES2065-1", "lin_ap0"),
    ("ACEScc", "ACES - ACEScc", "acescc_ap1"),
    ("ACEScct", "ACES - ACEScct", "acescct_ap1"),
    ("ACEScg", "ACES - ACEScg", "lin_ap1"),
    ("ADX10", "Input - ADX - ADX10"),
    ("ADX16", "Input - ADX - ADX16"),
    (
        "Linear ARRI Wide Gamut 3",
        "lin_arri_wide_gamut_3",
        "Input - ARRI - Linear - ALEXA Wide Gamut",
        "lin_alexawide",
    ),
    (
        "ARRI LogC3 (EI800)",
        "arri_logc3_ei800",
        "Input - ARRI - V3 LogC (EI800) - Wide Gamut",
        "logc3ei800_alexawide",
    ),
    (
        "CanonLog2 CinemaGamut D55",
        "canonlog2_cinemagamut_d55",
        "Input - Canon - Canon-Log2 - Cinema Gamut Daylight",
        "canonlog2_cgamutday",
    ),
    (
        "CanonLog3 CinemaGamut D55",
        "canonlog3_cinemagamut_d55",
        "Input - Canon - Canon-Log3 - Cinema Gamut Daylight",
        "canonlog3_cgamutday",
    ),
    (
        "Linear CinemaGamut D55",
        "lin_cinemagamut_d55",
        "Input - Canon - Linear - Canon Cinema Gamut Daylight",
        "lin_canoncgamutday",
    ),
    ("Linear V-Gamut", "lin_vgamut", "Input - Panasonic - Linear - V-Gamut"),
    ("V-Log V-Gamut", "vlog_vgamut", "Input - Panasonic - V-Log - V-Gamut"),
    ("Linear REDWideGamutRGB", "lin_redwidegamutrgb", "Input - RED - Linear - REDWideGamutRGB", "lin_rwg"),
    (
        "Log3G10 REDWideGamutRGB",
        "log3g10_redwidegamutrgb",
        "Input - RED - REDLog3G10 - REDWideGamutRGB",
        "rl3g10_rwg",
    ),
    ("Linear S-Gamut3", "lin_sgamut3", "Input - Sony - Linear - S-Gamut3"),
    ("Linear S-Gamut3.Cine", "lin_sgamut3cine", "Input - Sony - Linear - S-Gamut3.Cine"),
    ("Linear Venice S-Gamut3", "lin_venice_sgamut3", "Input - Sony - Linear - Venice S-Gamut3"),
    ("Linear Venice S-Gamut3.Cine", "lin_venice_sgamut3cine", "Input - Sony - Linear - Venice S-Gamut3.Cine"),
    ("S-Log3 S-Gamut3", "slog3_sgamut3", "Input - Sony - S-Log3 - S-Gamut3"),
    (
        "S-Log3 S-Gamut3.Cine",
        "slog3_sgamut3cine",
        "Input - Sony - S-Log3 - S-Gamut3.Cine",
        "slog3_sgamutcine",
    ),
    ("S-Log3 Venice S-Gamut3", "slog3_venice_sgamut3", "Input - Sony - S-Log3 - Venice S-Gamut3"),
    (
        "S-Log3 Venice S-Gamut3.Cine",
        "slog3_venice_sgamut3cine",
        "Input - Sony - S-Log3 - Venice S-Gamut3.Cine",
        "slog3_venice_sgamutcine",
    ),
    ("Camera Rec.709", "camera_rec709", "Utility - Rec.709 - Camera", "rec709_camera"),
    ("Linear P3-D65", "lin_p3d65", "Utility - Linear - P3-D65", "lin_displayp3", "Linear Display P3"),
    ("Linear Rec.2020", "lin_rec2020", "Utility - Linear - Rec.2020"),
    (
        "Linear Rec.709 (sRGB)",
        "lin_rec709_srgb",
        "Utility - Linear - Rec.709",
        "lin_rec709",
        "lin_srgb",
        "Utility - Linear - sRGB",
    ),
    ("Gamma 1.8 Rec.709 - Texture", "g18_rec709_tx", "Utility - Gamma 1.8 - Rec.709 - Texture", "g18_rec709"),
    ("Gamma 2.2 Rec.709 - Texture", "g22_rec709_tx", "Utility - Gamma 2.2 - Rec.709 - Texture", "g22_rec709"),
    (
        "Gamma 2.4 Rec.709 - Texture",
        "g24_rec709_tx",
        "g24_rec709",
        "rec709_display",
        "Utility - Rec.709 - Display",
    ),
    (
        "sRGB - Texture",
        "srgb_tx",
        "Utility - sRGB - Texture",
        "srgb_texture",
        "Input - Generic - sRGB - Texture",
    ),
    ("Raw", "Utility - Raw"),
)
"""Each row names one space: bitexpand's name first, then its aliases, those of the ACES 1.x configs among them."""

NUKE_DEFAULT = (("sRGB - Texture", "sRGB"), ("Linear Rec.709 (sRGB)", "linear"))
"""What the curves of Nuke's own config come closest to; they say nothing of primaries."""

_ROLE = re.compile(r"[a-z_]+ \((.+)\)$")


def plain(name: str) -> str:
    """Return a name without the role or family that Nuke may show with it.

    As in ``scene_linear (ACES - ACEScg)`` and ``Utility/Utility - sRGB - Texture``.
    """
    role = _ROLE.match(name)
    return (role.group(1) if role else name).rpartition("/")[2]


def matching(wanted: str, offered: list[str]) -> str | None:
    """Return the one of the offered names that means the wanted space, or None."""
    names = _names(wanted)
    for offer in sorted(offered, key=_has_role):
        if plain(offer).casefold() in names:
            return offer
    return None


def _has_role(offer: str) -> bool:
    return _ROLE.match(offer) is not None  # a name itself says more than a role that may move


def _names(wanted: str) -> set[str]:
    folded = plain(wanted).casefold()
    names = {folded}
    for row in SAME + NUKE_DEFAULT:
        row_folded = {name.casefold() for name in row}
        if names & row_folded:
            names |= row_folded
    return names
