"""Reading and writing the small files of a cgroup, and saying properly what the kernel refused.

Descriptors are opened with O_NONBLOCK: these files wait for no disk, and the flag says so to whoever looks for
blocking calls on an event loop.
"""

from __future__ import annotations

import errno
import os

from engine.errors import SandboxError

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK

_ADVICE = {
    errno.EACCES: "this needs root, or a cgroup delegated to the engine's user",
    errno.EPERM: "this needs root, or a cgroup delegated to the engine's user",
    errno.EROFS: "the cgroup file system is mounted read-only: remount it, or use the process mode",
    errno.EBUSY: "its processes hold more than that, or it has children or processes in the way",
    errno.ENOENT: "the cgroup has been removed, or the kernel has no such file",
    errno.ENODEV: "the cgroup has been removed",
    errno.ENOSPC: "the limit of cgroups is reached (cgroup.max.descendants, or the kernel's of 65,535 for memory)",
}


def refused(what: str, path: str, error: OSError) -> SandboxError:
    """The error to raise: what was tried, where, why it failed and what to do."""
    advice = _ADVICE.get(error.errno or 0)
    return SandboxError(f"cannot {what} ({path}): {error.strerror}" + (f"; {advice}" if advice else ""))


def write(path: str, value: str | int) -> None:
    """Write one value. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | _FLAGS)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def put(directory: str, file: str, value: str | int) -> None:
    """Write one value into a file of a cgroup.

    Raises:
        SandboxError: the kernel refused.
    """
    path = f"{directory}/{file}"
    try:
        write(path, value)
    except OSError as error:
        raise refused(f"set {file} to {value}", path, error) from error


def read(path: str) -> str:
    """The whole text of a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return os.fsdecode(b"".join(parts))


def words(path: str) -> frozenset[str]:
    """The words of a file; none when it is not there or not for us."""
    try:
        return frozenset(read(path).split())
    except OSError:
        return frozenset()


def hold(path: str, flags: int) -> int:
    """Open a file to be used again and again. Raises OSError. The caller closes the descriptor."""
    return os.open(path, flags | _FLAGS)


def again(descriptor: int) -> bytes:
    """Read a file that is held open, from its beginning. Raises OSError."""
    return os.pread(descriptor, 4096, 0)


def counter(text: str | bytes, name: str) -> int:
    """The number beside `name` in a flat keyed file (``oom_kill 3``); 0 when it is not there."""
    for line in (text if isinstance(text, str) else text.decode()).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
