"""evenhand report: show the results of a run."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis import MARGIN, analyze
from evenhand.analysis.grid import select_judge
from evenhand.analysis.judges import KnownError
from evenhand.analysis.power import frozen_notes
from evenhand.calibration.agreement import Calibration
from evenhand.cli.flags import BlockedAs, InferTo, Margin, Redact, RunFolder
from evenhand.errors import StoreError, UsageError
from evenhand.files import replacing, write_file
from evenhand.plugins import blamed, load_plugin, misused
from evenhand.report import FORMATS, FileFormat, FolderFormat, ReportInput
from evenhand.report.findings import audit_document
from evenhand.report.terminal import print_document
from evenhand.run.scoring import score_run
from evenhand.stats import JudgeError
from evenhand.store.store import Store
from evenhand.text import whole_text

ScoresOf = Annotated[
    str | None,
    Parameter(
        name=("--judge", "-j"),
        help="Judge whose scores to report, of those that `score` has made. Default: the first "
        "judge of the study, else the scorers that the items name.",
    ),
]
OutFile = Annotated[
    Path | None,
    Parameter(help="File or folder to write to. Default: by format, or the standard output."),
]
OpenAfterwards = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Show the file in the browser afterwards."),
]


def report(
    run: RunFolder,
    /,
    *,
    margin: Margin = MARGIN,
    judge: ScoresOf = None,
    judge_error: Annotated[
        str | None,
        Parameter(
            help="Error rates of this judge: a file that `evenhand calibrate` has written; "
            "SENSITIVITY/REFUSALS,SPECIFICITY/OTHERS such as 0.97/250,0.95/200; or none. Default: "
            "the calibration of evenhand's own judges."
        ),
    ] = None,
    units: InferTo = "auto",
    frozen: Annotated[
        Path | None,
        Parameter(help="Plan that `evenhand plan --freeze` has written: says whether it was kept."),
    ] = None,
    blocked: BlockedAs = None,
    details: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Show every benchmark, every identity, ranks and missing scores too.",
        ),
    ] = False,
    format: Annotated[
        str,
        Parameter(
            help="Output format: html writes report.html into the run folder; csv and parquet "
            "write tables/, png and svg write every chart into charts/; text, json, markdown and "
            "latex print the results, and jsonl prints every answer, one a line; inspect writes "
            "logs of Inspect into inspect/, and eee Every Eval Ever records into eee/. Other "
            "packages can add formats."
        ),
    ] = "html",
    answers: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=0),
            help="Number of answers on the page, of questions drawn at random: 0 for none, a large "
            "number for as many as a page can hold, 200 million characters. Default: all, up to 20 "
            "million characters.",
        ),
    ] = None,
    redact: Redact = None,
    out: OutFile = None,
    open: OpenAfterwards = False,
) -> None:
    """Show the results of a run, finished or not.

    Examples:

        evenhand report runs/first --open
        evenhand report runs/first --format text --details
        evenhand report runs/first --format json
        evenhand report runs/first --format markdown --out comment.md
        evenhand report runs/first --format jsonl --redact all --out answers.jsonl
        evenhand report runs/first --format png --out charts
        evenhand report runs/first --judge rubric:openai/gpt-4o-mini --judge-error rubric.json
    """
    chosen = None if format == "text" else _find_format(format)
    if open:
        check_openable(format, several=isinstance(chosen, FolderFormat), out=out)
    store = Store.open(run)
    try:
        store.redaction = redact
        if blocked is not None:
            store.blocked = blocked
        score_run(store)
        error = judge_error_of(judge_error, select_judge(store, judge)[0])
        audit = analyze(store, margin=margin, judge=judge, judge_error=error, units=units)
        if frozen is not None:
            plan, *notes = frozen_notes(frozen, store.record(), margin)
            kept = plan.endswith("was kept")
            audit = replace(
                audit,
                frozen=f"{plan[:1].upper()}{plan[1:]}." if kept else "",
                notes=[*([] if kept else [plan]), *notes, *audit.notes],
            )
        try:
            if format in ("html", "text"):
                with summary_to(out if format == "text" else None, open) as console:
                    print_document(audit_document(audit), console, details=details)
        finally:  # whoever reads the summary, `head` for one, may leave before its end
            if chosen:
                _write(format, chosen, ReportInput(audit, store, answers=answers), out, open)
    finally:
        store.close()


def check_openable(format: str, *, several: bool, out: Path | None) -> None:
    """Check that --open has one file to show.

    Raises:
        UsageError: the format writes several files, or prints where no file is named.
    """
    if several:
        raise UsageError(f"--open shows one file, and --format {format} writes several")
    if format == "text" and out is None:
        raise UsageError("--open shows a file: name one with --out")


@contextmanager
def summary_to(path: Path | None, show: bool) -> Iterator[Console]:
    """A console for a summary: the terminal's, or one of 80 columns that ends in a file."""
    if path is None:
        yield Console()
        return
    text = io.StringIO()
    yield Console(file=text, width=80)
    deliver(text.getvalue(), path, show=show)


def _find_format(name: str) -> FileFormat | FolderFormat:
    """The format of that name.

    Raises:
        UnknownName: there is none.
        PluginError: another package's is none, or has no place of its own in the run folder.
    """
    found: object = load_plugin("format", name, FORMATS, ["text"])
    with blamed("format", name, FORMATS):
        if not isinstance(found, FileFormat | FolderFormat):
            raise misused("format", name, f"names {found!r}, no FileFormat or FolderFormat")
        place: object = found.folder if isinstance(found, FolderFormat) else found.file
        if not _is_free(place) and (place is not None or isinstance(found, FolderFormat)):
            what = "no plain name in the run folder, or one of the run's own"
            raise misused("format", name, f"writes to {place!r}, which is {what}")
    return found


def _is_free(name: object) -> bool:
    """Whether a report may have this name in a run folder: run.* and labels are the run's own."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w. -]{0,99}", name):
        return False
    return not name.casefold().startswith("run.") and name.casefold() != "labels"


def _write(
    name: str,
    format: FileFormat | FolderFormat,
    report: ReportInput,
    out: Path | None,
    show: bool,
) -> None:
    """Write a report where it belongs, or into the file or folder that was named.

    Raises:
        UsageError: its place in the run folder is a link to another folder.
        PluginError: the format is another package's, and fails or gives no report.
        StoreError: the folder cannot be made.
    """
    run = report.store.folder
    if isinstance(format, FolderFormat):
        folder = run / format.folder
        if out is None and folder.is_symlink():
            raise UsageError(
                f"{folder} is a symbolic link, which is not followed; remove it, or name a folder "
                "with --out"
            )
        folder = out or folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write into {folder}: {error.strerror}") from None
        with blamed("format", name, FORMATS):
            paths = format.write(report, folder)
            if not isinstance(paths, list) or not all(isinstance(path, Path) for path in paths):
                raise misused("format", name, f"gives {paths!r}, no list of the paths it wrote")
        tell_paths(paths)
    else:
        file = out or (run / format.file if format.file else None)
        beside = file.with_name(f"{file.stem}-answers") if file else None
        with blamed("format", name, FORMATS):
            content = format.write(replace(report, beside=beside))
            if name not in FORMATS:
                content = _checked(name, content, printed=file is None)
        deliver(content, file, show=show, private=out is None)


def _checked(name: str, content: object, *, printed: bool) -> str | bytes | Iterator[str]:
    """The content of another package's format, where it can be written.

    Raises:
        PluginError: it is none of what a format gives, or bytes that cannot be printed.
    """
    if isinstance(content, str):
        return "".join(_parts(name, [content]))
    if isinstance(content, bytes):
        if printed and content.decode(errors="ignore").encode() != content:
            raise misused("format", name, "gives bytes that cannot be printed; name a file, --out")
        return content
    if not isinstance(content, Iterable):
        raise misused("format", name, f"gives {content!r}, which is no report")
    return _parts(name, content)


def _parts(name: str, content: Iterable[object]) -> Iterator[str]:
    """The parts of a text as they come, each checked."""
    with blamed("format", name, FORMATS):
        for part in content:
            if not isinstance(part, str) or part != whole_text(part):
                raise misused("format", name, f"gives {part!r}, which is no text in UTF-8")
            yield part


def tell_paths(paths: Sequence[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        print(path, file=sys.stderr)
    if not paths:
        print("Nothing to draw: too few scored answers.", file=sys.stderr)


def deliver(
    content: str | bytes | Iterator[str], path: Path | None, *, show: bool, private: bool = False
) -> None:
    """To the file, or to the standard output where there is none; parts as they come.

    Args:
        private: nobody but the user may read the file, as everything in a run folder.

    Raises:
        UsageError: there is no file to show.
    """
    if path is None and show:
        raise UsageError("--open shows a file: name one with --out")
    if path is None:
        if isinstance(content, str | bytes):
            print(content if isinstance(content, str) else content.decode())
        else:
            sys.stdout.writelines(content)
        return
    if isinstance(content, str | bytes):
        write_file(path, content, private=private)
    else:
        with replacing(path, private=private) as file:
            file.writelines(content)
    print(f"Report: {path}", file=sys.stderr)
    if show:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())


def judge_error_of(text: str | None, judge: str) -> KnownError | Literal["none"] | None:
    """A judge's error rates, of a calibration's file or of "0.97/250,0.95/200".

    Args:
        text: "none" for no correction; None where the user says nothing.

    Raises:
        UsageError: the text is of no such form, the file is invalid or of another judge, or the
            judge is no better than chance.
    """
    if text is None or text == "none":
        return "none" if text else None
    found = re.fullmatch(r"([\d.]+)/(\d+),([\d.]+)/(\d+)", text.replace(" ", ""))
    if found:
        try:
            rates = float(found[1]), float(found[3]), int(found[2]), int(found[4])
            return KnownError(JudgeError(*rates))
        except ValueError as error:
            raise UsageError(f'--judge-error "{text}": {error}') from None
    if "/" in text and "," in text and not Path(text).exists():
        raise UsageError(f'--judge-error "{text}" is not of the form 0.97/250,0.95/200')
    calibration = Calibration.load(Path(text))
    if calibration.judge not in (judge, *judge.split("+")):
        raise UsageError(
            f"{text} is the calibration of {calibration.judge}; the scores are {judge}'s"
        )
    return KnownError(calibration.to_judge_error(), calibration.labels, calibration.judge)
