from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading

import anyio
import pytest

from engine.errors import DataDirectoryError, ServiceException
from engine.store.database import Database
from engine.store.lock import DirectoryLock
from engine.store.migrations import MIGRATIONS
from tests.support.leaks import threads_of_ours


@pytest.fixture
async def database(tmp_path):
    opened = Database(tmp_path / "lambent.db", durable=False)
    await opened.open()
    yield opened
    await opened.close()


def put(name):
    return lambda db: db.execute("INSERT INTO functions (name) VALUES (?)", (name,))


async def names(database):
    return await database.read(lambda db: [name for (name,) in db.execute("SELECT name FROM functions ORDER BY name")])


async def test_a_write_is_there_after_reopening(tmp_path):
    for expected in ([], ["a"]):
        database = Database(tmp_path / "lambent.db")
        await database.open()
        assert await names(database) == expected
        if not expected:
            await database.write(put("a"))
        await database.close()


async def test_commits_are_synced_in_wal_mode(tmp_path):
    database = Database(tmp_path / "lambent.db")
    await database.open()
    settings = await database.read(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    await database.close()
    assert settings == ["wal", 2]


async def test_the_file_is_private(database):
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


async def test_sql_runs_in_one_thread_that_is_not_the_loops(database):
    async with anyio.create_task_group() as tasks:
        found = set()

        async def ask():
            found.add(await database.read(lambda _: threading.get_ident()))

        for _ in range(10):
            tasks.start_soon(ask)
    assert len(found) == 1
    assert threading.get_ident() not in found


async def test_a_failed_write_changes_nothing_and_the_database_goes_on(database):
    await database.write(put("a"))
    with pytest.raises(ServiceException, match="Nothing was changed"):
        await database.write(lambda db: [put("b")(db), put("a")(db)])
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda db: [put("c")(db), 1 / 0])
    assert await names(database) == ["a"]
    await database.write(put("d"))
    assert await names(database) == ["a", "d"]


async def test_a_full_database_is_an_error_with_advice_and_goes_on_when_there_is_room(database):
    pages = await database.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await database.read(lambda db: db.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(ServiceException, match="Make room on the disk of"):
        await database.write(put("x" * 100_000))
    assert await names(database) == []
    await database.read(lambda db: db.execute("PRAGMA max_page_count=1000000"))
    await database.write(put("x" * 100_000))
    assert len(await names(database)) == 1


async def test_a_newer_schema_is_refused_and_untouched(tmp_path):
    path = tmp_path / "lambent.db"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DataDirectoryError, match="newer version"):
        await Database(path).open()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    db.close()
    assert len(path.read_bytes()) == len(before)


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "lambent.db"
    path.write_bytes(b"this is not a database, however long one looks at it" * 100)
    with pytest.raises(DataDirectoryError, match="cannot be opened"):
        await Database(path).open()


async def test_closing_twice_and_using_a_closed_one(tmp_path):
    database = Database(tmp_path / "lambent.db")
    await database.open()
    await database.close()
    await database.close()
    with pytest.raises(RuntimeError, match="not open"):
        await database.read(lambda _: None)


async def test_a_close_that_is_cancelled_ends_the_thread_all_the_same(tmp_path):
    before = threads_of_ours()
    database = Database(tmp_path / "lambent.db")
    await database.open()
    (thread,) = threads_of_ours() - before
    kept = database._worker  # what ends with its executor's last reference does not end in time
    held = threading.Event()
    busy = asyncio.create_task(database.read(lambda _: held.wait(20)))
    closing = asyncio.create_task(database.close())
    for _ in range(3):  # both are begun
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert thread.is_alive()
    held.set()
    assert await busy
    await asyncio.to_thread(thread.join, 5)
    assert kept is not None
    assert not thread.is_alive()


def test_a_second_engine_is_told_who_has_the_directory(tmp_path):
    lock = DirectoryLock(tmp_path / "data")
    lock.acquire()
    with pytest.raises(DataDirectoryError, match=rf"in use by another engine \(pid {os.getpid()}\)"):
        DirectoryLock(tmp_path / "data").acquire()
    lock.release()
    lock.release()
    again = DirectoryLock(tmp_path / "data")
    again.acquire()
    again.release()


def test_the_lock_goes_with_its_process_however_it_ends(tmp_path):
    program = (
        "import sys; from pathlib import Path; from engine.store.lock import DirectoryLock\n"
        "DirectoryLock(Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DataDirectoryError, match=f"pid {child.pid}"):
            DirectoryLock(tmp_path).acquire()
        child.kill()
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_process_started_by_the_engine_does_not_keep_the_lock(tmp_path):
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        DirectoryLock(tmp_path).acquire()
        child.stdin.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        DirectoryLock(tmp_path / "file" / "data").acquire()


def test_a_new_data_directory_can_be_passed_but_not_listed(tmp_path):
    lock = DirectoryLock(tmp_path / "data")
    lock.acquire()
    lock.release()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o711
    assert stat.S_IMODE((tmp_path / "data" / "lock").stat().st_mode) == 0o600
