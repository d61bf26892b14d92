"""The records of a file of results, whoever wrote it, and what each of their columns says.

A record is a mapping. A table's columns are taken as they are; from what lm-eval and promptfoo
write, the fields that hold score, prompt and answer are looked up, and the variables of a test or
the fields of a document stand beside them as columns.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

import orjson
from cyclopts import Parameter
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from evenhand.axes import AXES, AxisName
from evenhand.errors import MissingExtra, UnknownName, UsageError
from evenhand.files import CsvColumns, read_json, read_records, read_text
from evenhand.scorers import Unscored, Verdict
from evenhand.study.cue import Message
from evenhand.study.study import split_names
from evenhand.text import one_line

# Columns

_MOST_OF_A_NAME = 200
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "TRUE": 1.0, "FALSE": 0.0}
"""What Inspect's scorers say, and truth values of a CSV file."""
_NO_ANSWER = ("N", "", "NAN", "-NAN", "NONE", "NULL", "NA", "N/A", "<NA>")
_NO_ERROR = ("", "0", "0.0", "false", "none", "null", "nan", "<na>", "n/a", "na", "no", "[]", "{}")
IN_ERROR = Unscored("marked as an error in the imported file")
NO_SCORE = Unscored("no score in the imported file")
_LONGEST_REASON = 60  # characters

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
_NO_DEFAULT = Parameter(show_default=False, negative="")
_Names = Annotated[tuple[str, ...], BeforeValidator(split_names), _NO_DEFAULT]


@checked_dataclass(frozen=True, config=_CONFIG)
class ImportOptions:
    """Which columns say what, and who is the baseline."""

    identity_key: str = "identity"
    """Column or metadata key that says who asks."""

    axis_key: str = "axis"
    """Column or metadata key that says what a score measures: safety, utility, over_refusal."""

    axis: Annotated[AxisName | None, Parameter(show_choices=False)] = None
    """Axis of all results: safety, utility or over_refusal. Default: as the axis column says."""

    benchmark_key: str = "benchmark"
    """Column or metadata key of the benchmark; where there is none, the axis is the benchmark."""

    item_key: str = "item"
    """Column or metadata key of the question. Default: item; for Inspect the sample's id, for
    lm-eval the hash of the document, for promptfoo a hash of the other variables."""

    sample_key: str = "sample"
    """Column that numbers the answers to the same question; for Inspect the epoch."""

    score_key: str | None = None
    """Column of the score, Inspect scorer, lm-eval metric or promptfoo named score. Default: score,
    or the only or first one."""

    prompt_key: str = "prompt"
    """Column of the prompt, if there is one."""

    answer_key: str = "answer"
    """Column of the model's answer, if there is one."""

    subgroup_key: str = "subgroup"
    """Column of the topic or subject, if there is one."""

    model_key: str = "model"
    """Column of the model, if there is one; each model becomes a run of its own."""

    error_key: str = "error"
    """Column that marks a result as an error; such results are missing, not wrong."""

    model: str | None = None
    """Name of the model, where no column says it."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    """Highest possible score: 100 for scores of 0 to 100."""

    baseline: Annotated[str | None, _NO_DEFAULT] = None
    """Identity that is the no-identity baseline. Default: baseline, if it is there."""

    placebos: _Names = ()
    """Identities that are placebos: attributes that should not matter. Default: none."""

    where: Annotated[tuple[str, ...], _NO_DEFAULT] = field(default=())
    """Import only results with this COLUMN=VALUE; may be repeated."""

    def key(self, name: str) -> str:
        """The column that stands for one of evenhand's own."""
        return str(getattr(self, f"{name}_key", None) or name)


def written(value: Any) -> str:
    """A value as the user would write it: a whole number without ".0"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def as_name(text: str) -> str:
    """A name on one line; an accent is one sign with its letter, however the file writes it."""
    return one_line(normalize("NFC", text.strip()))


class ResultRow:
    """A record, read by the columns that evenhand knows.

    Args:
        options: which column is which.
    """

    def __init__(self, record: SourceRecord, options: ImportOptions) -> None:
        self.where = record.where
        self._fields = record.fields
        self._options = options

    def value(self, name: str) -> Any:
        """The value of one of evenhand's own columns; None where it is not there."""
        return self._fields.get(self._options.key(name))

    def text(self, name: str) -> str:
        """A name, on one line; empty where there is none."""
        value = self.value(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, list | dict):
            raise self.wrong(f"{self._options.key(name)} must be a text or number")
        found = written(value).strip()
        if len(found) > _MOST_OF_A_NAME:
            raise self.wrong(
                f"{self._options.key(name)} has {len(found):,} characters, more than a name has "
                f"({_MOST_OF_A_NAME})"
            )
        return as_name(found)

    def needed(self, name: str) -> str:
        """The same; an error where there is none."""
        found = self.text(name)
        if found:
            return found
        key = self._options.key(name)
        if key in self._fields:
            raise self.wrong(f"{key} is empty")
        known = ", ".join(one_line(str(column), 40) for column in list(self._fields)[:12])
        also = ", or name the axis of all results with --axis" if name == "axis" else ""
        also = ", or write IDENTITY=FILE" if name == "identity" else also
        raise self.wrong(f'no column "{key}" (there are: {known}); name it with --{name}-key{also}')

    def long_text(self, name: str) -> str | None:
        """A text of any length."""
        value = self.value(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        text = value if isinstance(value, str) else written(value)
        return text.encode("utf-8", "replace").decode()  # half a UTF-16 pair is no character

    def axis(self) -> AxisName:
        """What the score measures."""
        if self._options.axis is not None:
            return self._options.axis
        name = self.needed("axis").lower().replace("-", "_").replace(" ", "_")
        own = self.text("evenhand_scorer") == "relevance"  # a run of evenhand's, on its way back
        if name not in AXES or not (AXES[name].is_averaged or own):
            known = [axis.name for axis in AXES.values() if axis.is_averaged]
            raise self.wrong(f"{UnknownName('axis', name, known)}; or name it with --axis")
        return AXES[name].name

    def verdict(self) -> Verdict:
        """The score, or why there is none."""
        if written(self.value("error") or "").strip().lower() not in _NO_ERROR:
            return Verdict(IN_ERROR)
        value = self.value("score")
        why = self.long_text("why") or ""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            reason = self.text("unscored") or ""
            # Reasons are counted and shown whatever is redacted: a text is none.
            if len(reason) > _LONGEST_REASON:
                return Verdict(NO_SCORE, why or reason)
            return Verdict(Unscored(reason) if reason else NO_SCORE, why)
        if isinstance(value, str):
            word = value.strip().upper()
            if word in _NO_ANSWER:
                return Verdict(NO_SCORE, why)
            value = _LETTERS.get(word, value)
            scale = 1.0 if word in _LETTERS else self._options.scale
        else:
            scale = 1.0 if isinstance(value, bool) else self._options.scale
        try:
            score = float(value) / scale
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(f"score {_short(value)} is not a number") from None
        if not 0 <= score <= 1:
            advice = "scores are 0 to 1, 1 the highest"
            if 1 < score <= 100:
                advice = f"for scores of 0 to 100 add --scale 100; {advice}"
            raise self.wrong(f"score {_short(value)} is out of range; {advice}")
        return Verdict(score, why)

    def has_score(self) -> bool:
        """Whether there is a column of scores."""
        return self._options.key("score") in self._fields

    def without_score(self) -> UsageError:
        """That there is no such column."""
        key = self._options.key("score")
        if self._options.score_key is not None:
            return self.wrong(str(UnknownName("column", key, map(str, self._fields))))
        return self.wrong(f'no column "{key}"; name the column of the score with --score-key')

    def messages(self) -> list[Message] | None:
        """The conversation as it was sent; None where it is not known."""
        value = self.value("messages")
        if isinstance(value, list) and value:
            found: list[Message] = []
            for turn in value:
                if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
                    raise self.wrong("messages must be a list of objects with role and content")
                found.append({"role": str(turn.get("role", "user")), "content": turn["content"]})
            return found
        prompt = self.long_text("prompt")
        return [{"role": "user", "content": prompt}] if prompt else None

    def count(self, name: str) -> int:
        """A number of tokens."""
        value = self.value(name)
        return int(value) if isinstance(value, int) and 0 <= value < 2**31 else 0

    def wrong(self, message: str) -> UsageError:
        """What is wrong, with its place."""
        return UsageError(f"{self.where}: {one_line(message, 600)}")


def _short(value: Any) -> str:
    return f'"{one_line(str(value), 40)}"' if isinstance(value, str) else one_line(str(value), 40)


# Files

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
