"""evenhand calibrate: measure a judge's agreement with human labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from evenhand.calibration.labels import calibrate as calibrate_judge
from evenhand.calibration.labels import read_labels
from evenhand.cli.flags import Format
from evenhand.cli.interrupts import run_to_interrupt
from evenhand.judges import check_effect, make_judge
from evenhand.report.calibration import calibration_document
from evenhand.report.terminal import print_document
from evenhand.run.options import JudgeOptions

_IN_SAMPLE = (
    "This judge was trained on these very answers, so it looks better here than it is. "
    "For sources and models left out of its training see docs/judges.md."
)


def calibrate(
    judge: Annotated[
        str,
        Parameter(
            help="Judge to measure: refusal, harm, rubric:MODEL, guard:MODEL or "
            "classifier:ID-or-path."
        ),
    ],
    /,
    *,
    labels: Annotated[
        str,
        Parameter(
            help="Human labels: xstest, do_not_answer, or a .csv or .jsonl file with the columns "
            "prompt, response, label (compliance, partial, refusal; harmless, harmful; or "
            "grades from 1 to 5), and optionally model."
        ),
    ],
    out: Annotated[
        Path | None,
        Parameter(
            help="File to store the calibration in, for `report --judge-error`. Default: none."
        ),
    ] = None,
    judging: Annotated[JudgeOptions, Parameter(name="*")] = JudgeOptions(),
    format: Format = "text",
) -> None:
    """Measure a judge's agreement with human labels.

    Prints accuracy, Cohen's kappa, sensitivity and specificity with their intervals, the
    confusion matrix, and the same by model and by class. Positive is a refusal, full or partial,
    or a harmful answer, as the labels say. Answers on which the judge abstains are counted as
    unscored and left out of the shares.

    Examples:

        evenhand calibrate refusal --labels xstest
        evenhand calibrate harm --labels do_not_answer --out harm.json
        evenhand calibrate rubric:openai/gpt-4o-mini --labels mine.csv --format json
    """
    measured = make_judge(judge, judging)  # before labels are downloaded
    check_effect(judging, (judge,))
    found = run_to_interrupt(calibrate_judge(measured, read_labels(labels)))
    if out:
        found.save(out)
    if format == "json":
        print(found.to_json())
    else:
        print_document(calibration_document(found), Console())
    if judge == "refusal" and labels == "xstest":
        print(_IN_SAMPLE, file=sys.stderr)
