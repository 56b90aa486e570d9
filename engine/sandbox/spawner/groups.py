"""Ending all processes of control groups and removing the groups, given nothing but their directories.

Works on v1, v2 and both at once (an environment then has one directory in each hierarchy). Where there is
``cgroup.kill`` the kernel ends the whole group in one go, and no fork slips through; else the group is kept from
forking (``pids.max`` 0) and its processes are signalled one by one until none is left.
"""

from __future__ import annotations

import errno
import os
import time

_SIGKILL = 9
#: errno of a control group that is gone: the directory (ENOENT), or what is open of it (ENODEV).
_GONE = {errno.ENOENT, errno.ENODEV}


def end_and_remove(directories: list[bytes], seconds: float = 10.0) -> None:
    """Kill what is in these control groups and in those below them, wait for it, and remove them all.

    What is not there is no error.

    Args:
        directories: absolute paths; nothing else in the hierarchies is touched. One that ends with a dot stands for all
            control groups beside each other whose paths begin so.
        seconds: how long to wait for processes that do not die (uninterruptible sleep).

    Raises:
        OSError: EBUSY naming the processes that would not die, or what kept a directory from being removed.
    """
    deadline = time.monotonic() + seconds
    tree = [group for directory in directories for group in below(directory)]
    for group in tree:
        _write(group + b"/pids.max", b"0")
    left = end(tree, deadline - time.monotonic())
    if left:
        raise OSError(errno.EBUSY, f"processes {left} of {_names(directories)} do not die")
    for group in tree:
        _remove(group, deadline)


def end(directories: list[bytes], seconds: float) -> list[int]:
    """Kill what is in these control groups until nothing is. Returns the processes left after `seconds`.

    The caller is spared, should it be among them; 0 stands for one that is outside of our pid namespace. A frozen v1
    group is thawed, since the frozen do not die there.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0002
    while True:
        for directory in directories:
            _write(directory + b"/cgroup.kill", b"1")
        left = members(directories)
        for pid in left:
            # SAFETY: read from the group a moment ago. The number could be another process's by now only if the kernel
            # had given out all other numbers in between.
            if pid > 0 and pid != os.getpid():
                _kill(pid)
        for directory in directories:
            _write(directory + b"/freezer.state", b"THAWED")
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(pause)
        pause = min(pause * 2, 0.01)


def members(directories: list[bytes]) -> set[int]:
    """The processes in these control groups, not in those below. Zombies are not among them."""
    found: set[int] = set()
    for directory in directories:
        found.update(int(pid) for pid in _read(directory + b"/cgroup.procs").split())
    return found


def below(directory: bytes) -> list[bytes]:
    """The control group and all below it, the deepest first; nothing when it is not there. A final dot: see above."""
    parent, _, start = directory.rpartition(b"/")
    if start.endswith(b"."):
        return [
            group for name in _children(parent) or () if name.startswith(start) for group in below(parent + b"/" + name)
        ]
    names = _children(directory)
    if names is None:
        return []
    found = [group for name in names for group in below(directory + b"/" + name)]
    return [*found, directory]


def _children(directory: bytes) -> list[bytes] | None:
    try:
        return [entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _remove(directory: bytes, deadline: float) -> None:
    """Rmdir; again while the kernel is still busy with the last process's end."""
    pause = 0.0002
    while True:
        try:
            os.rmdir(directory)  # noqa: PTH106 - pathlib is large
        except OSError as error:
            if error.errno in _GONE:
                return
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.01)


def _names(directories: list[bytes]) -> str:
    return ", ".join(os.fsdecode(directory) for directory in directories)


def _kill(pid: int) -> None:
    try:  # noqa: SIM105 - contextlib is large
        os.kill(pid, _SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _write(path: bytes, value: bytes) -> None:
    """Write where there is such a file; what matters is looked at afterwards."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, value)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _read(path: bytes) -> bytes:
    """The whole file; nothing when the group is gone, or (threaded groups of v2) will not say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return b"".join(parts)
