"""The `sandbox` isolation mode: makes `NamespaceSandbox`es, ahead of need, and owns what they share."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.errors import SandboxError
from engine.sandbox import native, users
from engine.sandbox.addresses import Endpoints
from engine.sandbox.api import SandboxLimits, SandboxProvider
from engine.sandbox.cgroups import CgroupLimits, Cgroups
from engine.sandbox.disks import Disks
from engine.sandbox.peers import PeerUsers, look_for_peers
from engine.sandbox.rundir import RunDirectory
from engine.sandbox.seccomp import UnsupportedMachine, filter_program
from engine.sandbox.spawner_client import SpawnerClient, SpawnerGoneError

from . import view
from .container import MIB, NamespaceSandbox
from .first_process import FirstProcess
from .pool import PoolSize
from .standby import MOST_BLANKS, Standbys
from .zygotes import Zygotes

#: linux/sched.h
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
#: An interpreter takes about so long to start; making a blank beside it would take one of its processors.
_REFILL_SECONDS = 0.05
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class NamespaceProvider:
    """Makes `NamespaceSandbox`es.

    Args:
        runtime_dir: the engine's runtime directory, exclusively its own.
        runtimes: the host's folder of the managed runtimes' bootstraps; functions see it at /var/runtime.
        own_network: each sandbox has a network of its own, with nothing in it but loopback. False: the host's.
        first_user: where the user ids for sandboxes begin (see `users`).
    """

    mode = "sandbox"

    def __init__(
        self,
        runtime_dir: Path,
        runtimes: Path,
        *,
        own_network: bool = False,
        first_user: int = users.FIRST_ID,
    ) -> None:
        self.runtime_dir = runtime_dir
        self.runtimes = runtimes
        self.own_network = own_network
        self.rootless = os.geteuid() != 0
        self.sandboxes: dict[str, NamespaceSandbox] = {}
        self.endpoints = Endpoints()
        self.disks: Disks | None = None
        self.peers: PeerUsers | None = None
        """Tells whose process connects to a Runtime API; None where each has its own network, or users do not tell."""
        self.cgroups = Cgroups.detect()
        self.namespaces = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID
        """Which each sandbox has of its own, CLONE_NEW flags."""
        self.namespaces |= (_NEWNET if own_network else 0) | (_NEWUSER if self.rootless else 0)
        self.zygotes = None if self.rootless else Zygotes(self, self._refill_later)
        """Preloaded interpreters; None without root, as a process cannot go from one user namespace into several."""
        self.standbys = Standbys()
        """Which interpreters stand by in blanks."""
        self._first_user = first_user
        self._weaknesses: list[str] = []
        self._filter = b""
        self._host = view.Host(links={}, folders=(), etc=frozenset(), devices=())
        self._users: users.UserBlock | None = None
        self._directory: RunDirectory | None = None
        self._spawner: SpawnerClient | None = None
        self._restart = asyncio.Lock()
        self._expected = SandboxLimits(memory_mb=128)
        """The limits that blanks are made with: those of the last cold start, as the next one's are often the same."""
        self.restorer = -1
        """A descriptor of the program that becomes the copy of a process; -1 where there is none."""
        self._count = 0
        self._open: dict[int, NamespaceSandbox] = {}
        self._blanks: deque[NamespaceSandbox] = deque()
        self._pool = PoolSize()
        self._refill: asyncio.Task[None] | None = None
        self._refill_timer: asyncio.TimerHandle | None = None
        self._burials: set[asyncio.Task[bool]] = set()

    # ---- what this host offers ---------------------------------------------------------------------------------------

    def weaknesses(self) -> list[str]:
        """One line per limit that this mode cannot enforce on this host; complete once the provider is started."""
        lines = list(self._weaknesses)
        if not self.own_network:
            lines.append(
                "network: functions share the host's network and reach what listens on it; --network own gives each "
                "environment one of its own, with loopback only"
            )
            if self.peers is None:
                lines += [
                    "runtime api: a function can reach the Runtime API of another and take its invocations",
                    "control plane: what it serves, it serves to functions too, folders for hot reload included",
                ]
        return lines

    def reachable(self, path: str) -> str | None:
        """What keeps functions from `path`, or None: only the system's folders are shown to them. Blocking."""
        resolved = os.path.realpath(path)
        return None if view.visible((*view.SYSTEM, str(self.runtimes)), resolved) else resolved

    def seen_runtimes(self) -> str:
        """Where functions see the folder of the managed runtimes."""
        return view.RUNTIME

    @property
    def blanks(self) -> int:
        """How many sandboxes are ready for a cold start."""
        return len(self._blanks)

    # ---- coming and going --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Claim the runtime directory and users, remove what a killed engine left, start the spawner, fill the pool.

        Raises:
            SandboxError: with what is missing.
        """
        self._directory = await RunDirectory.claim(self.runtime_dir)
        try:
            await asyncio.to_thread(self._look_around, self._directory)
            inherit = [self._directory.lock]
            if self._users is not None:
                inherit.append(self._users.lock)
            self._spawner = SpawnerClient(
                on_exit=lambda _pid, _how, _peak: None, on_death=lambda: None, inherit=tuple(inherit), blanks=0
            )
            await self._spawner.start()
            await self._register_engine()
            await self._fill()
            if not self._blanks:
                self._blanks.append(await self._make())  # which tells why not
        except BaseException:
            await self._end()
            raise

    def _look_around(self, directory: RunDirectory) -> None:
        """Everything that blocks: limits, disks, users, the filter, and what the view depends on."""
        self._root = directory.path / "root"
        self._root.mkdir(exist_ok=True)
        noted = directory.path / "cgroups"  # an engine that is started elsewhere finds what one of before left
        earlier = noted.read_text().splitlines() if noted.exists() else []
        self.cgroups.prepare(cgroup_name(self.runtime_dir), earlier)
        noted.write_text("\n".join(self.cgroups.directories))
        self._weaknesses = self.cgroups.weaknesses()
        disks = Disks(directory.path / "disks")
        reason = disks.why_not()
        if reason is None:
            disks.sweep()
            disks.prepare(512)
            self.disks = disks
        else:
            self._weaknesses.append(f"disk: /tmp is in memory and counts as the function's; {reason}")
        if self.rootless:
            self._weaknesses.append("user: functions run as the engine's user, in a user namespace without privileges")
        else:
            self._users = users.claim(self._first_user, prefer=directory.recall("users"))
            directory.note("users", self._users.base)
            self.peers = None if self.own_network else look_for_peers()
        try:
            self._filter = filter_program()
        except UnsupportedMachine as error:
            self._weaknesses.append(f"system calls: not filtered; {error}")
        self._host = look_at_host()
        restorer = native.restorer_program()
        if restorer is not None:
            self.restorer = os.open(restorer, os.O_RDONLY | os.O_CLOEXEC)

    async def stop(self) -> None:
        """Close every sandbox and end the spawner.

        Raises:
            SandboxError: a sandbox would not close.
        """
        if self.zygotes is not None:
            await self.zygotes.close()
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        if self._refill is not None:
            await self._refill
        self._blanks.clear()
        results = await asyncio.gather(
            *(sandbox.close() for sandbox in list(self._open.values())), return_exceptions=True
        )
        await self._end()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _end(self) -> None:
        spawner, self._spawner = self._spawner, None
        if spawner is not None:
            await spawner.stop()
        if self._burials:
            await asyncio.wait(self._burials)
        with contextlib.suppress(SandboxError):  # what would not die was told by its sandbox
            await asyncio.to_thread(self.cgroups.remove)
        if self.peers is not None:
            self.peers.close()
            self.peers = None
        if self._users is not None:
            self._users.release()
            self._users = None
        if self.restorer >= 0:
            os.close(self.restorer)
            self.restorer = -1
        if self._directory is not None:
            self._directory.release()
            self._directory = None

    # ---- sandboxes ---------------------------------------------------------------------------------------------------

    async def acquire(self, sandbox_id: str, limits: SandboxLimits) -> NamespaceSandbox:
        """A sandbox: a blank when there is one, else made now.

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
        if self._blanks:
            self._pool.taken(time.monotonic())
            sandbox = self._blanks.popleft()
            self.sandboxes[sandbox_id] = sandbox
        else:
            self._pool.missed(time.monotonic())
            sandbox = await self._make()
            if sandbox_id in self.sandboxes:
                self._blanks.append(sandbox)
                raise SandboxError(f"there is a sandbox {sandbox_id} already")
            self.sandboxes[sandbox_id] = sandbox
        sandbox.assign(sandbox_id, limits)
        self._expected = limits
        self._refill_later()
        return sandbox

    async def _make(self) -> NamespaceSandbox:
        """A blank."""
        spawner = await self.spawner()
        user = self._users.take() if self._users is not None else None
        self._count += 1
        number = self._count
        try:
            expected = self._expected
            limits = CgroupLimits(memory_bytes=expected.memory_mb * MIB, pids=expected.processes)
            cgroup = await asyncio.to_thread(self.cgroups.create, str(number), limits)
        except SandboxError:
            self._give_back(user)
            raise
        sandbox = NamespaceSandbox(self, number, user, cgroup, expected)
        self._open[number] = sandbox
        try:
            await spawner.open_sandbox(*self._registration(sandbox))
            await sandbox.furnish()
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    def _registration(self, sandbox: NamespaceSandbox) -> tuple[int, bytes, bytes, bytes, *tuple[bytes, ...]]:
        return sandbox.number, b"", b"", b"", *(os.fsencode(path) for path in sandbox.cgroup.directories)

    def closed(self, sandbox: NamespaceSandbox, *, clean: bool) -> None:
        """A sandbox has closed. When something of it is left, its user is never used again and the spawner keeps it."""
        if self.sandboxes.get(sandbox.id) is sandbox:
            del self.sandboxes[sandbox.id]
        self._open.pop(sandbox.number, None)
        if clean:
            if self._spawner is not None:
                self._spawner.forget_sandbox(sandbox.number)
            self._give_back(sandbox.user)

    def _give_back(self, user: int | None) -> None:
        if self._users is not None and user is not None:
            self._users.give_back(user)

    def bury(self, first: FirstProcess) -> None:
        """A first process has ended by itself: wait for the rest of its sandbox to be gone."""
        task = asyncio.get_running_loop().create_task(first.ended(10.0))
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    # ---- the pool ----------------------------------------------------------------------------------------------------

    def _refill_later(self) -> None:
        """Make blanks again, when the environment that took one is past its start."""
        if self._refill is None and self._refill_timer is None:
            self._refill_timer = asyncio.get_running_loop().call_later(
                _REFILL_SECONDS if self._blanks else 0.0, self._start_refill
            )

    def _start_refill(self) -> None:
        self._refill_timer = None
        self._refill = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._blanks) < self._pool.size:
                self._blanks.append(await self._make())
                await self._warm()
            await self._warm()
        except SandboxError:
            return  # whoever needs a sandbox next meets the same error, and is told
        finally:
            self._refill = None

    async def _warm(self) -> None:
        """Have a process of each interpreter that was used lately wait in each blank."""
        for place, sandbox in enumerate(list(self._blanks)):
            now = time.monotonic()
            forks = self.zygotes.warm(now) if self.zygotes is not None else []
            await sandbox.preload([*forks, *(self.standbys.warm(now) if place < MOST_BLANKS else ())])

    # ---- for the sandboxes -------------------------------------------------------------------------------------------

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
                await self._register_engine()
                for sandbox in list(self._open.values()):
                    await self._spawner.open_sandbox(*self._registration(sandbox))
            return self._spawner

    async def _register_engine(self) -> None:
        assert self._spawner is not None
        directories = [os.fsencode(path) for path in self.cgroups.directories]
        await self._spawner.open_sandbox(0, b"", b"", b"", *directories)

    async def start_first(self) -> socket.socket:
        """Start the first process of a sandbox; our end of its socket.

        Raises:
            SandboxError: the host refused.
        """
        try:
            return await (await self.spawner()).start_first(self.namespaces)
        except SpawnerGoneError:
            return await (await self.spawner()).start_first(self.namespaces)

    async def start_zygote(self) -> socket.socket:
        """Start what becomes a zygote; our end of its socket.

        Raises:
            SandboxError: the host refused.
        """
        return await (await self.spawner()).start_zygote()

    def zygote_plan(self, own: Mapping[str, str], folders: Sequence[str]) -> list[str]:
        """The view of a zygote: see `view.zygote`."""
        runtimes = str(self.runtimes)
        return view.zygote(self._host, str(self._root), runtimes, own, folders, None if self.own_network else "")

    async def names(self, api_address: str) -> str | None:
        """The hosts file of a sandbox whose Runtime API is there; None with a network of its own."""
        if self.own_network:
            return None
        return view.hosts(api_address.partition(":")[0], await asyncio.to_thread(_host_names))

    def base_plan(self, user: int | None, names: str | None) -> list[str]:
        """The view of a blank with this hosts file."""
        number = view.MAPPED_USER if user is None else user
        return view.base(self._host, str(self._root), number, str(self.runtimes), names)

    @contextlib.contextmanager
    def filter_file(self) -> Iterator[tuple[int, list[int]]]:
        """The system call filter as (bytes, descriptors to pass)."""
        if not self._filter:
            yield 0, []
            return
        descriptor = os.memfd_create("filter")
        try:
            os.set_blocking(descriptor, False)  # memory does not block; this says so to whoever looks
            os.write(descriptor, self._filter)
            yield len(self._filter), [descriptor]
        finally:
            os.close(descriptor)


def cgroup_name(runtime_dir: Path) -> str:
    """What an engine with this runtime directory calls its control groups: the same at each start."""
    return hashlib.sha256(os.fsencode(runtime_dir.resolve())).hexdigest()[:16]


def why_not(*, own_network: bool = False) -> str | None:
    """Why there can be no sandboxes on this host, None when there can. Blocking, some milliseconds."""
    program = native.native_program()
    if program is None:
        return native.why_not()
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | (_NEWNET if own_network else 0)
    if os.geteuid() != 0:
        flags |= _NEWUSER
    else:
        reason = users.why_not()
        if reason is not None:
            return reason
    result = subprocess.run([program, "probe", str(flags)], check=False, env={}, timeout=30)
    if result.returncode:
        return f"the host refuses to make namespaces: {os.strerror(result.returncode)}"
    return None


def no_limits() -> str | None:
    """Why sandboxes on this host would have no limit of memory, None when they have. Blocking."""
    cgroups = Cgroups.detect()
    return None if "memory" in cgroups.enforced else cgroups.weaknesses()[0].partition("; ")[2]


def look_at_host() -> view.Host:
    """What the view depends on. Blocking."""
    links = {path: str(Path(path).readlink()) for path in view.SYSTEM if Path(path).is_symlink()}
    return view.Host(
        links=links,
        folders=tuple(path for path in view.SYSTEM if path not in links and Path(path).is_dir()),
        etc=frozenset(name for name in (*view.SYSTEM_ETC, *view.NETWORK_ETC) if Path("/etc", name).exists()),
        devices=tuple(name for name in view.DEVICES if Path("/dev", name).exists()),
    )


def _host_names() -> str:
    """The host's own hosts file, as it is now. Blocking."""
    try:
        return Path("/etc/hosts").read_text(encoding="utf-8", errors="replace").replace("\0", "")
    except OSError:
        return ""


#: The type checkers compare with the contract here.
_CONTRACT: type[SandboxProvider] = NamespaceProvider
