"""What a user's study file may hold, checked against pydantic models, with one-line complaints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evenhand.errors import StudyError, UnknownName
from evenhand.files import read_mapping
from evenhand.text import us_spelling

Model = TypeVar("Model", bound=BaseModel)

_IN_PLAIN_WORDS = {
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "tuple_type": "must be a list",
    "dict_type": "must be names with values",
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
    )


def us_keys(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file of version 0.1 as they are spelled now."""
    return {us_spelling(key): value for key, value in loaded.items()}


def read_entries(path: Path, kinds: Mapping[str, type[Entry]]) -> dict[str, list[Entry]]:
    """Lists of entries under the given names; a name that is absent gives an empty list.

    Raises:
        StudyError: as `read_mapping`; or an unknown name, an entry that does not fit its kind,
            or a file without any entry.
    """
    loaded = us_keys(read_mapping(path))
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
        first = first_fault(error)
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            message = str(UnknownName("key", place, _keys(kind, first["loc"][:-1])))
        else:
            message = f"{place}: {in_plain_words(first)}" if place else in_plain_words(first)
        raise StudyError(f"{where}: {message}") from None


def first_fault(error: ValidationError) -> Any:
    """The fault to name; a misspelt key before the key that is missing for it."""
    faults = error.errors(include_url=False)
    return next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])


def in_plain_words(fault: Any) -> str:
    """What is wrong, without pydantic's terms."""
    words = _IN_PLAIN_WORDS.get(fault["type"])
    if words is None:
        return str(fault["msg"]).removeprefix("Value error, ")
    return words.format(**fault.get("ctx", {}))


def _keys(kind: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """Keys that are known there, each with the place in front: "decoding.seed"."""
    front = ""
    for part in place:
        inner = kind.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        kind, front = inner, f"{front}{part}."
    return [front + name for name in kind.model_fields]
