"""The few system calls that Python does not offer: prctl, through ctypes, loaded once in the spawner."""

from __future__ import annotations

import ctypes
import os
import sys

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_SIGKILL = 9

_prctl = ctypes.CDLL(None, use_errno=True).prctl if LINUX else None


def _call(option: int, value: int) -> None:
    if _prctl is not None and _prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Orphans below this process become its children, whatever they did to leave."""
    _call(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """No execve from here on gains anything from set-user-id bits or file capabilities. Inherited."""
    _call(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when `parent` ends. The kernel forgets this when the user changes: call it again then.

    The parent may have ended between fork and this call, and then no signal ever comes: so look.
    """
    _call(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def effective_capabilities() -> int:
    """The effective capability set of this process, as a bit mask."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
    _, _, rest = text.partition(b"\nCapEff:")
    return int(rest.split(None, 1)[0], 16)
