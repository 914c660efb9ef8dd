"""One SQLite file: opened when needed, brought to the present form, its refusals told in plain words.

Write-ahead log, and every transaction on the disk before it counts as done (`synchronous=FULL`): what was written
survives a kill and a power cut. A file that is no database any more is put aside, never overwritten. A folder that was
taken away and comes back is found again, and meanwhile no other file is begun in its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import OutputError
from engine.files import make_folder, writing

_log = logging.getLogger(__name__)

FORMS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            place INTEGER NOT NULL,
            title TEXT NOT NULL,
            request TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'cancelled', 'failed')),
            submitted REAL NOT NULL,
            started REAL,
            ended REAL,
            out TEXT,
            clip TEXT,
            error TEXT,
            log TEXT,
            step INTEGER NOT NULL DEFAULT 0,
            holder TEXT NOT NULL DEFAULT '',
            beats INTEGER NOT NULL DEFAULT 0,
            wish TEXT NOT NULL DEFAULT '',
            crashes INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE TABLE notes (name TEXT PRIMARY KEY)",
    ),
    ("ALTER TABLE jobs ADD COLUMN batch TEXT NOT NULL DEFAULT ''",),
    (
        "ALTER TABLE jobs ADD COLUMN visitor TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE turns (visitor TEXT PRIMARY KEY, turn INTEGER NOT NULL)",
    ),
)
"""What makes each form of the file out of the one before it; the file's `user_version` counts how many it has had."""

_BUSY_MS = 10_000
_FULL = "The disk is full, so the queue could not be written; free some space."


class JobFile:
    """The database `path`. Its user sees to it that one thread at a time comes in."""

    def __init__(self, path: Path, forms: Sequence[tuple[str, ...]] = FORMS) -> None:
        self._path = path
        self._forms = forms
        self._connection: sqlite3.Connection | None = None
        self._opened = (0, 0)
        self._opens = 0

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def stamp(self) -> tuple[int, int]:
        """Return a value that changes when somebody else has written."""
        with self._explained():
            version = self._open().execute("PRAGMA data_version").fetchone()[0]
            return self._opens, int(version)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self._explained():
            return self._open().execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Generator[Callable[..., sqlite3.Cursor]]:
        """Do everything inside or nothing; yields what executes a statement. Nobody else writes meanwhile."""
        with self._explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection.execute
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have ended it already
                    connection.execute("ROLLBACK")
                raise

    def scrub(self) -> None:
        """Write the file and its log anew, so that nothing of rows that were deleted is left in them."""
        with self._explained():
            connection = self._open()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            if self._connection.in_transaction or _identity(self._path) == self._opened:
                return self._connection
            # SQLite would go on writing into a file that has no name any more.
            self.close()
        if self._opens and not self._path.exists():
            # Not a new one in its place, even where somebody has made the folder anew: it may come back.
            raise OutputError(f"The queue “{self._path}” is gone; bring its folder back, or start the studio again.")
        with writing(self._path):
            make_folder(self._path.parent)
        try:
            self._connection = self._connect()
        except sqlite3.DatabaseError as error:
            if _name(error) not in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise
            self._put_aside()
            self._connection = self._connect()
        self._opened = _identity(self._path)
        self._opens += 1
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 100")  # pages: keeps the log beside the file small
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise _corrupt()
            self._bring_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(self._forms):
            raise OutputError(
                f"The queue in “{self._path}” was written by a newer version of the studio; update this one to use it."
            )
        if version == len(self._forms):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been quicker
            for form in self._forms[version:]:
                for statement in form:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._forms)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _put_aside(self) -> None:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        with writing(self._path):
            for ending in ("-wal", "-shm", ""):
                part = self._path.with_name(self._path.name + ending)
                with contextlib.suppress(FileNotFoundError):
                    os.replace(part, aside.with_name(aside.name + ending))
        _log.warning("the queue's file was damaged; it was put aside as %s and a new one begun", aside)

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            if self._connection is not None and not self._connection.in_transaction:
                self.close()  # whatever was the matter, the next use looks at the file afresh
            raise OutputError(_sentence(error, self._path)) from error


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _name(error: sqlite3.DatabaseError) -> str:
    return str(getattr(error, "sqlite_errorname", ""))  # absent where the error is not SQLite's own


def _corrupt() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("the file is damaged")
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def _sentence(error: sqlite3.DatabaseError, path: Path) -> str:
    name = _name(error)
    if name == "SQLITE_FULL":
        return _FULL
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return (
            f"The queue “{path}” cannot be written because it is not allowed there or the folder is gone; "
            "put that right."
        )
    if name.startswith("SQLITE_IOERR"):
        return (
            f"The queue “{path}” cannot be written (the disk answers with an error, or is full); look after the disk."
        )
    if name.startswith("SQLITE_BUSY"):
        return "Another studio keeps the queue busy; try again in a moment."
    return f"The queue “{path}” cannot be used ({error}); start the studio again."
