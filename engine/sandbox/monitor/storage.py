"""The size of a sandbox's /tmp. A folder has no quota, so it is walked: bounded, resumable, off every other thread.

The tree is hostile: it changes while it is walked, has symbolic links where folders were, and may be deep, wide, or on
a disk that makes the reader wait. So folders are opened without following links and checked to be inside; a walk looks
at no more than `MOST_ENTRIES` and goes on from there the next time; a thread of its own does the waiting. What a walk
cannot see: files that are open and have no name any more, and names beyond PATH_MAX.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

MOST_ENTRIES = 10_000
#: Every name counts as one block at least, so that empty files are not free: they take inodes.
ENTRY_BYTES = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def walk(root: str) -> Generator[int, None, None]:
    """The bytes on disk of each entry below `root`, one by one; hard links count once. Blocking."""
    linked: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        path = folders.pop()
        try:
            descriptor = os.open(path, _FOLDER)
        except OSError:  # removed or replaced since it was listed
            continue
        try:
            if not _inside(descriptor, root):
                continue
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(f"{path}/{entry.name}")
                    elif found.st_nlink > 1:
                        if (found.st_dev, found.st_ino) in linked:
                            continue
                        linked.add((found.st_dev, found.st_ino))
                    yield max(ENTRY_BYTES, found.st_blocks * 512)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _inside(descriptor: int, root: str) -> bool:
    """Whether an opened folder is in `root`: one on the way may have become a link. Elsewhere than on Linux, yes."""
    if sys.platform != "linux":
        return True
    real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
    return real == root or real.startswith(f"{root}/")


class Measure:
    """The size of one folder, walk by walk. `used` is the last whole figure, or more if a walk under way found more."""

    __slots__ = ("_found", "_walk", "root", "used")

    def __init__(self, root: str) -> None:
        self.root = root
        self.used = 0
        self._found = 0
        self._walk: Generator[int, None, None] | None = None

    def look(self, most: int = MOST_ENTRIES, *, anew: bool = False) -> int:
        """Walk on, over at most so many entries; the size as far as it is known. Blocking.

        With `anew`, a walk under way is given up, and what was found before counts no more.
        """
        if anew:
            self.close()
            self.used = 0
        if self._walk is None:
            self._walk = walk(os.path.realpath(self.root))
            self._found = 0
        for size in self._walk:
            self._found += size
            most -= 1
            if most <= 0:
                self.used = max(self.used, self._found)
                return self.used
        self._walk = None
        self.used = self._found
        return self.used

    def close(self) -> None:
        """Let go of the folder in which a walk stopped."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None


@dataclass(frozen=True, slots=True)
class _Order:
    measure: Measure
    done: Callable[[int, float], None] | None
    """None: close the measure."""
    anew: bool = False


class StorageThread:
    """One thread that walks, one folder at a time. It waits for nothing when there is nothing to do."""

    def __init__(self) -> None:
        self._orders: deque[_Order] = deque()
        self._work = threading.Semaphore(0)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="lambent-storage", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def look(self, measure: Measure, done: Callable[[int, float], None], *, anew: bool = False) -> None:
        """Have a folder looked at; `done` gets bytes and seconds, in the thread."""
        self._orders.append(_Order(measure, done, anew))
        self._work.release()

    def close(self, measure: Measure) -> None:
        """No more looks at this one."""
        self._orders.append(_Order(measure, None))
        self._work.release()

    def end(self) -> None:
        """Tell the thread to end after the walk that it is at."""
        self._ending = True
        self._work.release()

    def join(self, seconds: float) -> None:
        """Wait for its end. Blocking."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._work.acquire()
            if self._ending:
                break
            order = self._orders.popleft()
            if order.done is None:
                order.measure.close()
                continue
            then = time.perf_counter()
            used = order.measure.look(anew=order.anew)
            order.done(used, time.perf_counter() - then)
        for order in self._orders:
            order.measure.close()
