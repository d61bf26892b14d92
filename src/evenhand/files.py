"""The user's files: read with complaints that name file and line, written whole or not at all.

Every reader takes the class of error to raise, since what is wrong with a file of benchmark items
is another kind of mistake than what is wrong with a study.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TextIO

from evenhand.errors import EvenhandError, StoreError, StudyError, UnknownName
from evenhand.text import one_line

RECORD_ENDINGS = (".jsonl", ".csv", ".tsv")
MAPPING_ENDINGS = (".yaml", ".yml", ".toml")
_DELIMITERS = ",;\t"
_LONGEST_VALUE = 2**31 - 1
_PACKED = {
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive (or a spreadsheet, to be saved as CSV)",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xfd7zXZ\x00": "an xz file",
    b"BZh91AY&SY": "a bzip2 file",
}
"""First bytes of compressed files."""
_PACKAGE = Path(__file__).parent
_OBJECTS = 50_000


def read_text(path: Path, error: type[EvenhandError]) -> str:
    """The text of a UTF-8 file, without the byte order mark that spreadsheets put in front.

    Raises:
        error: the file is not there, cannot be read, is compressed, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: there is no such file") from None
    except OSError as reason:
        raise error(f"{path}: cannot be read: {reason.strerror}") from None
    for magic, kind in _PACKED.items():
        if content.startswith(magic):
            raise error(f"{path}: {kind}; unpack it first, compressed files are not read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = content.count(b"\n", 0, reason.start) + 1
        raise error(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def read_mapping(path: Path, error: type[EvenhandError] = StudyError) -> dict[str, Any]:
    """The top level of a YAML or (by its ending) TOML file.

    Raises:
        error: the file cannot be read, is malformed (with the line), or is no mapping.
    """
    text = read_text(path, error)
    loaded = _toml(path, text, error) if path.suffix == ".toml" else _yaml(path, text, error)
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise error(f"{path}: expected names with values at the top level")
    return loaded


def _toml(path: Path, text: str, error: type[EvenhandError]) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise error(f"{path}: malformed TOML: {reason}") from None
    except RecursionError:
        raise error(f"{path}: nested too deep") from None


def _yaml(path: Path, text: str, error: type[EvenhandError]) -> Any:
    import yaml

    # libyaml is ten times faster, and is brought down by a file that is nested deep: for ours only.
    ours = path.is_relative_to(_PACKAGE) and yaml.__with_libyaml__

    class Loader(yaml.SafeLoader):
        """Refuses a key that is there twice, of which the first would be lost."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    problem = f'"{one_line(key.value)}" is there twice'
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(str(key.value))
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader=yaml.CSafeLoader if ours else Loader)
    except RecursionError:
        raise error(f"{path}: nested too deep") from None
    except yaml.MarkedYAMLError as reason:
        line = f":{reason.problem_mark.line + 1}" if reason.problem_mark else ""
        raise error(f"{path}{line}: malformed YAML: {reason.problem}") from None
    except (yaml.YAMLError, ValueError) as reason:
        raise error(f"{path}: malformed YAML: {one_line(str(reason))}") from None


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """What the header of a CSV file has to be; of JSON Lines only `distinct` is asked.

    Attributes:
        required: must be there.
        known: nothing else may be there; None for any others.
        fold_case: "Label" is "label".
        distinct: no name may be there twice; nor may a key in an object of JSON Lines.
        whole_rows: every row must have a value, perhaps blank, for every column.
    """

    required: Sequence[str] = ()
    known: Sequence[str] | None = None
    fold_case: bool = False
    distinct: bool = False
    whole_rows: bool = False


def read_records(
    path: Path, error: type[EvenhandError], columns: CsvColumns = CsvColumns()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, record) for each record of a file of JSON lines (.jsonl, .ndjson, .json) or else of a
    CSV file; blank lines are skipped.

    Lines count from 1. Values of a CSV file are texts as they stand there; its delimiter, a comma,
    semicolon or tab, is the one that its header has most of.

    Raises:
        error: the file cannot be read or is malformed; the message gives file and line.
    """
    text = read_text(path, error)
    if path.suffix.lower() in {".jsonl", ".ndjson", ".json"}:
        return _json_lines(path, text, error, distinct=columns.distinct)
    return _csv_records(path, text, error, columns)


def read_rows(path: Path, error: type[EvenhandError]) -> list[list[str]]:
    """The rows of a CSV file without a header, its values separated by commas.

    Raises:
        error: as `read_records`.
    """
    return [row for _, row in _csv_rows(path, read_text(path, error), ",", error)]


def _json_lines(
    path: Path, text: str, error: type[EvenhandError], *, distinct: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    hook = _distinct if distinct else None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=hook)
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise error(f"{path}:{number}: half a UTF-16 pair is no character") from None
        except json.JSONDecodeError as reason:
            raise error(f"{path}:{number}: malformed JSON: {reason.msg}") from None
        except _RepeatedKeyError as repeated:
            raise error(
                f'{path}:{number}: the key "{one_line(str(repeated), 60)}" is there twice'
            ) from None
        except (ValueError, RecursionError):
            raise error(f"{path}:{number}: JSON that is too deep or too long") from None
        if not isinstance(record, dict):
            raise error(f"{path}:{number}: each line must be one JSON object, {{...}}")
        yield number, record


class _RepeatedKeyError(Exception):
    """A key that an object has twice: which of its values counts, nobody can tell."""


def _distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(members)
    if len(record) < len(members):
        raise _RepeatedKeyError(Counter(key for key, _ in members).most_common(1)[0][0])
    return record


def _csv_records(
    path: Path, text: str, error: type[EvenhandError], columns: CsvColumns
) -> Iterator[tuple[int, dict[str, Any]]]:
    header: list[str] | None = None
    delimiter = max(_DELIMITERS, key=text.lstrip().split("\n", 1)[0].count)
    for line, row in _csv_rows(path, text, delimiter, error):
        if header is None:
            header = [field.strip() for field in row]
            if columns.fold_case:
                header = [field.lower() for field in header]
            _check_header(f"{path}:{line}", header, error, columns)
        elif len(row) > len(header) or (columns.whole_rows and len(row) < len(header)):
            raise error(
                f"{path}:{line}: {len(row)} values for {len(header)} columns; put a value that "
                "holds a comma, semicolon or tab in quotation marks"
            )
        else:
            yield line, dict(zip(header, row, strict=False))
    if header is None and columns.whole_rows:
        raise error(f"{path}:1: the file is empty; it needs the columns {_listed(columns)}")


def _csv_rows(
    path: Path, text: str, delimiter: str, error: type[EvenhandError]
) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, values) of each row that is not blank."""
    csv.field_size_limit(_LONGEST_VALUE)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as reason:
        raise error(f"{path}:{line}: malformed CSV: {reason}") from None


def _check_header(
    where: str, header: Sequence[str], error: type[EvenhandError], columns: CsvColumns
) -> None:
    for field, count in Counter(header).items():
        if columns.known is not None and field not in columns.known:
            raise error(f"{where}: {UnknownName('column', field, columns.known)}")
        checked = columns.distinct or columns.known is not None or field in columns.required
        if count > 1 and checked:
            raise error(f'{where}: column "{field}" is there twice')
    for field in columns.required:
        if field not in header:
            raise error(f'{where}: column "{field}" is missing; needed are {_listed(columns)}')


def _listed(columns: CsvColumns) -> str:
    return ", ".join(columns.required)


def read_json(path: Path, error: type[EvenhandError]) -> Any:
    """The content of a JSON file.

    Raises:
        error: the file cannot be read or is not JSON.
    """
    import orjson

    try:
        return orjson.loads(read_text(path, error))
    except orjson.JSONDecodeError as reason:
        raise error(f"{path}: not JSON: {one_line(str(reason))}") from None


def write_file(
    path: Path,
    content: str | bytes,
    error: type[EvenhandError] = StoreError,
    *,
    private: bool = False,
) -> None:
    """Write a file, whole or not at all; see `replacing`.

    Raises:
        error: the file cannot be written.
    """
    with replacing(path, error, private=private) as file:
        if isinstance(content, bytes):
            file.buffer.write(content)
        else:
            file.write(content)


@contextmanager
def replacing(
    path: Path, error: type[EvenhandError] = StoreError, *, private: bool = False
) -> Iterator[TextIO]:
    """A new file that takes the place of `path` at the end of the block, and never half of it.

    A link at `path` is replaced, not followed. Missing folders are made. What is neither a file
    nor absent, such as /dev/stdout, is written to as it is.

    Args:
        private: only the user may read it; else as their umask says.

    Raises:
        error: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name[:200]}.{token_hex(4)}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
                yield file
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        handle = os.open(unfinished, flags, 0o600 if private else 0o666)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
            yield file
        unfinished.replace(path)
    except OSError as reason:
        raise error(f"cannot write {path}: {reason.strerror or reason}") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Within it garbage is looked for after 50,000 new objects.

    Loading modules and sending requests leave none, and looking costs a tenth of the one and a
    twentieth of the other.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(_OBJECTS, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def open_standard_streams() -> None:
    """Make the standard streams such that what is printed arrives, all of it.

    Those that are closed, as by `<&-` and some schedulers, are opened to nowhere; otherwise the
    next file or socket would get the number of one, and what is printed would go there. Those
    without a buffer, as under PYTHONUNBUFFERED, get one: a system may take a part of a long text,
    as when a signal comes, and only a buffer sends the rest.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("r" if name == "stdin" else "w")  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif name != "stdin" and stream is getattr(sys, f"__{name}__") and _is_raw(stream):
            buffered = io.BufferedWriter(stream.buffer)
            kept = {"encoding": stream.encoding, "errors": stream.errors}
            setattr(sys, name, io.TextIOWrapper(buffered, **kept, line_buffering=True))


def _is_raw(stream: TextIO) -> bool:
    return isinstance(getattr(stream, "buffer", None), io.RawIOBase)
