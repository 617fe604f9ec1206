"""What a person does in Nuke, for tests: start it, make and connect nodes, press, edit, save, open, look."""

from __future__ import annotations

import os
import queue
import sys
import time
import tkinter

import nuke
import nuke_tcl


def reset(gui=True):
    """Begin anew, with an empty script and nothing on the plug-in path."""
    nuke.GUI = gui
    nuke.COLORSPACES[:] = ["linear", "sRGB", "rec709", "Cineon", "AlexaV3LogC"]
    for folder in nuke._plugin_paths:
        while folder in sys.path:
            sys.path.remove(folder)
    for kept in (nuke.messages, nuke.menus, nuke.progress_tasks, nuke._filters, nuke._plugin_paths):
        kept.clear()
    nuke._root[0] = nuke.Root("Root", "Root", None)
    nuke._frame[0] = 1001
    nuke._this[:] = [None, None]
    nuke.ProgressTask.cancel_when = None
    while not nuke._main_thread.empty():
        nuke._main_thread.get()


def start(folder):
    """Start Nuke with that folder as ``~/.nuke``."""
    nuke._plugin_paths.append(folder)
    sys.path.insert(0, folder)
    nuke.run_file(os.path.join(folder, "init.py"))
    if nuke.GUI:
        for path in list(nuke._plugin_paths):
            nuke.run_file(os.path.join(path, "menu.py"))


def read(pattern, first=1001, last=1001, **knobs):
    """Make a Read."""
    node = nuke.createNode("Read")
    for name, value in dict(knobs, file=pattern, first=first, last=last).items():
        node[name].setValue(value)
    return node


def bitexpand(above, **knobs):
    """Make a BitExpand node below another."""
    node = nuke.createNode("BitExpand")
    link(node, above)
    for name, value in knobs.items():
        edit(node, name, value)
    return node


def link(node, *above):
    """Connect inputs, as by dragging."""
    for index, one in enumerate(above):
        node.setInput(index, one)
    if nuke.GUI and str(node["knobChanged"].value()):
        nuke.run_callback(node, "knobChanged", nuke._knobs.Knob(node, "inputChange"))


def edit(node, name, value):
    """Edit a knob in the panel."""
    node[name].setValue(value)
    if nuke.GUI:
        nuke.run_callback(node, "knobChanged", node[name])


def press(node, button):
    """Press a button."""
    nuke.run_callback(node, button)


def pump(until, seconds=100.0):
    """Be the main thread until something is so."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s; messages: {nuke.messages}")
        try:
            call, arguments, options = nuke._main_thread.get(timeout=0.02)
        except queue.Empty:
            continue
        call(*arguments, **options)


def wait(node, seconds=100.0):
    """Be the main thread until a node's status is no more 'running', and return it."""
    pump(lambda: node["status"].value() != "running", seconds)
    return node["status"].value()


def shown(node, number):
    """Return the Read that a node puts out and the file of that frame, as a render would evaluate it."""
    while True:
        kind = node.Class()
        if kind == "Read":
            return node, nuke.at_frame(node["file"], number)
        if isinstance(node, nuke.Group):
            node = next(inner for inner in node.nodes() if inner.Class() == "Output")
        elif kind == "Input":
            node = node.parent().input(node["number"].value())
        else:
            node = node.input(int(node["which"].value()) if kind == "Switch" else 0)


def save(path):
    """Save the script."""
    written = "".join(_written(nuke.root().nodes()))
    root_knobs = "".join(f" {name} {_quoted(nuke.root()[name].to_script())}\n" for name in nuke.ROOT_KNOBS)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"version 13.2 v8\nRoot {{\n inputs 0\n{root_knobs}}}\n{written}")


def open_script(path):
    """Open a script in place of the present one."""
    nuke._root[0] = nuke.Root("Root", path, None)
    _add(nuke_tcl.load(path))


def copy(*nodes):
    """Return nodes as the clipboard holds them."""
    return "".join(_written(nodes))


def paste(text):
    """Add nodes from the clipboard and return them."""
    return _add(nuke_tcl.loads(text))


def _add(loaded):
    built = {}
    for spec in loaded.children:
        if spec.class_name == "Root":
            for name, value in spec.knobs.items():
                if name != "inputs":
                    nuke.root()[name].from_script(value)
        else:
            built[id(spec)] = nuke.build(spec, nuke.root())
    for spec in loaded.children:
        if id(spec) in built:
            nuke.connect(spec, built)
    return list(built.values())


def _written(nodes):
    known = set()
    for node in nodes:
        above = [node.input(index) for index in range(node.inputs())]
        for one in reversed(above):
            yield f"push ${_mark(one)}\n" if one in known else "push 0\n"
        known.add(node)
        yield f"{node.Class()} {{\n inputs {len(above)}\n{''.join(_knob_lines(node))}}}\n"
        if isinstance(node, nuke.Group):
            yield from _written(node.nodes())
            yield "end_group\n"
        yield f"set {_mark(node)} [stack 0]\n"


def _knob_lines(node):
    users = {spec.name: spec for spec in node.user_knobs}
    for spec in node.user_knobs:
        words = [str(spec.kind), spec.name, "l", spec.label]
        words += ["M", _list(spec.menu)] if spec.menu else []
        text = node[spec.name].value() if spec.kind == 26 else spec.text
        words += ["T", text] if text else []
        yield f" addUserKnob {{{_list([*words, *spec.flags])}}}\n"
    for name, knob in node.knobs().items():
        kind = users[name].kind if name in users else 0
        if name != "inputs" and kind not in (20, 22, 26) and knob.to_script():
            yield f" {name} {_quoted(knob.to_script())}\n"


def _mark(node):
    return f"N{id(node):x}"


def _quoted(text):
    return _list([text])


def _list(words):
    tcl = tkinter.Tcl()
    tcl.eval("set words {}")
    for word in words:
        tcl.call("lappend", "words", word)
    return tcl.eval("set words")
