"""Runs of older versions of the store become runs of this one; evenhand 0.1 wrote version 2."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson

from evenhand.errors import StoreError
from evenhand.store.database import DAMAGED, FILE, INDEX, VERSION, connect, locked, store_error
from evenhand.text import split_thought

_OUTCOMES = """
UPDATE response SET outcome = CASE
    WHEN text IS NULL OR error != '' THEN 'rejected'
    WHEN finish = 'content_filter' THEN 'blocked'
    WHEN finish = 'length' THEN 'cut off'
    ELSE 'whole' END
"""
_COLUMNS = (
    "thought TEXT NOT NULL DEFAULT ''",
    "outcome TEXT NOT NULL DEFAULT 'whole'",
    "served TEXT NOT NULL DEFAULT ''",
)
_RENAMED = {"defences": "defenses", "defences_file": "defenses_file"}


def migrate(folder: Path) -> None:
    """Bring a store of version 2, 3 or 4 to this one, all of it or nothing.

    Raises:
        RunFolderError: another process is at work in the folder.
        StoreError: the file cannot be written, or what it says of the run cannot be read.
    """
    with locked(folder):
        connection = connect(folder)
        try:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 2:
                _change_tables(connection)
                _change_facts(connection)
            if version in (2, 3):
                connection.execute("ALTER TABLE condition ADD COLUMN gaps TEXT NOT NULL DEFAULT ''")
                connection.execute("ALTER TABLE item ADD COLUMN slot INTEGER")
            if version in (2, 3, 4):
                connection.execute("DROP INDEX response_item")
                connection.execute(INDEX)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise store_error(folder, error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{folder / FILE}: {DAMAGED}") from None
        finally:
            connection.close()  # what was not committed is undone


def _change_tables(connection: sqlite3.Connection) -> None:
    columns = {row[1] for row in connection.execute("PRAGMA table_info(condition)")}
    if "defence" in columns:
        connection.execute("ALTER TABLE condition RENAME COLUMN defence TO defense")
    for column in _COLUMNS:
        connection.execute(f"ALTER TABLE response ADD COLUMN {column}")
    connection.execute(_OUTCOMES)
    _split_thoughts(connection)


def _split_thoughts(connection: sqlite3.Connection) -> None:
    """What a model thought aloud was stored as a part of its answer."""
    rows = connection.execute("SELECT id, text FROM response WHERE text IS NOT NULL")
    changed = []
    for response, text in rows:
        thought, answer, still_thinking = split_thought(text)
        if answer != text:
            changed.append((thought, answer, still_thinking, response))
    connection.executemany(
        "UPDATE response SET thought = ?, text = ?, "
        "outcome = CASE WHEN ? AND outcome = 'whole' THEN 'cut off' ELSE outcome END WHERE id = ?",
        changed,
    )


def _change_facts(connection: sqlite3.Connection) -> None:
    """The facts about the run, one row each, become one record."""
    facts = {
        name: orjson.loads(value)
        for name, value in connection.execute("SELECT name, value FROM meta")
    }
    if facts.get("study") is not None and facts.get("placement") is not None:
        record = {
            "study": {_RENAMED.get(name, name): value for name, value in facts["study"].items()},
            "system_role": facts["placement"],
            "interim": _interim(facts.get("looks")),
            "addresses": facts.get("addresses") or [],
            "sessions": facts.get("sessions") or [],
        }
        connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('run', ?)", (orjson.dumps(record).decode(),)
        )
    connection.execute(
        "DELETE FROM meta WHERE name IN ('study', 'placement', 'looks', 'addresses', 'sessions')"
    )


def _interim(look: dict[str, Any] | None) -> dict[str, Any] | None:
    if look is None:
        return None
    rest = {name: value for name, value in look.items() if name != "look"}
    return {"analysis": look["look"], **rest}
