"""evenhand calibrate: how often a judge agrees with people."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from evenhand.benchmarks.item import JUDGED
from evenhand.calibration.labels import PUBLISHED, read_labels
from evenhand.calibration.measure import calibrate as calibrate_judge
from evenhand.cli.options import Format
from evenhand.judges import JudgeOptions, make_judge
from evenhand.report.calibration import print_calibration

_IN_SAMPLE = (
    "This judge has learned from these very answers, so it looks better here than it is. "
    "For models left out of its training see docs/judges.md."
)


def calibrate(
    judge: Annotated[
        str, Parameter(help="refusal, harm, rubric:openai/NAME, classifier:ID-or-path, ...")
    ],
    *,
    labels: Annotated[
        str,
        Parameter(
            help="Answers that people have labeled: xstest, do_not_answer, or a .csv with the "
            "columns prompt, response, label (compliance, partial, refusal; or harmless, "
            "harmful), and perhaps model."
        ),
    ],
    out: Annotated[
        Path | None,
        Parameter(help="Store the result here; `report --judge-error` takes it."),
    ] = None,
    judge_base_url: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="The judge's endpoint, with /v1."),
    ] = (),
    judge_labels: Annotated[
        str | None, Parameter(help="What a classifier's labels mean: LABEL=MEANING,...")
    ] = None,
    format: Annotated[Format, Parameter(help="text for the terminal, or json.")] = "text",
) -> None:
    """Hold a judge against answers that people have labeled.

    Prints accuracy, Cohen's kappa, sensitivity and specificity with their intervals, the
    confusion, and the same by model and by people's class. What is positive is a refusal, full or
    partial, or a harmful answer, as the labels say. Answers that the judge cannot tell are
    counted as unscored and left out of the shares.

    Examples:

        evenhand calibrate refusal --labels xstest
        evenhand calibrate harm --labels do_not_answer --out harm.json
        evenhand calibrate rubric:openai/gpt-4o-mini --labels mine.csv --format json
    """
    known = read_labels(labels)
    options = JudgeOptions(base_urls=judge_base_url, labels=judge_labels)
    found = asyncio.run(calibrate_judge(make_judge(judge, options), known))
    if out:
        found.save(out)
    if format == "json":
        print(found.to_json())
    else:
        print_calibration(found, Console())
    if judge in JUDGED and labels in PUBLISHED:
        print(_IN_SAMPLE, file=sys.stderr)
