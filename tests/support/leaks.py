"""Whether a test left anything behind: descriptors, processes, threads, listeners, files, what engines made of the host.

As a fixture, set up before whatever makes environments and checked after all of it is gone::

    pytest_plugins = ("tests.support.sandbox_fixtures",)

    @pytest.fixture
    async def engine(no_leaks): ...

or around a stretch of code: ``with leak_check(folder): ...`` (not on an event loop: it waits by sleeping).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import uvloop

from engine.sandbox import users
from engine.sandbox.cgroups.driver import PREFIX
from engine.sandbox.namespaces.first_process import FirstProcess
from engine.sandbox.namespaces.provider import cgroup_name
from engine.sandbox.rundir import RunDirectory
from engine.sandbox.spawner import tree

#: How long something that is on its way out may take, seconds.
PATIENCE = 10.0


@dataclass
class Traces:
    """What a process holds at one moment."""

    descriptors: dict[int, str] = field(default_factory=dict)
    processes: dict[int, str] = field(default_factory=dict)
    listeners: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    threads: set[threading.Thread] = field(default_factory=set)

    @classmethod
    def now(cls, *folders: Path) -> Traces:
        """Look around: this process's descriptors and listening sockets, its descendants, what is in `folders`."""
        me = psutil.Process()
        traces = cls(descriptors=_descriptors(), threads=threads_of_ours())
        for child in me.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                traces.processes[child.pid] = f"{child.pid} ({child.status()}) {' '.join(child.cmdline())}"
        for connection in me.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                traces.listeners.add(f"{connection.laddr.ip}:{connection.laddr.port}")
        for folder in folders:
            if folder.is_dir():
                traces.files.update(str(entry) for entry in folder.iterdir())
        return traces

    def beyond(self, earlier: Traces) -> list[str]:
        """One line for each thing that is here and was not in `earlier`."""
        lines = [
            f"descriptor {n}: {what}" for n, what in self.descriptors.items() if earlier.descriptors.get(n) != what
        ]
        lines += [f"process {what}" for pid, what in self.processes.items() if pid not in earlier.processes]
        lines += [f"listening on {address}" for address in self.listeners - earlier.listeners]
        lines += [f"file {path}" for path in self.files - earlier.files]
        lines += [f"thread {thread.name}" for thread in self.threads - earlier.threads]
        return lines


def threads_of_ours() -> set[threading.Thread]:
    """The threads that engines of this process have started and that run."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("lambent-")}


@contextlib.contextmanager
def leak_check(*folders: Path) -> Iterator[None]:
    """Fail when something made inside is still there after it, given a moment; `folders` must hold nothing new."""
    uvloop.new_event_loop().close()  # libuv makes a pipe for signals once per process, with the first loop
    before = Traces.now(*folders)
    with _told_of_directories() as directories, _told_of_namespaces() as namespaces:
        yield
    deadline = time.monotonic() + PATIENCE
    while left := [
        *Traces.now(*folders).beyond(before),
        *abandoned_user_processes(),
        *(line for directory in directories for line in host_objects_of(directory)),
        *held_namespaces(namespaces),
    ]:
        if time.monotonic() > deadline:
            pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)
        time.sleep(0.01)


@contextlib.contextmanager
def _told_of_directories() -> Iterator[set[Path]]:
    """The runtime directories that engines of this process claim meanwhile."""
    directories: set[Path] = set()
    claim = RunDirectory.claim

    async def noted(path: Path) -> RunDirectory:
        directories.add(path)
        return await claim(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "claim", noted)
        yield directories


@contextlib.contextmanager
def _told_of_namespaces() -> Iterator[set[int]]:
    """The mount namespaces of the sandboxes that engines of this process make meanwhile."""
    made: set[int] = set()
    begun = FirstProcess.begun

    async def noted(first: FirstProcess) -> None:
        await begun(first)
        found = await asyncio.to_thread(_mount_namespace, f"/proc/{first.pid}/ns/mnt")
        if found is not None:
            made.add(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirstProcess, "begun", noted)
        yield made


#: _IOR(0xb7, 5, __u64), linux/nsfs.h: a number that no other mount namespace ever has, unlike its inode. Linux 6.9.
_NS_GET_MNTNS_ID = 0x8008B705


def _mount_namespace(path: str) -> int | None:
    """Which mount namespace this link of /proc leads to; None when it leads nowhere, or the kernel will not say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(struct.unpack("=Q", fcntl.ioctl(descriptor, _NS_GET_MNTNS_ID, bytes(8)))[0])
    except OSError:
        return None
    finally:
        os.close(descriptor)


def held_namespaces(made: set[int]) -> list[str]:
    """Processes of this host, whosever children, that live in one of these mount namespaces.

    A sandbox's other namespaces have no life of their own: its processes hold all of them together, and besides only
    descriptors and mounts could, which are looked for by themselves.
    """
    if not made:
        return []
    found = ((pid, _mount_namespace(f"/proc/{pid}/ns/mnt")) for pid in os.listdir("/proc") if pid.isdigit())  # noqa: PTH208
    return [f"process {pid} in the namespaces of a sandbox" for pid, namespace in found if namespace in made]


def host_objects_of(runtime_dir: Path) -> list[str]:
    """Control groups, loop devices and mounts of the engine with this runtime directory."""
    name = f"{PREFIX}{cgroup_name(runtime_dir)}"
    # Not rglob: other engines' groups come and go meanwhile.
    lines = [
        f"control group {at}/{folder}"
        for at, folders, _ in os.walk("/sys/fs/cgroup")
        for folder in folders
        if folder == name or folder.startswith(f"{name}.")
    ]
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            backing = path.read_text().strip()
            if backing.startswith(f"{runtime_dir}/"):
                lines.append(f"loop device {path.parts[3]} on {backing}")
    mounts = Path("/proc/self/mountinfo").read_text() if Path("/proc/self/mountinfo").exists() else ""
    lines += [f"mount {line}" for line in mounts.splitlines() if f" {runtime_dir}/" in line]
    return lines


def abandoned_user_processes() -> list[str]:
    """Processes that run as a sandbox user although no engine and no spawner claims that user's block."""
    if os.geteuid() != 0:
        return []
    lines = []
    for directory in users._LOCK_DIRECTORIES:
        for lock in directory.glob("uids-*"):
            base = int(lock.name.removeprefix("uids-"))
            with lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                lines += [f"a process of user {user}" for user in tree.users_between(base, base + users.BLOCK)]
    return lines


def gone(pid: int) -> bool:
    """Whether no process with this id is alive (a zombie is not)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def eventually(condition, what: str, patience: float = PATIENCE) -> None:
    """Wait until `condition()` holds; fail saying `what` when it does not come true. For code off the event loop."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {patience} s")
        time.sleep(0.005)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - includes the listing's own descriptor, gone by readlink
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
    return found
