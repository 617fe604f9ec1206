"""Checks that an archive holds only what the oldest torch of interest can load.

``torch_1_12_operators.txt`` holds, of the 3636 schemas that torch 1.12.1 prints, those that our models need;
``scripts/check-old-torch`` makes it anew, and loads the archives into that torch for real.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files

import torch

from bitexpand.errors import ExportError

OLDEST_TORCH = "1.12"  # Nuke 14's, the first that is not too old for the models
_LIST = "torch_1_12_operators.txt"


def operators(archive: torch.jit.ScriptModule) -> list[str]:
    """Return the schemas of the operators in an archive, sorted, each once."""
    return sorted(
        {node.schema() for node in _nodes(archive.inlined_graph) if node.kind().startswith("aten::")}
    )


def check_operators(schemas: Iterable[str]) -> None:
    """Refuse operators that the oldest torch does not know, or does not know so.

    Raises:
        ExportError: naming them.
    """
    known = {_name(line): line for line in known_operators()}
    strangers = [_name(schema) for schema in schemas if not _serves(known.get(_name(schema)), schema)]
    if strangers:
        raise ExportError(
            f"the model needs what torch {OLDEST_TORCH} does not know, and so Nuke 14 cannot load:"
            f" {', '.join(strangers)}; --target torchscript and onnx do not need it"
        )


def known_operators() -> list[str]:
    """Return the list's schemas, as torch 1.12.1 prints them."""
    lines = files("bitexpand.export").joinpath(_LIST).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _serves(known: str | None, schema: str) -> bool:
    """Tell whether a call that fits ``schema`` fits the older one: whatever that adds has a default at the end."""
    if known is None:
        return False
    older, newer = (torch._C.parse_schema(text) for text in (known, schema))
    added = older.arguments[len(newer.arguments) :]
    names = [[a.name for a in s.arguments[: len(newer.arguments)]] for s in (older, newer)]
    return names[0] == names[1] and all(argument.has_default_value() for argument in added)


def _name(schema: str) -> str:
    return schema.partition("(")[0]


def _nodes(block: torch._C.Block | torch._C.Graph) -> Iterator[torch._C.Node]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
