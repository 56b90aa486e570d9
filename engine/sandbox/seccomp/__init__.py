"""The seccomp filter of a sandbox: which system calls its processes may make.

`policy` says what is allowed, `tables` has the numbers of the calls, `bpf` puts instructions together, and here they
become the program that the sandbox's first process loads, after ``prctl(PR_SET_NO_NEW_PRIVS)`` and before exec, with
``seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog)``. The flag keeps kernels before 5.16 from
switching the processor's store bypass off for every filtered process, which costs far more than the filter. Filters are
inherited over fork and exec and cannot be taken off.

The order of the tests: architecture, then number by binary search, then arguments for the few calls that have a say.

* Another architecture (32-bit code on a 64-bit kernel) ends the process with SIGSYS. Its numbers mean other calls, so
  nothing can be let through, and without any call a program can neither report an error nor exit: the signal is the
  one clear answer.
* x32 (the x86_64 architecture with bit 30 in the number) is ENOSYS like any unknown number: what kernels say that are
  built without it, as most are, and what a program can report.

The filter belongs in the sandbox's first process, once its namespaces and mounts are made: everything that a first
process does later (clone, execve, setresuid, kill, wait) is allowed, its children inherit the filter for nothing, and
loading it is not on the way of a cold start.

Measured (x86_64, Linux 6.18, 2 shared virtual cores, a C program, medians of several noisy runs): getpid takes 230 ns
without and about 300 ns with the filter, as much as with a filter of one instruction, because the kernel has noted that
getpid is always allowed and skips the program; an ioctl, for which the program runs, 190 ns and 240 to 290 ns. Loading
takes 120 to 190 us, of which one instruction alone takes 40; making the bytes takes less than 1 ms, once per engine.
"""

from __future__ import annotations

import functools
import os
from typing import Final

from engine.errors import SandboxError
from engine.sandbox.seccomp.bpf import (
    ARCHITECTURE,
    EQUAL,
    KILL_PROCESS,
    NUMBER,
    Block,
    encode,
    load,
    search,
    when,
)
from engine.sandbox.seccomp.policy import ABSENT, decide
from engine.sandbox.seccomp.tables import SYSCALLS

__all__ = ["UnsupportedMachine", "filter_program"]

#: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 (linux/audit.h): ELF machine, 64 bits, little-endian.
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_OTHER_NAMES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


class UnsupportedMachine(SandboxError):
    """There is no table of system calls for this machine; the message names it."""


def filter_program(machine: str | None = None) -> bytes:
    """The filter as an array of ``struct sock_filter``: 8 bytes each, no ``struct sock_fprog`` before it.

    Args:
        machine: what ``uname -m`` prints; this machine by default.

    Raises:
        UnsupportedMachine: neither x86_64 nor aarch64.
    """
    machine = os.uname().machine if machine is None else machine
    return _program(_OTHER_NAMES.get(machine, machine))


@functools.cache
def _program(machine: str) -> bytes:
    if machine not in SYSCALLS:
        raise UnsupportedMachine(
            f"no seccomp filter for the machine {machine!r}: there are tables for {' and '.join(SYSCALLS)}; "
            "run on one of these, or use --isolation process"
        )
    by_number = load(NUMBER, search(_runs(SYSCALLS[machine])))
    return encode(load(ARCHITECTURE, when(EQUAL, _ARCHITECTURES[machine], by_number, KILL_PROCESS)))


def _runs(numbers: dict[str, int]) -> list[tuple[int, Block]]:
    """Neighbouring numbers with the same decision as one run, from 0; numbers without a name are absent."""
    names = {number: name for name, number in numbers.items()}
    runs: list[tuple[int, Block]] = []
    for number in range(max(names) + 2):
        decision = decide(names[number]) if number in names else ABSENT
        if not runs or runs[-1][1] != decision:
            runs.append((number, decision))
    return runs
