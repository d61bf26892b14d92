"""Reading the user's files, and writing them whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from clock import cpu_seconds
from evenhand.errors import StoreError, StudyError, UsageError
from evenhand.files import (
    CsvColumns,
    open_standard_streams,
    read_json,
    read_mapping,
    read_records,
    replacing,
    write_file,
)

ANY = CsvColumns()


def records(path: Path, columns: CsvColumns = ANY) -> list[tuple[int, dict[str, object]]]:
    return list(read_records(path, UsageError, columns))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_tells_its_delimiter_and_its_lines(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeff\nid, text \n1,"two\nlines"\n\n2,x\n'.replace(",", delimiter))
    assert records(path) == [(3, {"id": "1", "text": "two\nlines"}), (6, {"id": "2", "text": "x"})]


def test_records_of_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": null}\n')
    assert records(path) == [(1, {"a": 1}), (3, {"a": None})]


def test_what_a_header_has_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ID,Text\n1,a\n")
    assert records(path, CsvColumns(("id",), fold_case=True)) == [(2, {"id": "1", "text": "a"})]
    with pytest.raises(UsageError, match=r':1: column "id" is missing; needed are id$'):
        records(path, CsvColumns(("id",)))
    with pytest.raises(UsageError, match='unknown column "Text"; there is only "ID"'):
        records(path, CsvColumns(known=("ID",)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "a: [1\nb: 2", "a.yaml:2: malformed YAML"),
        ("a.yaml", "a: 2024-13-45", "a.yaml: malformed YAML"),
        ("a.yaml", "[" * 5000, "a.yaml: nested too deep"),
        ("a.toml", "a = [", "a.toml: malformed TOML"),
        ("a.toml", "a = " + "[" * 5000, "a.toml: "),
        ("a.yaml", "[1]", "a.yaml: expected names with values"),
        ("a.yaml", "1: 2", "a.yaml: expected names with values"),
        ("a.yaml", "!!python/object:os.system x", "a.yaml:1: malformed YAML"),
    ],
)
def test_bad_mappings(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StudyError) as found:
        read_mapping(tmp_path / name)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_bad_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"a\.json: not JSON"):
        read_json(tmp_path / "a.json", UsageError)
    with pytest.raises(UsageError, match="there is no such file"):
        read_json(tmp_path / "b.json", UsageError)


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_file(path, "old")
    with replacing(path) as file:
        file.write("new and whole")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new and whole"

    def stopped_halfway() -> None:
        with replacing(path) as file:
            file.write("half")
            raise RuntimeError

    write_file(path, "old")
    with pytest.raises(RuntimeError):
        stopped_halfway()
    assert path.read_text() == "old"
    write_file(path, b"new")
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "a.txt").symlink_to(tmp_path / "secret")
    write_file(tmp_path / "a.txt", "new")
    assert (tmp_path / "secret").read_text() == "kept"
    assert not (tmp_path / "a.txt").is_symlink()


def test_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_file(tmp_path / "open", "a")
        write_file(tmp_path / "closed", "a", private=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "closed")]
    assert modes == [0o644, 0o600]


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_file(fifo, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert fifo.is_fifo()


def test_a_place_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(StoreError, match="cannot write"):
            write_file(path, "x")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_half_a_character_does_not_stop_a_report(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "a\ud800b")
    assert (tmp_path / "a.txt").read_text() == "a?b"


def test_a_table_of_very_many_columns_is_read_at_once(tmp_path: Path) -> None:
    """In linear time: 40,000 columns would else take a minute."""
    names = [f"c{n}" for n in range(40_000)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")
    ((line, record),) = records(path, CsvColumns(distinct=True))
    assert (line, len(record)) == (2, len(names))
    assert cpu_seconds(lambda: records(path, CsvColumns(distinct=True)), 5) < 5


class _Pipe(io.RawIOBase):
    """Takes at most ten bytes at a time, as a pipe may when a signal comes amid a write."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)[:10]  # type: ignore[call-overload]
        self.taken += part
        return len(part)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_long_text_is_printed_whole_without_a_buffer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under PYTHONUNBUFFERED, which containers often set."""
    pipe, text = _Pipe(), "what is said, " * 500
    stream: Any = io.TextIOWrapper(pipe, "utf-8", write_through=True)
    for place in (name, f"__{name}__"):
        monkeypatch.setattr(sys, place, stream)
    open_standard_streams()
    print(text, file=getattr(sys, name))
    assert pipe.taken.decode() == text + "\n"
