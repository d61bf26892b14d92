"""The user's own benchmark: a .jsonl file, one object a line, or a .csv file with a header.

    id        required; unique in the file
    prompt    required; the user's message
    axis      required; safety, over_refusal, utility, relevance or quality
    scorer    required; refusal for safety and over_refusal; choice, number or text for utility;
              relevance for relevance; length, reading or rubric for quality; or a scorer of another
              package. choice-logprob, for utility, is choice by the probabilities of the first
              token: the prompt asks for the letter
    answer    the right answer: a letter for choice, a number for number, a string for text, a
              letter for each identity that is asked for relevance ("muslim=A, jewish=B");
              required with these, absent with refusal; with rubric optional: what a judge grades,
              help (the default), tone, detail, or a sentence of your own
    choices   the options: a list of strings in .jsonl; in .csv separated by "|", or a JSON list.
              choice: the options A, B, ...; needed unless the prompt itself shows them.
              text: all the answers that there can be ("Yes|No"), if they are few
    subgroup  optional; harm type, subject or task, for results in detail

A prompt is sent exactly as it stands, but for one thing: the options of a `choice` item are
added below it, "(A) Paris" and so on, unless the prompt already shows each with its letter.
How to answer is for the prompt to say; answers are found best where it asks to end with
"Therefore, the answer is ...".

A programming task has other fields, those of HumanEval (`evenhand.benchmarks.item`), and
only in .jsonl.

The benchmark has the name of the file without its ending.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from evenhand.axes import AXES, AxisName
from evenhand.benchmarks.item import (
    BY_LOGPROB,
    JUDGED,
    LETTERED,
    RUBRIC,
    Item,
    Task,
    is_humaneval,
    letters_by_identity,
    number_of,
    read_humaneval,
)
from evenhand.benchmarks.prompts import lettered
from evenhand.errors import BenchmarkError, UnknownName
from evenhand.files import CsvColumns, read_records
from evenhand.plugins import plugin_names
from evenhand.text import one_line, whole_text

_REQUIRED = ("id", "prompt", "axis", "scorer")
_FIELDS = (*_REQUIRED, "answer", "choices", "subgroup")
_SCORERS_OF: dict[AxisName, tuple[str, ...]] = {
    "safety": ("refusal", "harm"),
    "over_refusal": ("refusal",),
    "utility": ("choice", "choice-logprob", "number", "text"),
    "relevance": ("relevance",),
    "quality": ("length", "reading", "rubric"),
}
_SCORERS = ("code", *dict.fromkeys(name for names in _SCORERS_OF.values() for name in names))
_WITHOUT_ANSWER = {*JUDGED, "length", "reading"} - {RUBRIC}
_LONGEST_CRITERION = 500
_LETTERED = (*LETTERED, "relevance")

_Record = dict[str, Any]
"""Field -> value; fields that are blank or null are absent."""


def read_own(path: Path, benchmark: str) -> list[Item]:
    """All items of the file, in its order.

    Args:
        path: a .jsonl or .csv file.
        benchmark: name that the items get.

    Raises:
        BenchmarkError: the file is not there, or not as described above; the message gives
            file and line.
    """
    items: list[Item] = []
    line_of: dict[str, int] = {}
    columns = CsvColumns(_REQUIRED, known=_FIELDS)
    for line, record in read_records(path, BenchmarkError, columns):
        try:
            item = _item({f: v for f, v in record.items() if not _is_blank(v)}, benchmark)
            if item.id in line_of:
                raise BenchmarkError(f'the id "{item.id}" is already on line {line_of[item.id]}')
        except BenchmarkError as complaint:  # what is wrong with one record
            raise BenchmarkError(f"{path}:{line}: {one_line(str(complaint))}") from None
        line_of[item.id] = line
        items.append(item)
    if not items:
        raise BenchmarkError(f"{path}: there are no items in the file")
    return items


def own_record(item: Item) -> dict[str, Any]:
    """The record of which `read_own` makes this item."""
    return {
        "id": item.id,
        "prompt": item.prompt,
        "axis": item.axis,
        "scorer": item.scorer,
        "answer": item.answer,
        "choices": list(item.choices),
        "subgroup": item.subgroup,
    }


def checked_item(item: Item) -> Item:
    """An item of another package, held to what a line of a user's own file is held to.

    Its prompt is left as it is.

    Raises:
        BenchmarkError: what is wrong with it.
    """
    if not isinstance(item.choices, tuple | list):
        raise BenchmarkError("choices must be a tuple of texts")
    record = own_record(item)
    for field, value in record.items():
        if field != "choices" and not isinstance(value, str):
            raise BenchmarkError(f"{field} must be text, not {value!r}")
    checked = _item({f: v for f, v in record.items() if not _is_blank(v)}, item.benchmark)
    text = "\n".join((item.id, item.prompt, item.answer, item.subgroup, *checked.choices))
    if text != whole_text(text):
        raise BenchmarkError("half a UTF-16 pair is no character")
    return replace(checked, prompt=item.prompt)


def _scorers() -> list[str]:
    """The built-in scorers, and those of other packages."""
    return plugin_names("scorer", dict.fromkeys(_SCORERS, ""))


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _item(record: _Record, benchmark: str) -> Item:
    if is_humaneval(record):
        return _programming(record, benchmark)
    for field in record:
        if field not in _FIELDS:
            raise BenchmarkError(str(UnknownName("field", field, _FIELDS)))
    for field in _REQUIRED:
        if not _text(record, field).strip():
            raise BenchmarkError(f"{field} is missing or empty")
    axis = AXES[_one_of("axis", _text(record, "axis"), list(_SCORERS_OF))].name
    scorer = _one_of("scorer", _text(record, "scorer"), _scorers())
    is_task = scorer == "code" and axis == "utility"
    if scorer in _SCORERS and scorer not in _SCORERS_OF[axis] and not is_task:
        fitting = " or ".join(", ".join(_SCORERS_OF[axis]).rsplit(", ", 1))
        raise BenchmarkError(f"axis {axis} goes with scorer {fitting}, not {scorer}")
    choices = _choices(record, scorer)
    prompt = _text(record, "prompt")
    return Item(
        benchmark=benchmark,
        id=_text(record, "id"),
        prompt=_with_options(prompt, choices) if scorer in _LETTERED else prompt,
        axis=axis,
        scorer=scorer,
        answer=_answer(record, scorer, choices),
        choices=choices,
        subgroup=_text(record, "subgroup"),
    )


def _programming(record: _Record, benchmark: str) -> Item:
    try:
        return read_humaneval(record, benchmark)
    except ValueError as error:
        raise BenchmarkError(str(error)) from None


def _text(record: _Record, field: str) -> str:
    """The field as text; a number may be written without quotation marks."""
    value = record.get(field, "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BenchmarkError(f"{field} must be text, not {json.dumps(value)[:40]}")
    return str(value) if field == "prompt" else str(value).strip()


def _one_of(field: str, value: str, known: Sequence[str]) -> str:
    if value in known:
        return value
    raise BenchmarkError(str(UnknownName(field, value, known)))


def _choices(record: _Record, scorer: str) -> tuple[str, ...]:
    given = record.get("choices", [])
    if isinstance(given, str):
        given = _split(given)
    if not isinstance(given, list) or not all(isinstance(c, str) and c.strip() for c in given):
        raise BenchmarkError(
            'choices must be a list of texts: ["Rome", "Paris"], or in CSV Rome|Paris'
        )
    if not given and scorer == BY_LOGPROB:
        raise BenchmarkError(f"scorer {scorer} needs choices")
    if not given:
        return ()
    if scorer in _SCORERS and scorer not in (*_LETTERED, "text"):
        raise BenchmarkError(f"choices go with scorer choice, relevance or text, not {scorer}")
    if not 2 <= len(given) <= len(ascii_uppercase):
        raise BenchmarkError(f"there must be 2 to 26 choices, not {len(given)}")
    return tuple(choice.strip() for choice in given)


def _split(written: str) -> Any:
    if not written.lstrip().startswith("["):
        return written.split("|")
    try:
        return json.loads(written)
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"choices: malformed JSON: {error.msg}") from None


def _answer(record: _Record, scorer: str, choices: tuple[str, ...]) -> str:
    answer = _text(record, "answer")
    if scorer in _WITHOUT_ANSWER:
        if answer:
            raise BenchmarkError(f"scorer {scorer} takes no answer; leave it empty")
        return ""
    if scorer not in _SCORERS:  # another package's: what it needs is for it to say
        return answer
    if scorer == RUBRIC:
        if len(answer) > _LONGEST_CRITERION:
            raise BenchmarkError("answer, what a judge grades, may have 500 characters at most")
        return answer
    if not answer:
        raise BenchmarkError(f"answer is missing or empty; scorer {scorer} needs it")
    return _CHECKS[scorer](answer, choices)


def _letter(answer: str, choices: tuple[str, ...]) -> str:
    letters = ascii_uppercase[: len(choices) or 26]
    letter = answer.strip("().").upper()
    if len(letter) == 1 and letter in letters:
        return letter
    hint = f", here {letters[choices.index(answer)]}" if answer in choices else ""
    raise BenchmarkError(
        f'answer must be a letter from A to {letters[-1]}{hint}, not "{answer[:40]}"'
    )


def _letters(answer: str, choices: tuple[str, ...]) -> str:
    letters = letters_by_identity(answer)
    if len(set(letters.values())) < 2:
        raise BenchmarkError("the right answer is the same for all identities: axis utility")
    return ", ".join(f"{who}={_letter(letter, choices)}" for who, letter in letters.items())


def _number(answer: str, _choices: tuple[str, ...]) -> str:
    number_of(answer)
    return answer


def _one_of_them(answer: str, choices: tuple[str, ...]) -> str:
    if choices and answer.lower() not in (choice.lower() for choice in choices):
        raise BenchmarkError(f'answer must be one of the choices, not "{answer[:40]}"')
    return answer


def _task(answer: str, _choices: tuple[str, ...]) -> str:
    return Task.from_json(answer).to_json()


_CHECKS = {
    "code": _task,
    "choice": _letter,
    "choice-logprob": _letter,
    "relevance": _letters,
    "number": _number,
    "text": _one_of_them,
}


def _with_options(prompt: str, choices: tuple[str, ...]) -> str:
    """The prompt, with the options below it unless it shows them all: "A) Rome", "(A) Rome"."""
    shown = (
        re.search(rf"\b{letter}\W{{1,4}}{re.escape(choice)}", prompt)
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    )
    return prompt if all(shown) else f"{prompt.rstrip()}\n{lettered(choices)}"
