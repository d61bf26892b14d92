"""evenhand report: show what a run has found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis import MARGIN, analyse
from evenhand.cli.options import Format
from evenhand.errors import UsageError
from evenhand.report import write_audit
from evenhand.report.details import print_details
from evenhand.score import score_run
from evenhand.stats import JudgeError
from evenhand.store import Store


def report(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    margin: Annotated[
        float, Parameter(validator=Number(gt=0), help="Difference that does not matter, points.")
    ] = MARGIN,
    judge: Annotated[
        str | None,
        Parameter(
            help="How often the judge of refusals agrees with people, as "
            "SENSITIVITY/REFUSALS,SPECIFICITY/OTHERS: 0.97/250,0.95/200."
        ),
    ] = None,
    details: Annotated[
        bool, Parameter(negative="", help="Every benchmark, every identity, ranks, missing scores.")
    ] = False,
    format: Annotated[Format, Parameter(help="text for the terminal, or json.")] = "text",
) -> None:
    """Show what a run has found; a run that is not finished, too.

    Examples:

        evenhand report runs/first
        evenhand report runs/first --details
        evenhand report runs/first --format json
        evenhand report runs/first --judge 0.97/250,0.95/200
    """
    error = _judge_error(judge) if judge else None
    store = Store.open(run)
    try:
        score_run(store)
        audit = analyse(store, margin=margin, judge=error)
        write_audit(audit, format, Console())
        if details and format == "text":
            print_details(audit, Console())
    finally:
        store.close()


def _judge_error(text: str) -> JudgeError:
    found = re.fullmatch(r"([\d.]+)/(\d+),([\d.]+)/(\d+)", text.replace(" ", ""))
    if not found:
        raise UsageError(f'--judge "{text}" is not of the form 0.97/250,0.95/200')
    try:
        return JudgeError(float(found[1]), float(found[3]), int(found[2]), int(found[4]))
    except ValueError as error:
        raise UsageError(f'--judge "{text}": {error}') from None
