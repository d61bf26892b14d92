"""Which requests are under way in batches: noted before they are sent, until an answer is stored.

A batch is paid for when the service creates it, whatever becomes of this process. So its requests
are written down as intended before anything is uploaded, its file when it is uploaded, the moment
before it is created, and its id at the service afterwards. What is written down as under way is
not asked again. An answer and the end of its request's way are one transaction. A request that
has failed, or was given up, is free to be asked again; it is remembered, since an answer to it may
still come, and is paid for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from evenhand.store.database import Change
from evenhand.store.rows import apply
from evenhand.store.store import Store

_TABLES = """
CREATE TABLE IF NOT EXISTS batch (
    id INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL, address TEXT NOT NULL,
    requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    file TEXT NOT NULL DEFAULT '', tried REAL NOT NULL DEFAULT 0, remote TEXT NOT NULL DEFAULT '',
    ended INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sent (
    key BLOB PRIMARY KEY, batch INTEGER NOT NULL, condition INTEGER NOT NULL,
    item INTEGER NOT NULL, sample INTEGER NOT NULL) WITHOUT ROWID;
"""
"""Made when the first batch is; runs without batches have neither table. The batch of a request
that is free to be asked again is negative."""

SentCell = tuple[int, int, int]
"""Ids of condition and item in the store, and the sample."""

AIR_GAPPED = "file"
"""In the place of an address: the requests were written to a file, and somebody carries them."""


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that is under way, or may be.

    Attributes:
        id: number of its row in the store.
        token: our own id of it.
        address: of the service; or `AIR_GAPPED`.
        requests: how many it was made of.
        prompt_tokens, completion_tokens: the most that it is expected to cost.
        file: the service's id of the uploaded file, or the path of a file; "" if there is none.
        tried: when it was about to be created, in seconds since the epoch; 0 before that.
        remote: the service's id of it; "" where it is not known whether there is one.
    """

    id: int
    token: str
    address: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    file: str
    tried: float
    remote: str


def new_token() -> str:
    """An id of ours for a batch."""
    return token_hex(6)


class Sent:
    """What of a run is under way; to be changed by one process alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        if not _has_tables(store):
            with store.writing() as connection:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)

    def under_way(self) -> list[SentBatch]:
        """All batches that are not done with, in the order in which they were made."""
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT id, token, address, requests, prompt_tokens, completion_tokens, file, "
                "tried, remote FROM batch WHERE NOT ended ORDER BY id"
            ).fetchall()
        return [SentBatch(*row) for row in rows]

    def remotes(self) -> frozenset[str]:
        """The services' ids of all batches that there ever were."""
        with self._store.reading() as connection:
            return frozenset(r for (r,) in connection.execute("SELECT remote FROM batch") if r)

    def cells(self, batch: int | None = None) -> dict[bytes, SentCell]:
        """Keys and cells of the requests that are under way, of one batch or of all."""
        return self._cells("batch > 0") if batch is None else self._cells("batch = ?", batch)

    def free_cells(self) -> dict[bytes, SentCell]:
        """Keys and cells of the requests that have failed, or were given up, and have no answer."""
        return self._cells("batch < 0 AND key NOT IN (SELECT key FROM response)")

    def _cells(self, where: str, *values: int) -> dict[bytes, SentCell]:
        with self._store.reading() as connection:
            rows = connection.execute(
                f"SELECT key, condition, item, sample FROM sent WHERE {where}", values
            )
            return {key: (condition, item, sample) for key, condition, item, sample in rows}

    def intend(
        self,
        token: str,
        address: str,
        requests: Sequence[tuple[bytes, int, int, int]],
        tokens: tuple[int, int],
        file: str = "",
    ) -> int:
        """Write down that these requests are about to be sent; the number of their batch.

        Args:
            requests: key, ids of condition and item in the store, and sample of each.
            tokens: prompt and completion tokens, the most that is expected.
        """
        with self._store.writing() as connection:
            cursor = connection.execute(
                "INSERT INTO batch (token, address, requests, prompt_tokens, completion_tokens, "
                "file) VALUES (?, ?, ?, ?, ?, ?)",
                (token, address, len(requests), *tokens, file),
            )
            batch = int(cursor.lastrowid or 0)
            connection.executemany(
                "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?)",
                ((key, batch, *cell) for key, *cell in requests),
            )
        return batch

    def about_to_create(self, batch: int, file: str) -> None:
        """Its file is uploaded; the next call creates it."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE batch SET file = ?, tried = ? WHERE id = ?", (file, time.time(), batch)
            )

    def created(self, batch: int, remote: str) -> None:
        """It is under way, under this id."""
        with self._store.writing() as connection:
            connection.execute("UPDATE batch SET remote = ? WHERE id = ?", (remote, batch))

    def forget(self, batch: int) -> None:
        """It was never created: its requests are free to be asked."""
        with self._store.writing() as connection:
            connection.execute("DELETE FROM sent WHERE batch = ?", (batch,))
            connection.execute("DELETE FROM batch WHERE id = ?", (batch,))

    def write(
        self, changes: Iterable[Change], settled: Iterable[bytes], failed: Iterable[bytes] = ()
    ) -> None:
        """Put what came on disk, and with it that these requests are under way no more."""
        with self._store.writing() as connection:
            apply(connection, changes)
            connection.executemany(
                "UPDATE sent SET batch = -abs(batch) WHERE key = ?", ((key,) for key in failed)
            )
            connection.executemany("DELETE FROM sent WHERE key = ?", ((key,) for key in settled))

    def end(self, batch: int, changes: Iterable[Change] = ()) -> None:
        """All of it has been read: what is left of its requests is free to be asked again."""
        with self._store.writing() as connection:
            apply(connection, changes)
            connection.execute("UPDATE sent SET batch = -batch WHERE batch = ?", (batch,))
            connection.execute("UPDATE batch SET ended = 1 WHERE id = ?", (batch,))

    def failed_alike(self, cell: SentCell, error: str) -> bool:
        """Whether a request has failed in this way before."""
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM failure WHERE condition = ? AND item = ? AND sample = ? "
                "AND error = ? LIMIT 1",
                (*cell, error),
            ).fetchone()
        return row is not None


def requests_under_way(store: Store) -> int:
    """How many requests of a run are under way in batches."""
    if not _has_tables(store):
        return 0
    with store.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM sent WHERE batch > 0").fetchone()[0])


def _has_tables(store: Store) -> bool:
    with store.reading() as connection:
        (there,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN ('batch', 'sent')"
        ).fetchone()
    return int(there) == 2
