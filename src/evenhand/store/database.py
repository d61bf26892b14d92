"""The file behind a store: its tables, its durability, and what to say when it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from evenhand.errors import RunFolderError, StoreError

FILE = "run.db"
LOCK_FILE = "run.lock"
VERSION = 2

OWN_FILES = {FILE, LOCK_FILE, f"{FILE}-wal", f"{FILE}-shm"}
DAMAGED = "the file is damaged and was left as it is; restore it, or take a new folder"

_TABLES = {"meta", "condition", "item", "response", "failure", "score", "judge", "recheck"}
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE condition (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, active INTEGER NOT NULL,
    position INTEGER NOT NULL, identity TEXT NOT NULL, text TEXT NOT NULL, category TEXT NOT NULL,
    kind TEXT NOT NULL, cue TEXT NOT NULL, defense TEXT NOT NULL, example TEXT NOT NULL);
CREATE TABLE item (
    id INTEGER PRIMARY KEY, benchmark TEXT NOT NULL, name TEXT NOT NULL, active INTEGER NOT NULL,
    position INTEGER NOT NULL, prompt TEXT NOT NULL, axis TEXT NOT NULL, scorer TEXT NOT NULL,
    answer TEXT NOT NULL, choices TEXT NOT NULL, subgroup TEXT NOT NULL, UNIQUE (benchmark, name));
CREATE TABLE response (
    id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, condition INTEGER NOT NULL,
    item INTEGER NOT NULL, sample INTEGER NOT NULL, text TEXT, error TEXT NOT NULL,
    finish TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, attempts INTEGER NOT NULL);
CREATE TABLE failure (
    condition INTEGER NOT NULL, item INTEGER NOT NULL, sample INTEGER NOT NULL,
    status INTEGER NOT NULL, error TEXT NOT NULL);
CREATE INDEX response_item ON response (item);
CREATE TABLE judge (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, facts TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0);
CREATE TABLE score (
    response INTEGER NOT NULL, judge INTEGER NOT NULL, value REAL, reason TEXT NOT NULL,
    why TEXT NOT NULL, PRIMARY KEY (response, judge)) WITHOUT ROWID;
CREATE TABLE judge_failure (
    response INTEGER NOT NULL, judge INTEGER NOT NULL, status INTEGER NOT NULL,
    error TEXT NOT NULL);
CREATE TABLE recheck (
    response INTEGER NOT NULL, judge INTEGER NOT NULL, other TEXT NOT NULL, value REAL,
    reason TEXT NOT NULL, PRIMARY KEY (response, judge, other)) WITHOUT ROWID;
"""


@contextmanager
def _looking(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot change the file, not even tidy it up on closing."""
    try:
        uri = f"{(folder / FILE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise store_error(folder, error) from None


def is_blank(folder: Path) -> bool:
    """Whether a run was killed before it had made its tables."""
    with _looking(folder) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables


def check(folder: Path) -> None:
    """Raise `RunFolderError` for another version's file, `StoreError` for a damaged one."""
    with _looking(folder) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version != VERSION:
        raise RunFolderError(f"{folder} was written by another version of evenhand")
    if health != "ok" or not tables >= _TABLES:
        raise StoreError(f"{folder / FILE}: {DAMAGED}")


def connect(folder: Path) -> sqlite3.Connection:
    """Open the file for reading and writing; it is made if it is not there."""
    try:
        connection = sqlite3.connect(folder / FILE, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk, not only with the operating system, when it returns.
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error as error:
        raise store_error(folder, error) from None
    return connection


def store_error(folder: Path, error: sqlite3.Error) -> StoreError:
    """The database's own words, and what to do."""
    text = str(error)
    if "full" in text or "I/O" in text:
        advice = "free some space and run again; all answers counted as done are safe"
    elif "malformed" in text or "not a database" in text or "no such" in text:
        advice = DAMAGED
    elif "readonly" in text or "unable to open" in text:
        advice = "check the folder's permissions"
    else:
        advice = "the file was left as it is"
    return StoreError(f"{folder / FILE}: {text}; {advice}")
