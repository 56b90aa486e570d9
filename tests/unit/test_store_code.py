from __future__ import annotations

import errno
import hashlib
import os
import stat

import anyio
import pytest

from engine.errors import CodeStorageExceededException, InvalidParameterValueException, ServiceException
from engine.store import code as module
from engine.store.code import CodeStore
from tests.support.packages import package


@pytest.fixture
async def store(tmp_path):
    found = CodeStore(tmp_path / "code", durable=False)
    assert await found.open() == set()
    return found


@pytest.fixture
def unpacked(monkeypatch):
    """How often a package was unpacked, and where."""
    real, calls = module.unzip, []
    monkeypatch.setattr(
        module, "unzip", lambda data, target, **rest: (calls.append(target), real(data, target, **rest))
    )
    return calls


async def test_a_package_is_kept_under_its_sha256_with_its_tree(store):
    data = package({"bootstrap": "#!/bin/sh"}, executable=("bootstrap",))
    async with store.hold(data) as kept:
        assert (kept.digest, kept.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert store.package(kept.digest).read_bytes() == data
    assert (store.tree(kept.digest) / "bootstrap").read_text() == "#!/bin/sh"


async def test_other_users_may_pass_and_read_the_tree_but_not_the_package(store):
    async with store.hold(package()) as kept:
        pass

    def mode(path):
        return stat.S_IMODE(path.stat().st_mode)

    assert [mode(path) for path in (store.root, store.root / kept.digest)] == [0o711, 0o711]
    assert mode(store.package(kept.digest)) == 0o600
    assert mode(store.tree(kept.digest)) == 0o755
    assert mode(store.tree(kept.digest) / "app.py") == 0o644


async def test_the_same_package_is_unpacked_once_also_when_asked_for_at_the_same_time(store, unpacked):
    data = package()

    async def ask():
        async with store.hold(data) as kept:
            assert store.tree(kept.digest).is_dir()

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    await ask()
    assert len(unpacked) == 1
    assert not store._turns._locks
    assert not store._held


async def test_different_packages_are_unpacked_side_by_side(store, unpacked):
    async with anyio.create_task_group() as tasks:
        for number in range(5):

            async def ask(number=number):
                async with store.hold(package({"n": str(number)})):
                    pass

            tasks.start_soon(ask)
    assert len(unpacked) == 5


async def test_a_refused_package_leaves_nothing(store):
    with pytest.raises(InvalidParameterValueException):
        async with store.hold(b"no zip"):
            pytest.fail("a bad package was taken")
    assert list(store.root.iterdir()) == []
    assert not store._held


async def test_a_held_package_is_not_removed_and_a_free_one_is(store):
    async with store.hold(package()) as kept:
        await store.remove(kept.digest)
        assert store.tree(kept.digest).is_dir()
    await store.remove(kept.digest, lambda: True)
    assert store.tree(kept.digest).is_dir()
    await store.remove(kept.digest)
    await store.remove(kept.digest)
    assert list(store.root.iterdir()) == []


async def test_leftovers_of_a_crash_are_cleared_and_whole_packages_found(tmp_path):
    first = CodeStore(tmp_path / "code", durable=False)
    await first.open()
    async with first.hold(package()) as kept:
        pass
    leftover = tmp_path / "code" / ".tmp-0123"
    leftover.mkdir()
    (leftover / "half").write_text("done")
    assert await CodeStore(tmp_path / "code").open() == {kept.digest}
    assert not leftover.exists()


async def test_a_trial_keeps_nothing(store):
    data = package()
    assert (await store.check(data)).digest == hashlib.sha256(data).hexdigest()
    assert list(store.root.iterdir()) == []
    with pytest.raises(InvalidParameterValueException):
        await store.check(b"bad")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, CodeStorageExceededException),
        (errno.EDQUOT, CodeStorageExceededException),
        (errno.EIO, ServiceException),
    ],
)
async def test_a_disk_that_fails_is_named_and_nothing_is_kept(store, monkeypatch, number, error):
    def fail(_, folder):
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(CodeStore, "_sync", fail)
    with pytest.raises(error) as caught:
        async with store.hold(package()):
            pytest.fail("kept on a full disk")
    assert str(store.root) in caught.value.text
    assert os.strerror(number) in caught.value.text
    assert list(store.root.iterdir()) == []
    monkeypatch.undo()
    async with store.hold(package()) as kept:
        assert store.tree(kept.digest).is_dir()


async def test_everything_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    real_rename = module.Path.rename
    store = CodeStore(tmp_path / "code")
    await store.open()
    monkeypatch.setattr(CodeStore, "_sync", lambda _, folder: events.append("sync " + folder.name[:5]))
    monkeypatch.setattr(CodeStore, "_sync_folder", lambda *_: events.append("sync folder"))
    monkeypatch.setattr(
        module.Path, "rename", lambda self, target: (events.append("rename"), real_rename(self, target))
    )
    async with store.hold(package()):
        assert events == ["sync .tmp-", "rename", "sync folder"]


async def test_syncing_works_on_a_real_disk(tmp_path):
    store = CodeStore(tmp_path / "code", durable=True)
    await store.open()
    async with store.hold(package()) as kept:
        assert store.package(kept.digest).is_file()
