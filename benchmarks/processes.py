"""What processes use, from /proc: memory, CPU time, wake-ups, descriptors. Linux only.

Sources: proc(5) for stat, status, smaps_rollup and fd; Documentation/scheduler/sched-stats.rst for schedstat, whose
first number is the time that a thread spent on a CPU, in nanoseconds (stat counts in hundredths of a second).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")


class Usage(Struct, frozen=True):
    """Sums over processes.

    Attributes:
        processes: how many.
        rss_kb: resident memory, shared pages counted in each process.
        pss_kb: resident memory, shared pages divided among those who share them; 0 where it was not asked for.
        cpu_ns: user and system CPU time so far, of living threads.
        wakeups: voluntary context switches so far: how often a thread went to sleep, hence was woken.
        descriptors: open files; 0 where they are not ours to count.
    """

    processes: int
    rss_kb: int
    pss_kb: int
    cpu_ns: int
    wakeups: int
    descriptors: int


def fields(text: str) -> dict[str, int]:
    """``Name:   123 kB`` lines as numbers; lines without a number are left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        first = value.split()[:1]
        if first and first[0].isdigit():
            found[name] = int(first[0])
    return found


def parent_of(stat: str) -> int:
    """The parent in a stat line; the process's name may hold blanks and parentheses."""
    return int(stat.rpartition(")")[2].split()[1])


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    """All that descend from `root`, without it, given each process's parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return sorted(found)


def tree(root: int) -> list[int]:
    """The living descendants of a process."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = parent_of((entry / "stat").read_text())
    return descendants(root, parents)


def command(pid: int) -> str:
    """Its command line; empty for a process that has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def cpu_ns(pid: int) -> int:
    """CPU time of a process's living threads, nanoseconds. Raises OSError when it has ended."""
    total = 0
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def usage(pids: Iterable[int], *, shares: bool = False) -> Usage:
    """Sums over those of the processes that live. `shares`: with `Usage.pss_kb`, which takes the kernel a while."""
    count = rss = pss = cpu = wakeups = descriptors = 0
    for pid in pids:
        folder = PROC / str(pid)
        try:
            status = fields((folder / "status").read_text())
            cpu += cpu_ns(pid)
            tasks = list((folder / "task").iterdir())
        except OSError:
            continue
        count += 1
        rss += status.get("VmRSS", 0)
        for task in tasks:
            with contextlib.suppress(OSError):
                wakeups += fields((task / "status").read_text()).get("voluntary_ctxt_switches", 0)
        with contextlib.suppress(OSError):
            descriptors += sum(1 for _ in (folder / "fd").iterdir())
        if shares:
            with contextlib.suppress(OSError):
                pss += fields((folder / "smaps_rollup").read_text()).get("Pss", 0)
    return Usage(count, rss, pss, cpu, wakeups, descriptors)


def machine_memory() -> dict[str, int]:
    """/proc/meminfo in kB: what the kernel itself uses, and what is left."""
    return fields((PROC / "meminfo").read_text())


def idle_seconds(stat: str) -> float:
    """CPU seconds that all cores have idled (waiting for disks included) since boot, from /proc/stat."""
    numbers = stat.partition("\n")[0].split()[1:]
    return (int(numbers[3]) + int(numbers[4])) / os.sysconf("SC_CLK_TCK")
