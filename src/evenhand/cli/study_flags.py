"""What the commands that can start an audit share: the study and how it is asked, as flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from evenhand.engines import engine_names, engine_type
from evenhand.engines.weights import ADAPTER_FILE, STEERING_FILE
from evenhand.errors import UsageError
from evenhand.run.options import RunOptions
from evenhand.store.database import FILE
from evenhand.study.study import (
    Study,
    StudyOptions,
    StudySelection,
    is_study_file,
    study_of,
)

ModelName = Annotated[
    str,
    Parameter(
        help="Model (openai/NAME, hf/ID-or-path, vllm/ID, organism, ...) or study file (.yaml, "
        ".toml)."
    ),
]
StudyFlags = Annotated[
    StudyOptions, Parameter(name="*", group=Group("Study: what is asked", sort_key=1))
]
RunFlags = Annotated[
    RunOptions, Parameter(name="*", group=Group("Run: how it is asked", sort_key=3))
]


def run_folder(target: str) -> Path | None:
    """The run folder that a word names, where it may also name a model; None for a model.

    Of a folder and a model of the same name, such as `organism`, the folder counts only if it
    holds a run.

    Raises:
        UsageError: it is the folder of a model.
    """
    folder = Path(target)
    if (folder / FILE).is_file():
        return folder
    names_model = target.partition("/")[0] in engine_names() or is_study_file(target)
    if names_model or not ("/" in target or folder.is_dir()):
        return None
    if any((folder / name).is_file() for name in _OF_MODELS):
        raise UsageError(f"{target} holds a model rather than a run; name it as hf/{target}")
    return folder


_OF_MODELS = ("config.json", ADAPTER_FILE, STEERING_FILE)


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
