"""Memory, in every form that the kernel has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from tests.hostile.kit import Attackers, Neighbour, kind_of

pytest_plugins = ("tests.support.sandbox_fixtures",)

RUN = """
def attack(event):
    done = subprocess.run(["./" + event[0], *event[1:]], capture_output=True, text=True) if event else None
    return done and [done.returncode, done.stdout]
"""


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        *(("sandbox", how) for how in ("touch", "shared", "child", "memfd", "sysv", "buffers")),
        *(("process", how) for how in ("touch", "shared", "child")),
    ],
)
async def test_a_memory_bomb_ends_its_own_environment(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, with_programs: Path, how: str
) -> None:
    function = await attackers.make(RUN, package=with_programs, memory_mb=128)
    async with neighbour.watched():
        result = await function.invoke(["takes", how], tail=True)
        assert kind_of(result) == "Runtime.OutOfMemory"
        assert result.json()["errorMessage"].endswith("Runtime exited with error: signal: killed")
        assert "Error Type: Runtime.OutOfMemory" in result.log_tail
        assert "Max Memory Used: 128 MB" in result.log_tail
        assert (await function.invoke(None)).json() is None


@pytest.mark.parametrize("mode", ["sandbox"])
async def test_files_in_the_page_cache_are_the_functions_own_and_cost_it_nothing(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    """More is written and read than there is memory: the kernel takes the pages back from the function itself."""
    async with neighbour.watched():
        seen = await attackers.run(
            """
            def attack(event):
                block = b"x" * (1 << 20)
                with open(tmp + "/big", "wb", 0) as file:
                    for _ in range(300):
                        file.write(block)
                read = 0
                with open(tmp + "/big", "rb", 0) as file:
                    while data := file.read(1 << 20):
                        read += len(data)
                return read
            """,
            memory_mb=128,
        )
    assert seen == 300 << 20
    group = next(one for one in engine.provider.sandboxes.values() if one is not neighbour.sandbox)
    peak = group.memory_peak()
    assert peak is not None
    assert peak <= 128 << 20


@pytest.mark.parametrize("mode", ["sandbox"])
async def test_there_is_nothing_writable_but_tmp_and_tmp_is_not_memory(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    seen = await attackers.run(
        """
        def attack(event):
            mounts = []
            for line in open("/proc/mounts"):
                device, where, kind, options = line.split()[:4]
                mounts.append([where, kind, options.split(",")[0]])
            places = set()
            for root, folders, files in os.walk("/"):
                folders[:] = [f for f in folders if not (root == "/" and f in ("proc", "tmp", "usr"))]
                for path in (root, *(os.path.join(root, file) for file in files)):
                    if os.access(path, os.W_OK) and not os.path.islink(path):
                        places.add(path)
            return [mounts, sorted(places), tried(os.mkdir, "/new"), tried(write, "/dev/shm/x"), tried(write, "/dev/x")]
        """,
    )
    mounts, places, *made = seen
    devices = {"/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"}
    writable = {where: kind for where, kind, options in mounts if options == "rw"}
    assert writable.pop("/proc") == "proc"
    assert writable.pop("/tmp") in {"ext4", "xfs"}
    assert set(writable) == devices
    assert set(places) <= devices
    assert all(word in {"EROFS", "ENOENT", "EACCES"} for word in made), made
