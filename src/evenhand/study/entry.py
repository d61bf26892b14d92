"""What a user's study file may hold, checked against pydantic models, with one-line complaints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evenhand.errors import StudyError, UnknownName
from evenhand.files import read_mapping

Model = TypeVar("Model", bound=BaseModel)

_IN_PLAIN_WORDS = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "model_type": "must be names with values",
    "string_pattern_mismatch": "may hold letters, digits, . - and _ only",
    "string_too_short": "is empty",
}


class Entry(BaseModel):
    """Base of what a user's file may hold: unknown keys are errors, strings are stripped."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        str_strip_whitespace=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def read_entries(path: Path, kinds: Mapping[str, type[Entry]]) -> dict[str, list[Entry]]:
    """Lists of entries under the given names; a name that is absent gives an empty list.

    Raises:
        StudyError: as `read_mapping`; or an unknown name, an entry that does not fit its kind,
            or a file without any entry.
    """
    loaded = read_mapping(path)
    unknown = sorted(set(loaded) - set(kinds))
    if unknown:
        raise StudyError(f'{path}: unknown key "{unknown[0]}"; known: {", ".join(kinds)}')
    found: dict[str, list[Entry]] = {}
    for name, kind in kinds.items():
        rows = loaded.get(name) or []
        if not isinstance(rows, list):
            raise StudyError(f'{path}: "{name}" must be a list')
        found[name] = [
            validate(kind, row, f"{path}: {name}[{index}]") for index, row in enumerate(rows)
        ]
    if not any(found.values()):
        raise StudyError(f"{path}: nothing under {' or '.join(kinds)}")
    return found


def validate(kind: type[Model], value: object, where: str) -> Model:
    """`value` as a `kind`.

    Raises:
        StudyError: it does not fit; one line that names the place and the first fault.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        # A misspelt key is told before the key that is missing for it.
        first = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            message = str(UnknownName("key", place, _keys(kind, first["loc"][:-1])))
        else:
            message = _IN_PLAIN_WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
            message = f"{place}: {message}" if place else message
        raise StudyError(f"{where}: {message}") from None


def _keys(kind: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """Keys that are known there, each with the place in front: "decoding.seed"."""
    front = ""
    for part in place:
        inner = kind.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        kind, front = inner, f"{front}{part}."
    return [front + name for name in kind.model_fields]
