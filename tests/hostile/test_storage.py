"""Disk, inodes, descriptors."""

from __future__ import annotations

import pytest

from engine import Engine
from tests.hostile.kit import MIB, Attackers, Neighbour, kind_of

pytest_plugins = ("tests.support.sandbox_fixtures",)

#: Takes disk in files of 64 MB, up to 2 GB.
FILL = """
def attack(event):
    if not event:
        return sorted(os.listdir(tmp))
    taken, word = 0, "ok"
    for number in range(32):
        with open(f"{tmp}/part-{number}", "wb") as file:
            for _ in range(16):
                word = tried(os.posix_fallocate, file.fileno(), file.tell(), 4 << 20)
                if word != "ok":
                    return [taken, word, tried(write, tmp + "/small", "x" * 10000)]
                file.seek(4 << 20, 1)
                taken += 4 << 20
    until = time.monotonic() + 10
    while event == "work on" and time.monotonic() < until:
        pass
    if event == "rest":
        time.sleep(2)
    return [taken, word, "ok"]
"""


async def test_a_disk_filler_fills_its_own_tmp(
    engine: Engine, mode: str, attackers: Attackers, neighbour: Neighbour
) -> None:
    function = await attackers.make(FILL, memory_mb=1769)
    async with neighbour.watched():
        result = await function.invoke("work on" if mode == "process" else "fill")
    if mode == "process":  # which sees it when it looks
        assert kind_of(result) == "Lambent.StorageExceeded"
        return
    taken, word, small = result.json()
    assert 480 * MIB < taken <= 530 * MIB
    assert (word, small) == ("ENOSPC", "ENOSPC")
    assert len((await function.invoke(None)).json()) >= 7, "what fitted is still there"


@pytest.mark.parametrize("mode", ["process"])
@pytest.mark.xfail(reason="the monitor is woken by CPU time, and fallocate(2) of 2 GB takes less than its alarm")
async def test_a_disk_that_was_filled_in_no_time_is_seen_too(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    function = await attackers.make(FILL, memory_mb=1769)
    await function.invoke(None)
    assert kind_of(await function.invoke("rest")) == "Lambent.StorageExceeded"


@pytest.mark.parametrize("mode", ["sandbox"])
async def test_an_inode_filler_ends_at_the_size_of_tmp(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    """Not in process mode: a folder of so many files is too long a walk for the monitor."""
    function = await attackers.make(
        """
        def attack(event):
            if not event:
                return "again"
            number = 0
            try:
                for number in range(400_000):
                    if number % 5_000 == 0:
                        os.mkdir(f"{tmp}/{number // 5_000}")
                    os.mknod(f"{tmp}/{number // 5_000}/{number}")
            except OSError as error:
                return [number, errno.errorcode[error.errno]]
            return [number, "ok"]
        """,
        memory_mb=3538,
        timeout_s=60,
    )
    async with neighbour.watched():
        number, word = (await function.invoke("fill")).json()
    assert word == "ENOSPC"
    assert 10_000 < number < 140_000
    assert (await function.invoke(None)).json() == "again"


async def test_descriptors_run_out_for_the_function_alone(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    function = await attackers.make(
        """
        kept = []
        def attack(event):
            if event == "raise":
                wanted = [struct.pack("QQ", n, n) for n in (1025, 1 << 20, (1 << 64) - 1)]
                return [called("setrlimit", resource.RLIMIT_NOFILE, limit) for limit in wanted] + [
                    list(resource.getrlimit(resource.RLIMIT_NOFILE))
                ]
            try:
                while len(kept) < 3000:
                    kept.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as error:
                return [len(kept), errno.errorcode[error.errno]]
            return [len(kept), "ok"]
        """
    )
    async with neighbour.watched():
        *words, limit = (await function.invoke("raise")).json()
        assert limit == [1024, 1024]
        assert set(words) == {"EPERM"}
        number, word = (await function.invoke("take")).json()
        assert (word, 900 < number < 1024) == ("EMFILE", True)
        assert (await function.invoke("take")).json() == [number, "EMFILE"], "it can still answer"
