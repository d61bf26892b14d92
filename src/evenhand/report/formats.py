"""The report formats that come with evenhand; `FORMATS` names them.

What a format needs is imported when it is used: the page and the images take half a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from evenhand.report import FileFormat, FolderFormat, ReportInput
from evenhand.report.document import AnswerBrowser, Document
from evenhand.report.findings import audit_document


def render(document: Document, format: Literal["html", "markdown", "latex"]) -> str:
    """A document as text of a format."""
    if format == "html":
        from evenhand.report.html import to_html

        return to_html(document)
    if format == "markdown":
        from evenhand.report.markdown import to_markdown

        return to_markdown(document)
    from evenhand.report.latex import to_latex

    return to_latex(document)


def _page(report: ReportInput, answers: AnswerBrowser | None = None) -> Document:
    from evenhand.analysis.evidence import read_details

    details = read_details(report.store, report.audit)
    return audit_document(report.audit, details, answers)


def _html(report: ReportInput) -> str:
    from evenhand.report.browser import browse

    answers = browse(report.store, report.audit.judge, report.beside, report.answers)
    return render(_page(report, answers), "html")


def _json(report: ReportInput) -> str:
    from evenhand.report.data import to_json

    return to_json(report.audit)


def _jsonl(report: ReportInput) -> Iterator[str]:
    from evenhand.report.browser import transcript_lines

    return transcript_lines(report.store, report.audit.judge)


def _csv(report: ReportInput, folder: Path) -> list[Path]:
    from evenhand.report.data import write_csv_tables

    return write_csv_tables(report.audit, report.store, folder)


def _parquet(report: ReportInput, folder: Path) -> list[Path]:
    from evenhand.report.data import write_parquet_tables

    return write_parquet_tables(report.audit, report.store, folder)


def _images(kind: Literal["png", "svg"], report: ReportInput, folder: Path) -> list[Path]:
    from evenhand.report.images import write_images

    return write_images(_page(report), folder, kind)


HTML = FileFormat(_html, "report.html")
JSON = FileFormat(_json)
JSONL = FileFormat(_jsonl)
MARKDOWN = FileFormat(lambda report: render(audit_document(report.audit), "markdown"))
LATEX = FileFormat(lambda report: render(audit_document(report.audit), "latex"))
CSV = FolderFormat(_csv, "tables")
PARQUET = FolderFormat(_parquet, "tables")
PNG = FolderFormat(partial(_images, "png"), "charts")
SVG = FolderFormat(partial(_images, "svg"), "charts")
