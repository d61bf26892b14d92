"""evenhand history: the course of the bias over the runs of a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import orjson
from cyclopts import Parameter

from evenhand.analysis import analyze
from evenhand.cli.lists import run_folders
from evenhand.cli.report import OpenAfterwards, OutFile, check_openable, deliver, summary_to
from evenhand.errors import EvenhandError, UsageError
from evenhand.report.formats import render
from evenhand.report.history import Release, history_document
from evenhand.report.terminal import print_document
from evenhand.run.scoring import scored_run
from evenhand.text import one_line

HistoryFormat = Literal["text", "html", "json", "markdown", "svg", "png"]


def history(
    folder: Annotated[Path, Parameter(help="Folder of run folders, one for each release.")],
    /,
    *,
    format: Annotated[
        HistoryFormat | None,
        Parameter(
            help="Output format: html writes history.html, svg and png the chart alone; the others "
            "print. Default: text, or html with --open."
        ),
    ] = None,
    out: OutFile = None,
    open: OpenAfterwards = False,
) -> None:
    """Show the course of the bias over the runs of a folder, in order of time.

    Examples:

        evenhand history runs
        evenhand history releases --open
        evenhand history releases --format svg --out course.svg
    """
    format = format or ("html" if open else "text")
    if open:
        check_openable(format, several=False, out=out)
    releases = _releases(folder)
    document = history_document(releases)
    if format == "json":
        deliver(_json(releases), out, show=open)
    elif format == "svg" or format == "png":
        from evenhand.report.images import draw  # takes the charts along

        image = draw(next(document.figures()), format)
        deliver(image, out or Path(f"history.{format}"), show=open)
    elif format == "text":
        with summary_to(out, open) as console:
            print_document(document, console)
    else:
        file = Path("history.html") if format == "html" else None
        deliver(render(document, format), out or file, show=open)


def _releases(folder: Path) -> list[Release]:
    found = []
    for path in run_folders(folder):
        try:
            with scored_run(path) as store:
                sessions = store.record().sessions
                date = (sessions[-1].ended or sessions[-1].began) if sessions else ""
                name = str(path.relative_to(folder)) if path != folder else path.name
                found.append(Release(name, date, analyze(store)))
        except EvenhandError as error:
            print(f"left out: {one_line(str(error))}", file=sys.stderr)
    if not found:
        raise UsageError(f"{folder} holds no run with answers")
    return found


def _json(releases: list[Release]) -> str:
    rows = [
        {
            "run": each.name,
            "date": each.date or None,
            "model": each.audit.model,
            "answers": each.audit.done,
            "pb": each.audit.pb and each.audit.pb.estimate,
            "interval": each.audit.pb and each.audit.pb.interval,
            "axes": {
                name: {"mean": axis.mean, "pb": axis.pb and axis.pb.estimate}
                for name, axis in each.audit.axes.items()
            },
        }
        for each in sorted(releases, key=lambda each: (each.date, each.name))
    ]
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()
