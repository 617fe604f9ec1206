"""Draws the icon, and the pictures of the panel from the knobs of BitExpand.gizmo.

``python nuke_gizmo/docs/draw.py`` writes them anew; it needs Pillow, Tcl and Chromium. They are our own work, under
the licence of this repository. The panel is a drawing: what Nuke shows has the same knobs, order and labels.
"""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
GIZMO = HERE.parent / "BitExpand.gizmo"
sys.path.insert(0, str(HERE.parents[1] / "tests" / "nuke"))

import nuke_tcl  # noqa: E402  lies with the tests

STYLE = """
body { margin: 0; background: #2b2b2b; font: 13px 'DejaVu Sans', sans-serif; color: #c8c8c8; width: 660px }
.title { background: #3a6ea5; color: #fff; padding: 5px 10px; font-weight: bold }
.tabs span { display: inline-block; padding: 5px 14px; background: #3a3a3a; margin: 6px 0 0 8px; border-radius: 4px 4px 0 0 }
.tabs span.on { background: #464646; color: #fff }
.panel { background: #464646; padding: 8px 10px 12px; }
.row { display: flex; align-items: center; gap: 8px; min-height: 27px; margin: 2px 0 }
.label { width: 78px; text-align: right; color: #bbb; flex: none }
.inline { color: #bbb }
.field { background: #2c2c2c; border: 1px solid #222; border-radius: 2px; padding: 3px 7px; color: #e0a040; min-height: 15px }
.text { flex: 1; color: #ddd } .number { width: 46px } .file { flex: 1 }
.menu { background: #555; color: #eee; border: 1px solid #333 } .menu::after { content: ' \\25be'; color: #aaa }
.button { background: #5a5a5a; border: 1px solid #333; border-radius: 3px; padding: 3px 14px; color: #eee }
.slider { flex: 1; height: 3px; background: #222; position: relative }
.slider i { position: absolute; top: -5px; width: 9px; height: 13px; background: #999; border-radius: 2px }
.box { width: 14px; height: 14px; background: #2c2c2c; border: 1px solid #222; color: #e0a040; line-height: 13px; text-align: center }
.line { display: flex; align-items: center; gap: 8px; height: 17px; color: #999; font-size: 12px }
.line hr { flex: 1; border: 0; border-top: 1px solid #5c5c5c }
.note { padding: 6px 10px; color: #999; font-size: 11px; background: #222 }
"""


def draw_icon(path: Path, size: int = 24, fine: int = 16) -> None:
    """Draw a staircase that becomes a ramp."""
    scale = size * fine
    picture = Image.new("RGBA", (scale, scale), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle([0, 0, scale - 1, scale - 1], scale // 7, fill=(38, 44, 54, 255))
    left, bottom, top, middle = scale * 0.14, scale * 0.86, scale * 0.18, scale * 0.5
    for step in range(3):
        x, width = left + step * (middle - left) / 3, (middle - left) / 3
        height = (bottom - top) * (0.16 + 0.14 * step)
        pen.rectangle([x, bottom - height, x + width, bottom], fill=(232, 150, 60, 255))
    start = bottom - (bottom - top) * 0.5
    pen.polygon(
        [(middle, start), (scale * 0.86, top), (scale * 0.86, bottom), (middle, bottom)],
        fill=(96, 170, 240, 255),
    )
    picture.resize((size, size), Image.Resampling.BOX).save(path, optimize=True)


def draw_panel(path: Path, tab: str) -> None:
    """Draw one tab of the panel."""
    (node,) = nuke_tcl.load(GIZMO).children
    pages: dict[str, list[nuke_tcl.UserKnob]] = {}
    for knob in node.user_knobs:
        if knob.kind == 20:
            pages[knob.label] = []
        else:
            pages[list(pages)[-1]].append(knob)
    tabs = "".join(f"<span class='{'on' if name == tab else ''}'>{name}</span>" for name in pages)
    rows = "".join(_rows(pages[tab], node.knobs))
    note = "A drawing made from BitExpand.gizmo: knobs, order and labels are the node's, the looks are not Nuke's."
    page = (
        f"<style>{STYLE}</style><body><div id=all><div class=title>BitExpand1</div><div class=tabs>{tabs}</div>"
        f"<div class=panel>{rows}</div><div class=note>{note}</div></div>"
    )
    height = 105 + 31 * page.count("class='row'") + 17 * page.count("class=line")
    _screenshot(page, path, 660, height)


def _rows(knobs: list[nuke_tcl.UserKnob], values: dict[str, str]) -> list[str]:
    rows: list[str] = []
    for knob in knobs:
        if "+INVISIBLE" in knob.flags:
            continue
        if knob.kind == 26 and not knob.text:
            rows.append(f"<div class=line>{knob.label}<hr></div>")
            continue
        drawn = _knob(knob, values.get(knob.name, ""))
        beside = "-STARTLINE" in knob.flags or (knob.kind == 22 and "+STARTLINE" not in knob.flags)
        if beside and rows and "class='row'" in rows[-1]:
            inner = (
                "" if knob.kind in (22, 6) or not knob.label else f"<span class=inline>{knob.label}</span>"
            )
            rows[-1] = rows[-1][: -len("</div>")] + inner + drawn + "</div>"
        else:
            label = "" if knob.kind in (22, 6) else html.escape(knob.label)
            rows.append(f"<div class='row'><span class=label>{label}</span>{drawn}</div>")
    return rows


def _knob(knob: nuke_tcl.UserKnob, value: str) -> str:
    value, label = html.escape(value), html.escape(knob.label)
    if knob.kind == 22:
        return f"<span class=button>{label}</span>"
    if knob.kind == 4:
        return f"<span class='field menu'>{html.escape(knob.menu[0])}</span>"
    if knob.kind == 6:
        return f"<span class=box>{'&#10003;' if value == 'true' else ''}</span><span>{label}</span>"
    if knob.kind == 26:
        return f"<span class=text>{html.escape(knob.text)}</span>"
    if knob.kind == 7:
        low, high = map(float, knob.limits)
        place = 97 * (float(value or 0) - low) / (high - low)
        return f"<span class='field number'>{value}</span><span class=slider><i style='left:{place}%'></i></span>"
    return f"<span class='field {'number' if knob.kind == 3 else 'file'}'>{value or ('0' if knob.kind == 3 else '')}</span>"


def _screenshot(page: str, path: Path, width: int, height: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "Chromium draws the panel"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "panel.html")
        source.write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]
        subprocess.run(
            [browser, *options, f"--screenshot={path}", str(source)], check=True, capture_output=True
        )
    with Image.open(path) as picture:
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(path, optimize=True)


if __name__ == "__main__":
    draw_icon(HERE.parent / "icons" / "BitExpand.png")
    draw_panel(HERE / "panel.png", "BitExpand")
    draw_panel(HERE / "setup.png", "Setup")
