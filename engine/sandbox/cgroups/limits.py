"""What a cgroup is allowed, and how a share of the CPU is told to the kernel. No I/O."""

from __future__ import annotations

import math

from msgspec import Struct

#: Microseconds. Within one period a group may use its quota, then it waits for the next.
#:
#: The kernel's default is 100 ms; the share of 128 MB, 0.072 of a core, then comes as 7 ms of work and a pause of 93 ms
#: in the middle of a request. With 20 ms it comes as 1.4 ms per 20 ms. The kernel looks at the quota in the timer tick
#: (4 ms at CONFIG_HZ=250) and takes what was overdrawn off the next periods, so the longest pause is what one tick
#: takes to earn. Measured here with a spinner, 2 s each, on a shared machine; share granted / longest pause:
#:
#: ======  ==================  ==================  ==================  ==================
#: cores   10 ms               20 ms               50 ms               100 ms
#: ======  ==================  ==================  ==================  ==================
#: 0.0723  quota too small     1.005 / 62 ms       1.026 / 94 ms       1.046 / 96 ms
#: 0.145   0.960 / 80 ms       1.015 / 36 ms       1.021 / 46 ms       1.031 / 87 ms
#: 0.25    1.004 / 17 ms       1.014 / 23 ms       1.013 / 41 ms       1.032 / 79 ms
#: 0.58    1.005 / 11 ms       1.003 / 14 ms       1.008 / 29 ms       1.013 / 45 ms
#: ======  ==================  ==================  ==================  ==================
#:
#: 5 ms loses 6 to 7 % (and paused for 90 ms now and then): the quota is handed to the processors in slices of 5 ms.
PERIOD_US = 20_000

#: The smallest quota and the longest period that the kernel takes (kernel/sched/core.c, tg_set_cfs_bandwidth).
MIN_QUOTA_US = 1_000
MAX_PERIOD_US = 1_000_000


#: What a core asked for weighs when there are not enough of them; what is in no control group weighs 1024. An eighth
#: would do for the engine, but the host's other programs would leave a function nothing.
WEIGHT_OF_A_CORE = 256


class CgroupLimits(Struct, frozen=True, kw_only=True):
    """What one cgroup is allowed; None is no limit.

    Attributes:
        memory_bytes: everything charged to it: anonymous pages, page cache, tmpfs, kernel memory. No swap on top.
        pids: processes and threads.
        cores: CPU time per time, in cores.
    """

    memory_bytes: int | None = None
    pids: int | None = None
    cores: float | None = None


def bandwidth(cores: float) -> tuple[int, int]:
    """Quota and period in microseconds for a share of the CPU (Documentation/scheduler/sched-bwc.rst).

    The period is `PERIOD_US`, longer only for shares so small (below 0.05 of a core) that the quota would be less than
    the kernel takes. No burst: the kernel's default, 0, is left as it is, so what a function did not use in one period
    it cannot save for another, and its share is the same at every moment.
    """
    if cores <= 0:
        raise ValueError(f"a share of {cores} cores is no share")
    period = PERIOD_US
    if cores * period < MIN_QUOTA_US:
        period = min(MAX_PERIOD_US, math.ceil(MIN_QUOTA_US / cores))
    return max(MIN_QUOTA_US, round(cores * period)), period


def weight(cores: float) -> int:
    """How a cgroup with this share weighs against others while there is too little for all: ``cpu.shares`` (v1).

    In proportion to the share, as Lambda gives CPU in proportion to memory, and low, so that the engine, by which all
    functions are served, comes before them.
    """
    return max(2, round(cores * WEIGHT_OF_A_CORE))
