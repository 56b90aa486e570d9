"""The monitor of `process` mode: limits held by looking, for hosts where the kernel is not ours to ask.

For each sandbox that runs it holds the memory of the whole process tree, the share of CPU, the number of processes and
the size of /tmp. What is over a limit is killed as one, and the exit says why (`engine.sandbox.Exit.cause`).

==============  ======================================================================================================
``pace``        when to look at memory and disk again (pure)
``duty``        the share of CPU as a duty cycle: whether to stop a tree or let it run, and when to look again (pure)
``meter``       CPU time that a tree consumed, from readings of its processes (pure)
``watch``       one sandbox as the monitor knows it; what follows from a reading (pure)
``host``        what is read from a system and done to its processes: the seam
``linux``       ... with /proc, CPU clocks and pidfds
``portable``    ... with psutil alone
``alarms``      sleeping until some process has consumed CPU time (Linux), or until told
``storage``     the size of /tmp: a bounded walk, in a thread of its own because a disk may make it wait
``census``      which processes there are of each sandbox: found, read, stopped, continued, killed
``service``     the thread: orders of the engine, looks, what follows from them, sleep
==============  ======================================================================================================

The hard idea: **look by CPU time, not by the clock.** A process that consumes no CPU cannot take memory, write files or
start processes. So what is left until a limit could be reached is expressed as CPU time that the tree may consume
unseen (headroom divided by the fastest that a core can take it), and on Linux the kernel wakes the monitor when that
much was consumed: a POSIX timer on the CPU clock of each process of the tree (timer_create(2), clock_getcpuclockid(3)).
A function that waits costs nothing, one that allocates as fast as it can is looked at every few milliseconds, and the
interval cannot be outrun, because it is derived from what is possible and not from what was seen last. Trees that keep
a core busy are looked at by the clock, which is finer than the kernel's tick. A frozen sandbox is not looked at.

One thing CPU clocks cannot tell: that a tree has a new process. While any sandbox is not frozen, /proc/loadavg (which
names the last pid given out) is read every 10 ms when something runs and every 100 ms when nothing does, and only if it
has changed /proc is listed, once for all sandboxes; processes seen before are recognised by their inode there.

Why a thread and not the event loop: enforcement must not depend on how busy the loop is, and the loop must not pay for
it. Nearly all of the time here is system calls that let go of the interpreter lock. The loop only ever appends to a
deque and wakes the thread; the thread only ever calls back through ``call_soon_threadsafe``.

Measured on 2 shared virtual cores, Linux 6.18, HZ=250: whether a process has run 0.6 µs (one
clock_gettime); /proc/<pid>/status 15 µs, statm 7 µs, smaps_rollup 40 µs (empty) to 260 µs (Python);
recognising all processes 0.8 µs each; psutil's memory_info 22 µs, cpu_times 31 µs, children(recursive) 27 ms with 390
processes on the machine. So psutil is what other systems get.

Held to its limits, measured there too, on a machine with more to do than it has cores. Memory touched as fast as it
can be by one process, at 128, 512 and 1769 MB: killed 1 to 18 MB over, 94 once. By a daemon, by a child of one that was
idle, by eight children at once: mostly 1 to 60 MB over, 116 at most; 343 once at a load of several hundred. Granted CPU
over 4 s: at 128 MB 0.070 to 0.072 cores of 0.072, at 512 MB 0.286 to 0.298 of 0.289, at 1769 MB with two threads 1.02
to 1.03 of 1. The thread's own CPU: nothing with 1,000 frozen sandboxes (it does not wake up), 1 to 3 ms a second with
1,000 idle ones that are not frozen (10 wake-ups; 14 ms while others fork), 25 with a spinner besides, 53 with one that
forks all the time; the event loop was late by 10 ms at most, by 6 ms without a monitor.
"""

from __future__ import annotations

from .duty import DutyCycle
from .pace import next_sample_in
from .service import Monitor
from .watch import Watch

__all__ = ["DutyCycle", "Monitor", "Watch", "next_sample_in"]
