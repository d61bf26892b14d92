"""evenhand compare: what changed from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from evenhand.analysis import MARGIN
from evenhand.audit import compare as compare_runs
from evenhand.cli.flags import BlockedAs, InferTo, Margin
from evenhand.cli.report import (
    OpenAfterwards,
    OutFile,
    ScoresOf,
    check_openable,
    deliver,
    summary_to,
    tell_paths,
)
from evenhand.report.comparison import comparison_document
from evenhand.report.data import comparison_to_json
from evenhand.report.formats import render
from evenhand.report.terminal import print_document
from evenhand.study.study import split_names

CompareFormat = Literal["text", "html", "json", "markdown", "latex", "png", "svg"]


def compare(
    *arms: Annotated[
        str,
        Parameter(
            help="Arm to compare: RUN, RUN@DEFENSE or RUN@CUE/DEFENSE; a run alone stands for the "
            "first cue and defense of its study. The others are compared with the first."
        ),
    ],
    margin: Margin = MARGIN,
    identity: Annotated[
        tuple[str, ...],
        Parameter(
            alias="-i",
            negative="",
            show_default=False,
            help="Identity to compare, by id; may be repeated. Default: all that the arms share.",
        ),
    ] = (),
    judge: ScoresOf = None,
    blocked: BlockedAs = None,
    units: InferTo = "auto",
    stages: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="The arms are stages of one model, such as base, instruct and tuned: compare each "
            "with the one before it, and the last with the first. Default: each with the first.",
        ),
    ] = False,
    format: Annotated[
        CompareFormat | None,
        Parameter(
            help="Output format: html writes comparison.html; png and svg write every chart into "
            "comparison-charts/; the others print. Default: text, or html with --open."
        ),
    ] = None,
    out: OutFile = None,
    open: OpenAfterwards = False,
) -> None:
    """Compare runs, or one run under several defenses, item by item.

    Examples:

        evenhand compare runs/base runs/tuned
        evenhand compare runs/base runs/base@ignore runs/tuned runs/tuned@ignore
        evenhand compare runs/base runs/tuned --open
        evenhand compare runs/base runs/instruct runs/tuned --stages
    """
    format = format or ("html" if open else "text")
    if open:
        check_openable(format, several=format in ("png", "svg"), out=out)
    found = compare_runs(
        *arms,
        margin=margin,
        identities=split_names(identity) or None,
        judge=judge,
        blocked=blocked,
        stages=stages,
        units=units,
    )
    document = comparison_document(found)
    try:
        if format in ("html", "text"):
            with summary_to(out if format == "text" else None, open) as console:
                print_document(document, console)
    finally:  # whoever reads the summary may leave before its end
        if format == "png" or format == "svg":
            from evenhand.report.images import write_images  # takes the charts along

            tell_paths(write_images(document, out or Path("comparison-charts"), format))
        elif format == "json":
            deliver(comparison_to_json(found), out, show=open)
        elif format != "text":
            file = Path("comparison.html") if format == "html" else None
            deliver(render(document, format), out or file, show=open)
