"""The Python behind the BitExpand node: finds the plate, runs the ``bitexpand`` command, shows its result.

Nuke imports this, so it is Python 3.7 and the standard library alone; all image work is done by the command, in
a process and an environment of its own::

    panel ──► work ──► upstream, paths, spaces     what the node's knobs and the Read above it ask for
          ──► executable, runner                   the command, its progress, its end
          ──► result                               the Read inside the node
          ──► farm, opener                         the other buttons
"""

VERSION = "0.1.0"
