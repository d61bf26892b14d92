"""The records of a file of results, whoever wrote it, with the columns that evenhand knows.

A record is a mapping. A table's columns are taken as they are; from what lm-eval and promptfoo
write, the fields that hold score, prompt and answer are looked up, and the variables of a test or
the fields of a document stand beside them as columns.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from evenhand.errors import MissingExtra, UsageError
from evenhand.files import CsvColumns, read_json, read_records, read_text
from evenhand.text import one_line

MOST_BYTES = 2**31
"""Largest file, unpacked, that is read."""
MOST_RECORDS = 2_000_000
_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".json", ".eval")
_SAMPLE_OF_TEST = "sample"


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One result of a file.

    Attributes:
        where: file and line, or what it is called in its file, for messages.
        fields: column -> value.
    """

    where: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of results.

    Attributes:
        path: where it is.
        format: "table", "inspect", "lm-eval" or "promptfoo".
        records: read as they are asked for.
        decoding: what it says of how the model picked its words.
    """

    path: Path
    format: str
    records: Iterator[SourceRecord]
    decoding: Mapping[str, Any]


def read_source(
    path: Path, score: str | None, aside: Collection[str] = ("identity", "axis")
) -> SourceFile:
    """Open a file of results; its ending and content say what wrote it.

    Args:
        score: column, scorer or metric that holds the score; None for the usual one.
        aside: promptfoo's variables that do not tell one question from another: who asks, and what
            is measured.

    Raises:
        UsageError: the file cannot be read, is too large, or is nothing that can be imported.
        MissingExtra: inspect-ai or pyarrow is needed for it, and not installed.
    """
    _check_size(path)
    ending = path.suffix.lower()
    if ending == ".eval":
        return _inspect(path, score)
    if ending == ".json":
        return _json_source(path, score, aside)
    if ending == ".parquet":
        return _source(path, "table", _parquet(path))
    if ending not in _ENDINGS:
        raise UsageError(
            f"{path}: cannot be imported; a file ends in {', '.join(_ENDINGS[:-1])} or .eval"
        )
    read = read_records(path, UsageError, CsvColumns(distinct=True))
    rows = (SourceRecord(f"{path}:{line}", fields) for line, fields in read)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path}: there are no results in the file")
    whole = chain([first], rows)
    if {"doc", "resps"} <= set(first.fields):
        return _source(path, "lm-eval", (_lm_eval(row, score) for row in whole))
    return _source(path, "table", whole)


def _source(path: Path, format: str, records: Iterator[SourceRecord]) -> SourceFile:
    return SourceFile(path, format, _bounded(path, records), {})


def _bounded(path: Path, records: Iterator[SourceRecord]) -> Iterator[SourceRecord]:
    for number, record in enumerate(records, 1):
        if number > MOST_RECORDS:
            raise UsageError(f"{path}: more than {MOST_RECORDS:,} results; import it in parts")
        yield record


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.suffix.lower() == ".eval":
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except OSError as reason:
        raise UsageError(f"{path}: cannot be read: {reason.strerror}") from None
    except zipfile.BadZipFile:
        raise UsageError(f"{path}: not an Inspect log (an .eval file is a zip archive)") from None
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name the files in it, such as {path}/*")
    if size > MOST_BYTES:
        raise UsageError(
            f"{path}: {size / 2**30:.1f} GiB unpacked, more than the {MOST_BYTES / 2**30:.0f} GiB "
            "that are read; import it in parts"
        )


def _json_source(path: Path, score: str | None, aside: Collection[str]) -> SourceFile:
    content = _json(path)
    if isinstance(content, dict) and {"eval", "status"} <= set(content):
        return _inspect(path, score)
    results = content.get("results") if isinstance(content, dict) else None
    if isinstance(results, dict) and isinstance(results.get("results"), list):
        return _source(path, "promptfoo", _promptfoo(path, results["results"], score, aside))
    if isinstance(content, list) and all(isinstance(each, dict) for each in content):
        rows = (SourceRecord(f"{path}: entry {n}", each) for n, each in enumerate(content, 1))
        return _source(path, "table", rows)
    raise UsageError(
        f"{path}: neither an Inspect log nor promptfoo's output nor a list of objects; for "
        "lm-eval name its samples_*.jsonl, which --log_samples writes"
    )


def _json(path: Path) -> Any:
    """The content of a JSON file, where NaN may stand for no score as Python and Inspect write it.

    Raises:
        UsageError: the file cannot be read or is not JSON.
    """
    try:
        return read_json(path, UsageError)
    except UsageError:
        with suppress(ValueError, RecursionError):
            content = json.loads(read_text(path, UsageError))
            json.dumps(content, ensure_ascii=False).encode()  # half a UTF-16 pair is no character
            return content
        raise


def _inspect(path: Path, score: str | None) -> SourceFile:
    from evenhand.interop.inspect import read_log

    decoding, records = read_log(path, score)
    return SourceFile(path, "inspect", _bounded(path, records), decoding)


def _parquet(path: Path) -> Iterator[SourceRecord]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra("Parquet files", "tables") from None
    try:
        with ParquetFile(path) as file:
            groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > MOST_BYTES:
                raise UsageError(f"{path}: too large unpacked; import it in parts")
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield SourceRecord(f"{path}: row {number}", row)
    except (pyarrow.ArrowException, OSError) as reason:
        raise UsageError(f"{path}: not a Parquet file ({one_line(str(reason), 100)})") from None


# lm-eval: samples_TASK_DATE.jsonl, one line for each document and filter


def _lm_eval(record: SourceRecord, score: str | None) -> SourceRecord:
    row = record.fields
    doc = row["doc"] if isinstance(row["doc"], dict) else {}
    names = row.get("metrics")
    metric = score or (names[0] if isinstance(names, list) and names else None)
    if metric is None:
        raise UsageError(f"{record.where}: names no metric; name one with --score-key")
    if metric not in row:
        known = ", ".join(map(str, names)) if isinstance(names, list) else "none"
        raise UsageError(f'{record.where}: no metric "{metric}"; there are: {known}')
    numbers = {name: row[name] for name in ("doc_id", "doc_hash") if name in row}
    found = {
        "item": doc.get("item", row.get("doc_hash", row.get("doc_id"))),
        score or "score": row[metric],
        "prompt": _first_text(row.get("arguments")),
        "answer": _first_text(row.get("resps")),
        "target": row.get("target"),
        "filter": row.get("filter"),
    }
    return SourceRecord(record.where, {**numbers, **doc, **found})


def _first_text(value: Any) -> str | None:
    """The first text in nested lists and mappings, down the first entry of each."""
    while isinstance(value, list | dict) and value:
        value = value[0] if isinstance(value, list) else next(iter(value.values()))
    return value if isinstance(value, str) else None


# promptfoo: promptfoo eval --output results.json

_FAILED_TO_ANSWER = 2
"""`failureReason` where the provider failed; 1 is an assertion that does not hold."""


def _promptfoo(
    path: Path, results: list[Any], score: str | None, aside: Collection[str]
) -> Iterator[SourceRecord]:
    seen: dict[tuple[str, str, str], int] = {}
    for number, result in enumerate(results, 1):
        where = f"{path}: result {number}"
        if not isinstance(result, dict):
            raise UsageError(f"{where}: not an object")
        part = _parts_of(result)
        provider = part("provider")
        model = str(provider.get("id") or result.get("provider") or "")
        variables = {k: v for k, v in part("vars").items() if isinstance(v, str | int | float)}
        metadata = {**_mapping(part("testCase").get("metadata")), **part("metadata")}
        named = part("namedScores")
        if score is not None and score not in named:
            raise UsageError(
                f'{where}: no named score "{score}"; there are: {", ".join(named) or "none"}'
            )
        output, tokens = (
            part("response").get("output"),
            _mapping(part("response").get("tokenUsage")),
        )
        test = (model, _dump(result.get("promptIdx")), _dump(part("vars")))
        repeat = seen[test] = seen.get(test, -1) + 1  # --repeat runs the same test again
        found = {
            "model": model,
            "item": variables.get("item", metadata.get("item", _hash_of(variables, aside))),
            score or "score": named[score] if score is not None else result.get("score"),
            "prompt": part("prompt").get("raw"),
            "prompt_label": part("prompt").get("label"),
            "answer": output if isinstance(output, str) or output is None else _dump(output),
            "error": result.get("error") if _has_failed(result) else None,
            _SAMPLE_OF_TEST: repeat,
            "prompt_tokens": tokens.get("prompt"),
            "completion_tokens": tokens.get("completion"),
        }
        yield SourceRecord(where, {**metadata, **variables, **found})


def _parts_of(result: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    return lambda name: _mapping(result.get(name))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _has_failed(result: Mapping[str, Any]) -> bool:
    if "failureReason" in result:
        return bool(result["failureReason"] == _FAILED_TO_ANSWER)
    return bool(result.get("error")) and not isinstance(result.get("gradingResult"), dict)


def _hash_of(variables: Mapping[str, Any], aside: Collection[str]) -> str:
    """What tells one test from another but for who asks."""
    others = {name: value for name, value in variables.items() if name not in aside}
    return blake2b(_dump(others).encode(), digest_size=6).hexdigest()


def _dump(value: Any) -> str:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=options, default=str).decode()
