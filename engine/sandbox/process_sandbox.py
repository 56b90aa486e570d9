"""One sandbox of ordinary processes, and the processes in it. Made by `engine.sandbox.process.ProcessProvider`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import SandboxError

from . import program, rlimits
from .api import Exit, Image, Process, ProcessSpec, SandboxLimits, SandboxPaths, SpawnFailed
from .blanks import Answer, Blank, check
from .connecting import connect
from .spawner import wire
from .spawner_client import TRIES, SpawnerGoneError

if TYPE_CHECKING:
    from .monitor import Watch
    from .process import ProcessProvider

MEMORY_SAMPLE_SECONDS = 0.25
#: No blank is larger than this (10 MiB resident here).
_BLANK_BYTES = 16 * 1024 * 1024
_STEPS = {
    wire.STEP_SETUP: "setting limits and user",
    wire.STEP_CWD: "entering the working directory",
    wire.STEP_TREE: "ending all processes",
    wire.STEP_REMOVE: "removing /tmp",
}
_LOG = logging.getLogger("lambent.sandbox")
_DONE = wire.ANSWER.pack(0, 0)


class SandboxProcess:
    """A process of a `ProcessSandbox`."""

    __slots__ = ("_blank", "_on_exit", "exit", "output", "pid", "preloaded", "returned")

    def __init__(self, blank: Blank, on_exit: Callable[[Exit], None]) -> None:
        self.pid = blank.pid
        self.output = blank.output
        self.exit: Exit | None = None
        self._blank = blank
        self._on_exit = on_exit
        self.returned = False
        self.preloaded = False
        """Whether it is a fork of an interpreter that had been started before, not the result of an execve."""

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
        self.returned = True
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
            if self.returned:
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
        self._gone = False
        self._watch: Watch | None = None
        self._over: asyncio.Task[None] | None = None
        self._stopped: list[int] = []
        self._peak: int | None = None
        self._sampled = float("-inf")

    def __repr__(self) -> str:
        return f"<ProcessSandbox {self.id} {self.api_address} {self.group.decode()} pids {sorted(self._processes)}>"

    def assign(self, sandbox_id: str, limits: SandboxLimits) -> None:
        """A spare gets its name and its limits."""
        self.id = sandbox_id
        self._limits = rlimits.encode(limits, private_user=self.user is not None, marker=self._marker)
        key = self.user if self.user is not None else self._provider.marker | self.number
        self._watch = self._provider.monitor.watch(key, limits, self.tmp_dir, self._exceeded)

    @property
    def pids(self) -> list[int]:
        """The processes that `spawn` made and that still run."""
        return sorted(pid for pid, process in self._processes.items() if process.returned)

    def paths(self, code_root: str, opt_root: str | None = None) -> SandboxPaths:
        """Nothing is mounted here: the paths are the host's."""
        return SandboxPaths(
            task_root=code_root,
            runtime_dir=self._provider.lambda_runtime_dir,
            tmp=self.tmp_dir,
            opt=opt_root or "/opt",
        )

    def admits(self, connection: socket.socket) -> bool:
        """Whether the connection is of a process of this sandbox, as far as its user tells."""
        peers = self._provider.peers
        return peers is None or self.user is None or peers.uid_of_connection(connection) == self.user

    async def snapshot(self, process: Process) -> Image:
        """Not in this mode: a copy needs a view of files, a pid and a Runtime API address that are the template's.

        Raises:
            SandboxError: always.
        """
        raise SandboxError("snapshots are made in sandbox mode only")

    async def spawn(self, spec: ProcessSpec, on_exit: Callable[[Exit], None]) -> SandboxProcess:
        """Start a process.

        Raises:
            SpawnFailed: execve refused.
            SandboxError: the host refused, the spec cannot be passed on, or the sandbox is closed.
        """
        order = program.encode(spec, self._user, self._limits)
        deaths = 0
        while deaths < TRIES:
            if self._over is not None:  # the same, begun by the monitor
                await asyncio.wait([self._over])
            if self._turn.locked():
                async with self._turn:  # a kill is going on: a process started now would get lost in it
                    pass
            if self._closed:
                raise SandboxError(f"sandbox {self.id} is closed; {spec.argv[0]} cannot be started in it")
            spawner = await self._provider.spawner()
            try:
                blank = await spawner.take()
            except SpawnerGoneError:
                deaths += 1
                continue
            if self._turn.locked() or self._over is not None or self._closed:
                blank.discard()
                continue
            process = SandboxProcess(blank, on_exit)
            if not self._processes:  # memory does not outlive the processes: the figure starts anew with them
                self._peak = None
                self._sampled = float("-inf")
                if self._watch is not None:
                    self._provider.monitor.begin(self._watch)
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
                raise await self._explain(failure, spec) from None
            except BaseException:
                process.abandoned()
                raise
            finally:
                spawner.replenish()
            if self._watch is not None:
                self._provider.monitor.add(self._watch, process.pid)
            process.started()
            return process
        raise SandboxError(f"sandbox {self.id}: {deaths} processes of the spawner ended before they could become one")

    async def connect(self, port: int) -> socket.socket:
        """A connection to what listens at this sandbox's own address.

        Raises:
            OSError: nobody of this sandbox listens there.
            SandboxError: it is closed.
        """
        if self._closed:
            raise SandboxError(f"sandbox {self.id} is closed")
        return await connect(self.api_address.partition(":")[0], port, self.user, self._provider.peers)

    async def kill(self) -> None:
        """End every process and wait until none is left; their exits have been told when this returns.

        Raises:
            SandboxError: naming the processes that would not die.
        """
        async with self._turn:
            if not self._closed:
                await self._end(wire.KILL)

    def initialized(self) -> None:
        """The share of CPU holds from here on."""
        if self._watch is not None:
            self._provider.monitor.initialized(self._watch)

    async def freeze(self) -> None:
        """SIGSTOP to every process.

        Raises:
            SandboxError: the host refused.
        """
        if self._watch is not None:
            self._provider.monitor.freezing(self._watch)
        async with self._turn:
            if self._closed:
                return
            try:
                pids = await self._provider.work(wire.STOP, [self.group])
            except Answer as failure:
                reason = f"{os.strerror(failure.number)}: {failure.text}"
                raise SandboxError(f"sandbox {self.id}: stopping all processes failed: {reason}") from None
            self._stopped = [int(pid) for pid in pids.split()]

    async def thaw(self) -> None:
        """SIGCONT to every process that `freeze` stopped. None has been born or has ended meanwhile, but by a SIGKILL.

        From here, as an invocation waits: a process of the spawner's would take milliseconds.
        """
        stopped, self._stopped = self._stopped, []
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGCONT)
        if self._watch is not None:
            self._provider.monitor.thawed(self._watch)

    def memory_peak(self) -> int | None:
        """The most memory seen, in bytes; None before there was a process.

        The larger of two figures: VmHWM, the kernel's own high-water mark, of a process started by `spawn`, read at
        most every 250 ms and at its exit; and what the monitor saw the whole tree to have at any of its looks.
        """
        now = time.monotonic()
        if now - self._sampled >= MEMORY_SAMPLE_SECONDS:
            self._sampled = now
            for pid in self._processes:
                self._peak_of(high_water(pid))
        if self._watch is not None and self._watch.peak:
            self._peak_of(self._watch.peak)
        return self._peak

    async def close(self) -> None:
        """End everything, remove /tmp and the endpoint. Idempotent.

        Raises:
            SandboxError: naming what could not be ended or removed; call it again to try again. The spawner does, too,
                when the engine stops.
        """
        async with self._turn:
            if self._gone:
                return
            self._closed = True
            self.listener.close()
            try:
                await self._end(wire.CLOSE)
                self._gone = True
            finally:
                if self._watch is not None:
                    self._provider.monitor.close(self._watch)
                self._provider.closed(self, clean=self._gone)

    def process_ended(self, process: SandboxProcess, how: Exit, peak: int | None) -> None:
        """Told by the provider. The kernel's peak at the exit includes the blank that the program came from."""
        self._processes.pop(process.pid, None)
        if self._peak is None or (peak or 0) > _BLANK_BYTES:
            self._peak_of(peak)
        watch = self._watch
        if how.signal == signal.SIGKILL and watch is not None and watch.cause is not None:
            self._exceeded(watch.epoch, watch.cause)  # in case this is told before that
            how = Exit(None, how.signal, watch.cause)
        elif how.signal == signal.SIGXFSZ:
            how = Exit(None, how.signal, "storage")
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
            raise SandboxError(
                f"sandbox {self.id} ({self.group.decode()}): {_STEPS.get(failure.step, 'work')} failed: "
                f"{os.strerror(failure.number)}: {failure.text}"
            ) from None
        if self._processes:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty
            self._empty = None

    def _exceeded(self, epoch: int, cause: str) -> None:
        """The monitor kills this tree: no process is started until all of it is gone, whatever is left undone by it."""
        if self._over is None and not self._closed and self._watch is not None and epoch == self._watch.epoch:
            self._over = asyncio.get_running_loop().create_task(self._end_exceeded(cause))

    async def _end_exceeded(self, cause: str) -> None:
        try:
            await self.kill()
        except SandboxError as error:  # it is abandoned; whoever uses it next, or closes it, is told
            _LOG.warning("after sandbox %s had exceeded its limit of %s: %s", self.id, cause, error)
        finally:
            self._over = None

    async def _explain(self, failure: Answer, spec: ProcessSpec) -> Exception:
        reason = os.strerror(failure.number)
        what = spec.cwd if failure.step == wire.STEP_CWD else spec.argv[0]
        text = failure.text or await self._cause(failure, what)
        if failure.step == wire.STEP_EXEC:
            error = SpawnFailed(spec.argv[0], failure.number, reason[:1].lower() + reason[1:])
            if text:
                error.add_note(text)
            return error
        detail = f" ({text})" if text else ""
        return SandboxError(f"sandbox {self.id}: {_STEPS.get(failure.step)} for {what} failed: {reason}{detail}")

    async def _cause(self, failure: Answer, path: str) -> str:
        """What the sandbox's user meets on the way to `path`; a native blank does not look."""
        if failure.step in {wire.STEP_EXEC, wire.STEP_CWD}:
            try:
                await self._provider.work(wire.EXPLAIN, [self._user.encode(), os.fsencode(path)])
            except Answer as answer:
                return answer.text
        return ""

    def _peak_of(self, peak: int | None) -> None:
        if peak is not None and (self._peak is None or peak > self._peak):
            self._peak = peak


def high_water(pid: int) -> int | None:
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
