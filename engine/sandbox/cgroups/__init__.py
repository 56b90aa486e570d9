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
CPU                  cpu.max                                     cfs_quota_us
processes            pids.max                                    pids.max
freeze               cgroup.freeze, 30 us                        freezer.state, 200 us
kill                 cgroup.kill (5.14), else as v1              pids.max 0, then one by one
===================  ==========================================  ===================================================

A *hybrid* host has controllers on v1 and a v2 hierarchy with few or none: limits are set on v1, and freezing and
killing go through v2, so a process is a member of both.
"""

from __future__ import annotations

from .driver import Cgroups
from .group import Cgroup
from .limits import CgroupLimits

__all__ = ["Cgroup", "CgroupLimits", "Cgroups"]
