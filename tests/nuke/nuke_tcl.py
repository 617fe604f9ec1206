"""Reads Nuke's files with a real Tcl interpreter that knows the commands which such files use.

A .nk or .gizmo file is a Tcl program: every node is a command of its class with one word of ``knob value`` pairs,
``push``, ``set N1 [stack 0]`` and ``end_group`` connect them. Python 3.7 syntax, as the fake host loads by it too.
"""

from __future__ import annotations

import tkinter
from dataclasses import dataclass, field
from pathlib import Path

GROUPS = ("Group", "Gizmo", "LiveGroup")
FLAGS_WITH_VALUE = {"l": 1, "t": 1, "T": 1, "M": 1, "R": 2, "C": 1, "n": 0}
"""Words after a user knob's type and name, and how many words follow each: label, tooltip, text, menu, range."""


class ScriptError(Exception):
    """A file that Nuke's parser would refuse."""


@dataclass
class UserKnob:
    """One ``addUserKnob``: ``kind`` is Nuke's number of the type; the last four are the words of its options."""

    kind: int
    name: str
    label: str = ""
    tooltip: str = ""
    text: str = ""
    menu: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


@dataclass(eq=False)
class ScriptNode:
    """A node as its file writes it; ``knobs`` are texts, ``inputs`` are in the order of the node's arrows."""

    class_name: str
    knobs: dict[str, str] = field(default_factory=dict)
    user_knobs: list[UserKnob] = field(default_factory=list)
    inputs: list[ScriptNode | None] = field(default_factory=list)
    children: list[ScriptNode] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name that the file gives, or an empty text."""
        return self.knobs.get("name", "")

    def child(self, name: str) -> ScriptNode:
        """Return the node of that name inside; a KeyError if there is none."""
        for node in self.children:
            if node.name == name:
                return node
        raise KeyError(name)

    def user_knob(self, name: str) -> UserKnob:
        """Return the user knob of that name; a KeyError if there is none."""
        for knob in self.user_knobs:
            if knob.name == name:
                return knob
        raise KeyError(name)


def load(path: str | Path) -> ScriptNode:
    """Return a root whose children are the nodes of a file.

    Raises:
        ScriptError: what Tcl says of it, or a node outside any group's end.
    """
    return loads(Path(path).read_text(encoding="utf-8"))


def loads(text: str) -> ScriptNode:
    """Return a root whose children are the nodes of a text; raises as ``load``."""
    return _Loader().run(text)


class _Loader:
    def __init__(self) -> None:
        self.root = ScriptNode("Root")
        self.open = [self.root]
        self.stacks: list[list[ScriptNode | None]] = [[]]
        self.marks: list[ScriptNode | None] = []
        self.error: ScriptError | None = None
        self.tcl = tkinter.Tcl()
        self.tcl.createcommand("unknown", self._guarded(self.node))
        self.tcl.createcommand("push", self._guarded(self.push))
        self.tcl.createcommand("stack", self._guarded(self.stack))
        self.tcl.createcommand("end_group", self._guarded(self.end_group))
        for ignored in ("version", "add_layer", "define_window_layout_xml", "addFormat"):
            self.tcl.createcommand(ignored, lambda *_: "")

    def run(self, text: str) -> ScriptNode:
        try:
            self.tcl.eval(text)
        except tkinter.TclError as error:
            raise self.error or ScriptError(str(error)) from error
        if len(self.open) != 1:
            raise ScriptError(f"{len(self.open) - 1} groups lack their end_group")
        return self.root

    def _guarded(self, function):  # noqa: ANN001, ANN202  Tcl swallows the text of a Python error
        def call(*words: str) -> str:
            try:
                return function(*words) or ""
            except ScriptError as error:
                self.error = error
                raise

        return call

    def node(self, class_name: str, *words: str) -> None:
        if not class_name[:1].isupper() or len(words) != 1:
            raise ScriptError(f"no command of Nuke's files: {class_name} with {len(words)} words")
        node = ScriptNode(class_name)
        pairs = self.tcl.splitlist(words[0])
        if len(pairs) % 2:
            raise ScriptError(f"{class_name}: a knob without a value among {pairs}")
        for name, value in zip(pairs[::2], pairs[1::2]):
            if name == "addUserKnob":
                node.user_knobs.append(_user_knob(self.tcl.splitlist(value)))
            else:
                node.knobs[name] = value
        stack = self.stacks[-1]
        for _ in range(int(node.knobs.get("inputs", "1").split("+")[0])):
            node.inputs.append(stack.pop() if stack else None)
        self.open[-1].children.append(node)
        if class_name in GROUPS:
            self.open.append(node)
            self.stacks.append([])
        elif class_name != "Root":
            stack.append(node)

    def push(self, mark: str) -> None:
        self.stacks[-1].append(None if mark == "0" else self.marks[int(mark[1:])])

    def stack(self, depth: str) -> str:
        stack = self.stacks[-1]
        self.marks.append(stack[-1 - int(depth)] if len(stack) > int(depth) else None)
        return f"@{len(self.marks) - 1}"

    def end_group(self) -> None:
        if len(self.open) == 1:
            raise ScriptError("end_group without a group")
        self.stacks.pop()
        self.stacks[-1].append(self.open.pop())


def _user_knob(words) -> UserKnob:  # noqa: ANN001  a tuple of texts from Tcl
    words = list(words)
    if len(words) < 2 or not words[0].isdigit():
        raise ScriptError(f"addUserKnob wants a type and a name: {words}")
    knob = UserKnob(int(words[0]), words[1])
    rest = words[2:]
    while rest:
        word = rest.pop(0)
        if word in FLAGS_WITH_VALUE:
            values, rest = rest[: FLAGS_WITH_VALUE[word]], rest[FLAGS_WITH_VALUE[word] :]
            _set(knob, word, values)
        elif word[:1] in "+-":
            knob.flags.append(word)
        else:
            raise ScriptError(f"addUserKnob {knob.name}: what is '{word}'?")
    return knob


def _set(knob: UserKnob, option: str, values: list[str]) -> None:
    if option == "l":
        knob.label = values[0]
    elif option == "t":
        knob.tooltip = values[0]
    elif option == "T":
        knob.text = values[0]
    elif option == "M":
        knob.menu = list(tkinter.Tcl().splitlist(values[0]))
    elif option == "R":
        knob.limits = values
