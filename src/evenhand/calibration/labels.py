"""Answers that people have labeled: a file of one's own, or the published ones.

A file is a .csv with the columns prompt, response, label, and perhaps model, with commas,
semicolons or tabs between values. Labels are compliance, partial, refusal, as XSTest writes them
too (2_full_refusal), or harmless, harmful; a file holds labels of one kind.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evenhand.benchmarks.files import get_all, names_under
from evenhand.benchmarks.tables import read_csv
from evenhand.errors import UsageError

Kind = Literal["refusal", "harm"]

POSITIVE: dict[Kind, str] = {"refusal": "refusal or partial refusal", "harm": "harmful answer"}
_MEANINGS: dict[str, tuple[Kind, bool]] = {
    "compliance": ("refusal", False),
    "partial": ("refusal", True),
    "refusal": ("refusal", True),
    "harmless": ("harm", False),
    "harmful": ("harm", True),
}
_COLUMNS = ("prompt", "response", "label")
_DELIMITERS = ",;\t"

PUBLISHED = ("xstest", "do_not_answer")
_XSTEST = "xstest/responses_human/"
_XSTEST_LABELS = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}
_DO_NOT_ANSWER = "do_not_answer/responses_human/"
ACTIONS = (
    "refuses",
    "refutes the opinion",
    "gives both sides",
    "answers with a disclaimer",
    "cannot know",
    "follows the instruction",
)
"""What people say an answer to Do-Not-Answer does; the place is the number in its files."""


@dataclass(frozen=True, slots=True)
class Labeled:
    """An answer and what people say of it.

    Attributes:
        positive: it is what its `Labels` call positive.
        group: people's own class, "partial" or "3 answers with a disclaimer".
        model: whose answer it is; empty where that is not told.
    """

    prompt: str
    response: str
    positive: bool
    group: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labeled answers.

    Attributes:
        name: "xstest", or the name of the file.
        kind: whether positive means a refusal, full or partial, or a harmful answer.
    """

    name: str
    kind: Kind
    rows: tuple[Labeled, ...]


def read_labels(source: str, *, offline: bool = False) -> Labels:
    """The published labels of that name, or those of a file.

    Raises:
        UsageError: there is no such file, or it is malformed.
        DataError: the published files are not there and cannot be had.
    """
    if source == "xstest":
        return Labels("xstest", "refusal", tuple(_xstest(_published(_XSTEST, offline))))
    if source == "do_not_answer":
        files = _published(_DO_NOT_ANSWER, offline)
        return Labels("do_not_answer", "harm", tuple(_do_not_answer(files)))
    return _from_file(Path(source))


def _published(folder: str, offline: bool) -> Mapping[str, Path]:
    names = names_under(folder)
    files = get_all(names, benchmark=folder.partition("/")[0], offline=offline)
    return {name.rpartition("_")[2].removesuffix(".csv"): path for name, path in files.items()}


def _xstest(files: Mapping[str, Path]) -> Iterator[Labeled]:
    for model, path in files.items():
        for row in read_csv(path):
            label = _XSTEST_LABELS[row["final_label"]]
            positive = label != "compliance"
            yield Labeled(row["prompt"], row["completion"], positive, label, model)


def _do_not_answer(files: Mapping[str, Path]) -> Iterator[Labeled]:
    for model, path in files.items():
        for row in read_csv(path):
            action = int(row["action"])
            group = f"{action} {ACTIONS[action]}"
            harmful = row["harmful"] == "1"
            yield Labeled(row["question"], row["response"], harmful, group, model)


def _from_file(path: Path) -> Labels:
    rows: list[Labeled] = []
    kinds: dict[Kind, int] = {}
    for line, row in _rows(path):
        label = row["label"].strip().lower()
        label = _XSTEST_LABELS.get(label, label)
        if label not in _MEANINGS:
            raise UsageError(
                f'{path}:{line}: label "{row["label"]}" is none of {", ".join(_MEANINGS)}'
            )
        kind, positive = _MEANINGS[label]
        kinds.setdefault(kind, line)
        if len(kinds) > 1:
            raise UsageError(f'{path}:{line}: label "{label}" is of another kind than those above')
        model = (row.get("model") or "").strip()
        rows.append(Labeled(row["prompt"], row["response"], positive, label, model))
    if not rows:
        raise UsageError(f"{path}:1: no labeled answers below the header")
    return Labels(path.name, next(iter(kinds)), tuple(rows))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line where it begins, column -> text) of each row, lines counted from 1."""
    csv.field_size_limit(2**31 - 1)
    text = _text(path)
    delimiter = max(_DELIMITERS, key=text.lstrip().split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                if header is None:
                    header = _header(path, line, row)
                else:
                    yield line, _by_column(path, line, header, row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{line}: malformed CSV: {error}") from None
    if header is None:
        raise UsageError(f"{path}:1: the file is empty; it needs the columns {_named()}")


def _header(path: Path, line: int, row: list[str]) -> list[str]:
    header = [field.strip().lower() for field in row]
    for column in _COLUMNS:
        if column not in header:
            raise UsageError(f'{path}:{line}: column "{column}" is missing; needed are {_named()}')
        if header.count(column) > 1:
            raise UsageError(f'{path}:{line}: column "{column}" is there twice')
    return header


def _by_column(path: Path, line: int, header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise UsageError(
            f"{path}:{line}: {len(row)} values for {len(header)} columns; put a value that holds "
            "a comma, semicolon or tab in quotation marks"
        )
    return dict(zip(header, row, strict=True))


def _named() -> str:
    return ", ".join(_COLUMNS)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        known = ", ".join(PUBLISHED)
        raise UsageError(f"{path}: there is no such file (published labels: {known})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
