"""Options that several commands share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

SOURCE_KINDS = ("rounded", "truncated", "dithered", "triangular", "lossy")
"""As in ``code_values``, which brings numpy: longer to import than all of the help."""

F = TypeVar("F", bound=Callable[..., Any])


class OrUnset(click.ParamType[Any]):
    """A value, or the word that leaves the choice to bitexpand, as a farm's template cannot leave an option out.

    Args:
        inner: the type of a value.
        unset: the word.
        what: names the values where the inner type's own message would not do.
    """

    def __init__(self, inner: click.ParamType[Any], unset: str = "auto", what: str | None = None) -> None:
        self._inner, self._unset, self._what = inner, unset, what
        self.name = f"{unset}|{inner.name}" if unset else inner.name

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the inner type's own words, such as its choices."""
        inner = self._inner.get_metavar(param, ctx)
        return inner and f"[{self._unset}|{inner.strip('[]')}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return None for the word, and what the inner type makes of anything else."""
        if value is None or value == self._unset:
            return None
        if self._what is None:
            return self._inner.convert(value, param, ctx)
        try:
            return self._inner.convert(value, None, None)
        except click.UsageError:
            return self.fail(f"'{value}' is neither {self._unset} nor {self._what}", param, ctx)


class _Frames(click.ParamType[str]):
    """A frame range, or ``openjd:RANGE`` in Open Job Description's grammar, where ``1-9:2`` is a step."""

    name = "range"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the range in the grammar of ``--frames``."""
        if not value.startswith("openjd:"):
            return value
        from bitexpand.farm.openjd import from_openjd

        return from_openjd(value.removeprefix("openjd:"))


FRAMES = _Frames()


def settings_options(command: F) -> F:
    """Add the options of ``jobs.Settings``."""
    options = [
        click.option("--model", default="pyramid", show_default=True, help="A name of `bitexpand models`, or a weights FILE."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True, help="Of the network's inside; auto is bf16 where that is exact to 0.01 LSB and quicker, else fp32. The plate itself stays float32."),
        click.option("--strength", type=float, default=1.0, show_default=True, help="Share of the predicted move that is made, 0 to 1."),
        click.option("--source", "source_kind", type=click.Choice(SOURCE_KINDS), default="rounded", show_default=True, help="What made the plate, and so where the truth may lie: rounded 0.5 LSB around the code value, truncated up to 1 above, dithered 1 around, triangular (TPDF dither) 1.5, lossy (JPEG, H.264) 4."),
        click.option("--bound", type=OrUnset(click.FLOAT), default=None, metavar="LSB", help="Largest move of a value, in code steps of the source; 0.5 is its bin, so rounding gives the source back.  [default: as --source says, 0.5 if rounded; at least 1 for dequant-unet-aug]"),
        click.option("--bits", type=OrUnset(click.INT), default=None, metavar="N", help="True bit depth of the source, 2 to 12.  [default: from the file]"),
        click.option("--config", type=OrUnset(click.STRING), default=None, metavar="OCIO", help="OpenColorIO config: a path, an ocio:// name, or `bitexpand` (adds Cineon, LogC3 at every EI, Rec.709 curves).  [default: $OCIO, else the built-in studio config]"),
        click.option("--in-space", type=OrUnset(click.STRING, ""), default=None, metavar="SPACE", help="Colour space of the plate, such as ACEScct; never guessed."),
        click.option("--out-space", type=OrUnset(click.STRING, ""), default=None, metavar="SPACE", help="Colour space of the result, such as ACEScg.  [default: the encoding stays]"),
        click.option("--depth", type=OrUnset(click.Choice(["half", "float", "uint16"])), default=None, help="Samples of the result.  [default: EXR half, or float above 8 bits; others uint16]"),
        click.option("--compression", type=OrUnset(click.STRING), default=None, help="Of the format, such as zip, zips, piz (EXR) or lzw (TIFF).  [default: zip]"),
        click.option("--tile", type=OrUnset(click.INT, what="a number of pixels"), metavar="auto|PIXELS", default="auto", show_default=True, help="Largest tile side in pixels."),
        click.option("--overlap", type=OrUnset(click.INT), default=None, metavar="PIXELS", help="What neighbouring tiles share.  [default: the model's]"),
        click.option("--post-smooth", type=float, default=0.0, metavar="SIGMA", help="Edge-gated blur after the model, sigma in pixels.  [default: none]"),
        click.option("--existing", type=click.Choice(["skip", "overwrite", "error"]), default="skip", show_default=True, help="For outputs that are there: skip those that this run would write again, overwrite all, or stop."),
        click.option("--threads", type=OrUnset(click.IntRange(min=1)), default=None, metavar="N", help="CPU threads of the network.  [default: all cores]"),
    ]  # fmt: skip
    return added(command, options)


def run_options(command: F) -> F:
    """Add the options of a run on this machine."""
    options = [
        click.option("--progress", default="auto", show_default=True, metavar="auto|bar|plain|json|openjd|none|deadline|tractor", help="How progress is told on stdout."),
        click.option("--report", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE.json", help="Write what became of each frame; #### is the first frame's number."),
        click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing."),
    ]  # fmt: skip
    return added(command, options)


def promise_options(source: str, result: str) -> Callable[[F], F]:
    """Add the options of ``verify.VerifyJob``, which say what was promised; arguments are as the command calls them."""
    written = f"[default: as written in {result}"
    options = [
        click.option("--frames", type=FRAMES, default=None, metavar="RANGE", help="Such as 1001-1100.  [default: all sources]"),
        click.option("--bits", type=OrUnset(click.INT), default=None, help=f"True bit depth of the source.  {written}]"),
        click.option("--bound", type=OrUnset(click.FLOAT), default=None, metavar="LSB", help=f"Largest move allowed.  {written}, else as --source says, 0.5 if rounded]"),
        click.option("--source", "source_kind", type=click.Choice(SOURCE_KINDS), default=None, help=f"What made {source}.  {written}, else rounded]"),
        click.option("--config", type=OrUnset(click.STRING), default=None, metavar="OCIO", help=f"OpenColorIO config of the conversion.  {written}]"),
        click.option("--in-space", type=OrUnset(click.STRING, ""), default=None, metavar="SPACE", help=f"Colour space of {source}.  {written}]"),
        click.option("--out-space", type=OrUnset(click.STRING, ""), default=None, metavar="SPACE", help=f"Colour space of {result}.  {written}]"),
    ]  # fmt: skip
    return lambda command: added(command, options)


def added(command: F, options: list[Callable[[F], F]]) -> F:
    """Add options to a command, in the order of its help."""
    for option in reversed(options):
        command = option(command)
    return command
