"""The records of a benchmark file, .jsonl or .csv, each with the number of its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evenhand.errors import BenchmarkError, UnknownName

ENDINGS = (".jsonl", ".csv")
REQUIRED = ("id", "prompt", "axis", "scorer")
FIELDS = (*REQUIRED, "answer", "choices", "subgroup")

Record = dict[str, Any]
"""Field -> value; fields that are blank or null are absent."""


def records(path: Path) -> Iterator[tuple[int, Record]]:
    """(line, record) for each record, line counted from 1; blank lines are passed over.

    Raises:
        BenchmarkError: the file cannot be read, is not UTF-8, or is malformed.
    """
    if path.suffix not in ENDINGS:
        raise BenchmarkError(f"{path}: a benchmark file ends in {' or '.join(ENDINGS)}")
    text = _text(path)
    return _json_lines(path, text) if path.suffix == ".jsonl" else _csv_rows(path, text)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: there is no such file") from None
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BenchmarkError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BenchmarkError(f"{path}:{number}: half a UTF-16 pair is no character") from None
        except json.JSONDecodeError as error:
            raise BenchmarkError(f"{path}:{number}: malformed JSON: {error.msg}") from None
        except (ValueError, RecursionError):
            raise BenchmarkError(f"{path}:{number}: JSON that is too deep or too long") from None
        if not isinstance(record, dict):
            raise BenchmarkError(f"{path}:{number}: each line must be one JSON object, {{...}}")
        yield number, {field: value for field, value in record.items() if value not in (None, "")}


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Record]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            if header is None:
                header = [field.strip() for field in row]
                _check_header(path, header)
            elif len(row) > len(header):
                raise BenchmarkError(
                    f"{path}:{line}: {len(row)} values for {len(header)} columns; "
                    "put a value that holds a comma in quotation marks"
                )
            elif any(cell.strip() for cell in row):
                yield line, {f: v for f, v in zip(header, row, strict=False) if v.strip()}
            line = reader.line_num + 1
    except csv.Error as error:
        raise BenchmarkError(f"{path}:{line}: malformed CSV: {error}") from None


def _check_header(path: Path, header: list[str]) -> None:
    for field in header:
        if field not in FIELDS:
            raise BenchmarkError(f"{path}:1: {UnknownName('column', field, FIELDS)}")
        if header.count(field) > 1:
            raise BenchmarkError(f'{path}:1: column "{field}" is there twice')
    for field in REQUIRED:
        if field not in header:
            raise BenchmarkError(f'{path}:1: column "{field}" is missing')
