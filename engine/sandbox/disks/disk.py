"""One disk, from mount to drop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from . import kernel, loop

#: With more than this on it, a disk is shut down before it is dropped, so that nothing is written for nobody.
_WORTH_SHUTDOWN = 1024 * 1024
#: Some kernels clear a device a moment after its last user went, by a worker.
_CLEAR_SECONDS = 0.25


@dataclass(frozen=True)
class Usage:
    """How full a disk is, in bytes, as df(1) inside the sandbox sees it.

    Attributes:
        total: what can be filled in all.
        used: what is taken, counting what is not written back yet.
        free: what is left.
        files: inodes in use, the root directory's and ext4's own ten included.
        files_free: inodes left.
        failed: the filesystem refuses all writes since the host's disk failed it: retire the sandbox.
    """

    total: int
    used: int
    free: int
    files: int
    files_free: int
    failed: bool


class Disk:
    """A filesystem of a hard size for the /tmp of one sandbox, never for another.

    Attributes:
        size_mb: its size in MiB: what df shows as available when it is new, or up to 2 % more.
        device: the path of the loop device under it.
        mount_fd: the detached mount. Pass it to the sandbox's first process (SCM_RIGHTS), which moves it to its /tmp by
            ``move_mount(fd, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH)``; once. Keep it open here: it serves
            `usage`, and leaves the work of taking the disk down to `close`. -1 after `close`.
    """

    __slots__ = ("_name", "_number", "device", "mount_fd", "size_mb")

    def __init__(self, size_mb: int, number: int, name: str, mount_fd: int) -> None:
        self.size_mb = size_mb
        self.device = loop.path(number)
        self.mount_fd = mount_fd
        self._number = number
        self._name = name

    def usage(self) -> Usage:
        """How full it is. Some 30 us; never waits for the disk."""
        found = os.fstatvfs(self.mount_fd)
        return Usage(
            total=(found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize,
            used=(found.f_blocks - found.f_bfree) * found.f_frsize,
            free=found.f_bavail * found.f_frsize,
            files=found.f_files - found.f_ffree,
            files_free=found.f_ffree,
            failed=bool(found.f_flag & os.ST_RDONLY) or self._failed(),
        )

    def close(self) -> bool:
        """Drop the disk and all that is on it. Blocking: 1 ms when nearly empty, 0.3 ms more per MB on it.

        Call it when the sandbox's processes have ended. If some have not, they get EIO from here on.

        Returns:
            Whether the device is free again. False: a mount namespace still holds the disk; it will be free when that
            is gone. Call `close` again to ask again.
        """
        if self.mount_fd >= 0:
            mount_fd, self.mount_fd = self.mount_fd, -1
            try:
                found = os.fstatvfs(mount_fd)
                if (found.f_blocks - found.f_bfree) * found.f_frsize > _WORTH_SHUTDOWN:
                    _shut_down(mount_fd)
            finally:
                os.close(mount_fd)
        deadline = time.monotonic() + _CLEAR_SECONDS
        while loop.holds(self._number, self._name):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _failed(self) -> bool:
        """Whether ext4 met an error: statfs(2) does not show that it refuses writes since (seen on Linux 6.18)."""
        try:
            count = Path(f"/sys/fs/ext4/loop{self._number}/errors_count").read_text()
        except OSError:
            return False  # no /sys here
        return count.strip() != "0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _root(mount_fd: int) -> int:
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)


def _shut_down(mount_fd: int) -> None:
    """Make the filesystem forget what it has not written (one line in the kernel's log says so)."""
    with contextlib.suppress(OSError):  # then unmounting writes it back: slower, and as good
        root = _root(mount_fd)
        try:
            fcntl.ioctl(root, kernel.EXT4_IOC_SHUTDOWN, struct.pack("I", kernel.EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(root)
