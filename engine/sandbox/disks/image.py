"""Files without a name: they are gone with their last descriptor, whatever kills whom."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

_PREFIX = ".disk-"
#: open(2), O_TMPFILE: EOPNOTSUPP from a filesystem that cannot, EISDIR and ENOENT from one that does not know it.
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)


def nameless(folder: str) -> int:
    """A new file in `folder` that has no name; a descriptor, close-on-exec.

    Where the filesystem cannot make one (O_TMPFILE), a file with a name is made and unlinked at once; `sweep` removes
    what was left by a process that was killed between these two calls.
    """
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    path = f"{folder}/{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)  # noqa: PTH108 - the pair of the call above
    except BaseException:
        os.close(file)
        raise
    return file


def sweep(folder: Path) -> list[str]:
    """Remove files that a killed process left named; says which."""
    removed = []
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed.append(str(path))
    return removed
