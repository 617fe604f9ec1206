"""Nuke runs this when it starts with a GUI: the menu of the nodes."""

import nuke

_menu = nuke.menu("Nodes").addMenu("BitExpand", icon="BitExpand.png")  # pyright: ignore[reportOptionalMemberAccess]
_menu.addCommand("BitExpand", "nuke.createNode('BitExpand')", icon="BitExpand.png")
