"""evenhand report: show what a run has found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from evenhand.analysis import analyse
from evenhand.cli.options import Format
from evenhand.report import write_audit
from evenhand.score import score_run
from evenhand.store import Store


def report(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    format: Annotated[Format, Parameter(help="text for the terminal, or json.")] = "text",
) -> None:
    """Show what a run has found; a run that is not finished, too.

    Examples:

        evenhand report runs/first
        evenhand report runs/first --format json
    """
    store = Store.open(run)
    try:
        score_run(store)
        write_audit(analyse(store), format, Console())
    finally:
        store.close()
