"""The engine's runtime directory: the /tmp folders of sandboxes, and what an engine that was killed left there.

::

    RUNTIME_DIR/           0711: sandboxes pass through, but list nothing
        lock               held by the engine and by its spawner; free when both have ended
        users, marker      the engine's block of user ids, or the marker of its processes: to find what it left
        tmp/NUMBER/        0700, the sandbox's own
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import time
from pathlib import Path

from engine.errors import SandboxError

_LOCK_SECONDS = 25.0


class RunDirectory:
    """A claimed runtime directory.

    Attributes:
        path: the directory.
        tmp: the folder of the sandboxes' folders.
        lock: the descriptor that holds the claim, for the spawner to inherit.
    """

    __slots__ = ("lock", "path", "tmp")

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.tmp = path / "tmp"
        self.lock = lock

    @classmethod
    async def claim(cls, path: Path) -> RunDirectory:
        """Make the directory if need be and claim it, waiting for an earlier engine's spawner to finish.

        Raises:
            SandboxError: it cannot be made or is in use.
        """
        try:
            descriptor = await asyncio.to_thread(_open, path)
        except OSError as error:
            raise SandboxError(f"the runtime directory {path} cannot be used: {error}") from error
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise SandboxError(
                    f"the runtime directory {path} is in use by another engine, or its spawner still runs "
                    f"(waited {_LOCK_SECONDS:.0f} s for the lock on {path / 'lock'})"
                )
            await asyncio.sleep(0.02)
        return cls(path, descriptor)

    def leftovers(self) -> list[Path]:
        """Folders of sandboxes that an earlier engine left. Blocking."""
        return sorted(self.tmp.iterdir())

    def recall(self, name: str) -> int:
        """The number that an earlier engine noted under `name`, 0 if there is none. Blocking."""
        try:
            return int((self.path / name).read_text())
        except (OSError, ValueError):
            return 0

    def note(self, name: str, number: int) -> None:
        """Note a number for the next engine. Blocking."""
        fresh = self.path / f"{name}.new"
        fresh.write_text(f"{number}\n")
        fresh.replace(self.path / name)

    def release(self) -> None:
        """Give up the claim (the spawner may hold it a little longer)."""
        os.close(self.lock)


def barrier(path: str) -> str | None:
    """The first folder above or at `path` that keeps other users out, or None. Blocking.

    A function of an engine that is root runs as a user of its own, so that every folder on the way to its code, its
    runtime and its /tmp must let others pass (o+x).
    """
    walked = Path("/")
    for part in Path(path).resolve().parts[1:]:
        walked /= part
        try:
            mode = walked.stat().st_mode
        except OSError:
            return str(walked)
        if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
            return str(walked)
    return None


def _open(path: Path) -> int:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o711)
    (path / "tmp").mkdir(exist_ok=True)
    (path / "tmp").chmod(0o711)
    return os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
