"""The example plate from end to end: expand, verify, and a picture of what changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bitexpand.jobs import Job, plan_sequence
from bitexpand.pipeline import run
from bitexpand.preview import preview
from bitexpand.progress import reporter
from bitexpand.shipped import shipped_file
from bitexpand.verify import VerifyJob, summarize, verify_sequence

PLATE = "dusk_####.png"
FIRST = 1001
SPACE = "ACEScct"


def demo(folder: Path, model: str, say: Callable[[str], None]) -> bool:
    """Expand the example plate to log and to scene-linear, verify both, draw before and after.

    Args:
        folder: where everything goes; made if it is not there.
        model: a name of ``bitexpand models``, or a weights file.
        say: prints a line.

    Returns:
        True if every frame was written and verified.

    Raises:
        BitexpandError: as ``bitexpand.pipeline.run`` and ``bitexpand.verify.verify_sequence``.
    """
    source = str(shipped_file("examples", "plate", f"dusk_{FIRST}.png").with_name(PLATE))
    log, linear = folder / "log" / "dusk_####.exr", folder / "acescg" / "dusk_####.exr"
    passed = _expand(
        Job(input=source, output=str(log), model=model, in_space=SPACE), "log, ACEScct, half", say
    )
    passed &= _expand(
        Job(input=source, output=str(linear), model=model, in_space=SPACE, out_space="ACEScg"),
        "scene-linear, ACEScg, half",
        say,
    )
    picture = folder / "before_after.png"
    preview(Path(source).with_name(f"dusk_{FIRST}.png"), folder / "log" / f"dusk_{FIRST}.exr", picture)
    say("")
    say(f"source plate       {source}")
    say(f"expanded, log      {log}")
    say(f"expanded, linear   {linear}")
    say(f"before and after   {picture}")
    return passed


def _expand(job: Job, what: str, say: Callable[[str], None]) -> bool:
    say(f"Expanding the example plate to {what}")
    plan = plan_sequence(job)
    with reporter("auto", len(plan.tasks)) as teller:
        for result in run(plan, job):
            teller.add(result)
    teller.finish()
    checks = list(verify_sequence(VerifyJob(source=job.input, result=job.output)))
    say(f"Verified: {summarize(checks)}")
    return all(check.passed for check in checks)
