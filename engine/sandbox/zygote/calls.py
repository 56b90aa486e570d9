"""The system calls that Python does not offer (setns is there from 3.12 on), through ctypes, found once in the zygote.

Each holds the interpreter's lock throughout (PyDLL), so that a fork inside one leaves nothing half done.
"""

from __future__ import annotations

import ctypes
import os
import signal

#: linux/sched.h
NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
_INTO_CGROUP = 0x200000000
#: linux/prctl.h
_SET_DUMPABLE, _CAPBSET_READ, _CAPBSET_DROP, _SET_MM, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 4, 23, 24, 35, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_SET_MM_MAP = 14
_MAP_WORDS = (
    "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack", "arg_start", "arg_end",
    "env_start", "env_end",
)  # fmt: skip
_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
#: linux/seccomp.h: without the flag, kernels before 5.16 slow down every filtered process.
_SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_SPEC_ALLOW = 1, 4
_CAPABILITY_VERSION_3 = 0x20080522
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 3, 0x22
#: asm/unistd.h; those without a number for a machine are the same on all.
_CLONE3, _CLOSE_RANGE = 435, 436
_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine)

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.sbrk.restype = ctypes.c_void_p
_libc.sbrk.argtypes = [ctypes.c_long]
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def enter(pidfd: int, namespaces: int) -> None:
    """setns: join namespaces of a process; with NEWPID, those of children to come. Raises OSError."""
    _check(_libc.setns(pidfd, namespaces))


def fork_into(group: int) -> int:
    """fork, the child born in the v2 control group of this descriptor; -1: where we are. Raises OSError.

    The C library does not know of the child's new pid: it may only fork once more and end.
    """
    arguments = (ctypes.c_uint64 * 11)()
    arguments[4] = signal.SIGCHLD
    if group >= 0:
        arguments[0] = _INTO_CGROUP
        arguments[10] = group
    return _check(_libc.syscall(_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments))))


def close_from(lowest: int) -> None:
    """Close every descriptor from this one on."""
    if _libc.syscall(_CLOSE_RANGE, ctypes.c_uint(lowest), ctypes.c_uint(0xFFFFFFFF), 0) < 0:
        os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))


def give_up_capabilities() -> None:
    """As a stem does (native/stem.c): no program started from here on gains anything. Raises OSError."""
    capability = 0
    while _libc.prctl(_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        _check(_libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0))
        capability += 1
    _check(_libc.prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_all_capabilities() -> None:
    """The effective, permitted and inheritable sets become empty. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(none)))


def load_filter(program: bytes) -> None:
    """Load a filter of system calls, an array of struct sock_filter. Raises OSError."""
    described = _Filter(len(program) // 8, program)
    if _SECCOMP is not None:
        _check(_libc.syscall(_SECCOMP, _SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_SPEC_ALLOW, ctypes.byref(described)))
    else:
        _check(_libc.prctl(_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(described), 0, 0))


def dumpable() -> None:
    """Undo what the kernel does when a process changes its user without execve: /proc/self is its own again."""
    _check(_libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0))


class _Map(ctypes.Structure):
    """struct prctl_mm_map."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in _MAP_WORDS),
        ("auxiliary", ctypes.c_void_p),
        ("auxiliary_size", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
    ]


def memory_map() -> _Map | None:
    """Where this process has its parts, for `show_as`; needs /proc. None where the kernel does not tell."""
    try:
        descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            words = os.read(descriptor, 4096).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
        # proc_pid_stat(5) numbers them from 1; what is after the name begins with 3.
        code, data, rest = words[23:26], words[42:45], words[45:49]
        numbers = [int(word) for word in (*code[:2], *data, b"0", code[2], *rest)]
        return _Map(*numbers, None, 0, 0xFFFFFFFF)
    except (OSError, IndexError, ValueError):
        return None


def show_as(known: _Map | None, arguments: list[bytes], environment: list[bytes]) -> None:
    """What /proc/self/cmdline and environ show; nothing happens where the kernel cannot.

    The memory stays mapped for as long as the process lives, since the kernel reads it.
    """
    if known is None:
        return
    first = b"".join(string + b"\0" for string in arguments)
    text = first + b"".join(string + b"\0" for string in environment)
    address = _libc.mmap(None, len(text), _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    if address in {None, ctypes.c_void_p(-1).value}:
        return
    ctypes.memmove(address, text, len(text))
    known.brk = _libc.sbrk(0)
    known.arg_start, known.arg_end = address, address + len(first)
    known.env_start, known.env_end = address + len(first), address + len(text)
    _libc.prctl(_SET_MM, _SET_MM_MAP, ctypes.addressof(known), ctypes.sizeof(known), 0)
