"""What the lifecycle asks of a sandbox, whatever holds it: the seam between an environment and the operating system.

A *sandbox* is the OS container under an environment: its own Runtime API endpoint, its own /tmp, its processes and
their limits. It outlives the processes in it: after a timeout or crash the lifecycle calls :meth:`Sandbox.kill` and
starts a new runtime process in the same sandbox, where /tmp is still what it was (facts §4.4).

The guarantees, for every implementation:

* Nothing here blocks the event loop. Work that the kernel may delay happens in the spawner process.
* ``on_exit`` is called exactly once for each process that `spawn` returned, on the event loop.
* After `kill` returns, no process of the sandbox is alive, whatever it did (setsid, double fork, ignoring SIGTERM); or
  it raises `SandboxError` naming the pids that would not die, and the sandbox must be abandoned by `close`.
* After `close`, nothing is left: no process, no file in /tmp, no socket, no cgroup, no mount.
* If the engine dies by SIGKILL, the spawner ends every sandbox it made.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class SandboxLimits(Struct, frozen=True, kw_only=True):
    """What a sandbox is allowed. Modes that cannot enforce one say so at start (see `SandboxProvider.weaknesses`)."""

    memory_mb: int
    ephemeral_storage_mb: int = 512
    cpu_share: float = 1.0
    """Cores, MemorySize/1769."""
    processes: int = 1024
    open_files: int = 1024


class Image:
    """A process as it was when it was written down (`engine.sandbox.native`, image.h). Owned by a function's version.

    Attributes:
        fd: its file, which can only be read; -1 when it has been let go.
        size: bytes on the disk.
    """

    __slots__ = ("fd", "size")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_blocks * 512

    def close(self) -> None:
        """Let the file go; nothing else needs it, not even what was made from it. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class ProcessSpec(Struct, frozen=True, kw_only=True):
    """One process to start inside a sandbox.

    Attributes:
        argv: the program and its arguments; ``argv[0]`` is an absolute path.
        env: the whole environment; nothing is inherited.
        cwd: the working directory (the task root).
        folders: the host's folders that it is to see, by their path in `Sandbox.paths`. They are shown when the first
            process of a sandbox starts; where nothing is mounted, the two paths are the same.
        image: what it is to be a copy of, in place of executing the program.
        template: it is started to be written down: no copy of it will have its pid.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    folders: Mapping[str, str] = {}
    image: Image | None = None
    template: bool = False


class Exit(Struct, frozen=True):
    """How a process ended: an exit code, or a signal number, never both.

    `cause` says why when it was a limit of the sandbox that ended it, not the program itself: ``memory`` when the
    sandbox was over its MemorySize, ``processes`` when it had more processes than it may; None otherwise.
    """

    code: int | None
    signal: int | None = None
    cause: str | None = None

    def describe(self) -> str:
        """AWS's words: ``exit status 1`` or ``signal: killed``."""
        if self.signal is None:
            return f"exit status {self.code}"
        return f"signal: {SIGNAL_WORDS.get(self.signal, str(self.signal))}"


#: Go's os.Signal words, which AWS prints (facts §4.2).
SIGNAL_WORDS = {
    1: "hangup", 2: "interrupt", 3: "quit", 4: "illegal instruction", 5: "trace/breakpoint trap", 6: "aborted",
    7: "bus error", 8: "floating point exception", 9: "killed", 10: "user defined signal 1", 11: "segmentation fault",
    12: "user defined signal 2", 13: "broken pipe", 14: "alarm clock", 15: "terminated",
}  # fmt: skip


class SpawnFailed(Exception):
    """The program could not be executed. `errno` and `strerror` are execve's; `path` is what was tried."""

    def __init__(self, path: str, errno: int, strerror: str) -> None:
        super().__init__(f"fork/exec {path}: {strerror}")
        self.path = path
        self.errno = errno
        self.strerror = strerror


class Process(Protocol):
    """A running process of a sandbox."""

    pid: int
    """In the engine's pid namespace."""

    output: int
    """File descriptor (non-blocking, read end) carrying the process's stdout and stderr as one stream.

    One pipe for both keeps the order in which the program wrote. The receiver owns it and closes it."""

    preloaded: bool
    """Whether it is a fork of an interpreter that had been started before; False: it was executed."""

    def signal(self, signum: int) -> None:
        """Send a signal to this one process, safely against pid reuse; silently nothing when it has ended."""
        ...


class Sandbox(Protocol):
    """One OS container. Made by a `SandboxProvider`, used by one environment of one function, then closed."""

    id: str
    api_address: str
    """``host:port`` for AWS_LAMBDA_RUNTIME_API, valid inside the sandbox."""
    listener: socket.socket
    """The listening, non-blocking socket behind `api_address`, owned by the sandbox."""
    tmp_dir: str
    """Where /tmp of the sandbox is, as the engine sees it."""

    def paths(self, code_root: str, opt_root: str | None = None) -> SandboxPaths:
        """Which paths the processes inside will see for their code, layers, runtime directory and /tmp.

        Args:
            code_root: the host's folder of the function's code.
            opt_root: the host's folder of its merged layers; None when it has none.
        """
        ...

    def admits(self, connection: socket.socket) -> bool:
        """Whether a connection that `listener` accepted comes from inside this sandbox. Cheap, never raises."""
        ...

    async def spawn(self, spec: ProcessSpec, on_exit: Callable[[Exit], None]) -> Process:
        """Start a process. Raises `SpawnFailed` when execve refused, `SandboxError` when the host did."""
        ...

    async def connect(self, port: int) -> socket.socket:
        """A connection to what listens at ``sandbox.localdomain:port`` inside: connected, non-blocking, the caller's.

        It never leads anywhere else. Raises OSError when nobody of the sandbox listens there, `SandboxError` when the
        sandbox is closed.
        """
        ...

    async def snapshot(self, process: Process) -> Image:
        """Write down a process that waits for the answer to `restore/next`; it goes on afterwards.

        Raises `SandboxError` with the reason why that cannot be done, which is no fault of anybody's.
        """
        ...

    async def kill(self) -> None:
        """End every process of the sandbox at once (SIGKILL) and wait until none is left. /tmp stays."""
        ...

    def initialized(self) -> None:
        """Init is over: from here on the CPU share holds (AWS gives Init more). Cheap, never waits, never raises."""
        ...

    async def freeze(self) -> None:
        """Stop every process until `thaw`. Idempotent. Raises `SandboxError` when the host refused."""
        ...

    async def thaw(self) -> None:
        """Let the processes run again; returns when they do. Idempotent. Raises `SandboxError`."""
        ...

    def memory_peak(self) -> int | None:
        """Peak memory of the sandbox in bytes since its processes started, or None when unknown.

        Cheap; may be a sample.
        """
        ...

    async def close(self) -> None:
        """End everything and leave nothing behind. Idempotent.

        Raises `SandboxError` naming what would not be ended or removed; calling it again tries that again.
        """
        ...


class SandboxPaths(Struct, frozen=True):
    """Paths as the processes inside see them."""

    task_root: str
    """LAMBDA_TASK_ROOT: ``/var/task`` in sandbox mode, the code folder itself in process mode."""
    runtime_dir: str
    """LAMBDA_RUNTIME_DIR."""
    tmp: str
    """``/tmp`` in sandbox mode; a private folder (also TMPDIR) in process mode."""
    opt: str = "/opt"
    """Where the layers are: ``/opt`` in sandbox mode and for a function without layers; in process mode the host's
    folder of the merged layers, which the runtime is told by the variable LAMBENT_OPT."""


class SandboxProvider(Protocol):
    """Makes sandboxes. One per engine; owns the spawner process."""

    mode: str
    """``process`` or ``sandbox``."""

    def weaknesses(self) -> list[str]:
        """One line per limit that this mode cannot enforce on this host."""
        ...

    def reachable(self, path: str) -> str | None:
        """What keeps functions from this path of the host, None when nothing does. Blocking."""
        ...

    def seen_runtimes(self) -> str:
        """Where functions see the folder of the managed runtimes' bootstraps."""
        ...

    async def start(self) -> None:
        """Start the spawner and check the host. Raises `SandboxError` with what is missing."""
        ...

    async def acquire(self, sandbox_id: str, limits: SandboxLimits) -> Sandbox:
        """Make a sandbox. Raises `SandboxError`."""
        ...

    async def stop(self) -> None:
        """Close every sandbox and end the spawner."""
        ...
