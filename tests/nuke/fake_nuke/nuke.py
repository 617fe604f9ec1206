"""A small Nuke: the nodes, knobs, files and callbacks that BitExpand meets; ``host`` is the person. Python 3.7."""

from __future__ import annotations

import os
import queue
import sys

import knobs as _knobs
import nuke_tcl

GUI = True
NUKE_VERSION_MAJOR = 13
COLORSPACES = ["linear", "sRGB", "rec709", "Cineon", "AlexaV3LogC"]
"""What a Read offers; tests put the list of another config here."""

messages = []
menus = {}
progress_tasks = []
_filters = []
_plugin_paths = []
_main_thread = queue.Queue()
_this = [None, None]
_frame = [1001]

ROOT_KNOBS = {
    "project_directory": lambda node: _knobs.File(node, "project_directory"),
    "first_frame": lambda node: _knobs.Number(node, "first_frame", 1001, int),
    "last_frame": lambda node: _knobs.Number(node, "last_frame", 1003, int),
    "OCIO_config": lambda node: _knobs.Menu(node, "OCIO_config", ["nuke-default", "aces_1.2", "custom"]),
    "customOCIOConfigPath": lambda node: _knobs.File(node, "customOCIOConfigPath"),
    "int8Lut": lambda node: _knobs.Knob(node, "int8Lut", "sRGB"),
    "logLut": lambda node: _knobs.Knob(node, "logLut", "Cineon"),
}
READ_KNOBS = {
    "file": lambda node: _knobs.File(node, "file"),
    "first": lambda node: _knobs.Number(node, "first", 1, int),
    "last": lambda node: _knobs.Number(node, "last", 1, int),
    "origfirst": lambda node: _knobs.Number(node, "origfirst", 1, int),
    "origlast": lambda node: _knobs.Number(node, "origlast", 1, int),
    "origset": lambda node: _knobs.Check(node, "origset"),
    "on_error": lambda node: _knobs.Menu(
        node, "on_error", ["error", "black", "checkerboard", "nearest frame"]
    ),
    "colorspace": lambda node: _knobs.Menu(
        node, "colorspace", ["default (sRGB)", *COLORSPACES], "default (sRGB)"
    ),
    "raw": lambda node: _knobs.Check(node, "raw"),
    "premultiplied": lambda node: _knobs.Check(node, "premultiplied"),
    "auto_alpha": lambda node: _knobs.Check(node, "auto_alpha"),
    "frame_mode": lambda node: _knobs.Menu(node, "frame_mode", ["expression", "start at", "offset"]),
    "frame": lambda node: _knobs.Knob(node, "frame"),
    "before": lambda node: _knobs.Menu(node, "before", ["hold", "loop", "bounce", "black"]),
    "after": lambda node: _knobs.Menu(node, "after", ["hold", "loop", "bounce", "black"]),
    "reload": lambda node: _knobs.Button(node, "reload"),
}
CLASS_KNOBS = {
    "Read": READ_KNOBS,
    "Root": ROOT_KNOBS,
    "Switch": {"which": lambda node: _knobs.Number(node, "which", 0, float)},
    "Input": {"number": lambda node: _knobs.Number(node, "number", 0, int)},
}
LOOKS = ["label", "tile_color", "xpos", "ypos", "selected"]
TEXTS = ["name", "help", "inputs", "onCreate", "knobChanged", *LOOKS]
USER_KINDS = {
    1: lambda node, spec: _knobs.Knob(node, spec.name),
    2: lambda node, spec: _knobs.File(node, spec.name),
    3: lambda node, spec: _knobs.Number(node, spec.name, 0, int),
    4: lambda node, spec: _knobs.Menu(node, spec.name, spec.menu),
    6: lambda node, spec: _knobs.Check(node, spec.name),
    7: lambda node, spec: _knobs.Number(node, spec.name, 0, float),
    20: lambda node, spec: _knobs.Knob(node, spec.name),
    22: lambda node, spec: _knobs.Button(node, spec.name, spec.text),
    26: lambda node, spec: _knobs.Knob(node, spec.name, spec.text),
}


class Node:
    def __init__(self, class_name, name, parent):
        self._class, self._parent, self._inputs, self.user_knobs = class_name, parent, [], []
        self.deleted = False
        self._knobs = {text: _knobs.Knob(self, text) for text in TEXTS}
        self._knobs["name"].setValue(name)
        self._knobs["disable"] = _knobs.Check(self, "disable")
        for knob, make in CLASS_KNOBS.get(class_name, {}).items():
            self._knobs[knob] = make(self)

    def Class(self):
        return self._class

    def name(self):
        if self.deleted:
            raise ValueError("A PythonObject is not attached to a node")
        return self._knobs["name"].value()

    def fullName(self):
        above = self._parent
        return self.name() if above is None or above is root() else f"{above.fullName()}.{self.name()}"

    def parent(self):
        return self._parent

    def knob(self, name):
        return self._knobs.get(name)

    def knobs(self):
        return self._knobs

    def __getitem__(self, name):
        if name not in self._knobs:
            raise NameError(f"knob {name} does not exist")
        return self._knobs[name]

    def input(self, index):
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def inputs(self):
        return len(self._inputs)

    def setInput(self, index, node):
        self._inputs += [None] * (index + 1 - len(self._inputs))
        self._inputs[index] = node
        return True

    def hasError(self):
        if self._class != "Read" or self["on_error"].value() != "error":
            return False
        held = min(max(frame(), self["first"].value()), self["last"].value())
        return not os.path.exists(at_frame(self["file"], held))


class Group(Node):
    def __init__(self, class_name, name, parent):
        super().__init__(class_name, name, parent)
        self.inner = []

    def nodes(self):
        return list(self.inner)

    def node(self, name):
        return next((node for node in self.inner if node.name() == name), None)


class Gizmo(Group):
    pass


class Root(Group):
    def firstFrame(self):
        return self["first_frame"].value()

    def lastFrame(self):
        return self["last_frame"].value()


class ProgressTask:
    """Notes what it is told; ``cancel_when`` is asked whether the artist presses Cancel."""

    cancel_when = None

    def __init__(self, name):
        self.name, self.progress, self.said = name, [], []
        progress_tasks.append(self)

    def setProgress(self, percent):
        self.progress.append(percent)

    def setMessage(self, text):
        self.said.append(text)

    def isCancelled(self):
        return ProgressTask.cancel_when is not None and ProgressTask.cancel_when(self)


class MenuItem:
    def __init__(self, name):
        self.name, self.icon, self.script, self.items = name, None, None, {}

    def addMenu(self, name, icon=None):
        return self._add(name, None, icon)

    def addCommand(self, name, script, icon=None):
        return self._add(name, script, icon)

    def _add(self, name, script, icon):
        item = self.items.setdefault(name, MenuItem(name))
        item.script, item.icon = script, icon
        return item


_root = [Root("Root", "Root", None)]


def root():
    return _root[0]


def frame():
    return _frame[0]


def at_frame(knob, number):
    """Return a file knob's path at another frame."""
    kept, _frame[0] = _frame[0], number
    try:
        return knob.evaluate()
    finally:
        _frame[0] = kept


def knob_text(node, name):
    """Return what Tcl's ``value`` gives: a knob of the node, or ``Node.knob`` with ``root`` for the root."""
    if "." not in name:
        return str(node[name].value())
    owner, _, knob = name.rpartition(".")
    found = root() if owner == "root" else toNode(owner)
    if found is None:
        raise NameError(name)
    return str(found[knob].value())


def toNode(name):
    here = root()
    for part in name.split("."):
        here = here.node(part) if here else None
    return here


def allNodes(filter=None, group=None, recurseGroups=False):
    found = []
    for node in (group or root()).nodes():
        if filter in (None, node.Class()):
            found.append(node)
        if recurseGroups and isinstance(node, Group):
            found += allNodes(filter, node, True)
    return found


def thisNode():
    return _this[0]


def thisKnob():
    return _this[1]


def message(text):
    messages.append(text)


def menu(name):
    return menus.setdefault(name, MenuItem(name))


def executeInMainThread(call, args=(), kwargs=None):
    _main_thread.put((call, args, kwargs or {}))


def filenameFilter(text):
    for call in _filters:
        text = call(text) or text
    return text


def addFilenameFilter(call):
    _filters.append(call)


def getColorspaceList(knob):
    return [name for name in knob.values() if not name.startswith("default (")]


def delete(node):
    node.parent().inner.remove(node)
    node.deleted = True


def pluginAddPath(path):
    """Add a folder, relative to the file that says so, run its init.py and let Python import from it."""
    said_by = sys._getframe(1).f_globals.get("__file__", "")
    folder = os.path.normpath(os.path.join(os.path.dirname(said_by), path))
    if folder not in _plugin_paths:
        _plugin_paths.append(folder)
        sys.path.insert(0, folder)
        run_file(os.path.join(folder, "init.py"))


def run_file(path):
    """Run an init.py or menu.py if it is there."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            exec(compile(file.read(), path, "exec"), {"__file__": path, "__name__": os.path.basename(path)})


def createNode(class_name, knobs="", inpanel=True):
    """Create a node of a built-in class, or of a .gizmo file in the plug-in path."""
    for folder in _plugin_paths:
        path = os.path.join(folder, class_name + ".gizmo")
        if os.path.exists(path):
            return build(nuke_tcl.load(path).children[0], root())
    return build(nuke_tcl.loads(class_name + " {\n inputs 0\n}").children[0], root())


def build(spec, parent):
    """Make a node from what a file says of it, give it a free name, and run its onCreate."""
    kinds = {"Group": Group, "Gizmo": Gizmo}
    node = kinds.get(spec.class_name, Node)(spec.class_name, _free_name(spec, parent), parent)
    parent.inner.append(node)
    for user_knob in spec.user_knobs:
        node.user_knobs.append(user_knob)
        node.knobs()[user_knob.name] = USER_KINDS[user_knob.kind](node, user_knob)
    for name, text in spec.knobs.items():
        if name != "name":
            node[name].from_script(text)
    built = {id(inner): build(inner, node) for inner in spec.children}
    for inner in spec.children:
        connect(inner, built)
    run_callback(node, "onCreate")
    return node


def connect(spec, built):
    """Give a built node the inputs that its file says."""
    for index, above in enumerate(spec.inputs):
        built[id(spec)].setInput(index, built.get(id(above)))


def run_callback(node, name, knob=None):
    """Run a callback of a node, or the script of a button."""
    kept = list(_this)
    _this[:] = [node, knob]
    try:
        exec(str(node[name]._value), {"nuke": sys.modules["nuke"]})
    finally:
        _this[:] = kept


def _free_name(spec, parent):
    wanted = spec.name or spec.class_name
    if spec.name and parent.node(wanted) is None and parent is not root():
        return wanted  # names inside a group are free
    stem = wanted.rstrip("0123456789")
    number = int(wanted[len(stem) :] or 1)
    while parent.node(f"{stem}{number}"):
        number += 1
    return f"{stem}{number}"


_knobs.attach(sys.modules[__name__])
