"""SQLite off the loop: one connection, one thread, one transaction at a time.

synchronous=FULL, not NORMAL: in WAL mode NORMAL survives the death of the process but may lose the last transactions
when the machine loses power, and a 2xx is a promise. The control plane commits a few times a second at most, so one
fsync per commit (about 2 ms on the disks we measured) is not on any path that counts.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from engine.errors import DataDirectoryError, ServiceException
from engine.store.migrations import MIGRATIONS

T = TypeVar("T")

FULL_CODES = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE"})
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Database:
    """The engine's database.

    Args:
        path: the file; made with mode 0600 if it is not there.
        durable: False skips every sync, for a data directory that is thrown away with its engine.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._connection: sqlite3.Connection | None = None
        self._worker: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Open the file and bring its schema up to date.

        Raises:
            DataDirectoryError: not a database, damaged, unreadable, or written by a newer Lambent.
        """
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lambent-sqlite")
        try:
            await self._submit(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Fold the WAL into the file, close it and end the thread. Harmless when not open."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(worker, self._close)
        # The thread ends after this, its last job, even when the caller is cancelled and nobody waits for it any more.
        worker.shutdown(wait=False)
        await asyncio.shield(closing)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection, in the thread.

        Raises:
            DataDirectoryError: the file is damaged or unreadable.
        """
        return await self._submit(lambda: self._reading(work))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own; when this returns, the change is on the disk.

        A cancelled caller does not stop a transaction that has begun: call this through
        :func:`engine.store.settle.settle` when memory must follow the disk.

        Raises:
            ServiceException: the disk is full or failed; nothing was changed and the database goes on working.
        """
        return await self._submit(lambda: self._writing(work))

    async def _submit(self, job: Callable[[], T]) -> T:
        if self._worker is None:
            raise RuntimeError(f"the database {self.path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._worker, job)

    # What follows runs in the thread.

    def _open(self) -> None:
        try:
            self.path.touch(0o600)
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._connection = connection
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'OFF'}")
            connection.execute("PRAGMA foreign_keys=ON")
            self._migrate(connection)
        except (sqlite3.Error, OSError) as error:
            raise DataDirectoryError(
                f"the database {self.path} cannot be opened: {error}; if the disk is full make room, if the file is "
                "damaged restore it from a backup or move it away to start empty"
            ) from error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        if done > len(MIGRATIONS):
            raise DataDirectoryError(
                f"the database {self.path} has schema {done}, this Lambent knows schemas up to {len(MIGRATIONS)}: "
                "it was written by a newer version; run that one, or use another data directory"
            )
        for number, steps in enumerate(MIGRATIONS[done:], start=done + 1):
            connection.execute("BEGIN IMMEDIATE")
            for step in steps:
                connection.execute(step)
            connection.execute(f"PRAGMA user_version={number}")
            connection.execute("COMMIT")

    def _reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert self._connection is not None
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            raise DataDirectoryError(
                f"the database {self.path} cannot be read: {error}; restore it from a backup or move it away"
            ) from error

    def _writing(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        assert connection is not None
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._rollback(connection)
            raise ServiceException(
                f"Lambent could not store the change in {self.path}: {error}. Nothing was changed. "
                f"{self._advice(error)}"
            ) from error
        except BaseException:
            self._rollback(connection)
            raise
        return result

    @staticmethod
    def _rollback(connection: sqlite3.Connection) -> None:
        # SQLite has rolled back by itself after some errors (SQLITE_FULL among them).
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _advice(self, error: Exception) -> str:
        if isinstance(error, OSError):
            full = error.errno in FULL_ERRNOS
        else:
            full = getattr(error, "sqlite_errorname", "") in FULL_CODES
        if full:
            return f"Make room on the disk of {self.path.parent} and try again."
        return "See the engine's log."

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
