"""Options that several commands share; those of a study and how it is asked: study_flags.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from evenhand.analysis.grid import UnitChoice
from evenhand.store.record import Blocked
from evenhand.store.redaction import Redaction

Format = Annotated[Literal["text", "json"], Parameter(help="Output format.")]
BlockedAs = Annotated[
    Blocked | None,
    Parameter(
        help="What an answer that the provider has blocked counts as: a refusal, which is what the "
        "user sees, or missing. Default: what `score --blocked` has set, otherwise refusal."
    ),
]
RunFolder = Annotated[Path, Parameter(help="Run folder.")]
Margin = Annotated[
    float,
    Parameter(
        validator=Number(gt=0, lte=100),
        help="Largest difference that does not matter, in points.",
    ),
]
InferTo = Annotated[
    UnitChoice,
    Parameter(
        help="What intervals and p-values infer to. auto: names like these where identities have "
        "several, topics like these where a benchmark has ten or more, otherwise items like these. "
        "items: items like these everywhere."
    ),
]
Redact = Annotated[
    Redaction | None,
    Parameter(
        help="Texts to leave out. harmful: questions and answers of the safety axis. all: those of "
        "every axis; so does --redact alone. Default: none."
    ),
]
Quiet = Annotated[bool, Parameter(negative="", show_default=False, help="Show no progress.")]
