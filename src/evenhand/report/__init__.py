"""Reports: what an audit found, in one form or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from evenhand.analysis import Audit
from evenhand.report.as_json import to_json
from evenhand.report.latex import to_latex
from evenhand.report.markdown import to_markdown
from evenhand.report.tables import write_csv_tables, write_parquet_tables
from evenhand.report.terminal import print_audit
from evenhand.store.store import Store


@dataclass(frozen=True)
class Form:
    """A form that a report can take.

    Attributes:
        write: makes it of an audit and the store behind it.
        file: its name in the run folder; None for a form that goes to the standard output.
    """

    write: Callable[[Audit, Store], str | bytes]
    file: str | None = None


@dataclass(frozen=True)
class FolderForm:
    """A form of several files.

    Attributes:
        write: makes them in a folder, and gives their paths.
        folder: its name in the run folder.
    """

    write: Callable[[Audit, Store, Path], list[Path]]
    folder: str


def _html(audit: Audit, store: Store) -> str:
    from evenhand.report.html import to_html  # takes the charts along, and half a second

    return to_html(audit, store)


def _images(kind: Literal["png", "svg"], audit: Audit, store: Store, folder: Path) -> list[Path]:
    from evenhand.analysis.evidence import read_details
    from evenhand.report.html import sections
    from evenhand.report.images import write_images

    return write_images(sections(audit, read_details(store, audit)), folder, kind)


FORMS: dict[str, Form | FolderForm] = {
    "html": Form(_html, "report.html"),
    "json": Form(lambda audit, _: to_json(audit)),
    "markdown": Form(lambda audit, _: to_markdown(audit)),
    "latex": Form(lambda audit, _: to_latex(audit)),
    "csv": FolderForm(write_csv_tables, "tables"),
    "parquet": FolderForm(write_parquet_tables, "tables"),
    "png": FolderForm(partial(_images, "png"), "charts"),
    "svg": FolderForm(partial(_images, "svg"), "charts"),
}
"""Every form but `text`, which the terminal's width and colors shape as it is printed."""


def write_audit(audit: Audit, format: Literal["text", "json"], console: Console) -> None:
    """Write an audit to the standard output."""
    if format == "json":
        print(to_json(audit))
    else:
        print_audit(audit, console)
