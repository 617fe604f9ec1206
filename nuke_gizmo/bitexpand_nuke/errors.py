"""What the artist is told."""


class NodeError(Exception):
    """Something that the artist or the pipeline has to change; the text says what and where."""
