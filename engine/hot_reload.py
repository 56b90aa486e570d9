"""Functions that live in a folder: a saved file is live on the next invocation.

Before each invocation of such a function its folder is looked at: names, sizes and modification times of every file.
When that differs from last time the folder is packed and becomes a new revision, with environments of its own; nothing
changes under a running one. Looking is done in a thread, one look at a time per function; invocations that come
meanwhile share the next look, so that none is served by code older than itself.

Why not file notifications: they come some time after the save, and "on the next invocation" must not be a race.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import anyio.to_thread

#: Folders whose changes never matter to a function.
IGNORED = frozenset({".git", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"})

Signature = tuple[tuple[str, int, int, int], ...]


def signature(folder: str) -> Signature:
    """What tells one state of a folder from another: (path, size, mtime in ns, mode) of every file, sorted. Blocking.

    Raises:
        OSError: the folder itself cannot be read. Files that vanish meanwhile are left out.
    """
    out: list[tuple[str, int, int, int]] = []
    os.stat(folder)  # noqa: PTH116 - strings throughout: a Path per file doubles the time
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED]
        for name in files:
            path = f"{parent}/{name}"
            try:
                found = os.stat(path)  # noqa: PTH116
            except OSError:
                continue
            out.append((path, found.st_size, found.st_mtime_ns, found.st_mode))
    return tuple(sorted(out))


class Watched:
    """One folder under watch.

    Attributes:
        folder: its absolute path.
        seen: its state when it was last packed; None before the first time.
    """

    __slots__ = ("_changed", "_looking", "_waiting", "folder", "seen")

    def __init__(self, folder: str, changed: Callable[[str], Awaitable[None]]) -> None:
        """Watch `folder`; `changed` is awaited with it when it differs from what was last seen."""
        self.folder = folder
        self.seen: Signature | None = None
        self._changed = changed
        self._looking = False
        self._waiting: list[Callable[[Exception | None], None]] = []

    def request(self, done: Callable[[Exception | None], None]) -> bool:
        """Ask for a look that begins after now; True when the caller must run `look` for it."""
        self._waiting.append(done)
        return not self._looking

    async def look(self) -> None:
        """Look, and go on as long as somebody asked meanwhile. Calls everybody who waited, with the error if any."""
        self._looking = True
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                error: Exception | None = None
                try:
                    found = await anyio.to_thread.run_sync(signature, self.folder)
                    if found != self.seen:
                        await self._changed(self.folder)
                        self.seen = found
                except Exception as caught:  # noqa: BLE001 - it is handed to those who wait
                    error = caught
                for done in waiting:
                    done(error)
        finally:
            self._looking = False
