"""State of a build in one sqlite file: finished jobs, paid replies and what was being asked.

Every write is a transaction, so that a killed run loses at most what was under way. Knows keys and
text; nothing of records or teachers.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from perceive_anything.errors import DataError

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, reason TEXT, content TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, text TEXT, tokens_in INTEGER, tokens_out INTEGER, cost REAL, tried INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asking (key TEXT, run TEXT, PRIMARY KEY (key, run)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (key TEXT, run TEXT, PRIMARY KEY (key, run)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job's end: the reason it was dropped for ("" if kept), and its content or detail."""

    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class PaidReply:
    """What a teacher said and what it took.

    Attributes:
        text: The reply.
        tokens_in: Of the request.
        tokens_out: Of the reply.
        cost: In the currency of the recipe's prices.
        tried: Attempts that failed before.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    tried: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What all replies took.

    Attributes:
        replies: Stored ones, each asked for and paid once.
        tokens_in: Of their requests.
        tokens_out: Of the replies.
        cost: In the currency of the recipe's prices.
        failed: Attempts that failed and were tried again.
        lost: Requests that were under way when a run was killed; their price is not known here.
    """

    replies: int
    tokens_in: int
    tokens_out: int
    cost: float
    failed: int
    lost: int


class Store:
    """The state of one build; safe for many threads of one process.

    Args:
        folder: Output folder of the build; made if missing.
        shared: Help the process that holds the folder, instead of holding it.

    Raises:
        DataError: Another build is at work there, or the folder cannot be written.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.folder = folder
        self._held = None if shared else _claim(folder)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(folder / "state.sqlite", timeout=60, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing
        self._base.executescript(_TABLES)
        self.run = uuid4().hex
        if shared:
            return
        for (run,) in self._base.execute("SELECT DISTINCT run FROM asking").fetchall():
            self.lose(run)  # whoever was asking is dead: this process holds the lock

    def finished(self, key: str) -> Finished | None:
        """How a job ended; None if it did not yet."""
        row = self._row("SELECT reason, content FROM jobs WHERE key = ?", key)
        return Finished(*row) if row else None

    def finish(self, key: str, finished: Finished) -> None:
        """Write down how a job ended; the first end counts."""
        with self._write() as base:
            row = (key, finished.reason, finished.content)
            base.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", row)

    def reply(self, key: str) -> PaidReply | None:
        """A reply that was paid already."""
        row = self._row(
            "SELECT text, tokens_in, tokens_out, cost, tried FROM replies WHERE key = ?", key
        )
        return PaidReply(*row) if row else None

    def begin(self, key: str, run: str | None = None) -> bool:
        """Write down that a request is being sent, before it is.

        Args:
            key: Of the request.
            run: Who sends it; this store's own run by default.

        Returns:
            False if it was answered, or somebody is asking it: wait for that reply.
        """
        with self._write() as base:
            told = base.execute(
                "INSERT INTO asking SELECT ?1, ?2 WHERE ?1 NOT IN (SELECT key FROM asking) "
                "AND ?1 NOT IN (SELECT key FROM replies)",
                (key, run or self.run),
            )
            return told.rowcount == 1

    def lose(self, run: str) -> None:
        """Count what a run was asking as lost, for it is dead."""
        with self._write() as base:
            base.execute(
                "INSERT OR IGNORE INTO lost SELECT key, run FROM asking WHERE run = ?", (run,)
            )
            base.execute("DELETE FROM asking WHERE run = ?", (run,))

    def give_up(self, key: str) -> None:
        """The request failed, and the teacher said so."""
        with self._write() as base:
            base.execute("DELETE FROM asking WHERE key = ?", (key,))

    def pay(self, key: str, reply: PaidReply) -> None:
        """Keep a reply for ever."""
        values = (reply.text, reply.tokens_in, reply.tokens_out, reply.cost, reply.tried)
        with self._write() as base:
            base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)", (key, *values))
            base.execute("DELETE FROM asking WHERE key = ?", (key,))

    def totals(self) -> Totals:
        """What all replies of this folder took."""
        sums = self._one(
            "SELECT COUNT(*), COALESCE(SUM(tokens_in), 0), COALESCE(SUM(tokens_out), 0), "
            "COALESCE(SUM(cost), 0.0), COALESCE(SUM(tried), 0) FROM replies"
        )
        lost = self._one("SELECT COUNT(*) FROM lost")
        return Totals(*sums, *lost)

    @contextmanager
    def first_times(self) -> Iterator[_Seen]:
        """Tells which keys it is shown for the first time; on disk, so memory stays flat."""
        seen = _Seen(sqlite3.connect(""))  # a temporary file of sqlite's own
        try:
            yield seen
        finally:
            seen.base.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._base.close()
        if self._held is not None:
            self._held.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._base:
            yield self._base

    def _row(self, query: str, key: str) -> tuple | None:
        with self._lock:
            return self._base.execute(query, (key,)).fetchone()

    def _one(self, query: str) -> tuple:
        with self._lock:
            return self._base.execute(query).fetchone()


class _Seen:
    def __init__(self, base: sqlite3.Connection) -> None:
        self.base = base
        base.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def is_new(self, key: str) -> bool:
        """Whether the key was not shown before."""
        done = self.base.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,))
        return done.rowcount == 1


def _claim(folder: Path) -> sqlite3.Connection:
    """Hold the folder until this process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = sqlite3.connect(folder / "lock.sqlite", timeout=0, check_same_thread=False)
        held.execute("PRAGMA locking_mode=EXCLUSIVE")
        held.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.OperationalError) as error:
        told = f'"{folder}" cannot be written: {error}.\n  Give an output where you may write.'
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            told = f'another build is at work in "{folder}".\n  Wait, or give another output.'
        raise DataError(told, code="out_unwritable") from error
    return held
