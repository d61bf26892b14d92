"""Reports: an audit for the terminal or as JSON."""

from __future__ import annotations

from typing import Literal

import orjson
from rich.console import Console

from evenhand.analyse import Audit
from evenhand.report.terminal import print_audit


def write_audit(audit: Audit, format: Literal["text", "json"], console: Console) -> None:
    """Write an audit to the standard output."""
    if format == "json":
        print(orjson.dumps(audit, option=orjson.OPT_INDENT_2).decode())
    else:
        print_audit(audit, console)
