"""What a person may ask the scheduler: how full the host is, who has what, who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .places import Scheduler


class PoolStats(NamedTuple):
    """One pool: environments by state, how many invocations each takes; invocations running, and waiting."""

    function: str
    memory_mb: int
    starting: int
    ready: int
    busy: int
    waiting: int
    closed: bool
    capacity: int
    running: int


class SchedulerStats(NamedTuple):
    """The host: memory in MB, environments by state, invocations, and counts since the start."""

    memory_mb: int
    memory_used_mb: int
    environments: int
    starting: int
    ready: int
    busy: int
    retiring: int
    lost: int
    waiting: int
    running: int
    launches: int
    evictions: int
    expirations: int
    throttles: int
    pools: tuple[PoolStats, ...]


def stats(scheduler: Scheduler[Any]) -> SchedulerStats:
    """Gather the figures. O(pools); pools that neither hold nor wait for anything are left out of the list."""
    room = scheduler._room
    pools = tuple(
        PoolStats(
            p.function, p.memory_mb, p.starting, p.idle, p.busy, p.waiting, p.closed is not None, p.capacity, p.running
        )
        for p in scheduler.pools()
        if p.contending
    )
    return SchedulerStats(
        memory_mb=room.memory_mb,
        memory_used_mb=room.used_mb,
        environments=room.environments,
        starting=sum(p.starting for p in pools),
        ready=sum(p.ready for p in pools),
        busy=sum(p.busy for p in pools),
        retiring=room.leaving,
        lost=room.environments - room.leaving - sum(p.starting + p.ready + p.busy for p in pools),
        waiting=sum(p.waiting for p in pools),
        running=sum(p.running for p in pools),
        launches=scheduler.launches,
        evictions=scheduler.evictions,
        expirations=scheduler.expirations,
        throttles=scheduler.throttles,
        pools=pools,
    )
