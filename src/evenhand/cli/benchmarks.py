"""evenhand benchmarks: what can be asked."""

from __future__ import annotations

from typing import Annotated

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from evenhand.benchmarks import SUITES, find_benchmark, known_benchmarks
from evenhand.cli.options import Format


def benchmarks(*, format: Annotated[Format, Parameter(help="Of the list.")] = "text") -> None:
    """List the benchmarks and the suites.

    Examples:

        evenhand benchmarks
    """
    known = [find_benchmark(name) for name in known_benchmarks()]
    if format == "json":
        listed = [
            {
                "name": b.name,
                "title": b.title,
                "axes": b.axes,
                "items": b.size,
                "license": b.license,
                "citation": b.citation,
                "suites": [suite for suite, members in SUITES.items() if b.name in members],
            }
            for b in known
        ]
        print(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table("name", "measures", "items", "what", box=None, padding=(0, 2, 0, 0))
    for b in known:
        table.add_row(b.name, ", ".join(b.axes), f"{b.size:,}", b.description)
    console = Console()
    console.print(table)
    for suite, members in SUITES.items():
        console.print(f"\nsuite {suite}: {', '.join(members)}", highlight=False)
