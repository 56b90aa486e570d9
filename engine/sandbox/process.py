"""The `process` isolation mode: ordinary processes; each sandbox has its own user (when root), /tmp and endpoint.

What keeps a sandbox together here is its user id, or without root a marker (`spawner.tree`). What this mode cannot do
is listed by `ProcessProvider.weaknesses`, and printed at start.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import re
import signal
import sys
from collections import deque
from pathlib import Path

from engine.errors import SandboxError

from . import users
from .addresses import Endpoints
from .api import Exit, SandboxLimits, SandboxProvider
from .blanks import Answer
from .monitor import Monitor
from .peers import PeerUsers, look_for_peers
from .process_sandbox import ProcessSandbox, SandboxProcess
from .rundir import RunDirectory, barrier
from .spawner import tree, wire
from .spawner_client import SpawnerClient, SpawnerGoneError

#: Sandboxes made ahead, without a name: to take one costs microseconds, to make one a conversation with the spawner.
SPARES = 2
#: An interpreter takes about so long to start; making a spare beside it would take one of its processors.
_REFILL_SECONDS = 0.05
#: How late the monitor may notice something (measured in `monitor`).
_SEEN = "a few milliseconds, or up to 100 ms in a new process" if sys.platform == "linux" else "up to 250 ms"
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class ProcessProvider:
    """Makes `ProcessSandbox`es.

    Args:
        runtime_dir: the engine's runtime directory, exclusively its own; made when it is not there. When the engine is
            root, every folder on the way to it must let other users pass.
        runtimes: the folder of the managed runtimes' bootstraps.
        lambda_runtime_dir: what functions get as LAMBDA_RUNTIME_DIR.
        first_user: where the user ids for sandboxes begin (see `users`).
        instead_of_sandbox: why this mode and not the stronger one; None when it was asked for.
    """

    mode = "process"

    def __init__(
        self,
        runtime_dir: Path,
        runtimes: Path | None = None,
        *,
        lambda_runtime_dir: str = "/var/runtime",
        first_user: int = users.FIRST_ID,
        instead_of_sandbox: str | None = None,
    ) -> None:
        self.runtime_dir = runtime_dir
        self.runtimes = runtimes or runtime_dir
        self.lambda_runtime_dir = lambda_runtime_dir
        self.marker = 0
        self.tmp_root = ""
        self.sandboxes: dict[str, ProcessSandbox] = {}
        self.peers: PeerUsers | None = None
        """Tells whose process connects to a Runtime API; None where users do not tell sandboxes apart."""
        self.monitor = Monitor("session", count_processes=True)
        """Holds the limits; the one for this host from `start` on."""
        self._first_user = first_user
        self._instead_of_sandbox = instead_of_sandbox
        self._shared_user_because: str | None = "the engine has not been started"
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
        """One line per limit that this mode cannot enforce on this host; complete once the provider is started."""
        lines = [
            (
                f"memory: a function is killed for more than its MemorySize when that is seen, after {_SEEN}; files in "
                "memory (/dev/shm) count only while they are mapped"
            ),
            (
                "cpu: a function is stopped and continued so that it has its share on average, within 5 % over some "
                "seconds; processes that end within 10 ms and that nobody waits for are not counted"
            ),
            (
                "disk: a function whose /tmp is too large is killed when that is seen, instead of finding it full; "
                "deleted files that are still open are not counted"
            ),
            "files: a function can read what all users of this host may read; what it leaves where all may write stays",
            "network: functions share the host's network and reach what listens on it",
        ]
        if self.peers is None:
            lines += [
                "runtime api: a function can reach the Runtime API of another and take its invocations",
                "control plane: what it serves, it serves to functions too, folders for hot reload included",
            ]
        if self._shared_user_because is not None:
            lines += [
                (
                    f"user: functions run as the engine's own user {_user_name()}, and can read and change its files "
                    f"and processes, because {self._shared_user_because}"
                ),
                f"processes: a function with too many processes and threads is killed when that is seen, after {_SEEN}",
            ]
            if sys.platform != "linux":
                lines.append("process tree: without /proc, processes that leave their session are not found and ended")
        if self._instead_of_sandbox is not None:
            lines.append(f"isolation: process, not sandbox: {self._instead_of_sandbox}")
        return lines

    def reachable(self, path: str) -> str | None:
        """The folder that keeps functions from reaching `path`, or None when they can. Blocking."""
        return None if self._shared_user_because is not None else barrier(path)

    def seen_runtimes(self) -> str:
        """Where functions see the folder of the managed runtimes: where it is."""
        return str(self.runtimes)

    @property
    def blanks(self) -> int:
        """How many sandboxes are ready for a cold start."""
        return len(self._spares)

    async def start(self) -> None:
        """Claim the runtime directory and a block of user ids, start the spawner, remove what a killed engine left.

        Raises:
            SandboxError: with what is missing.
        """
        self._shared_user_because = await asyncio.to_thread(users.why_not)
        self._directory = await RunDirectory.claim(self.runtime_dir)
        self.tmp_root = str(self._directory.tmp)
        try:
            inherit = [self._directory.lock]
            if self._shared_user_because is None:
                await asyncio.to_thread(self._check_passage)
                self._users = await asyncio.to_thread(self._claim_users, self._directory)
                inherit.append(self._users.lock)
                self.peers = await asyncio.to_thread(look_for_peers)
            self.marker = (random.getrandbits(36) | 1 << 36) << tree.MARKER_SANDBOX_BITS
            self.monitor = Monitor(self._known_by(), count_processes=self._users is None)
            await self.monitor.start()
            earlier = await asyncio.to_thread(self._directory.recall, "marker")
            leftovers = await asyncio.to_thread(self._directory.leftovers)
            self._spawner = SpawnerClient(
                on_exit=self._process_ended, on_death=self._spawner_died, inherit=tuple(inherit)
            )
            await self._spawner.start()
            await self._sweep(earlier, [os.fsencode(folder) for folder in leftovers])
            await asyncio.to_thread(self._directory.note, "marker", self.marker)
            await self._make_spares()
        except BaseException:
            await self._end()
            raise

    def _claim_users(self, directory: RunDirectory) -> users.UserBlock:
        """The block of the engine before us if we can have it, to end what it left; whoever has it now has done so."""
        block = users.claim(self._first_user, prefer=directory.recall("users"))
        directory.note("users", block.base)
        return block

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
            try:
                await spawner.open_sandbox(*self._registration(sandbox))
            except SpawnerGoneError:
                await self.spawner()  # which tells a new one of all open sandboxes
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
            self._refill_timer = loop.call_later(_REFILL_SECONDS if self._spares else 0.0, self._start_refill)

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

    async def work(self, kind: int, strings: list[bytes]) -> bytes:
        """Have a process do some work, on a new spawner if the old one dies over it. Returns its answer's text.

        Raises:
            Answer: it failed.
            SandboxError: no spawner would do it.
        """
        try:
            return await (await self.spawner()).work(kind, strings)
        except SpawnerGoneError:
            return await (await self.spawner()).work(kind, strings)

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

    def _known_by(self) -> str:
        """What the processes of a sandbox are known by."""
        if self._users is not None:
            return "user"
        return "marker" if sys.platform == "linux" else "session"

    async def _end(self) -> None:
        await self.monitor.stop()
        spawner, self._spawner = self._spawner, None
        if spawner is not None:
            await spawner.stop()
        if self.peers is not None:
            self.peers.close()
            self.peers = None
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
            sandbox.process_ended(process, Exit(None, int(signal.SIGKILL)), None)


#: The type checker compares with the contract here.
_CONTRACT: type[SandboxProvider] = ProcessProvider


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
