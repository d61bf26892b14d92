"""evenhand compare, history: runs side by side, and the course of the bias over a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import orjson
from cyclopts import Parameter

from evenhand.analysis import MARGIN, analyze
from evenhand.audit import compare as compare_runs
from evenhand.audit import parse_arm
from evenhand.cli.flags import BlockedAs, InferTo, Margin
from evenhand.cli.lists import run_folders
from evenhand.cli.report import (
    OpenAfterwards,
    OutFile,
    ScoresOf,
    check_openable,
    deliver,
    summary_to,
    tell_paths,
)
from evenhand.engines.weights import find_weights
from evenhand.errors import EvenhandError, UsageError
from evenhand.report.comparison import comparison_document
from evenhand.report.data import comparison_to_json
from evenhand.report.formats import render
from evenhand.report.history import Release, history_document
from evenhand.report.terminal import print_document
from evenhand.run.scoring import scored_run
from evenhand.store.redaction import shown_name
from evenhand.store.store import Store
from evenhand.study.study import split_names
from evenhand.text import one_line

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
    document = comparison_document(found, _weights(arms))
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


def _weights(arms: Iterable[str]) -> dict[str, Path]:
    """Folders of the arms' local weights, by the models' names in a comparison."""
    found = {}
    for run in {parse_arm(arm)[0] for arm in arms}:
        store = Store.open(run)
        try:
            record = store.record()
        finally:
            store.close()
        folder = find_weights(record.study.model, record.addresses, run.absolute().parent)
        if folder is not None:
            found[shown_name(record.study.model)] = folder
    return found


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
            print(f"left out: {one_line(f'{path}: {error}')}", file=sys.stderr)
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
