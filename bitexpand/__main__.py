"""``python -m bitexpand``."""

from bitexpand.cli import main

main()
