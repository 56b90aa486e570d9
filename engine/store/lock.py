"""One engine per data directory: an flock on DATA/lock, with the holder's pid inside for the message.

The kernel drops the lock when the holder ends, however it ends, so no stale lock file can keep an engine out. The file
descriptor is close-on-exec: a spawner or a function that outlives its engine does not hold the directory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from engine.errors import DataDirectoryError

DATA_MODE = 0o711


class DirectoryLock:
    """The lock of one data directory. `acquire` and `release` do file I/O: call them in a thread."""

    __slots__ = ("_fd", "path")

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "lock"
        self._fd = -1

    def acquire(self) -> None:
        """Make the directory if need be and take its lock, without waiting.

        Raises:
            DataDirectoryError: another engine holds it (the message names its pid), or the directory cannot be made or
                written.
        """
        folder = self.path.parent
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(DATA_MODE)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {folder} cannot be used: {error.strerror} ({error.filename}); "
                "choose a directory that this user may write, with --data-dir or Engine(data_dir=...)"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DataDirectoryError(
                f"the data directory {folder} is in use by another engine (pid {holder}); "
                "stop that one, or give this one a directory of its own"
            ) from error
        os.ftruncate(fd, 0)
        os.write(fd, b"%d\n" % os.getpid())
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; harmless when it is not held. The file stays: removing it would race with the next."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
