"""The run folder's store: one SQLite file in WAL mode that holds all that a run has learned.

A response is written once and never changed; scores can be written anew at any time. Rows of
`condition` and `item` are marked active when they belong to the study last asked for, and it is
these that a report covers.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from evenhand.benchmarks.item import JUDGED, Item
from evenhand.engines.engine import Response
from evenhand.errors import RunFolderError, StoreError
from evenhand.scorers.base import Score, Verdict
from evenhand.store.cells import activate_condition, activate_item, item_of
from evenhand.store.database import (
    DAMAGED,
    FILE,
    OWN_FILES,
    SCHEMA,
    VERSION,
    check,
    connect,
    is_blank,
    store_error,
)
from evenhand.store.rows import ACTIVE, OWN, SCORED, counts_of, score_row
from evenhand.study.cue import Condition
from evenhand.study.identity import Identity


@dataclass(frozen=True, slots=True)
class StoredCondition:
    """A condition of the study last asked for, as the audit needs it.

    Attributes:
        example: the messages as sent, with `{question}` in the place of the question.
    """

    id: int
    identity: Identity
    cue: str
    defense: str
    example: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Tally:
    """What a condition has cost: answers, failed attempts, and the tokens of the answers."""

    responses: int
    failures: int
    prompt_tokens: int
    completion_tokens: int


class Store:
    """The store of one run folder; threads take turns."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection
        self._alone = threading.RLock()

    @classmethod
    def create(cls, folder: Path) -> Store:
        """Open the store of a folder, and make folder and store where there are none.

        Raises:
            RunFolderError: the folder holds other things than a run.
            StoreError: the store is damaged, or cannot be written.
        """
        try:
            if folder.is_file():
                raise RunFolderError(f"{folder} is a file; a run needs a folder")
            if (folder / FILE).exists() and not is_blank(folder):
                return cls.open(folder)
            if folder.exists() and any(f.name not in OWN_FILES for f in folder.iterdir()):
                raise RunFolderError(f"{folder} holds other files but no run; take a new folder")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from None
        store = cls(folder, connect(folder))
        with store.writing() as connection:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store of a run folder that is there.

        Raises:
            RunFolderError: there is no run in this folder, or one of another version of evenhand.
            StoreError: the store is damaged.
        """
        try:
            there = (folder / FILE).exists() and not is_blank(folder)
        except OSError as error:
            raise StoreError(f"cannot open the folder {folder}: {error.strerror}") from None
        if not there:
            raise RunFolderError(f"no run in {folder}; start one: evenhand audit MODEL --out DIR")
        check(folder)
        return cls(folder, connect(folder))

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._connection.close()

    def state(self) -> tuple[int, int]:
        """What changes with every write to the store, by this process or another."""
        with self.reading() as connection:
            (others,) = connection.execute("PRAGMA data_version").fetchone()
            return others, connection.total_changes

    # What the run is about

    def meta(self, name: str) -> Any:
        """A fact about the run, or None."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        try:
            return orjson.loads(row[0]) if row else None
        except orjson.JSONDecodeError:
            raise StoreError(f"{self.folder / FILE}: {DAMAGED}") from None

    def set_meta(self, name: str, value: Any) -> None:
        """Write down a fact about the run; anything that JSON can hold."""
        text = orjson.dumps(value).decode()
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, text))

    def activate(
        self, conditions: Sequence[Condition], items: Sequence[Item], facts: Mapping[str, Any]
    ) -> tuple[list[int], list[int]]:
        """Make these the run's active cells, and give the ids of conditions and items.

        Args:
            facts: further facts about the run, written together with the cells.

        Raises:
            RunFolderError: one of them is there already, with another content.
        """
        with self.writing() as connection:
            connection.execute("UPDATE condition SET active = 0")
            connection.execute("UPDATE item SET active = 0")
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(name, orjson.dumps(value).decode()) for name, value in facts.items()],
            )
            return (
                [activate_condition(connection, n, c) for n, c in enumerate(conditions)],
                [activate_item(connection, n, item) for n, item in enumerate(items)],
            )

    def conditions(self, *, inactive: bool = False) -> list[StoredCondition]:
        """The active conditions, or all, in the order of the plan."""
        where = "" if inactive else "WHERE active"
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, identity, text, category, kind, cue, defense, example FROM condition "
                f"{where} ORDER BY position"
            ).fetchall()
        return [
            StoredCondition(row[0], Identity(*row[1:5]), row[5], row[6], orjson.loads(row[7]))
            for row in rows
        ]

    def items(self, *, inactive: bool = False) -> dict[int, Item]:
        """The active items, or all, by their id in the store, in the order of the plan."""
        where = "" if inactive else "WHERE active"
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, benchmark, name, prompt, axis, scorer, answer, choices, subgroup "
                f"FROM item {where} ORDER BY position"
            ).fetchall()
        return {row[0]: item_of(*row[1:]) for row in rows}

    def scorers(self) -> set[str]:
        """What the active items are scored by."""
        with self.reading() as connection:
            rows = connection.execute("SELECT DISTINCT scorer FROM item WHERE active").fetchall()
        return {scorer for (scorer,) in rows}

    def own_judge(self) -> str:
        """The name of the items' own scorers in whose place a judge stands, such as "refusal"."""
        return "+".join(sorted(self.scorers() & JUDGED or JUDGED))

    # Responses

    def keys(self) -> set[bytes]:
        """Keys of all the responses that are on disk."""
        with self.reading() as connection:
            return {key for (key,) in connection.execute("SELECT key FROM response")}

    def write(
        self, responses: Sequence[Response], condition_ids: list[int], item_ids: list[int]
    ) -> None:
        """Put responses and failed attempts on disk, all of them or none.

        Args:
            responses: those that are not settled add their failures only.
            condition_ids, item_ids: from the plan's indices to the ids in the store.
        """
        settled, failures = [], []
        for response in responses:
            request = response.request
            cell = (condition_ids[request.condition], item_ids[request.item], request.sample)
            failures += [(*cell, failure.status, failure.error) for failure in response.failures]
            if response.settled:
                settled.append(
                    (
                        request.key,
                        *cell,
                        response.text,
                        response.error,
                        response.finish,
                        response.prompt_tokens,
                        response.completion_tokens,
                        response.seconds,
                        len(response.failures) + 1,
                    )
                )
        with self.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO response (key, condition, item, sample, text, error, finish,"
                " prompt_tokens, completion_tokens, seconds, attempts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                settled,
            )
            connection.executemany("INSERT INTO failure VALUES (?, ?, ?, ?, ?)", failures)

    def tallies(self) -> dict[int, Tally]:
        """What each active condition has cost, over its active items."""
        with self.reading() as connection:
            failures = dict(
                connection.execute(
                    f"SELECT condition, count(*) FROM failure {ACTIVE} GROUP BY condition"
                )
            )
            rows = connection.execute(
                "SELECT condition, count(*), sum(prompt_tokens), sum(completion_tokens) "
                f"FROM response {ACTIVE} GROUP BY condition"
            ).fetchall()
        return {row[0]: Tally(row[1], failures.get(row[0], 0), row[2], row[3]) for row in rows}

    def texts(self) -> list[tuple[int, int, int, str]]:
        """Answers of the active cells: (condition id, item id, sample, text)."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT condition, item, sample, text FROM response "
                f"{ACTIVE} AND text IS NOT NULL ORDER BY condition, item, sample"
            ).fetchall()

    def answers(
        self, cells: Sequence[tuple[int, int, int]], *, judge: int = OWN
    ) -> dict[tuple[int, int, int], tuple[str, str]]:
        """Answers of a few cells, and what led to their scores.

        Args:
            cells: (condition id, item id, sample), a few thousand at the most.
            judge: whose scores of judged items; all others have their own scorer's.
        """
        wanted = orjson.dumps(cells).decode()
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT condition, item, sample, text, why FROM response "
                f"JOIN score ON {counts_of(judge)} WHERE (condition, item, sample) IN (SELECT "
                "json_extract(value, '$[0]'), json_extract(value, '$[1]'), "
                "json_extract(value, '$[2]') FROM json_each(?)) AND text IS NOT NULL",
                (wanted,),
            )
            return {(c, i, s): (text, why) for c, i, s, text, why in rows}

    # Scores

    def unscored(
        self, after: int, *, again: bool = False
    ) -> list[tuple[int, int, int, str | None, str, str]]:
        """The next few thousand responses to score: id, condition, item, text, error, finish.

        Args:
            after: the last id that was given; 0 at first.
            again: give responses that have a score of their item's own scorer, too.
        """
        where = "" if again else f"AND NOT {SCORED}"
        with self.reading() as connection:
            return connection.execute(
                "SELECT response.id, condition, item, text, error, finish FROM response "
                f"WHERE response.id > ? {where} ORDER BY response.id LIMIT 5000",
                (after,),
            ).fetchall()

    def judges(self) -> dict[str, int]:
        """Names and numbers of the judges that have scored answers of this run."""
        with self.reading() as connection:
            return dict(connection.execute("SELECT name, id FROM judge ORDER BY id"))

    def write_scores(
        self, scores: Iterable[tuple[int, Score | Verdict]], *, judge: int = OWN
    ) -> None:
        """Write one judge's scores of responses, in the place of any that were there."""
        rows = [score_row(response, judge, score) for response, score in scores]
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?)", rows)

    def forget_rechecks(self, judge: int) -> None:
        """Drop what judging again has shown: the scores that it was held against are gone."""
        with self.writing() as connection:
            connection.execute("DELETE FROM recheck WHERE judge = ?", (judge,))

    def scores(self, *, judge: int = OWN) -> NDArray[np.float64]:
        """Scores of the active cells: rows of (condition id, item id, sample, value or NaN).

        Args:
            judge: whose scores of judged items; all others have their own scorer's.
        """
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT condition, item, sample, value FROM response "
                f"JOIN score ON {counts_of(judge)} {ACTIVE}"
            )
            chunks = [np.empty((0, 4))]
            while chunk := rows.fetchmany(50_000):  # an array makes NaN of None
                chunks.append(np.array(chunk, dtype=np.float64))
        return np.concatenate(chunks)

    def every_score(self) -> Iterator[tuple[int, int, int, str, float | None, str, str, int, int]]:
        """Every judge's scores of the active cells, one row after another.

        Yields:
            (condition id, item id, sample, judge's name or "" for the item's own scorer, value or
            None, reason for None, finish, attempts, completion tokens).
        """
        with self.reading() as connection:
            yield from connection.execute(
                "SELECT condition, item, sample, coalesce(judge.name, ''), value, reason, finish, "
                "response.attempts, response.completion_tokens FROM response "
                "JOIN score ON score.response = response.id "
                f"LEFT JOIN judge ON judge.id = score.judge {ACTIVE} "
                "ORDER BY response.id, score.judge"
            )

    def reasons(self, *, judge: int = OWN) -> list[tuple[int, str, int]]:
        """Why answers are unscored: (condition id, reason, count)."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT condition, reason, count(*) FROM response "
                f"JOIN score ON {counts_of(judge)} {ACTIVE} AND value IS NULL "
                "GROUP BY condition, reason"
            ).fetchall()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, to read from; its errors become `StoreError`."""
        try:
            with self._alone:
                yield self._connection
        except sqlite3.Error as error:
            raise store_error(self.folder, error) from None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database, to write to: all that is written in here, or nothing."""
        with self.reading(), self._connection:
            yield self._connection
