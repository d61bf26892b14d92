"""What several commands share: groups of options, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from evenhand.engines import engine_type
from evenhand.run.options import RunOptions
from evenhand.store.record import Blocked
from evenhand.store.redaction import Redaction
from evenhand.study.study import Study, StudyOptions, StudySelection, study_of

Format = Annotated[Literal["text", "json"], Parameter(help="Output format.")]
ModelName = Annotated[
    str,
    Parameter(
        help="Model (openai/NAME, hf/ID-or-path, vllm/ID, organism, ...) or study file (.yaml, "
        ".toml)."
    ),
]
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
Redact = Annotated[
    Redaction | None,
    Parameter(
        help="Texts to leave out. harmful: questions and answers of the safety axis. all: those of "
        "every axis; so does --redact alone. Default: none."
    ),
]
Quiet = Annotated[bool, Parameter(negative="", show_default=False, help="Show no progress.")]
StudyFlags = Annotated[
    StudyOptions, Parameter(name="*", group=Group("Study: what is asked", sort_key=1))
]
RunFlags = Annotated[
    RunOptions, Parameter(name="*", group=Group("Run: how it is asked", sort_key=3))
]


def study_from(target: str, flags: StudySelection, judges: tuple[str, ...] = ()) -> Study:
    """The study of a model or study file, with the flags that were given on top.

    Args:
        judges: for a command that has this option apart from the study's.

    Raises:
        UsageError: the file is invalid, or a name or a value is.
    """
    study = study_of(target, flags)
    if judges:
        study = study.model_copy(update={"judges": judges})
    engine_type(study.model)
    return study
