"""Reports: an audit for the terminal or as JSON."""

from __future__ import annotations

from typing import Literal

from rich.console import Console

from evenhand.analysis import Audit
from evenhand.report.as_json import to_json
from evenhand.report.terminal import print_audit


def write_audit(audit: Audit, format: Literal["text", "json"], console: Console) -> None:
    """Write an audit to the standard output."""
    if format == "json":
        print(to_json(audit))
    else:
        print_audit(audit, console)
