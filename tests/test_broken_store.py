"""A damaged or unwritable store: one clear line, exit code 2, nothing overwritten."""

from __future__ import annotations

import random
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.store.database import VERSION
from evenhand.store.store import Store
from runs import command, finish, plan_of, run_main, server_keys, stored, write_benchmark
from server import serving


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark file and a finished run, cleanly closed."""
    folder = tmp_path_factory.mktemp("finished")
    benchmark = write_benchmark(folder / "own.jsonl", 20)
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion,age"]
        assert run_main([*arguments, "--base-url", server.url, "--out", str(folder / "run")]) == 0
    return folder


def overwrite_middle(file: Path) -> None:
    """Random bytes over most of the pages."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(size // 4)
        opened.write(random.Random(0).randbytes(size // 2))


def cut_in_half(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def random_file(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(20_000))


def text_file(file: Path) -> None:
    file.write_text("these are not the answers you are looking for\n" * 100)


def no_tables(file: Path) -> None:
    """Of the right version, but not ours."""
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.executescript(f"CREATE TABLE cake (slices); PRAGMA user_version = {VERSION}")
    connection.close()


def spoilt_meta(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE meta SET value = '{half' WHERE name = 'run'")
    connection.close()


BREAK: list[Callable[[Path], None]] = [
    overwrite_middle,
    cut_in_half,
    random_file,
    text_file,
    no_tables,
    spoilt_meta,
]


@pytest.mark.parametrize("spoil", BREAK)
@pytest.mark.parametrize("verb", ["audit", "report", "score"])
def test_a_damaged_store_is_left_as_it_is(
    verb: str,
    spoil: Callable[[Path], None],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(finished / "run", tmp_path / "run")
    spoil(run / "run.db")
    content = (run / "run.db").read_bytes()
    with serving() as server:
        arguments = [verb, str(run)]
        if verb == "audit":
            own = str(finished / "own.jsonl")
            arguments = ["audit", "openai/test", "-b", own, "-i", "religion,age", "--out", str(run)]
            arguments += ["--base-url", server.url]
        code = run_main(arguments)
        assert not server.requests
    if (verb, spoil) == ("score", spoilt_meta):
        return  # scoring needs the answers alone
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "run.db" in err
    assert "damaged" in err
    assert (run / "run.db").read_bytes() == content


def test_an_empty_file_is_no_run_to_report_and_may_become_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.db").touch()
    assert run_main(["report", str(run)]) == 2
    assert f"no run in {run}" in capsys.readouterr().err
    assert (run / "run.db").stat().st_size == 0
    Store.create(run).close()
    assert Store.open(run).record_if_begun() is None


def test_a_store_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.create(tmp_path / "run")
    store.close()
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert run_main(["report", str(tmp_path / "run")]) == 2
    assert "another version of evenhand" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_counted(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 60)
    run = tmp_path / "run"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    # So slow that not all that fits comes within one write to the store.
    with serving(latency=0.1) as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--decoding-seed", "0"]
        arguments += ["--base-url", server.url, "--out", str(run)]
        code, out, err = finish(command(arguments, preexec_fn=limit))
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert "free some space and run again" in err
        kept = {key for key, *_ in stored(run)}
        assert 0 < len(kept) < 1920
        sent = len(server.requests)
        assert sent < 1920, "it went on asking what it could not write"
        names = server_keys(plan_of("openai/test", benchmark))
        code, _, err = finish(command(arguments))
        assert code == 0, err
        assert not {names[key] for key in kept} & set(server.requests[sent:])
    assert len(stored(run)) == 1920


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        code, out, err = finish(
            command([*arguments, "--out", str(tmp_path / "run")], preexec_fn=limit)
        )
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert not server.requests


def test_a_folder_that_may_not_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        assert run_main([*arguments, "--out", str(tmp_path / "run")]) == 2
        assert not server.requests
    err = capsys.readouterr().err
    assert err == f"evenhand: cannot lock {tmp_path / 'run'}: Permission denied\n"
