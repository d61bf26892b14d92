"""Reports: what an audit found, built once as a document and rendered in any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evenhand.analysis.results import Audit
from evenhand.store.store import Store

FORMATS = {
    "html": "evenhand.report.formats:HTML",
    "json": "evenhand.report.formats:JSON",
    "jsonl": "evenhand.report.formats:JSONL",
    "markdown": "evenhand.report.formats:MARKDOWN",
    "latex": "evenhand.report.formats:LATEX",
    "csv": "evenhand.report.formats:CSV",
    "parquet": "evenhand.report.formats:PARQUET",
    "png": "evenhand.report.formats:PNG",
    "svg": "evenhand.report.formats:SVG",
    "inspect": "evenhand.interop.inspect:INSPECT",
    "eee": "evenhand.interop.eee:EEE",
}
"""Formats by name; other packages add theirs as entry points of the group `evenhand.formats`.

`text` is none of them: the terminal's width and colors shape it as it is printed.
"""


@dataclass(frozen=True)
class ReportInput:
    """What a format makes a report of.

    Attributes:
        audit: the results.
        store: the run that they are of; its `redaction` says whose texts are left out.
        beside: folder for what is too large to stand inside a page; None leaves it inside.
        answers: number of answers on a page, about; None for as many as it can hold.
    """

    audit: Audit
    store: Store
    beside: Path | None = None
    answers: int | None = None


@dataclass(frozen=True)
class FileFormat:
    """A format of one file.

    Attributes:
        write: makes it; parts, such as lines, are written as they come.
        file: its plain name in the run folder; None for a format that goes to the standard output.
    """

    write: Callable[[ReportInput], str | bytes | Iterator[str]]
    file: str | None = None


@dataclass(frozen=True)
class FolderFormat:
    """A format of several files.

    Attributes:
        write: makes them in a folder, which is there, and gives their paths.
        folder: its plain name in the run folder.
    """

    write: Callable[[ReportInput, Path], list[Path]]
    folder: str
