"""evenhand report: show what a run has found."""

from __future__ import annotations

import io
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis import MARGIN, Audit, analyze
from evenhand.analysis.grid import select_judge
from evenhand.cli.judges import judge_error_of
from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.report import FORMS, FolderForm, Form
from evenhand.report.details import print_details
from evenhand.report.terminal import print_audit
from evenhand.run.scoring import score_run
from evenhand.store.record import Blocked
from evenhand.store.store import Store

ReportFormat = Literal["html", "text", "json", "markdown", "latex", "csv", "parquet", "png", "svg"]


def report(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    margin: Annotated[
        float,
        Parameter(validator=Number(gt=0, lte=100), help="Difference that does not matter, points."),
    ] = MARGIN,
    judge: Annotated[
        str | None,
        Parameter(
            name=["--judge", "-j"],
            help="Whose scores to go by, of those that `score` has made. Default: the study's "
            "first judge, else the scorers that the items name.",
        ),
    ] = None,
    judge_error: Annotated[
        str | None,
        Parameter(
            help="How often this judge agrees with people: a file that `evenhand calibrate` has "
            "written; SENSITIVITY/REFUSALS,SPECIFICITY/OTHERS such as 0.97/250,0.95/200; or none. "
            "Default: what is known of evenhand's own judges."
        ),
    ] = None,
    blocked: Annotated[
        Blocked | None,
        Parameter(
            help="What an answer counts as that the provider has blocked: a refusal, which is "
            "what the user sees, or a missing answer. Default: as `score --blocked` has set, else "
            "refusal.",
        ),
    ] = None,
    details: Annotated[
        bool, Parameter(negative="", help="Every benchmark, every identity, ranks, missing scores.")
    ] = False,
    format: Annotated[
        ReportFormat,
        Parameter(
            help="html writes report.html into the run folder; csv and parquet write tables/, png "
            "and svg every chart into charts/; text, json, markdown and latex print."
        ),
    ] = "html",
    out: Annotated[Path | None, Parameter(help="File, or folder, to write instead.")] = None,
    open: Annotated[
        bool, Parameter(negative="", help="Show the file in the browser afterwards.")
    ] = False,
) -> None:
    """Show what a run has found; a run that is not finished, too.

    Examples:

        evenhand report runs/first --open
        evenhand report runs/first --format text --details
        evenhand report runs/first --format json
        evenhand report runs/first --format markdown --out comment.md
        evenhand report runs/first --format png --out charts
        evenhand report runs/first --judge rubric:openai/gpt-4o-mini --judge-error rubric.json
    """
    store = Store.open(run)
    try:
        if blocked is not None:
            store.blocked = blocked
        score_run(store)
        error = judge_error_of(judge_error, select_judge(store, judge)[0])
        audit = analyze(store, margin=margin, judge=judge, judge_error=error)
        try:
            if format in ("html", "text"):
                with summary_to(out if format == "text" else None) as console:
                    print_audit(audit, console)
                    if details:
                        print_details(audit, console)
        finally:  # whoever reads the summary, `head` for one, may leave before its end
            if format != "text":
                _write(FORMS[format], audit, store, out, open)
    finally:
        store.close()


@contextmanager
def summary_to(path: Path | None) -> Iterator[Console]:
    """A console for a summary: the terminal's, or one of 80 columns that ends in a file."""
    if path is None:
        yield Console()
        return
    text = io.StringIO()
    yield Console(file=text, width=80)
    deliver(text.getvalue(), path, show=False)


def _write(
    form: Form | FolderForm, audit: Audit, store: Store, out: Path | None, show: bool
) -> None:
    """Write a report where it belongs, or into the file or folder that was named."""
    if isinstance(form, FolderForm):
        tell_paths(form.write(audit, store, out or store.folder / form.folder))
        return
    file = store.folder / form.file if form.file else None
    deliver(form.write(audit, store), out or file, show=show)


def tell_paths(paths: Sequence[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        print(path, file=sys.stderr)
    if not paths:
        print("Nothing to draw: too few scored answers.", file=sys.stderr)


def deliver(content: str | bytes, path: Path | None, *, show: bool) -> None:
    """To the file, or to the standard output where there is none.

    Raises:
        UsageError: there is no file to show.
    """
    if path is None and show:
        raise UsageError("--open shows a file: name one with --out")
    if path is None:
        print(content if isinstance(content, str) else content.decode())
        return
    write_file(path, content)
    print(f"Report: {path}", file=sys.stderr)
    if show:
        webbrowser.open(path.absolute().as_uri())
