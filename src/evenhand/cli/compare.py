"""evenhand compare: what changed from one run to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis import MARGIN
from evenhand.analysis.compare import compare_runs
from evenhand.cli.options import Format
from evenhand.report.terminal import print_comparison
from evenhand.score import score_run
from evenhand.store import Store


def compare(
    before: Annotated[Path, Parameter(help="Run folder.")],
    after: Annotated[Path, Parameter(help="Run folder of another model, or of a changed one.")],
    *,
    margin: Annotated[
        float,
        Parameter(validator=Number(gt=0), help="Loss that does not matter, points."),
    ] = MARGIN,
    format: Annotated[Format, Parameter(help="text for the terminal, or json.")] = "text",
) -> None:
    """Compare two runs on the items that both have asked, item by item.

    Examples:

        evenhand compare runs/base runs/tuned
    """
    stores = [Store.open(folder) for folder in (before, after)]
    try:
        for store in stores:
            score_run(store)
        found = compare_runs(*stores, margin=margin)
    finally:
        for store in stores:
            store.close()
    if format == "json":
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        print(orjson.dumps(found, option=options).decode())
    else:
        print_comparison(found, Console())
