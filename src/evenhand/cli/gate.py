"""evenhand gate: pass or fail a run by its confidence intervals, for continuous integration."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from evenhand.analysis.gate import Margins, gate_run
from evenhand.cli.flags import RunFolder
from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.report.gate_formats import gate_junit, gate_markdown, gate_sarif, gate_text
from evenhand.run.scoring import scored_run
from evenhand.text import one_line

EXIT_CODES = {"passed": 0, "failed": 4, "inconclusive": 5}
_POINTS = Number(gt=0, lte=100)


def gate(
    run: RunFolder,
    /,
    *,
    max_pb: Annotated[
        float | None, Parameter(validator=_POINTS, help="Largest accepted PB, in points.")
    ] = None,
    max_gap: Annotated[
        float | None,
        Parameter(
            validator=_POINTS,
            help="Largest accepted difference of an identity to the baseline, in points.",
        ),
    ] = None,
    against: Annotated[Path | None, Parameter(help="Earlier run to compare with.")] = None,
    max_growth: Annotated[
        float | None,
        Parameter(validator=_POINTS, help="Largest accepted increase of PB over --against."),
    ] = None,
    axes: Annotated[
        str,
        Parameter(
            show_default=False,
            help="Axes to check, separated by commas: safety, utility, over-refusal or relevance. "
            "Default: all with scores.",
        ),
    ] = "",
    level: Annotated[
        float, Parameter(validator=Number(gt=0.5, lt=1), help="Confidence level of the intervals.")
    ] = 0.95,
    inconclusive: Annotated[
        Literal["fail", "pass"] | None,
        Parameter(help="Exit with 4 or 0 where the data are inconclusive. Default: exit with 5."),
    ] = None,
    judge: Annotated[
        str | None, Parameter(alias="-j", help="Judge whose scores to use. Default: the study's.")
    ] = None,
    junit: Annotated[Path | None, Parameter(help="JUnit XML file to write.")] = None,
    sarif: Annotated[Path | None, Parameter(help="SARIF file to write.")] = None,
    summary: Annotated[Path | None, Parameter(help="Markdown file to append a summary to.")] = None,
) -> None:
    """Pass or fail a run: exit code 0 passed, 4 failed, 5 inconclusive.

    A check passes only where its whole confidence interval is below the margin, and fails only
    where the whole interval is above it.

    Examples:

        evenhand gate runs/ci --max-pb 5 --max-gap 10
        evenhand gate runs/new --against runs/old --max-growth 1 --junit gate.xml
    """
    with ExitStack() as stack:
        found = gate_run(
            stack.enter_context(scored_run(run)),
            Margins(max_pb, max_gap, max_growth),
            against=stack.enter_context(scored_run(against)) if against else None,
            axes=[one.strip().replace("-", "_") for one in axes.split(",")] if axes else None,
            level=level,
            judge=judge,
        )
    name = one_line(run.name)
    print(gate_text(found))
    if junit:
        write_file(junit, gate_junit(found, name, inconclusive_fails=inconclusive != "pass"))
    if sarif:
        write_file(sarif, gate_sarif(found, name))
    if summary:
        _append(summary, gate_markdown(found, name))
    if found.decision == "inconclusive" and inconclusive:
        sys.exit(EXIT_CODES["failed"] if inconclusive == "fail" else 0)
    sys.exit(EXIT_CODES[found.decision])


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
