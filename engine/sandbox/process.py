"""The `process` isolation mode: ordinary processes; each sandbox has its own user (when root), /tmp and endpoint.

What keeps a sandbox together here is its user id, or without root a marker (`spawner.tree`). What this mode cannot do
is listed by `ProcessProvider.weaknesses`, and printed at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import random
import re
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from engine.errors import SandboxError

from . import rlimits, users
from .addresses import Endpoints
from .api import Exit, ProcessSpec, SandboxLimits, SandboxPaths, SandboxProvider, SpawnFailed
from .rundir import RunDirectory, barrier
from .spawner import tree, wire
from .spawner_client import TRIES, Answer, Blank, SpawnerClient, SpawnerGoneError, check

MEMORY_SAMPLE_SECONDS = 0.25
#: Sandboxes made ahead, without a name: to take one costs microseconds, to make one a conversation with the spawner.
SPARES = 2
_REFILL_SECONDS = 0.01
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_STEPS = {
    wire.STEP_SETUP: "setting limits and user",
    wire.STEP_CWD: "entering the working directory",
    wire.STEP_TREE: "ending all processes",
    wire.STEP_REMOVE: "removing /tmp",
}


class SandboxProcess:
    """A process of a `ProcessSandbox`."""

    __slots__ = ("_blank", "_on_exit", "_returned", "exit", "output", "pid")

    def __init__(self, blank: Blank, on_exit: Callable[[Exit], None]) -> None:
        self.pid = blank.pid
        self.output = blank.output
        self.exit: Exit | None = None
        self._blank = blank
        self._on_exit = on_exit
        self._returned = False

    def signal(self, signum: int) -> None:
        """Send a signal to this process; nothing when it has ended."""
        if self.exit is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._blank.pidfd >= 0:
                signal.pidfd_send_signal(self._blank.pidfd, signum)
            else:
                os.kill(self.pid, signum)

    def started(self) -> None:
        """`spawn` returns it now: the exit may be told from the next turn of the loop on."""
        self._returned = True
        if self.exit is not None:
            asyncio.get_running_loop().call_soon(self._on_exit, self.exit)

    def abandoned(self) -> None:
        """`spawn` failed: nobody gets this process, so end it and close its pipe."""
        self.signal(signal.SIGKILL)
        self._blank.close_output()

    def ended(self, how: Exit) -> None:
        """The spawner has reaped it."""
        if self.exit is None:
            self.exit = how
            self._blank.close_pidfd()
            if self._returned:
                self._on_exit(how)


class ProcessSandbox:
    """A sandbox of ordinary processes. See `engine.sandbox.api.Sandbox` for the promises."""

    def __init__(
        self,
        provider: ProcessProvider,
        number: int,
        user: int | None,
        listener: socket.socket,
        api_address: str,
    ) -> None:
        self.id = f"spare-{number}"
        self.number = number
        self.user = user
        self.listener = listener
        self.api_address = api_address
        self.tmp_dir = f"{provider.tmp_root}/{number}"
        marker = provider.marker | number
        self._marker = marker if user is None and sys.platform == "linux" else None
        self.group = (f"user:{user}:{user + 1}" if user is not None else f"marker:{marker}:-1").encode()
        self._provider = provider
        self._limits = ""
        self._user = str(user) if user is not None else ""
        self._tmp = os.fsencode(self.tmp_dir)
        self._processes: dict[int, SandboxProcess] = {}
        self._turn = asyncio.Lock()
        self._empty: asyncio.Future[None] | None = None
        self._closed = False
        self._abandoned = False
        self._peak: int | None = None
        self._sampled = float("-inf")

    def __repr__(self) -> str:
        return f"<ProcessSandbox {self.id} {self.api_address} {self.group.decode()} pids {sorted(self._processes)}>"

    def assign(self, sandbox_id: str, limits: SandboxLimits) -> None:
        """A spare gets its name and its limits."""
        self.id = sandbox_id
        self._limits = rlimits.encode(limits, private_user=self.user is not None, marker=self._marker)

    @property
    def pids(self) -> list[int]:
        """The processes that `spawn` made and that still run."""
        return sorted(self._processes)

    def paths(self, code_root: str) -> SandboxPaths:
        """Nothing is mounted here: the paths are the host's."""
        return SandboxPaths(task_root=code_root, runtime_dir=self._provider.lambda_runtime_dir, tmp=self.tmp_dir)

    async def spawn(self, spec: ProcessSpec, on_exit: Callable[[Exit], None]) -> SandboxProcess:
        """Start a process.

        Raises:
            SpawnFailed: execve refused.
            SandboxError: the host refused, the spec cannot be passed on, or the sandbox is closed.
        """
        order = self._order(spec)
        deaths = 0
        while deaths < TRIES:
            if self._turn.locked():
                async with self._turn:  # a kill is going on: a process started now would get lost in it
                    pass
            if self._closed:
                raise SandboxError(f"sandbox {self.id} is closed; {spec.argv[0]} cannot be started in it")
            spawner = await self._provider.spawner()
            blank = await spawner.take()
            if self._turn.locked() or self._closed:
                blank.discard()
                continue
            process = SandboxProcess(blank, on_exit)
            self._provider.watch(process, self)
            self._processes[process.pid] = process
            try:
                answer = await blank.order(wire.SPAWN, order)
                check(answer or _DONE)
            except BrokenPipeError:  # it ended while it was idle
                process.abandoned()
                deaths += 1
                continue
            except Answer as failure:
                process.abandoned()
                raise self._explain(failure, spec) from None
            except BaseException:
                process.abandoned()
                raise
            finally:
                spawner.replenish()
            process.started()
            return process
        raise SandboxError(f"sandbox {self.id}: {deaths} processes of the spawner ended before they could become one")

    async def kill(self) -> None:
        """End every process and wait until none is left; their exits have been told when this returns.

        Raises:
            SandboxError: naming the processes that would not die.
        """
        async with self._turn:
            if not self._closed:
                await self._end(wire.KILL)

    async def freeze(self) -> None:
        """SIGSTOP to every process.

        Raises:
            SandboxError: the host refused.
        """
        await self._signal_all(signal.SIGSTOP)

    async def thaw(self) -> None:
        """SIGCONT to every process.

        Raises:
            SandboxError: the host refused.
        """
        await self._signal_all(signal.SIGCONT)

    def memory_peak(self) -> int | None:
        """The largest resident set, in bytes, that a process started by `spawn` was seen to have; None before one.

        It is VmHWM, the kernel's own high-water mark, read at most every 250 ms, and the kernel's figure at the exit.
        Children that the process made are not counted.
        """
        now = time.monotonic()
        if now - self._sampled >= MEMORY_SAMPLE_SECONDS:
            self._sampled = now
            for pid in self._processes:
                self._peak_of(_high_water(pid))
        return self._peak

    async def close(self) -> None:
        """End everything, remove /tmp and the endpoint. Idempotent.

        Raises:
            SandboxError: naming what could not be ended or removed. The spawner tries again when the engine stops.
        """
        async with self._turn:
            if self._closed:
                return
            self._closed = True
            self.listener.close()
            try:
                await self._end(wire.CLOSE)
            finally:
                self._provider.closed(self, clean=not self._abandoned)

    def process_ended(self, process: SandboxProcess, how: Exit, peak: int | None) -> None:
        """Told by the provider. A peak below a blank's own size is that of the blank, not of the program."""
        self._processes.pop(process.pid, None)
        self._peak_of(peak)
        process.ended(how)
        if not self._processes and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def _end(self, kind: int) -> None:
        """Kill what was spawned, then the whole group, then wait for the exits.

        The first is for an order on its way to a blank that has not changed user yet, so is not of the group.
        """
        for process in list(self._processes.values()):
            process.signal(signal.SIGKILL)
        try:
            await self._provider.work(kind, [self.group, self._tmp])
        except Answer as failure:
            self._abandoned = True
            raise SandboxError(
                f"sandbox {self.id} ({self.group.decode()}): {_STEPS.get(failure.step, 'work')} failed: "
                f"{os.strerror(failure.number)}: {failure.text}"
            ) from None
        except BaseException:
            self._abandoned = True
            raise
        if self._processes:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty
            self._empty = None

    async def _signal_all(self, signum: int) -> None:
        async with self._turn:
            if self._closed:
                return
            try:
                await self._provider.work(wire.SIGNAL, [self.group, str(int(signum)).encode()])
            except Answer as failure:
                reason = f"{os.strerror(failure.number)}: {failure.text}"
                raise SandboxError(f"sandbox {self.id}: signal {signum} to all failed: {reason}") from None

    def _order(self, spec: ProcessSpec) -> bytes:
        """The spec as the payload that `spawner.blank` reads.

        Raises:
            SandboxError: it holds what no process can be given.
        """
        strings = [self._user, self._limits, spec.cwd, str(len(spec.argv)), *spec.argv]
        for name, value in spec.env.items():
            if not name or "=" in name:
                raise SandboxError(f"an environment variable for {spec.argv[0]} has the name {name!r}, which cannot be")
            strings.append(f"{name}={value}")
        payload = os.fsencode("\0".join(strings))
        if payload.count(b"\0") != len(strings) - 1:
            raise SandboxError(f"an argument or environment variable for {spec.argv[0]} contains a NUL byte")
        return payload

    def _explain(self, failure: Answer, spec: ProcessSpec) -> Exception:
        reason = os.strerror(failure.number)
        if failure.step == wire.STEP_EXEC:
            error = SpawnFailed(spec.argv[0], failure.number, reason[:1].lower() + reason[1:])
            if failure.text:
                error.add_note(failure.text)
            return error
        what = spec.cwd if failure.step == wire.STEP_CWD else spec.argv[0]
        detail = f" ({failure.text})" if failure.text else ""
        return SandboxError(f"sandbox {self.id}: {_STEPS.get(failure.step)} for {what} failed: {reason}{detail}")

    def _peak_of(self, peak: int | None) -> None:
        if peak is not None and (self._peak is None or peak > self._peak):
            self._peak = peak


class ProcessProvider:
    """Makes `ProcessSandbox`es.

    Args:
        runtime_dir: the engine's runtime directory, exclusively its own; made when it is not there. When the engine is
            root, every folder on the way to it must let other users pass.
        lambda_runtime_dir: what functions get as LAMBDA_RUNTIME_DIR.
        first_user: where the user ids for sandboxes begin (see `users`).
    """

    mode = "process"

    def __init__(
        self,
        runtime_dir: Path,
        *,
        lambda_runtime_dir: str = "/var/runtime",
        first_user: int = users.FIRST_ID,
    ) -> None:
        self.runtime_dir = runtime_dir
        self.lambda_runtime_dir = lambda_runtime_dir
        self.marker = 0
        self.tmp_root = ""
        self.sandboxes: dict[str, ProcessSandbox] = {}
        self._first_user = first_user
        self._shared_user_because = users.why_not()
        self._users: users.UserBlock | None = None
        self._directory: RunDirectory | None = None
        self._endpoints = Endpoints()
        self._spawner: SpawnerClient | None = None
        self._restart = asyncio.Lock()
        self._processes: dict[int, tuple[SandboxProcess, ProcessSandbox]] = {}
        self._count = 0
        self._open: dict[int, ProcessSandbox] = {}
        self._spares: deque[ProcessSandbox] = deque()
        self._refill: asyncio.Task[None] | None = None
        self._refill_timer: asyncio.TimerHandle | None = None

    def weaknesses(self) -> list[str]:
        """One line per limit that this mode cannot enforce on this host."""
        lines = [
            "memory: a function may take more than its MemorySize; nothing stops it",
            "cpu: a function may use every core, whatever its MemorySize",
            "disk: the size of a function's /tmp is not limited",
            "files: a function can read every file of this host that all users may read, and write where all may",
            "network: functions share the host's network, its loopback services and each other's Runtime API addresses",
        ]
        if self._shared_user_because is not None:
            lines += [
                (
                    f"user: functions run as the engine's own user {_user_name()}, and can read and change its files "
                    f"and processes, because {self._shared_user_because}"
                ),
                "processes: the number of processes and threads of a function is not limited",
            ]
            if sys.platform != "linux":
                lines.append("process tree: without /proc, processes that leave their session are not found and ended")
        return lines

    def reachable(self, path: str) -> str | None:
        """The folder that keeps functions from reaching `path`, or None when they can. Blocking."""
        return None if self._shared_user_because is not None else barrier(path)

    async def start(self) -> None:
        """Claim the runtime directory and a block of user ids, start the spawner, remove what a killed engine left.

        Raises:
            SandboxError: with what is missing.
        """
        self._directory = await RunDirectory.claim(self.runtime_dir)
        self.tmp_root = str(self._directory.tmp)
        try:
            inherit = [self._directory.lock]
            if self._shared_user_because is None:
                await asyncio.to_thread(self._check_passage)
                self._users = await asyncio.to_thread(users.claim, self._first_user)
                inherit.append(self._users.lock)
            self.marker = (random.getrandbits(36) | 1 << 36) << tree.MARKER_SANDBOX_BITS
            earlier = await asyncio.to_thread(self._directory.exchange_marker, self.marker)
            leftovers = await asyncio.to_thread(self._directory.leftovers)
            self._spawner = SpawnerClient(
                on_exit=self._process_ended, on_death=self._spawner_died, inherit=tuple(inherit)
            )
            await self._spawner.start()
            await self._sweep(earlier, [os.fsencode(folder) for folder in leftovers])
            await self._make_spares()
        except BaseException:
            await self._end()
            raise

    def _check_passage(self) -> None:
        closed = barrier(self.tmp_root)
        if closed is not None:
            raise SandboxError(
                f"functions run as users of their own, and {closed} does not let them pass to the runtime directory "
                f"{self.runtime_dir}: choose another data directory, or chmod o+x {closed}"
            )

    async def acquire(self, sandbox_id: str, limits: SandboxLimits) -> ProcessSandbox:
        """Make a sandbox: its endpoint, its user and its /tmp.

        Args:
            sandbox_id: letters, digits, ``.``, ``_`` and ``-``; unique among the open sandboxes.
            limits: what it is allowed.

        Raises:
            SandboxError: the host would not.
        """
        if not _SAFE_ID.fullmatch(sandbox_id):
            raise SandboxError(f"{sandbox_id!r} cannot name a sandbox: letters, digits, '.', '_', '-', at most 128")
        if sandbox_id in self.sandboxes:
            raise SandboxError(f"there is a sandbox {sandbox_id} already")
        sandbox = self._spares.popleft() if self._spares else await self._make()
        if sandbox_id in self.sandboxes:
            self._spares.append(sandbox)
            raise SandboxError(f"there is a sandbox {sandbox_id} already")
        sandbox.assign(sandbox_id, limits)
        self.sandboxes[sandbox_id] = sandbox
        self._refill_later()
        return sandbox

    async def _make(self) -> ProcessSandbox:
        """A sandbox without a name and limits yet."""
        spawner = await self.spawner()
        user = self._users.take() if self._users is not None else None
        try:
            listener, address = self._endpoints.listen()
        except SandboxError:
            self._give_back(user)
            raise
        self._count += 1
        sandbox = ProcessSandbox(self, self._count, user, listener, address)
        self._open[sandbox.number] = sandbox
        try:
            await spawner.open_sandbox(*self._registration(sandbox))
        except BaseException as error:
            await sandbox.close()
            if isinstance(error, Answer):
                raise SandboxError(f"cannot make {sandbox.tmp_dir}: {os.strerror(error.number)}") from None
            raise
        return sandbox

    def _refill_later(self) -> None:
        """Make spares again, when the environment that took one is past its start."""
        if self._refill is None and self._refill_timer is None:
            loop = asyncio.get_running_loop()
            self._refill_timer = loop.call_later(_REFILL_SECONDS, self._start_refill)

    def _start_refill(self) -> None:
        self._refill_timer = None
        self._refill = asyncio.get_running_loop().create_task(self._make_spares())

    async def _make_spares(self) -> None:
        try:
            while len(self._spares) < SPARES:
                self._spares.append(await self._make())
        except SandboxError:
            return  # whoever needs a sandbox next meets the same error, and is told
        finally:
            self._refill = None

    async def stop(self) -> None:
        """Close every sandbox and end the spawner. What could not be closed, the spawner tries again as it ends.

        Raises:
            SandboxError: a sandbox would not close.
        """
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        if self._refill is not None:
            await self._refill
        self._spares.clear()
        results = await asyncio.gather(
            *(sandbox.close() for sandbox in list(self._open.values())), return_exceptions=True
        )
        await self._end()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def spawner(self) -> SpawnerClient:
        """The running spawner; a new one when it had died.

        Raises:
            SandboxError: the provider is not started, or no spawner can be started.
        """
        spawner = self._spawner
        if spawner is not None and spawner.running:
            return spawner
        async with self._restart:
            if self._spawner is None:
                raise SandboxError("the sandbox provider is not running: call start() first, and nothing after stop()")
            if not self._spawner.running:
                await self._spawner.start()
                # What the old one's processes left running has no parent that we know: end it all, once.
                await self._sweep(self.marker, [])
                for sandbox in list(self._open.values()):
                    await self._spawner.open_sandbox(*self._registration(sandbox))
            return self._spawner

    async def work(self, kind: int, strings: list[bytes]) -> None:
        """Have a blank do some work, on a new spawner if the old one dies over it.

        Raises:
            Answer: it failed.
            SandboxError: no spawner would do it.
        """
        try:
            await (await self.spawner()).work(kind, strings)
        except SpawnerGoneError:
            await (await self.spawner()).work(kind, strings)

    def watch(self, process: SandboxProcess, sandbox: ProcessSandbox) -> None:
        """Pass this process's end on to it."""
        self._processes[process.pid] = (process, sandbox)

    def closed(self, sandbox: ProcessSandbox, *, clean: bool) -> None:
        """A sandbox has closed. When something of it is left, its user is never used again and the spawner keeps it."""
        self.sandboxes.pop(sandbox.id, None)
        self._open.pop(sandbox.number, None)
        if clean:
            if self._spawner is not None:
                self._spawner.forget_sandbox(sandbox.number)
            self._give_back(sandbox.user)

    def _registration(self, sandbox: ProcessSandbox) -> tuple[int, bytes, bytes, bytes]:
        user = b"" if sandbox.user is None else str(sandbox.user).encode()
        return sandbox.number, sandbox.group, os.fsencode(sandbox.tmp_dir), user

    def _give_back(self, user: int | None) -> None:
        if self._users is not None and user is not None:
            self._users.give_back(user)

    async def _sweep(self, marker: int, folders: list[bytes]) -> None:
        """End every process with a user id of our block (or, without one, with a marker of that engine)."""
        assert self._spawner is not None
        if self._users is not None:
            group = f"user:{self._users.base}:{self._users.base + users.BLOCK}"
        else:
            group = f"marker:{marker}:{-1 << tree.MARKER_SANDBOX_BITS}"
        try:
            await self._spawner.work(wire.SWEEP, [group.encode(), *folders])
        except Answer as failure:
            raise SandboxError(
                f"what an earlier engine left in {self.runtime_dir} could not be removed: "
                f"{os.strerror(failure.number)}: {failure.text}"
            ) from None

    async def _end(self) -> None:
        spawner, self._spawner = self._spawner, None
        if spawner is not None:
            await spawner.stop()
        if self._users is not None:
            self._users.release()
            self._users = None
        if self._directory is not None:
            self._directory.release()
            self._directory = None

    def _process_ended(self, pid: int, how: Exit, peak: int) -> None:
        entry = self._processes.pop(pid, None)
        if entry is not None:
            process, sandbox = entry
            sandbox.process_ended(process, how, peak)

    def _spawner_died(self) -> None:
        """All its children are killed with it; their exit codes are lost."""
        entries, self._processes = self._processes, {}
        for process, sandbox in entries.values():
            process.signal(signal.SIGKILL)
            sandbox.process_ended(process, Exit(None, signal.SIGKILL), None)


_DONE = wire.ANSWER.pack(0, 0)

#: The type checker compares with the contract here.
_CONTRACT: type[SandboxProvider] = ProcessProvider


def _high_water(pid: int) -> int | None:
    """VmHWM of a process in bytes. Reading it waits for nothing; O_NONBLOCK says so to whoever looks."""
    try:
        descriptor = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 8192)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    words = text.partition(b"VmHWM:")[2].split(None, 1)
    return int(words[0]) * 1024 if words else None


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
