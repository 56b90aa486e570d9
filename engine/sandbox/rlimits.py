"""The resource limits of a process, as recorded inside Lambda (facts §5.2)."""

from __future__ import annotations

import resource

from .api import SandboxLimits

_MIB = 1024 * 1024
_NO_LIMIT = resource.RLIM_INFINITY
#: RLIMIT_RTTIME (asm-generic/resource.h), which the resource module does not name. What it marks: see `spawner.tree`.
RLIMIT_RTTIME = 15
#: RLIMIT_MEMLOCK and RLIMIT_NPROC are not in POSIX.
_RLIMIT_MEMLOCK = getattr(resource, "RLIMIT_MEMLOCK", None)
_RLIMIT_NPROC = getattr(resource, "RLIMIT_NPROC", None)


def encode(limits: SandboxLimits, *, private_user: bool, marker: int | None, file_size: bool = True) -> str:
    """The limits in the form that `spawner.blank` reads: ``resource=soft:hard,…``.

    FSIZE bounds a single file where the sum of them is only looked at now and then (`engine.sandbox.monitor.storage`);
    not where /tmp is a disk of its own, as it would end a program (SIGXFSZ) that is to be told ENOSPC.
    NPROC counts all processes of a user, so it is a limit of the sandbox only when the user is the sandbox's own.
    """
    table: dict[int, tuple[int, int]] = {
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_STACK: (8 * _MIB, _NO_LIMIT),
    }
    if file_size:
        table[resource.RLIMIT_FSIZE] = (limits.ephemeral_storage_mb * _MIB, limits.ephemeral_storage_mb * _MIB)
    if _RLIMIT_MEMLOCK is not None:
        table[_RLIMIT_MEMLOCK] = (64 * 1024, 64 * 1024)
    if private_user and _RLIMIT_NPROC is not None:
        table[_RLIMIT_NPROC] = (limits.processes, limits.processes)
    if marker is not None:
        table[RLIMIT_RTTIME] = (marker, marker)
    return ",".join(f"{number}={soft}:{hard}" for number, (soft, hard) in table.items())
