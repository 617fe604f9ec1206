"""Knobs of the fake Nuke: the kinds that BitExpand and the nodes around it have. Python 3.7."""

from __future__ import annotations

import re
import tkinter

_state = None
"""The fake module itself, which sets this: evaluation needs the script, the frame and the filters."""


def attach(module):
    """Tell the knobs which module they belong to."""
    global _state
    _state = module


class Knob:
    """A text, and the base of the others."""

    def __init__(self, node, name, value=""):
        self._node, self._name, self._value, self._enabled = node, name, value, True

    def name(self):
        return self._name

    def node(self):
        return self._node

    def value(self):
        return self._value

    def getValue(self):
        return self.value()

    def setValue(self, value):
        self._value = str(value)
        return True

    def from_script(self, text):
        self.setValue(text)

    def to_script(self):
        return str(self._value)

    def setEnabled(self, enabled):
        self._enabled = enabled

    def enabled(self):
        return self._enabled


class Number(Knob):
    """A float or an int, or an expression in braces such as ``{parent.show}``."""

    def __init__(self, node, name, value=0, kind=float):
        super().__init__(node, name, value)
        self._kind = kind

    def value(self):
        if isinstance(self._value, str):
            return self._kind(self._node.parent()[self._value.strip("{}").replace("parent.", "")].getValue())
        return self._kind(self._value)

    def setValue(self, value):
        self._value = self._kind(value)
        return True

    def from_script(self, text):
        self._value = text if text.startswith("{") else self._kind(float(text))


class Check(Knob):
    """A check box."""

    def __init__(self, node, name, value=False):
        super().__init__(node, name, bool(value))

    def getValue(self):
        return float(self._value)

    def setValue(self, value):
        self._value = bool(value)
        return True

    def from_script(self, text):
        self._value = text in ("true", "1")

    def to_script(self):
        return "true" if self._value else "false"


class Menu(Knob):
    """A pulldown: its value is a text, its number the place in the list."""

    def __init__(self, node, name, offered, value=None):
        super().__init__(node, name, offered[0] if value is None else value)
        self.offered = list(offered)

    def values(self):
        return self.offered

    def getValue(self):
        return float(self.offered.index(self._value))

    def setValue(self, value):
        text = self.offered[value] if isinstance(value, int) else value
        if text not in self.offered:
            raise ValueError(f"{self._node.name()}.{self._name} does not offer {text!r}")
        self._value = text
        return True


class File(Knob):
    """A path: evaluates Tcl in brackets, the frame number and the path mapping, as Nuke does."""

    def value(self):
        return re.sub("#+", lambda found: f"%0{len(found.group())}d", self._value)

    def evaluate(self):
        try:
            text = re.sub(r"\[([^\]]*)\]", lambda found: self._tcl(found.group(1)), self.value())
        except tkinter.TclError:
            text = self.value()
        text = re.sub(r"%0?(\d*)d", lambda found: str(_state.frame()).zfill(int(found.group(1) or 0)), text)
        return _state.filenameFilter(text)

    def _tcl(self, command):
        tcl = tkinter.Tcl()
        tcl.createcommand("value", lambda name: _state.knob_text(self._node, name))
        tcl.createcommand("python", lambda code: str(eval(code, {"nuke": _state})))
        tcl.createcommand("frame", lambda: str(_state.frame()))
        return tcl.eval(command)


class Button(Knob):
    """A button with its Python; Reload's counts how often it was pressed."""

    presses = 0

    def execute(self):
        self.presses += 1
