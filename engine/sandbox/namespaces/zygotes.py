"""The engine's side of the zygotes (`engine.sandbox.zygote`): which there are, and having them fork into sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from engine.errors import SandboxError
from engine.sandbox import rlimits
from engine.sandbox.api import ProcessSpec, SandboxLimits
from engine.sandbox.blanks import Answer
from engine.sandbox.program import encode
from engine.sandbox.spawner import wire
from engine.sandbox.zygote import FOLDER, START_PREFIXES, START_VARIABLES

from . import view
from .first_process import FirstProcess

if TYPE_CHECKING:
    from .provider import NamespaceProvider

#: A zygote takes 15 MB.
MOST: Final = 3
#: For how long after a cold start blanks are made with a process of its zygote.
WARM_SECONDS: Final = 120.0
#: After a zygote ended, or would not start.
RETRY_SECONDS: Final = 20.0
_START_SECONDS: Final = 30.0
_HERE: Final = Path(__file__).parent.parent
_LOG = logging.getLogger("lambent.sandbox")


class Key(Struct, frozen=True):
    """What the processes of one zygote have in common: their command, and the variables it had to be started with."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


def key_of(spec: ProcessSpec) -> Key | None:
    """Which zygote could make this process. None: only execve can.

    It is the Python runtime that comes with Lambent (its command imports a ``bootstrap`` from a folder of ours), with
    no setting that an interpreter takes note of only when it starts.
    """
    argv = tuple(spec.argv)
    folder = argv[-1]
    if (
        not argv[1:2]
        or not argv[1].startswith("-")
        or argv[0].startswith((f"{view.TASK}/", f"{view.OPT}/", f"{view.TMP}/"))
    ):
        return None  # a program in between, or of the function's
    if argv[-3:-2] != ("-c",) or "import bootstrap" not in argv[-2] or not folder.startswith(f"{view.RUNTIME}/"):
        return None
    env: list[tuple[str, str]] = []
    for name, value in spec.env.items():
        if name in START_VARIABLES or name.startswith("LC_"):
            env.append((name, value))
        elif name.startswith(START_PREFIXES):
            return None
    return Key(argv, tuple(sorted(env)))


class Zygotes:
    """Those of one provider.

    Args:
        provider: whose they are.
        ready: called on the loop when another can make processes.
    """

    def __init__(self, provider: NamespaceProvider, ready: Callable[[], None]) -> None:
        self._provider = provider
        self._ready = ready
        self._running: dict[Key, _Zygote] = {}
        self._starting: dict[Key, asyncio.Task[None]] = {}
        self._wanted: dict[Key, float] = {}
        self._not_before: dict[Key, float] = {}
        self._closed = False

    def want(self, key: Key, now: float) -> None:
        """A function of this kind has a cold start: another may come soon. Starts the zygote when there is none."""
        self._wanted[key] = now
        if self._closed or key in self._running or key in self._starting or now < self._not_before.get(key, 0.0):
            return
        if len(self._running) + len(self._starting) >= MOST:
            idle = [k for k in self._running if now - self._wanted[k] > WARM_SECONDS]
            if not idle:
                return
            self._retire(min(idle, key=self._wanted.__getitem__))
        task = asyncio.get_running_loop().create_task(self._start(key))
        self._starting[key] = task
        task.add_done_callback(lambda _task: self._starting.pop(key, None))

    def warm(self, now: float) -> list[Key]:
        """Those that a blank should have a process of."""
        return [key for key in self._running if now - self._wanted[key] <= WARM_SECONDS]

    def has(self, key: Key) -> bool:
        """Whether it can make processes."""
        return key in self._running

    async def stem(self, key: Key, strings: Sequence[str], descriptors: Sequence[int]) -> tuple[int, int]:
        """Have it fork into a sandbox. Returns the new process's pid in there, and its pidfd.

        Raises:
            SandboxError: it could not, or is gone.
        """
        zygote = self._running.get(key)
        if zygote is None:
            raise SandboxError("the zygote has ended")
        try:
            return await zygote.first.stem(strings, descriptors)
        except Answer as failure:
            raise SandboxError(f"a zygote failed: {failure.text}: {os.strerror(failure.number)}") from None

    async def _start(self, key: Key) -> None:
        zygote = _Zygote(await self._provider.start_zygote(), lambda _first: self._gone(key))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await zygote.begin(key, self._provider)
        except (SandboxError, Answer, TimeoutError) as error:
            self._not_before[key] = time.monotonic() + RETRY_SECONDS
            _LOG.warning("no preloaded %s, functions start by execve: %s", key.argv[0], zygote.explain(error))
            await zygote.close()
            return
        except BaseException:
            await zygote.close()
            raise
        self._running[key] = zygote
        self._ready()

    def _gone(self, key: Key) -> None:
        """It ended by itself. What it made lives on."""
        zygote = self._running.pop(key, None)
        if zygote is not None:
            self._not_before[key] = time.monotonic() + RETRY_SECONDS
            _LOG.warning("the preloaded %s has ended; functions start by execve for a while", key.argv[0])
            self._retiring(zygote)

    def _retire(self, key: Key) -> None:
        self._retiring(self._running.pop(key))

    def _retiring(self, zygote: _Zygote) -> None:
        self._provider.bury(zygote.first)
        zygote.hang_up()

    async def close(self) -> None:
        """End them all."""
        self._closed = True
        tasks = list(self._starting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        zygotes, self._running = list(self._running.values()), {}
        await asyncio.gather(*(zygote.close() for zygote in zygotes))


class _Zygote:
    """One, from its socket on. What it prints is told when it fails."""

    def __init__(self, sock: socket.socket, on_gone: Callable[[FirstProcess], None]) -> None:
        self.first = FirstProcess(sock, lambda _number, _how, _peak: None, on_gone)
        self._output, self._write = os.pipe()
        os.set_blocking(self._output, False)

    async def begin(self, key: Key, provider: NamespaceProvider) -> None:
        """Its view, its program, its imports. Raises SandboxError or Answer."""
        first = self.first
        await first.begun()
        env = dict(key.env)
        folders = [folder for folder in env.get("LD_LIBRARY_PATH", "").split(":") if folder]
        own = {
            f"{FOLDER}/bootstrap.py": str(_HERE / "zygote" / "entry.py"),
            f"{FOLDER}/sandbox/zygote": str(_HERE / "zygote"),
            f"{FOLDER}/sandbox/spawner": str(_HERE / "spawner"),
        }
        await first.order(wire.ARRANGE, ["0", *provider.zygote_plan(own, folders)])
        spec = ProcessSpec(argv=[*key.argv[:-1], FOLDER], env=env, cwd="/")
        limits = rlimits.encode(SandboxLimits(memory_mb=0), private_user=False, marker=None, file_size=False)
        # The interpreter and its libraries note one limit when they start, the size of stacks; the others come later.
        stack = ",".join(limit for limit in limits.split(",") if limit.startswith(f"{resource.RLIMIT_STACK}="))
        # No answer to this one unless it fails: the next is answered by the interpreter.
        first.post(wire.SPAWN, encode(spec, "", stack), [self._write])
        os.close(self._write)
        self._write = -1
        with provider.filter_file() as (_size, descriptors):
            await first.order(wire.ARRANGE, [key.argv[-1], *env], descriptors)

    def explain(self, error: BaseException) -> str:
        """What went wrong, with the last that it printed."""
        text = b""
        with contextlib.suppress(OSError):
            text = os.read(self._output, 65536)
        words = text.decode("utf-8", "replace").strip().rpartition("\n")[2]
        reason = (
            f"{error.text}: {os.strerror(error.number)}" if isinstance(error, Answer) else str(error) or repr(error)
        )
        return f"{reason} ({words})" if words else reason

    def hang_up(self) -> None:
        """It ends with its socket."""
        self.first.hang_up()
        for descriptor in (self._output, self._write):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self._write = -1

    async def close(self) -> None:
        """End it and wait for that."""
        self.hang_up()
        await self.first.ended(10.0)
