"""evenhand figures: the figures and tables of a paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evenhand.analysis import analyze
from evenhand.analysis.evidence import read_details
from evenhand.audit import compare as compare_runs
from evenhand.cli.report import ScoresOf, tell_paths
from evenhand.errors import UsageError
from evenhand.report.document import distinct
from evenhand.report.paper import PaperRun, PrintWidth, write_paper
from evenhand.run.scoring import scored_run
from evenhand.text import one_line


def figures(
    *runs: Annotated[Path, Parameter(help="Run folder; may be repeated, up to ten or so.")],
    out: Annotated[Path, Parameter(help="Folder to write to.")] = Path("figures"),
    width: Annotated[
        PrintWidth,
        Parameter(help="Width of a figure in print: column is 240 points, page is 480."),
    ] = "column",
    judge: ScoresOf = None,
) -> None:
    """Write the figures and tables of a paper, of one or more runs.

    PB by model, safety against utility by identity, intersections, and from the first run to each
    other: as PDF and SVG with text of 8 points. Tables, with intervals and a row of placebos, are
    in tables.tex; figures.tex includes every figure.

    Examples:

        evenhand figures runs/first --out paper
        evenhand figures runs/base runs/tuned --width page --out paper
    """
    if not runs:
        raise UsageError("name at least one run folder: evenhand figures RUN --out DIR")
    names = distinct([one_line(run.resolve().name) for run in runs])
    shown = []
    for run, name in zip(runs, names, strict=True):
        with scored_run(run) as store:
            audit = analyze(store, judge=judge)
            shown.append(PaperRun(name, audit, read_details(store, audit).regions))
    comparison = None
    if len(runs) > 1:
        try:
            comparison = compare_runs(*runs, judge=judge)
        except UsageError as reason:
            print(f"note: no figures from one run to the next: {reason}", file=sys.stderr)
    tell_paths(write_paper(shown, comparison, out, width))
