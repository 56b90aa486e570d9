"""Private user ids for sandboxes, for an engine that is root.

Each engine on a machine claims a block of ids, by a lock that its spawner inherits: the block is free again only when
both have ended, so a new engine never gives an id to a function while an old spawner still ends processes by it. Each
sandbox takes a pair: an even id that its processes run as, and the next one, which never runs anything (`spawner.tree`
says what it is for). A pair is given out again only after its sandbox was closed, the longest unused first.

The ids start at 1,900,000,000: beyond login users, /etc/subuid ranges (up to 600,100,000), and what systemd gives to
containers (up to 1,879,048,191); systemd's own table calls that stretch unused. In a user namespace that does not map
them (most rootless containers map 65,536) the blocks from 32,768 are taken instead.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import deque
from pathlib import Path

from engine.errors import SandboxError

FIRST_ID = 1_900_000_000
BLOCK = 8192
BLOCKS = 64
_SMALL_BLOCKS = (32768, 40960, 49152)
_LOCK_DIRECTORIES = (Path("/run/lambent"), Path("/var/tmp/lambent-locks"))  # noqa: S108 - made 0700 and checked below

#: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID (linux/capability.h).
_NEEDED_CAPABILITIES = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7


class UserBlock:
    """A claimed block of user ids.

    Attributes:
        base: the first id; the block is ``range(base, base + BLOCK)``.
        lock: the descriptor that holds the claim, for the spawner to inherit.
    """

    __slots__ = ("_free", "_fresh", "base", "lock")

    def __init__(self, base: int, lock: int) -> None:
        self.base = base
        self.lock = lock
        self._fresh = base
        self._free: deque[int] = deque()

    def take(self) -> int:
        """An even id; it and the next one belong to the caller.

        Raises:
            SandboxError: all are in use.
        """
        if self._fresh < self.base + BLOCK:
            user = self._fresh
            self._fresh += 2
            return user
        if not self._free:
            raise SandboxError(
                f"all {BLOCK // 2} user ids of this engine ({self.base} to {self.base + BLOCK - 1}) are in use: "
                "close environments or lower their number"
            )
        return self._free.popleft()

    def give_back(self, user: int) -> None:
        """The sandbox with this id is closed."""
        self._free.append(user)

    def release(self) -> None:
        """Give up the claim (the spawner may hold it a little longer)."""
        os.close(self.lock)


def why_not() -> str | None:
    """Why sandboxes cannot have users of their own here, or None when they can."""
    if os.geteuid() != 0:
        return "the engine is not root"
    status = _text("/proc/self/status")
    if status is None:
        return "there is no /proc"
    have = int(status.partition("CapEff:")[2].split(None, 1)[0], 16)
    if have & _NEEDED_CAPABILITIES != _NEEDED_CAPABILITIES:
        return "the engine is root without the capabilities to change user (CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID)"
    if not _bases():
        return "the engine's user namespace maps no range of user ids for them"
    return None


def claim(first: int = FIRST_ID, prefer: int = 0) -> UserBlock:
    """Claim a block that no other engine on this machine has, the one from `prefer` if possible. Blocking.

    Raises:
        SandboxError: none is free, or no safe place for the locks.
    """
    directory = _lock_directory()
    for base in sorted(_bases(first), key=lambda base: base != prefer):
        descriptor = os.open(directory / f"uids-{base}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return UserBlock(base, descriptor)
    raise SandboxError(f"all blocks of user ids are claimed by other engines (locks in {directory})")


def ranges() -> list[range]:
    """The ids that engines on this machine give to functions. Blocking."""
    bases = _bases()
    large = [base for base in bases if base >= FIRST_ID]
    return [range(base, base + BLOCK) for base in large or bases]


def _bases(first: int = FIRST_ID) -> list[int]:
    large = [first + number * BLOCK for number in range(BLOCKS)]
    return [base for base in (*large, *_SMALL_BLOCKS) if _mapped(base, base + BLOCK)]


def _mapped(low: int, high: int) -> bool:
    """Whether the user and group ids of ``range(low, high)`` exist in this user namespace."""
    for name in ("uid_map", "gid_map"):
        lines = [[int(word) for word in line.split()] for line in (_text(f"/proc/self/{name}") or "").splitlines()]
        if not any(start <= low and high <= start + count for start, _, count in lines):
            return False
    return True


def _lock_directory() -> Path:
    problems = []
    for directory in _LOCK_DIRECTORIES:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = os.lstat(directory)
        except OSError as error:
            problems.append(str(error))
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
            return directory
        problems.append(f"{directory} can be written by others than root")
    raise SandboxError(f"no place for the locks on user ids: {'; '.join(problems)}")


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
