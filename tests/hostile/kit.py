"""Attackers and their neighbours: functions for the hostile suite.

Every attack has a bound of its own, so that the machine survives it also where the protection under test is missing:
memory 1 GiB, processes 3,000, disk 2 GB, output some hundred MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from engine import Engine
from engine.function import Function
from engine.invoke.result import InvocationResult
from tests.support.functions import bootstrap

MIB = 1 << 20
#: By how much the engine may grow during an attack: its caches, the logs' rings, the allocator's slack.
GROWTH = 64 * MIB

#: What attackers find ready: their /tmp, and words for what the kernel said.
TOOLS = '''
import ctypes, errno, mmap, resource, stat, struct, subprocess, threading
tmp = os.environ.get("TMPDIR", "/tmp")
libc = ctypes.CDLL(None, use_errno=True)

def tried(call, *arguments, **options):
    """What came of it: "ok", or the kernel's word for why not."""
    try:
        call(*arguments, **options)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok"

#: Calls that the C library has no function for: their numbers on x86-64 and on arm64.
NUMBERS = {
    "pivot_root": (155, 41), "init_module": (175, 105), "kexec_load": (246, 104), "add_key": (248, 217),
    "keyctl": (250, 219), "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "open_tree": (428, 428), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "memfd_secret": (447, 447),
}

def syscall(name, *arguments):
    """The same for a bare system call."""
    number = NUMBERS[name][os.uname().machine == "aarch64"]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return "ok" if libc.syscall(ctypes.c_long(number), *words) >= 0 else errno.errorcode[ctypes.get_errno()]

def called(name, *arguments):
    """The same for a function of the C library."""
    return "ok" if getattr(libc, name)(*arguments) >= 0 else errno.errorcode[ctypes.get_errno()]

def look(path):
    """Whether a path can be read: file or folder."""
    return tried(os.listdir if os.path.isdir(path) else lambda p: open(p, "rb").read(1), path)

def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
'''

_SERVE = """
while True:
    request_id, event, _ = take()
    give(request_id, attack(event))
"""

_NEIGHBOUR = """
tmp = os.environ.get("TMPDIR", "/tmp")
with open(tmp + "/secret", "w") as file:
    file.write("of the neighbour")
while True:
    request_id, event, _ = take()
    began = time.perf_counter()
    sum(range(2000))
    print("neighbour", event, flush=True)
    give(request_id, [event, open(tmp + "/secret").read(), os.getpid()])
"""


@dataclass
class Watched:
    """What was seen of the neighbour and of the engine during an attack."""

    seconds: list[float] = field(default_factory=list)
    """Of each of the neighbour's invocations."""
    memory: list[int] = field(default_factory=list)
    """Resident bytes of the engine's process."""

    @property
    def latency(self) -> float:
        return statistics.median(self.seconds)

    @property
    def worst(self) -> float:
        return max(self.seconds)


class Neighbour:
    """A function that answers, prints, and keeps something in its /tmp; nobody may disturb it."""

    def __init__(self, engine: Engine, function: Function) -> None:
        self.engine = engine
        self.function = function
        self.calls = 0

    @classmethod
    async def start(cls, engine: Engine, folder: Path) -> Neighbour:
        """Made, and warm."""
        function = await engine.create_function("neighbour", code=bootstrap(folder, _NEIGHBOUR), timeout_s=30)
        neighbour = cls(engine, function)
        await neighbour.check()
        return neighbour

    async def check(self) -> float:
        """One invocation, answered correctly; its seconds."""
        self.calls += 1
        began = time.perf_counter()
        with anyio.fail_after(30):
            result = await self.function.invoke(self.calls)
        assert result.json()[:2] == [self.calls, "of the neighbour"]
        return time.perf_counter() - began

    async def quiet(self, times: int = 30) -> float:
        """The median latency when nobody disturbs it."""
        return statistics.median([await self.check() for _ in range(times)])

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Watched]:
        """Invoke it all the while, and look at the engine's memory."""
        seen = Watched()
        over = asyncio.Event()
        process = psutil.Process()
        before = process.memory_info().rss

        async def on_and_on() -> None:
            while not over.is_set():
                seen.seconds.append(await self.check())
                seen.memory.append(process.memory_info().rss)
                await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(on_and_on())
            try:
                yield seen
            finally:
                over.set()
        assert seen.seconds
        grown = max(seen.memory) - before
        assert grown < GROWTH, f"the engine has grown by {grown / MIB:.0f} MiB"

    def lines(self) -> list[int]:
        """The numbers that it printed, as far as the log goes back."""
        said = [record.message.split() for record in self.engine.log("neighbour").records()]
        return [int(words[1]) for words in said if words[:1] == ["neighbour"]]

    @property
    def address(self) -> tuple[str, int]:
        """Of its Runtime API."""
        host, port = self.sandbox.api_address.rsplit(":", 1)
        return host, int(port)

    @property
    def sandbox(self) -> Any:
        """What it runs in."""
        identifier = next(one["id"] for one in self.engine.dispatcher.listing() if one["function"] == "neighbour")
        return self.engine.provider.sandboxes[identifier]

    @property
    def pid(self) -> int:
        """Of its process, as the host sees it."""
        return next(one["pid"] for one in self.engine.dispatcher.listing() if one["function"] == "neighbour")


class Attackers:
    """Makes hostile functions: a body that defines ``attack(event)``."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder

    async def make(
        self,
        body: str,
        *,
        name: str = "attacker",
        package: Path | None = None,
        memory_mb: int = 256,
        timeout_s: int = 20,
    ) -> Function:
        """A function with this body; `package` is a folder that may have other files in it already."""
        code = bootstrap(package or self.folder / name, TOOLS + textwrap.dedent(body) + _SERVE)
        return await self.engine.create_function(name, code=code, memory_mb=memory_mb, timeout_s=timeout_s)

    async def run(self, body: str, event: Any = None, **options: Any) -> Any:
        """Make it and have it attack; what it says it saw."""
        result = await (await self.make(body, **options)).invoke(event)
        assert result.function_error is None, result.payload
        return result.json()


def kind_of(result: InvocationResult) -> str:
    """The errorType of a failed invocation."""
    assert result.function_error == "Unhandled", result.payload
    return result.json()["errorType"]


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, patience: float = 20.0) -> None:
    """Wait for something, on the loop; fail saying what it was."""
    deadline = time.monotonic() + patience
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {patience} s")
        await asyncio.sleep(0.005)


def name_of_ours() -> str:
    """A name for processes of this test, unlike those of another run of it on this machine."""
    return f"bomb-{os.getpid()}"


async def alive(name: str) -> list[int]:
    """The processes on this host that are called `name` (or have it as their first argument), zombies left out."""
    return await asyncio.to_thread(_alive, name)


def _alive(name: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            comm, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[0] in "ZX":
                continue
            if comm == name or (folder / "cmdline").read_bytes().split(b"\0")[0] == name.encode():
                found.append(int(folder.name))
    return found


async def none_alive(name: str) -> bool:
    """Whether there is no process of that name."""
    return not await alive(name)
