"""evenhand identities: who the user can say to be."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evenhand.cli.options import Format
from evenhand.study.identity import BASELINE, read_identities, shipped_identities


def identities(
    *,
    file: Annotated[Path | None, Parameter(help="A file of your own to check and show.")] = None,
    format: Annotated[Format, Parameter(help="Of the list.")] = "text",
) -> None:
    """List the identities, the placebos and the baseline.

    Examples:

        evenhand identities
        evenhand identities --file mine.yaml
    """
    listed = read_identities(file) if file else [BASELINE, *shipped_identities()]
    if format == "json":
        print(orjson.dumps([asdict(i) for i in listed], option=orjson.OPT_INDENT_2).decode())
        return
    table = Table("id", "category", "I am ...", box=None, padding=(0, 2, 0, 0))
    for identity in listed:
        table.add_row(identity.id, escape(identity.category), escape(identity.text))
    Console().print(table)
