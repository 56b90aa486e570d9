"""One sandbox of namespaces and control groups. Made by `engine.sandbox.namespaces.provider.NamespaceProvider`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from engine.errors import SandboxError
from engine.sandbox import connecting, program, rlimits
from engine.sandbox.api import Exit, Image, Process, ProcessSpec, SandboxLimits, SandboxPaths, SpawnFailed
from engine.sandbox.blanks import Answer, Blank, check
from engine.sandbox.cgroups import Cgroup
from engine.sandbox.disks import Disk
from engine.sandbox.process_sandbox import SandboxProcess, high_water
from engine.sandbox.spawner import wire

from . import images, standby, view
from .first_process import FirstProcess, FirstProcessGone, Given
from .zygotes import Key, key_of

if TYPE_CHECKING:
    from .provider import NamespaceProvider

MIB = 1024 * 1024
END_SECONDS = 10.0
PEAK_SECONDS = 0.005
"""The kernel's figure of the memory is read at most so often: a read is 1.4 us of a warm invocation's 40."""
#: How often a sandbox is made anew for one program.
_TRIES = 3
#: The kernel announces that memory ran out before it counts the kill.
_OOM_LOOKS, _OOM_PAUSE = 20, 0.005
_DONE = wire.ANSWER.pack(0, 0)


class NamespaceSandbox:
    """A sandbox of namespaces. See `engine.sandbox.api.Sandbox` for the promises.

    Attributes:
        number: the engine's number for it.
        user: the id that its processes run as; None: as the engine's user, mapped into a user namespace.
    """

    def __init__(
        self, provider: NamespaceProvider, number: int, user: int | None, cgroup: Cgroup, limits: SandboxLimits
    ) -> None:
        """Describe one whose control group has these limits."""
        self.id = f"blank-{number}"
        self.number = number
        self.user = user
        self.cgroup = cgroup
        self.listener: socket.socket
        self.api_address = ""
        self.tmp_dir = ""
        """The function's /tmp as the engine sees it, while the sandbox lives."""
        self._provider = provider
        self._limits = self._set = limits
        self._first: FirstProcess | None = None
        self._disk: Disk | None = None
        self._stem: tuple[int, Blank] | None = None
        self._preloaded: dict[Key | standby.Key, tuple[int, Blank]] = {}
        self._standby_limits = ""
        self._processes: dict[int, SandboxProcess] = {}
        self._turn = asyncio.Lock()
        self._assigned = False
        self._template = False
        self._limited = False
        self._frozen = False
        self._closed = False
        self._gone = False
        self._oom_seen = 0
        self._ended = False
        """Whether a process has ended, of memory perhaps, since `_oom_seen` was looked at."""
        self._peak: int | None = None
        self._peak_read = 0.0
        self._oom_fd: int | None = None
        self._oom_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<NamespaceSandbox {self.id} {self.api_address} {self.cgroup.name} pids {self.pids}>"

    @property
    def pids(self) -> list[int]:
        """The processes that `spawn` made and that still run."""
        return sorted(process.pid for process in self._processes.values() if process.returned)

    def paths(self, code_root: str, opt_root: str | None = None) -> SandboxPaths:
        """As on Lambda."""
        return SandboxPaths(task_root=view.TASK, runtime_dir=view.RUNTIME, tmp=view.TMP, opt=view.OPT)

    def assign(self, sandbox_id: str, limits: SandboxLimits) -> None:
        """A blank gets its name and its limits; they are set before anything runs in it."""
        self.id = sandbox_id
        self._limits = limits

    # ---- making ----------------------------------------------------------------------------------------------------

    async def furnish(self) -> None:
        """Make the namespaces, the files, /tmp and a stem. Again, when the first process of before has ended.

        Raises:
            SandboxError: the host refused.
        """
        provider = self._provider
        if self._first is not None:
            await self._first.ended(END_SECONDS)
        if self._disk is not None:
            await asyncio.to_thread(self._disk.close)
            self._disk = None
        sock = await provider.start_first()
        first = self._first = FirstProcess(sock, self._stem_ended, self._first_gone)
        self._assigned = self._limited = self._frozen = False
        try:
            await first.begun()
            self.tmp_dir = f"/proc/{first.pid}/root{view.TMP}"
            if not provider.own_network and not self.api_address:
                self.listener, self.api_address = provider.endpoints.listen()
            plan = provider.base_plan(self.user, await provider.names(self.api_address))
            with provider.filter_file() as (size, descriptors):
                await first.order(wire.ARRANGE, [str(size), *plan], descriptors)
            if provider.own_network:
                self._listen(socket.socket(fileno=(await first.order(wire.LISTEN))[0]))
            if provider.disks is not None:
                await self._attach_disk(first, 512)
            await self._make_stem(first)
        except Answer as failure:
            raise SandboxError(f"sandbox {self.id}: {failure.text}: {os.strerror(failure.number)}") from None

    def _listen(self, sock: socket.socket) -> None:
        """The endpoint of a network of its own, always at the same address in there."""
        if self.api_address:  # that of the network before
            self.listener.close()
        self.listener = sock
        self.api_address = "127.0.0.1:9001"

    async def _attach_disk(self, first: FirstProcess, size_mb: int) -> None:
        assert self._provider.disks is not None
        disk = await asyncio.to_thread(self._provider.disks.make, size_mb)
        old, self._disk = self._disk, disk
        await first.order(wire.ARRANGE, ["0", *view.disk()], [disk.mount_fd])
        if old is not None:  # it is under the new one, empty
            await asyncio.to_thread(old.close)

    async def _make_stem(self, first: FirstProcess) -> None:
        self._stem = await self._new_stem(first)

    async def _new_stem(self, first: FirstProcess, pid: int | None = None) -> tuple[int, Blank]:
        kind = ["v2"] if self.cgroup.clone_into else []
        if pid is not None:
            kind = ["v2" if self.cgroup.clone_into else "", str(pid)]
        return await self._waiting(lambda descriptors: first.stem(kind, descriptors))

    async def preload(self, keys: Sequence[Key | standby.Key]) -> None:
        """Have a process of each of these kinds wait inside, while this is a blank. What cannot be had is left out."""
        async with self._turn:
            for key in keys:
                if self._first is not None and not (self._closed or self._assigned or key in self._preloaded):
                    make = (
                        self._stand_by(self._first, key)
                        if isinstance(key, standby.Key)
                        else self._fork(self._first, key)
                    )
                    with contextlib.suppress(SandboxError):
                        self._preloaded[key] = await make

    async def _stand_by(self, first: FirstProcess, key: standby.Key) -> tuple[int, Blank]:
        """An interpreter that waits (`standby`). Raises SandboxError."""
        self._standby_limits = self._rlimits()
        spec = ProcessSpec(argv=key.argv, env={**dict(key.env), standby.MARK: "1"}, cwd="/")
        try:
            number, blank = await self._new_stem(first)
        except Answer as failure:
            raise SandboxError(f"sandbox {self.id}: {failure.text}: {os.strerror(failure.number)}") from None
        try:
            blank.post(wire.STANDBY, program.encode(spec, self._user(), self._standby_limits))
        except BrokenPipeError:
            blank.discard()
            raise SandboxError(f"sandbox {self.id}: what was to stand by had ended") from None
        return number, blank

    def _user(self) -> str:
        return str(self.user) if self.user is not None else ""

    def _rlimits(self) -> str:
        return rlimits.encode(self._limits, private_user=False, marker=None, file_size=self._disk is None)

    async def _fork(self, first: FirstProcess, key: Key) -> tuple[int, Blank]:
        """A fork of a zygote, as a stem is. Raises SandboxError."""
        zygotes = self._provider.zygotes
        assert zygotes is not None
        kind = [str(self._provider.namespaces), *(["v2"] if self.cgroup.clone_into else [])]

        async def enter(descriptors: list[int]) -> tuple[int, int]:
            number, pidfd = await zygotes.stem(key, kind, [first.pidfd, *descriptors])
            try:
                await first.order(wire.ADOPT, [str(number)])
            except BaseException:
                os.close(pidfd)
                raise
            return number, pidfd

        try:
            return await self._waiting(enter)
        except Answer as failure:
            raise SandboxError(f"sandbox {self.id}: {failure.text}: {os.strerror(failure.number)}") from None

    async def _waiting(self, make: Callable[[list[int]], Awaitable[tuple[int, int]]]) -> tuple[int, Blank]:
        """A process that waits inside for its order; `make` gets its socket, output, and what it joins groups by."""
        ours, theirs = socket.socketpair()
        output, write = os.pipe()
        os.set_blocking(output, False)
        joins: list[int] = []
        try:
            joins = await asyncio.to_thread(_open_joins, self.cgroup)
            number, pidfd = await make([theirs.fileno(), write, *joins])
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            for descriptor in (write, *joins):
                os.close(descriptor)
        return number, Blank(_pid_of(pidfd), [ours.detach(), output, pidfd])

    # ---- running ---------------------------------------------------------------------------------------------------

    def admits(self, connection: socket.socket) -> bool:
        """Whether the connection is of a process of this sandbox, as far as its user tells."""
        peers = self._provider.peers
        return peers is None or self.user is None or peers.uid_of_connection(connection) == self.user

    async def spawn(self, spec: ProcessSpec, on_exit: Callable[[Exit], None]) -> SandboxProcess:
        """Start a process.

        Raises:
            SpawnFailed: execve refused.
            SandboxError: the host refused, the spec cannot be passed on, or the sandbox is closed.
        """
        order = program.encode(spec, self._user(), self._rlimits())
        async with self._turn:
            for _ in range(_TRIES):
                if self._closed:
                    raise SandboxError(f"sandbox {self.id} is closed; {spec.argv[0]} cannot be started in it")
                try:
                    return await self._start(spec, order, on_exit)
                except FirstProcessGone:  # it may have ended earlier, with the spawner, and nobody knew yet
                    if self._first is not None:
                        self._first.hang_up()
                        self._first_gone(self._first)
        raise SandboxError(f"sandbox {self.id}: its first process ended {_TRIES} times before {spec.argv[0]} started")

    async def _start(self, spec: ProcessSpec, order: bytes, on_exit: Callable[[Exit], None]) -> SandboxProcess:
        try:
            number, blank, assigning = await self._prepare(spec)
            process = SandboxProcess(blank, on_exit)
            self._processes[number] = process
            try:
                if spec.image is None:
                    blank.post(wire.SPAWN, order)
                else:
                    blank.post(wire.RESTORE, order, images.descriptors(spec, self._provider))
                if len(self._processes) == 1:  # the first of a generation, and the kernel has yet to make it a program
                    self.cgroup.reset_peak()
                    self._peak_read = 0.0
                if assigning is not None:
                    await self._settle(assigning)
                answer = await self._became(blank, spec) or _DONE
                check(answer)
            except BaseException:
                process.abandoned()
                blank.hang_up()
                raise
        except BrokenPipeError:
            raise SandboxError(f"sandbox {self.id}: what was to become {spec.argv[0]} had ended") from None
        except Answer as failure:
            raise self._explained(failure, spec) from None
        process.preloaded = wire.ANSWER.unpack_from(answer)[1] == wire.STEP_PRELOADED
        process.started()
        return process

    @staticmethod
    async def _became(blank: Blank, spec: ProcessSpec) -> bytes:
        """What it answered. What is in an image may be anything, also something that never ends."""
        if spec.image is None:
            return await blank.answered()
        try:
            async with asyncio.timeout(images.COPY_SECONDS):
                return await blank.answered()
        except TimeoutError:
            raise SandboxError(f"the copy was not made within {images.COPY_SECONDS:g} s") from None

    async def _prepare(self, spec: ProcessSpec) -> tuple[int, Blank, Given | None]:
        """Everything that has to be so before the program runs, and the process that is to become it.

        With a stem, what is still being arranged when this returns: a stem may be given its order already, and waits
        for it by itself. That spares the cold start a way to the engine and back.
        """
        if self._first is None:
            await self.furnish()
        first = self._first
        assert first is not None
        assigning = None if self._assigned else await self._take_on(first, spec)
        try:
            if self._limited:
                self.cgroup.set_cpu(None)
                self._limited = False
            if self._ended and not self._processes:
                self._oom_seen = self.cgroup.oom_kills()
                self._ended = False
            self._watch_memory()
            number, blank, gated = await self._take(first, spec)
        except BaseException:
            if assigning is not None:
                assigning.cancel()
            raise
        if assigning is None or gated:
            return number, blank, assigning
        try:
            await self._settle(assigning)
        except BaseException:
            blank.discard()
            raise
        return number, blank, None

    async def _take(self, first: FirstProcess, spec: ProcessSpec) -> tuple[int, Blank, bool]:
        """What waits for a program of this kind where there is such, else a stem (True). The others end."""
        taken: tuple[int, Blank] | None = None
        self._template = spec.template and images.can_be_copied(spec)
        if not spec.template and spec.image is None:
            taken = await self._take_fork(first, spec) or self._take_standby(spec)
        stem = taken is None
        if spec.template:
            taken = await self._new_stem(first, images.template_pid())
        if taken is None:
            if self._stem is None:
                await self._make_stem(first)
            assert self._stem is not None
            taken, self._stem = self._stem, None
        self._discard_waiting()
        return *taken, stem

    async def _take_fork(self, first: FirstProcess, spec: ProcessSpec) -> tuple[int, Blank] | None:
        zygotes = self._provider.zygotes
        key = key_of(spec) if zygotes is not None else None
        if zygotes is None or key is None:
            return None
        zygotes.want(key, time.monotonic())
        taken = self._preloaded.pop(key, None)
        if taken is None and zygotes.has(key):
            with contextlib.suppress(SandboxError):
                taken = await self._fork(first, key)
        return taken

    def _take_standby(self, spec: ProcessSpec) -> tuple[int, Blank] | None:
        key = standby.key_of(spec)
        if key is None:
            return None
        self._provider.standbys.want(key, time.monotonic())
        if self._rlimits() != self._standby_limits:
            return None
        return self._preloaded.pop(key, None)

    def _discard_waiting(self) -> None:
        """They end with their sockets."""
        waiting = [*self._preloaded.values(), *([self._stem] if self._stem is not None else [])]
        self._preloaded, self._stem = {}, None
        for _, blank in waiting:
            blank.discard()

    async def _take_on(self, first: FirstProcess, spec: ProcessSpec) -> Given:
        """The blank becomes the function's: its limits and its files. Returns the files, which are on order."""
        limits = self._limits
        plan = view.assign(spec.folders)
        if (limits.memory_mb, limits.processes) != (self._set.memory_mb, self._set.processes):
            # Not in a thread, which takes 0.15 ms: a blank holds less than any limit, so nothing has to be reclaimed.
            self.cgroup.set_limits(limits.memory_mb * MIB, limits.processes)
            self._set = limits
        if self._disk is None:
            owner = view.MAPPED_USER if self.user is None else self.user
            plan = [*view.memory_tmp(limits.ephemeral_storage_mb, owner), *plan]
        elif self._disk.size_mb != limits.ephemeral_storage_mb:
            await self._attach_disk(first, limits.ephemeral_storage_mb)
        return first.give(wire.ASSIGN, ["0", *plan])

    async def _settle(self, assigning: Given) -> None:
        await FirstProcess.settled(wire.ASSIGN, assigning)
        self._assigned = True

    def _explained(self, failure: Answer, spec: ProcessSpec) -> Exception:
        reason = os.strerror(failure.number)
        if failure.step == wire.STEP_EXEC:
            return SpawnFailed(spec.argv[0], failure.number, reason[:1].lower() + reason[1:])
        if failure.step == wire.STEP_RESTORE:
            return SandboxError(f"{failure.text or 'its copy'}: {reason}")
        what = f"entering {spec.cwd}" if failure.step == wire.STEP_CWD else "making it ready"
        text = f" ({failure.text})" if failure.text else ""
        return SandboxError(f"sandbox {self.id}: {what} for {spec.argv[0]} failed: {reason}{text}")

    async def snapshot(self, process: Process) -> Image:
        """Write down a process; see `images`.

        Raises:
            SandboxError: with the reason why not.
        """
        async with self._turn:
            number = next((number for number, one in self._processes.items() if one is process), None)
            if self._closed or self._first is None or number is None:
                raise SandboxError("it has ended")
            if not self._template:
                raise SandboxError("its runtime is not the Python that comes with Lambent")
            file = await asyncio.to_thread(images.new_file, self._provider, self._limits.memory_mb * MIB)
            try:
                await self._first.order(wire.SNAPSHOT, [str(number), str(self._limits.memory_mb * MIB)], [file])
                return images.finished(file)
            except Answer as failure:
                raise SandboxError(failure.text or os.strerror(failure.number)) from None
            finally:
                os.close(file)

    async def connect(self, port: int) -> socket.socket:
        """A connection to what listens at ``sandbox.localdomain`` inside.

        With a network of its own the socket is made there, by the first process, and can lead nowhere else.

        Raises:
            OSError: nobody of this sandbox listens there.
            SandboxError: it is closed.
        """
        first = self._first
        if self._closed or first is None:
            raise SandboxError(f"sandbox {self.id} is closed")
        if not self._provider.own_network:
            host = self.api_address.partition(":")[0]
            return await connecting.connect(host, port, self.user, self._provider.peers)
        try:
            sock = socket.socket(fileno=(await first.order(wire.CONNECT, [str(port)]))[0])
        except Answer as failure:
            raise OSError(failure.number, os.strerror(failure.number)) from None
        try:
            await connecting.connected(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def initialized(self) -> None:
        """From here on the CPU share holds, as soon as the runtime has been told what it waits for (that is 0.1 ms)."""
        if not self._closed:
            self._limited = True
            asyncio.get_running_loop().call_soon(self._limit)

    def _limit(self) -> None:
        if self._limited and not self._closed:
            with contextlib.suppress(SandboxError):  # it is being torn down
                self.cgroup.set_cpu(self._limits.cpu_share)

    async def freeze(self) -> None:
        """Stop every process.

        Raises:
            SandboxError: the host refused.
        """
        if not self._closed:
            self.cgroup.freeze()
            self._frozen = True

    async def thaw(self) -> None:
        """Let them run again.

        Raises:
            SandboxError: the host refused.
        """
        if self._frozen and not self._closed:
            self.cgroup.thaw()
            self._frozen = False

    def memory_peak(self) -> int | None:
        """The kernel's own figure, bytes, `PEAK_SECONDS` old at most: all charged to the sandbox, page cache too.

        Where there is no memory controller for us: the most that one of the processes had resident.
        """
        peak = self.cgroup.memory_peak()
        if peak is None:
            peak = max((high_water(process.pid) or 0 for process in self._processes.values()), default=None)
        return peak

    # ---- ending ----------------------------------------------------------------------------------------------------

    async def kill(self) -> None:
        """End every process and wait until none is left; their exits have been told when this returns.

        Raises:
            SandboxError: naming the processes that would not die.
        """
        async with self._turn:
            if self._closed or self._first is None:
                return
            with contextlib.suppress(SandboxError):
                await self.thaw()
            try:
                await self._first.order(wire.KILL)
            except FirstProcessGone:
                return
            except Answer as failure:
                left = await asyncio.to_thread(self.cgroup.pids)
                raise SandboxError(f"sandbox {self.id}: processes {left} will not die: {failure.text}") from None

    async def close(self) -> None:
        """End everything; nothing is left. Idempotent.

        Raises:
            SandboxError: naming what could not be ended or removed; call it again to try again.
        """
        async with self._turn:
            if self._gone:
                return
            self._closed = True
            try:
                await self._take_down()
                self._gone = True
            finally:
                self._provider.closed(self, clean=self._gone)

    async def _take_down(self) -> None:
        if self.api_address:
            self.listener.close()
        self._unwatch_memory()
        if self._frozen:
            with contextlib.suppress(SandboxError):
                self.cgroup.thaw()
        first = self._first
        if first is not None:
            first.hang_up()
            if not await first.ended(END_SECONDS):
                left = await asyncio.to_thread(self.cgroup.pids)
                raise SandboxError(f"sandbox {self.id}: processes {left} will not die; /tmp stays until they do")
        self._all_ended()
        await asyncio.to_thread(self.cgroup.remove)
        if self._disk is not None and not await asyncio.to_thread(self._disk.close):
            raise SandboxError(f"sandbox {self.id}: its disk {self._disk.device} is still in use")

    def _all_ended(self) -> None:
        """The kernel has ended them with their namespace; nobody else tells."""
        self._discard_waiting()
        self._ended = True
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.ended(self._how(Exit(None, 9)))

    def _stem_ended(self, number: int, how: Exit, _peak: int) -> None:
        """Told by the first process."""
        self._ended = True
        if self._stem is not None and self._stem[0] == number:
            self._stem[1].discard()
            self._stem = None
        for key in [key for key, (waiting, _) in self._preloaded.items() if waiting == number]:
            self._preloaded.pop(key)[1].discard()
            if isinstance(key, standby.Key):
                self._provider.standbys.failed(key, time.monotonic())
        process = self._processes.pop(number, None)
        if process is not None:
            process.ended(self._how(how))

    def _how(self, how: Exit) -> Exit:
        if how.signal == 9 and self.cgroup.oom_kills() > self._oom_seen:
            return Exit(how.code, how.signal, "memory")
        return how

    def _first_gone(self, first: FirstProcess) -> None:
        """With the spawner, or by an operator: everything in the sandbox is gone. The next spawn furnishes it anew."""
        if first is not self._first:
            return
        self._first = None
        self._all_ended()
        if not self._closed:
            self._provider.bury(first)

    # ---- memory ----------------------------------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        if self._oom_fd is None:
            self._oom_fd = self.cgroup.oom_event()
            if self._oom_fd is not None:
                asyncio.get_running_loop().add_reader(self._oom_fd, self._memory_event)

    def _unwatch_memory(self) -> None:
        if self._oom_timer is not None:
            self._oom_timer.cancel()
        if self._oom_fd is not None:
            asyncio.get_running_loop().remove_reader(self._oom_fd)
            self._oom_fd = None

    def _memory_event(self) -> None:
        self.cgroup.acknowledge()
        self._look_for_oom(_OOM_LOOKS)

    def _look_for_oom(self, looks: int) -> None:
        """The kernel has killed one process, or is about to: the environment dies as a whole."""
        self._oom_timer = None
        if self._closed or not self._processes:
            return
        if self.cgroup.oom_kills() > self._oom_seen:
            if self._first is not None:
                self._first.kill_soon()
        elif looks:
            self._oom_timer = asyncio.get_running_loop().call_later(_OOM_PAUSE, self._look_for_oom, looks - 1)


def _open_joins(cgroup: Cgroup) -> list[int]:
    """Descriptors by which a new process becomes a member: v2's directory first, then v1's files. Blocking."""
    opened: list[int] = []
    try:
        if cgroup.clone_into is not None:
            opened.append(os.open(cgroup.clone_into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        opened += [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in cgroup.tasks]
    except OSError as error:
        for descriptor in opened:
            os.close(descriptor)
        raise SandboxError(f"cannot open cgroup {cgroup.name}: {error}") from error
    return opened


def _pid_of(pidfd: int) -> int:
    """The process of a pidfd, in our pid namespace. Memory only; O_NONBLOCK says so to whoever looks."""
    descriptor = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    return int(text.partition(b"\nPid:")[2].split(None, 1)[0])
