"""Control groups: memory, CPU, processes, freezing and ending of an environment, on cgroup v1, v2 and both at once.

::

    layout    where the hierarchies are: two texts of the kernel in, a table out            (pure)
    placing   where on v2 the engine's subtree may stand: "no internal processes"           (pure)
    limits    what is allowed; a share of the CPU as quota and period                       (pure)
    host      looks and moves for `placing`
    files     reading and writing the kernel's small files, errors that say what was tried
    v1, v2    the same parts (memory, CPU, freezer) on either version
    group     `Cgroup`: the parts of one environment, wherever they are
    driver    `Cgroups`: those of one engine

What is promised on every host, and what differs:

===================  ==========================================  ===================================================
..                   v2                                          v1
===================  ==========================================  ===================================================
memory               memory.max; swap 0                          limit_in_bytes, the same with swap, swappiness 0
out of memory        kernel ends the group (memory.oom.group)    kernel ends one process, `Cgroup.oom_event` tells
                                                                 the engine, which ends the rest
peak                 since 5.19; begun anew since 6.12           always, begun anew
TCP buffers          within memory.max                           beside it, as much again
CPU                  cpu.max                                     cfs_quota_us, shares; no level of the engine above it
processes            pids.max                                    pids.max
freeze               cgroup.freeze, 30 us                        freezer.state, 200 us
kill                 cgroup.kill (5.14), else as v1              pids.max 0, then one by one
===================  ==========================================  ===================================================

A *hybrid* host has controllers on v1 and a v2 hierarchy with few or none: limits are set on v1, and freezing and
killing go through v2, so a process is a member of both.

Costs. `Cgroups` and the making and removing of a `Cgroup` belong into a thread: `mkdir`, `rmdir` and `join` wait for
the kernel's one lock for all cgroups, which a migration anywhere on the machine may hold for 10 ms; `create` takes
0.8 ms, `kill` 3 ms and `remove` 2 ms with one process inside. Cheap enough for the event loop, as measured here (2
shared virtual cores, a hybrid host, one process inside; median in a tight loop, and after 3 ms of sleep as on an idle
engine):

============  ========  ===========  =======================================================
operation     hot       after sleep  how
============  ========  ===========  =======================================================
memory_peak   3 us      31 us        descriptor held; opened each time: 95 us after sleep
reset_peak    2 us      24 us        the same descriptor
freeze        2 us      13 us        descriptor held; opened each time: 63 us after sleep
thaw          1 us      18 us        the same; freeze and thaw each 10 us more per process
acknowledge   3 us      33 us        descriptor held
oom_kills     16 us     72 us        opened each time on v1: asked only when a process ended
set_cpu       10 us     81 us        opened each time: twice in an environment's life
is_frozen     17 us     98 us        opened each time
============  ========  ===========  =======================================================

So a cgroup holds 3 descriptors (v2: 4): peak, freezer, and the event with its file.

Getting a process in (measured as above; the first is what to do)::

    clone3 with CLONE_INTO_CGROUP, then "0" > tasks      0.15 ms more than clone3 without, 0.12 ms per v1 hierarchy
    pid > cgroup.procs                                   7.8 ms each, when none was done in the last tenth of a second

The second waits for an RCU grace period with that lock held: every fork, freeze and thaw on the machine waits with it
(kernel/cgroup/cgroup.c, cgroup_procs_write_start; a thread that moves only itself is spared this).
"""

from __future__ import annotations

from .driver import Cgroups
from .group import Cgroup
from .limits import CgroupLimits

__all__ = ["Cgroup", "CgroupLimits", "Cgroups"]
