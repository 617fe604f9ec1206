"""The node's life as a script, run by the oldest Python there is: ``life.py NUKE_FOLDER PLATE FIRST LAST``.

Prints what the node said and shows, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "fake_nuke")]

import host  # noqa: E402
import nuke  # noqa: E402

# pyright: reportOptionalSubscript=false


def main(folder: str, plate: str, first: str, last: str) -> None:
    """Start Nuke with a folder, expand, save, open, send to a farm's job, and say what came of it."""
    host.start(folder)
    exec(nuke.menus["Nodes"].items["BitExpand"].items["BitExpand"].script, {"nuke": nuke})
    node = nuke.toNode("BitExpand1")
    host.link(node, host.read(plate, int(first), int(last), raw=True))
    output = os.path.join(folder, "out", "{plate}.####.exr")
    for name, value in {
        "output": output,
        "in_space": "ACEScct",
        "out_space": "ACEScg",
        "device": "cpu",
    }.items():
        host.edit(node, name, value)
    host.press(node, "expand")
    said = host.wait(node, 240)
    host.save(os.path.join(folder, "comp.nk"))
    host.open_script(os.path.join(folder, "comp.nk"))
    opened = nuke.toNode("BitExpand1")
    read, file = host.shown(opened, int(first))
    facts = {
        "python": sys.version.split()[0],
        "follows": opened["plate"].value() or node["plate"].value(),
        "said": said,
        "messages": nuke.messages,
        "file": file,
        "raw": read["raw"].value(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
