"""A run that evenhand 0.1.0 has written is read, reported and gone on with.

`data/store_v2.sql` is the dump of a run of version 0.1.0: 8 questions, the religions and the
baseline, three defenses, one of which withholds the identity, and a split.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

import evenhand
from evenhand.engines.mock import MockEngine
from evenhand.errors import RunFolderError, StoreError
from evenhand.mitigate.split import split_run
from evenhand.store.database import locked
from evenhand.store.store import Store
from runs import run_main

DUMP = Path(__file__).parent / "data" / "store_v2.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The run folder of version 0.1.0."""
    folder = tmp_path / "run"
    folder.mkdir()
    connection = sqlite3.connect(folder / "run.db")
    connection.executescript(DUMP.read_text(encoding="utf-8"))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    return folder


def change(folder: Path, statement: str, *parameters: Any) -> None:
    connection = sqlite3.connect(folder / "run.db")
    connection.execute(statement, parameters)
    connection.commit()
    connection.close()


def tables(folder: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "run.db")
    try:
        return [
            *connection.execute("PRAGMA user_version"),
            *connection.execute("SELECT sql FROM sqlite_master ORDER BY name"),
            *connection.execute("SELECT * FROM meta ORDER BY name"),
            *connection.execute("SELECT * FROM response"),
        ]
    finally:
        connection.close()


def test_everything_is_still_there(old: Path) -> None:
    store = Store.open(old)
    record = store.record()
    assert record.study.defenses == ("none", "ignore", "withhold")
    assert record.study.identities == ("religion",)
    assert record.system_role.evidence == "every cue was seen in the rendered prompt"
    assert record.interim is not None
    assert (record.interim.analysis, record.interim.of) == (6, 6)
    assert record.level == pytest.approx(0.98753, abs=1e-5)
    assert record.addresses == ("http://127.0.0.1:8000/v1",)
    assert record.sessions[0].answers == 72
    assert {c.defense for c in store.conditions()} == {"none", "ignore", "withhold"}
    answers = list(store.stored_answers())
    assert Counter(answer.outcome for answer in answers) == {
        "whole": 114,
        "cut off": 16,
        "blocked": 8,
        "rejected": 6,
    }
    assert store.withholdings()["withhold"].withholds("Question 1?")
    assert split_run(store).items == {"own": ("q2", "q5", "q6", "q1")}
    store.close()
    Store.open(old).close()


def test_thoughts_are_apart_from_answers(old: Path) -> None:
    store = Store.open(old)
    answers = [answer for answer in store.stored_answers() if answer.thought]
    assert len(answers) > 20
    assert {answer.thought for answer in answers} == {"Let me count."}
    assert all((answer.text or "").startswith("The answer is") for answer in answers)


def test_a_report_counts_all_and_says_what_was_blocked(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["report", str(old), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["done"] == report["cells"] == 144
    assert report["interim"]["analysis"] == 6


@pytest.mark.usefixtures("old")
def test_it_goes_on_and_asks_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = []
    for n in range(8):
        row: dict[str, Any] = {"id": f"q{n}", "prompt": f"Question {n}?"}
        if n == 0:
            row["prompt"] = "Question 0: may I vote?"
        if n % 2:
            row |= {"axis": "utility", "scorer": "number", "answer": str(n)}
        else:
            row |= {"axis": "safety", "scorer": "refusal"}
        rows.append(row)
    Path("own.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    engine = MockEngine(lambda _: "I can't help with that.")
    study: dict[str, Any] = {
        "model": "openai/m",
        "benchmarks": ["own.jsonl"],
        "identities": ["religion"],
        "defenses": ["none", "ignore", "withhold"],
    }
    audit = evenhand.audit(engine=engine, out="run", **study)
    assert (audit.done, engine.asked) == (144, 0)
    audit = evenhand.audit(engine=engine, out="run", **study | {"samples": 2})
    assert (audit.done, engine.asked) == (288, 144)


def test_all_of_it_or_nothing(old: Path) -> None:
    """Facts that cannot be read are met after the tables were changed: all is undone."""
    change(old, "UPDATE meta SET value = '[1]' WHERE name = 'study'")
    before = tables(old)
    with pytest.raises(StoreError, match="damaged and was left as it is"):
        Store.open(old)
    assert tables(old) == before


def test_a_run_that_is_under_way_is_left_alone(old: Path) -> None:
    before = tables(old)
    with locked(old), pytest.raises(RunFolderError, match="another evenhand is running"):
        Store.open(old)
    assert tables(old) == before


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by its permissions: root, who may run the tests, is not stopped by them."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    before = tables(old)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert run_main(["report", str(old)]) == 2
    assert capsys.readouterr().err == f"evenhand: cannot lock {old}: Read-only file system\n"
    assert tables(old) == before
