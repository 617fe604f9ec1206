"""``python -m bitexpand``."""

from bitexpand.cli import run

run()
