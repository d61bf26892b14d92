"""A run as plain rows, and back: what a bundle holds of it.

Only the study last asked for is given out. Rows keep their numbers, so that everything which goes
by them (labels, samples of answers, the order of sums) is the same where they are loaded again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import orjson

from evenhand.axes import AXES
from evenhand.engines.engine import Outcome
from evenhand.errors import RunFolderError, StoreError
from evenhand.store.database import DAMAGED, FILE
from evenhand.store.redaction import leaves_out, shown_name, shown_reason, shown_token
from evenhand.store.rows import ACTIVE, gaps_text, read_gaps
from evenhand.store.store import Store, StoredCondition
from evenhand.study.identity import Identity, IdentityKind
from evenhand.study.plan import model_and_decoding, request_key

Row = dict[str, Any]
_CONDITION = ("id", "identity", "text", "category", "kind", "cue", "defense", "gaps")
_ITEM = ("id", "benchmark", "name", "prompt", "axis", "scorer", "answer", "choices", "subgroup")
_RESPONSE = (
    *("id", "condition", "item", "sample", "outcome", "finish", "served", "error"),
    *("prompt_tokens", "completion_tokens", "seconds", "attempts", "answer", "thought"),
)
_FAILURE = ("condition", "item", "sample", "status")
_JUDGE = ("id", "name", "facts", "prompt_tokens", "completion_tokens")
_NUMBERS = {
    *("id", "condition", "item", "sample", "slot", "status"),
    *("prompt_tokens", "completion_tokens", "attempts"),
}
_WORDS: dict[str, Collection[str]] = {
    "axis": AXES,
    "kind": get_args(IdentityKind),
    "outcome": get_args(Outcome),
}
_LARGEST = 100_000_000
_MOST_CELLS = 100_000_000
_LEFT_OUT = {"answer": None, "thought": "", "error": ""}
DOCUMENTS = ("run", "withheld", "wordings")
"""What other parts of evenhand have written about a run, and goes with it."""


@dataclass(frozen=True)
class Dump:
    """The rows of a run. Answers and failures are read as they are asked for.

    Attributes:
        conditions, items, judges: a row each, under the numbers that `answers` go by.
        documents: by name, of `DOCUMENTS`.
        answers: each with its scores, [judge's number, value or None, reason, why] by judge; its
            rechecks, [judge's number, other identity, value, reason]; and the statuses of failed
            attempts to judge it, [judge's number, status].
        failures: failed attempts to get an answer, without the endpoint's words.
    """

    documents: Mapping[str, Any]
    conditions: Iterable[Row]
    items: Iterable[Row]
    judges: Iterable[Row]
    answers: Iterable[Row]
    failures: Iterable[Row]


def dump_run(store: Store) -> Dump:
    """The rows of a run, without the texts that the store leaves out (`Store.redaction`).

    Raises:
        RunFolderError: the run has no answers yet.
        StoreError: the store cannot be read.
    """
    record = store.shown_record().model_dump(mode="json")
    documents = {name: store.document(name) for name in DOCUMENTS} | {"run": record}
    if store.redaction == "all" and store.own_wordings():
        del documents["wordings"]
    with store.reading() as connection:
        judges = connection.execute(f"SELECT {', '.join(_JUDGE)} FROM judge").fetchall()
    return Dump(
        documents={name: content for name, content in documents.items() if content is not None},
        conditions=[
            {
                **dict(zip(_CONDITION, _condition(c), strict=True)),
                "example": c.example,
            }
            for c in store.conditions()
        ],
        items=[
            {"id": n, "name": i.id, **{f: getattr(i, f) for f in (*_ITEM[3:], "benchmark", "slot")}}
            for n, i in store.shown_items().items()
        ],
        judges=[dict(zip(_JUDGE, (n, shown_name(name), *rest), strict=True))
                for n, name, *rest in judges],
        answers=_answers(store),
        failures=_failures(store),
    )  # fmt: skip


def _condition(c: StoredCondition) -> tuple[Any, ...]:
    who = c.identity
    gaps = gaps_text(who, c.facts)
    return c.id, who.id, who.text, who.category, who.kind, c.cue, c.defense, gaps


def _answers(store: Store) -> Iterator[Row]:
    left_out = {n for n, i in store.items().items() if leaves_out(store.redaction, i.axis)}
    rekeyed = _rekeyed(store)
    columns = ", ".join("text" if name == "answer" else name for name in _RESPONSE)
    last = 0
    while True:
        with store.reading() as connection:
            rows = connection.execute(
                f"SELECT {columns}, hex(key) FROM response {ACTIVE} AND id > ? ORDER BY id "
                "LIMIT 2000",
                (last,),
            ).fetchall()
            if not rows:
                return
            span = (rows[0][0], rows[-1][0])
            scores = _by_answer(connection, "score", "judge, value, reason, why", span)
            rechecks = _by_answer(connection, "recheck", "judge, other, value, reason", span)
            fails = _by_answer(connection, "judge_failure", "judge, status", span)
        last = span[1]
        for *values, key in rows:
            row: Row = dict(zip(_RESPONSE, values, strict=True), key=key.lower())
            row["key"] = rekeyed(row)
            verdicts = scores.get(row["id"], [])
            again = rechecks.get(row["id"], [])
            if row["item"] in left_out:
                row |= _LEFT_OUT
                verdicts = [[judge, value, reason, ""] for judge, value, reason, _ in verdicts]
            if store.redaction is not None:
                row |= {name: shown_token(row[name]) for name in ("finish", "served")}
                for given in (*verdicts, *again):
                    place = 2 if given in verdicts else 3
                    given[place] = shown_reason(given[place], store.redaction)
            row["scores"] = verdicts
            for name, found in (("rechecks", rechecks), ("judge_failures", fails)):
                if row["id"] in found:
                    row[name] = found[row["id"]]
            yield row


def _rekeyed(store: Store) -> Callable[[Row], str]:
    """Row -> its key, for a model of another name where the name told where its weights lie.

    Keys are hashes of what was asked of which model: they must be those of the study that a reader
    runs again. A key that this evenhand would not make is replaced by one that fits nothing.
    """
    record, shown = store.record(), store.shown_record()
    if record.study.model == shown.study.model:
        return lambda row: str(row["key"])
    conditions, items = {c.id: c for c in store.conditions()}, store.items()
    decided = store.withholdings()
    start, other = (model_and_decoding(each.study) for each in (record, shown))

    def rekeyed(row: Row) -> str:
        item, condition = items[row["item"]], conditions[row["condition"]]
        sent_as = condition
        if condition.defense in decided and decided[condition.defense].withholds(item.prompt):
            sent_as = next(
                c
                for c in conditions.values()
                if c.identity.kind == "baseline"
                and (c.cue, c.defense) == (condition.cue, condition.defense)
            )
        name = f"{condition.identity.id}|{condition.cue}|{condition.defense}"
        messages = sent_as.messages(item.prompt, item.slot)
        cell = name, item.benchmark, item.id, row["sample"], messages
        known = request_key(start, *cell).hex() == row["key"]
        return (request_key(other, *cell) if known else request_key(b"", *cell)).hex()

    return rekeyed


def _by_answer(
    connection: sqlite3.Connection, table: str, columns: str, span: tuple[int, int]
) -> dict[int, list[list[Any]]]:
    found: dict[int, list[list[Any]]] = {}
    query = f"SELECT response, {columns} FROM {table} WHERE response BETWEEN ? AND ?"
    for response, *values in connection.execute(query, span):
        found.setdefault(response, []).append(values)
    return found


def _failures(store: Store) -> Iterator[Row]:
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {', '.join(_FAILURE)} FROM failure {ACTIVE} ORDER BY rowid"
        ).fetchall()
    for row in rows:
        yield dict(zip(_FAILURE, row, strict=True))


def load_run(dump: Dump, folder: Path) -> Store:
    """A new run folder with the rows of a dump, which may come from anybody.

    Raises:
        RunFolderError: the folder holds something, or the rows are none that `dump_run` gives.
        StoreError: the folder cannot be written.
    """
    store = Store.create(folder)
    if store.record_if_begun() is not None:
        store.close()
        raise RunFolderError(f"{folder} holds a run already; name a new folder with --out")
    try:
        with store.writing() as connection, _as_values():
            for name in DOCUMENTS:
                if name in dump.documents:
                    content = orjson.dumps(dump.documents[name]).decode()
                    connection.execute("INSERT INTO meta VALUES (?, ?)", (name, content))
            connection.executemany(
                "INSERT INTO condition VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_condition_values(n, row) for n, row in enumerate(dump.conditions)),
            )
            connection.executemany(
                "INSERT INTO item VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_item_values(n, row) for n, row in enumerate(dump.items)),
            )
            connection.executemany(
                f"INSERT INTO judge ({', '.join(_JUDGE)}) VALUES (?, ?, ?, ?, ?)",
                (_checked(row, _JUDGE) for row in dump.judges),
            )
            for row in dump.answers:
                _insert_answer(connection, row)
            connection.executemany(
                "INSERT INTO failure VALUES (?, ?, ?, ?, '')",
                (_checked(row, _FAILURE) for row in dump.failures),
            )
        _check_size(store)
    except (KeyError, TypeError, ValueError, OverflowError, StoreError) as error:
        store.close()
        if isinstance(error, StoreError) and DAMAGED not in str(error):
            raise
        raise RunFolderError(f"{folder / FILE}: the rows are not those of a run") from None
    return store


@contextmanager
def _as_values() -> Iterator[None]:
    """What the database will not take as a value is a fault of the rows."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
        raise ValueError(str(error)) from None


def _check_size(store: Store) -> None:
    """That the arrays of scores fit in memory, whatever numbers the rows have."""
    cells = len(store.conditions()) * len(store.items()) * store.record().study.samples
    if not 0 < cells <= _MOST_CELLS:
        raise ValueError("no cells, or too many")


def _checked(row: Row, fields: Iterable[str]) -> list[Any]:
    """The values of a row, each of the kind that its name says."""
    values = []
    for name in fields:
        value = row[name]
        if name in _NUMBERS:
            valid = type(value) is int and 0 <= value <= _LARGEST
        elif name == "seconds":
            valid = isinstance(value, int | float)
        else:
            valid = isinstance(value, str) or (name == "answer" and value is None)
        if not valid or (name in _WORDS and value not in _WORDS[name]):
            raise ValueError(name)
        values.append(value)
    return values


def _condition_values(position: int, row: Row) -> list[Any]:
    number, *who, gaps = _checked(row, _CONDITION)
    read_gaps(Identity(*who[:4]), gaps)
    name = f"{row['identity']}|{row['cue']}|{row['defense']}"
    for message in row["example"]:
        _checked(message, ("role", "content"))
    return [number, name, position, *who, orjson.dumps(row["example"]).decode(), gaps]


def _item_values(position: int, row: Row) -> list[Any]:
    plain = [field for field in _ITEM if field != "choices"]
    number, benchmark, name, *rest, subgroup = _checked(row, plain)
    choices, slot = row["choices"], row["slot"]
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError("choices")
    if slot is not None:
        _checked(row, ("slot",))
    options = orjson.dumps(choices).decode()
    return [number, benchmark, name, position, *rest, options, subgroup, slot]


def _insert_answer(connection: sqlite3.Connection, row: Row) -> None:
    names = ", ".join("text" if name == "answer" else name for name in _RESPONSE)
    connection.execute(
        f"INSERT INTO response ({names}, key) VALUES ({'?, ' * len(_RESPONSE)}?)",
        (*_checked(row, _RESPONSE), bytes.fromhex(row["key"])),
    )
    for _, value, *words in row["scores"]:
        in_range = value is None or (isinstance(value, int | float) and 0 <= value <= 1)
        if not in_range or not all(isinstance(word, str) for word in words):
            raise ValueError("scores")
    for table, name, size in (("score", "scores", 4), ("recheck", "rechecks", 4)):
        marks = ", ".join("?" * size)
        connection.executemany(
            f"INSERT INTO {table} VALUES (?, {marks})",
            ([row["id"], *values] for values in row.get(name, [])),
        )
    connection.executemany(
        "INSERT INTO judge_failure VALUES (?, ?, ?, '')",
        ([row["id"], *values] for values in row.get("judge_failures", [])),
    )
