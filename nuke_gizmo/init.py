"""Nuke runs this at every start, with and without a GUI: it only says where the icons are.

A render needs no more, as a BitExpand node in a script is a Group that holds all it evaluates.
"""

import nuke

nuke.pluginAddPath("./icons")
