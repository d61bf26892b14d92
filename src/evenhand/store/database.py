"""The file behind a store: its tables, its journal, its versions, and what to say of damage.

Answers come faster than a disk can be waited for. Each is appended to a journal when it arrives,
which survives the death of the process, and several times a second all of them are committed to
the database, which survives a loss of power. What a dead process left in its journal is taken
over by the next one.

Runs of older versions of the store become runs of this one; evenhand 0.1 wrote version 2.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from evenhand.errors import RunFolderError, StoreError
from evenhand.text import split_thought

FILE = "run.db"
LOCK_FILE = "run.lock"
CLEAN_FILE = "run.clean"
"""Size and time of the database when it was last closed: as long as they hold, it is whole."""
JOURNALS = ("run.journal-0", "run.journal-1")
VERSION = 5

OWN_FILES = {FILE, LOCK_FILE, CLEAN_FILE, *JOURNALS, f"{FILE}-wal", f"{FILE}-shm"}
DAMAGED = "the file is damaged and was left as it is; restore it, or take a new folder"
_NO_SPACE = "free some space and run again; all answers counted as done are safe"
_WORTH_IT = 2**20
"""Bytes that compacting has to give back: less is taken by the next rows."""

_TABLES = {"meta", "condition", "item", "response", "failure", "score", "judge", "recheck"}
INDEX = """
CREATE INDEX response_cell ON response
    (item, condition, sample, outcome, served, prompt_tokens, completion_tokens);
"""
"""What reports count by: with it they read no text of an answer, and a twentieth of the file."""
SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE condition (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, active INTEGER NOT NULL,
    position INTEGER NOT NULL, identity TEXT NOT NULL, text TEXT NOT NULL, category TEXT NOT NULL,
    kind TEXT NOT NULL, cue TEXT NOT NULL, defense TEXT NOT NULL, example TEXT NOT NULL,
    gaps TEXT NOT NULL DEFAULT '');
CREATE TABLE item (
    id INTEGER PRIMARY KEY, benchmark TEXT NOT NULL, name TEXT NOT NULL, active INTEGER NOT NULL,
    position INTEGER NOT NULL, prompt TEXT NOT NULL, axis TEXT NOT NULL, scorer TEXT NOT NULL,
    answer TEXT NOT NULL, choices TEXT NOT NULL, subgroup TEXT NOT NULL, slot INTEGER,
    UNIQUE (benchmark, name));
CREATE TABLE response (
    id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, condition INTEGER NOT NULL,
    item INTEGER NOT NULL, sample INTEGER NOT NULL, outcome TEXT NOT NULL DEFAULT 'whole',
    finish TEXT NOT NULL, served TEXT NOT NULL DEFAULT '', error TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL,
    attempts INTEGER NOT NULL, text TEXT, thought TEXT NOT NULL DEFAULT '');
CREATE TABLE failure (
    condition INTEGER NOT NULL, item INTEGER NOT NULL, sample INTEGER NOT NULL,
    status INTEGER NOT NULL, error TEXT NOT NULL);
{INDEX}
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

Change = tuple[str, Sequence[Any]]
"""The name of a statement in `evenhand.store.rows` and its parameters, all of them JSON."""
Kept = tuple[int, Sequence[Change]]
"""Changes that belong together, and their place in the order of all."""


def make_file(folder: Path) -> None:
    """Make the folder and an empty database, for the user's eyes only, where they are not there.

    Raises:
        RunFolderError: the folder holds other things than a run.
        StoreError: the folder or the file cannot be made.
    """
    try:
        if folder.is_file():
            raise RunFolderError(f"{folder} is a file; a run needs a folder")
        if folder.exists() and any(f.name not in OWN_FILES for f in folder.iterdir()):
            raise RunFolderError(f"{folder} holds other files but no run; take a new folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(folder / FILE, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from None


def refuse_links(folder: Path) -> None:
    """Raise `StoreError` if one of the run's files is a symbolic link: its target is not ours."""
    for name in sorted(OWN_FILES):
        if (folder / name).is_symlink():
            raise StoreError(
                f"{folder / name} is a symbolic link, which is not followed; remove it, "
                "or choose a new folder"
            )


@contextmanager
def locked(folder: Path, *, wait: float = 1.0) -> Iterator[None]:
    """Hold the run folder for this process alone.

    Args:
        wait: seconds for which another process may still have it.

    Raises:
        RunFolderError: another process has it.
    """
    from filelock import FileLock, Timeout  # loads asyncio

    lock = FileLock(folder / LOCK_FILE, timeout=wait, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another evenhand is running in {folder}") from None
    except OSError as error:
        raise StoreError(f"cannot lock {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


# The journal


class Journal:
    """What has come and is not in the database yet.

    Two files take turns: while the changes of one are committed, new ones go to the other.

    Raises:
        StoreError: the files cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current = 0
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
        try:
            self._files = [os.open(folder / name, flags, 0o600) for name in JOURNALS]
        except OSError as error:
            raise StoreError(f"cannot write to {folder}: {error.strerror}") from None

    def append(self, kept: Kept) -> None:
        """Hand changes to the operating system, which keeps them when this process dies.

        Raises:
            StoreError: they could not be written.
        """
        line = orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)
        try:
            whole = os.write(self._files[self._current], line) == len(line)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}; {_NO_SPACE}") from None
        if not whole:
            raise StoreError(f"{self._folder}: the disk is full; {_NO_SPACE}")

    def turn(self) -> int:
        """From now on append to the other file; the number of this one, to be cleared."""
        self._current = 1 - self._current
        return 1 - self._current

    def clear(self, number: int) -> None:
        """Empty a file whose changes are all committed."""
        with suppress(OSError):  # its changes would be known as committed by their numbers
            os.ftruncate(self._files[number], 0)

    def close(self) -> None:
        """Close the files, and remove those that are empty."""
        for file, name in zip(self._files, JOURNALS, strict=True):
            empty = os.fstat(file).st_size == 0
            os.close(file)
            if empty:
                (self._folder / name).unlink(missing_ok=True)


def read_journals(folder: Path) -> list[Kept]:
    """What a dead process left behind, in the order in which it came."""
    found: list[Kept] = []
    for name in JOURNALS:
        try:
            lines = (folder / name).read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            with suppress(orjson.JSONDecodeError, ValueError, TypeError):  # cut short by the death
                number, changes = orjson.loads(line)
                found.append((number, [(statement, row) for statement, row in changes]))
    return sorted(found)


# Opening and closing


@contextmanager
def _looking(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot change the file, not even tidy it up on closing."""
    try:
        uri = f"{(folder / FILE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise store_error(folder, error) from None


def has_tables(folder: Path) -> bool:
    """Whether there is a run: none was begun, or one was killed before it had made its tables."""
    try:
        refuse_links(folder)
        if not (folder / FILE).exists():
            return False
    except OSError as error:
        raise StoreError(f"cannot open the folder {folder}: {error.strerror}") from None
    with _looking(folder) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables)


def check(folder: Path) -> int:
    """The version of the file, after a look at its health where it may have changed.

    Raises:
        RunFolderError: the file is of a version that is not known here.
        StoreError: it is damaged.
    """
    with _looking(folder) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        health = "ok"
        if not _closed_cleanly(folder):
            (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version not in (2, 3, 4, VERSION):
        raise RunFolderError(f"{folder} was written by another version of evenhand")
    if health != "ok" or not tables >= _TABLES:
        raise StoreError(f"{folder / FILE}: {DAMAGED}")
    return int(version)


def connect(folder: Path) -> sqlite3.Connection:
    """Open the file for reading and writing."""
    try:
        connection = sqlite3.connect(folder / FILE, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk, not only with the operating system, when it returns.
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error as error:
        raise store_error(folder, error) from None
    return connection


def _state_of(folder: Path) -> bytes:
    state = (folder / FILE).stat()
    return f"{state.st_size} {state.st_mtime_ns}\n".encode()


def _closed_cleanly(folder: Path) -> bool:
    """Whether the file is as it was when it was last closed, and known to be whole."""
    try:
        wal = folder / f"{FILE}-wal"
        in_order = not wal.exists() or not wal.stat().st_size
        return in_order and (folder / CLEAN_FILE).read_bytes() == _state_of(folder)
    except OSError:
        return False


def note_clean_end(folder: Path) -> None:
    """Write down what the file looks like, unless another process still has it open."""
    with suppress(OSError):  # a folder that is read-only: the file is checked once more next time
        if (folder / f"{FILE}-wal").exists() or _closed_cleanly(folder):
            return
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW
        file = os.open(folder / CLEAN_FILE, flags, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(_state_of(folder))


def compact(folder: Path, connection: sqlite3.Connection) -> None:
    """Give space that deleted rows have left back to the disk, where it is a quarter of the file.

    The new file is whole or not there: a process that dies meanwhile leaves the old one. So does
    what stands in the way, such as a full disk or another process in the folder.
    """
    with suppress(sqlite3.Error, RunFolderError, StoreError):
        free, pages, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count", "page_size")
        )
        if free * size >= _WORTH_IT and 4 * free >= pages:
            with locked(folder, wait=0):
                connection.execute("VACUUM")


def store_error(folder: Path, error: sqlite3.Error) -> StoreError:
    """The database's own words, and what to do."""
    text = str(error)
    if "full" in text or "I/O" in text:
        advice = _NO_SPACE
    elif "malformed" in text or "not a database" in text or "no such" in text:
        advice = DAMAGED
    elif "readonly" in text or "unable to open" in text:
        advice = "check the folder's permissions"
    else:
        advice = "the file was left as it is"
    return StoreError(f"{folder / FILE}: {text}; {advice}")


# Runs of older versions

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
