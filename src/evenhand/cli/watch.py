"""evenhand watch: has the gap come back? From the log of a product."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis.product_log import LogKeys, watch_log
from evenhand.cli.flags import Format
from evenhand.cli.gate import EXIT_CODES
from evenhand.report.terminal import print_document
from evenhand.report.watch import watch_document


def watch(
    log: Annotated[Path, Parameter(help="Log: a .jsonl or .csv file, one conversation a record.")],
    /,
    *,
    user: Annotated[
        str,
        Parameter(help='Key of the attribute that tells users apart: "metadata.religion".'),
    ],
    reference: Annotated[
        str | None,
        Parameter(help="Group to compare the others with. Default: the mean of the groups."),
    ] = None,
    answer: Annotated[
        str,
        Parameter(help='Key of the answer. Without it the last turn of "messages" is read.'),
    ] = "answer",
    prompt: Annotated[str, Parameter(help="Key of what it answers.")] = "prompt",
    score: Annotated[
        str | None,
        Parameter(
            help="Key of a score between 0 and 1 to compare. Default: whether the answer refuses."
        ),
    ] = None,
    unit: Annotated[
        str | None,
        Parameter(
            help="Key of what records belong to, such as the user: they are not independent."
        ),
    ] = None,
    stratum: Annotated[
        str | None,
        Parameter(help="Key of the kind of question: groups are compared within each kind."),
    ] = None,
    max_gap: Annotated[
        float | None,
        Parameter(
            validator=Number(gt=0, lte=100),
            help="Largest accepted gap, in points: between two groups, to the --reference, or of "
            "more groups to their mean. Default: none, only report.",
        ),
    ] = None,
    level: Annotated[
        float, Parameter(validator=Number(gt=0.5, lt=1), help="Confidence level of the intervals.")
    ] = 0.95,
    format: Format = "text",
) -> None:
    """Compare groups of users in a product's log, where nobody asked the same questions.

    The evidence is weaker than an audit's, and the report says so. With --max-gap the exit code is
    that of `gate`: 0 passed, 4 failed, 5 inconclusive.

    Examples:

        evenhand watch log.jsonl --user metadata.religion --unit user_id
        evenhand watch log.csv --user gender --score thumbs_up --stratum topic --max-gap 5
    """
    keys = LogKeys(user, answer, prompt, score, unit, stratum)
    found = watch_log(log, keys, reference=reference, max_gap=max_gap, level=level)
    if format == "json":
        print(orjson.dumps(asdict(found), option=_JSON).decode())
    else:
        print_document(watch_document(found), Console())
    if found.gate is not None:
        sys.exit(EXIT_CODES[found.gate.decision])


_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2
