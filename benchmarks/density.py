"""Density: what an idle environment costs, of a thousand.

Each is an environment of a function of its own with the native bootstrap, the smallest there is, that has served one
invocation and has been idle since (frozen, by default, after 50 ms). All functions are made before the first look, so
that what grows is the environments' share alone. Growth is divided by their number.

Idle CPU is what engine and spawner use while nobody asks for anything: keeping a thousand environments must not cost
a wake-up each. Wake-ups are voluntary context switches.

What the kernel itself uses for processes, namespaces, mounts and control groups is seen as the machine's own figures
(slab, page tables, kernel stacks): on a machine where others work, those move by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from benchmarks.functions import Missing, function
from benchmarks.load import LoadError, each
from benchmarks.plan import Plan
from benchmarks.processes import Usage, command, machine_memory, tree, usage
from benchmarks.subjects import BUDGET_MB, INVOKE, EngineSubject, Server
from benchmarks.warm import Say

CLIENTS = 8
REST_S = 2.0
"""Between the last invocation and the first look: freezing and refilling are over."""
KERNEL = ("Slab", "PageTables", "KernelStack", "Percpu")


class Look(Struct):
    """One look at an engine.

    Attributes:
        others: functions, and what holds them (first processes, processes that wait).
        kernel_kb: what the kernel uses, of the whole machine; `available_kb` what it has left.
    """

    at: float
    engine: Usage
    spawner: Usage
    others: Usage
    kernel_kb: int
    available_kb: int


class DensityRow(Struct):
    """An engine with so many idle environments; all but the idle figures are growth per environment.

    Attributes:
        made_seconds: how long making them took, `failed` of them in vain.
        engine_kb: resident memory of the engine, `spawner_kb` of its spawner.
        environment_kb: memory of the environment's own processes, shared pages divided among those who share them.
        processes: how many those are.
        kernel_kb: memory of the kernel, machine-wide; `total_kb` all memory that is no longer available.
        engine_descriptors: open files of the engine; `spawner_descriptors` of its spawner.
        idle_seconds: how long the idle look took.
        engine_idle_percent: of one core, `engine_wakeups` per second; the same of the spawner and of the others.
    """

    isolation: str
    environments: int
    failed: int
    made_seconds: float
    engine_kb: float
    spawner_kb: float
    environment_kb: float
    processes: float
    kernel_kb: float
    total_kb: float
    engine_descriptors: float
    spawner_descriptors: float
    idle_seconds: float
    engine_idle_percent: float
    engine_wakeups: float
    spawner_idle_percent: float
    spawner_wakeups: float
    others_idle_percent: float


def look(engine: int) -> Look:
    """At an engine, by its process id, and at all that it started."""
    family = tree(engine)
    spawners = [pid for pid in family if "/sandbox/spawner" in command(pid)][:1]
    others = [pid for pid in family if pid not in spawners]
    memory = machine_memory()
    return Look(
        at=time.monotonic(),
        engine=usage([engine]),
        spawner=usage(spawners),
        others=usage(others, shares=True),
        kernel_kb=sum(memory.get(name, 0) for name in KERNEL),
        available_kb=memory.get("MemAvailable", 0),
    )


def row(mode: str, looks: Sequence[Look], made: int, asked: int, seconds: float) -> DensityRow:
    """The figures of three looks: before there was any environment, after all were made, and some idle time later."""
    before, after, later = looks
    count = max(1, made)
    idle = max(1e-9, later.at - after.at)

    def share(one: Usage, other: Usage) -> tuple[float, float]:
        return (other.cpu_ns - one.cpu_ns) / 1e7 / idle, (other.wakeups - one.wakeups) / idle

    engine, engine_wakeups = share(after.engine, later.engine)
    spawner, spawner_wakeups = share(after.spawner, later.spawner)
    return DensityRow(
        isolation=mode,
        environments=made,
        failed=asked - made,
        made_seconds=seconds,
        engine_kb=(after.engine.rss_kb - before.engine.rss_kb) / count,
        spawner_kb=(after.spawner.rss_kb - before.spawner.rss_kb) / count,
        environment_kb=(after.others.pss_kb - before.others.pss_kb) / count,
        processes=(after.others.processes - before.others.processes) / count,
        kernel_kb=(after.kernel_kb - before.kernel_kb) / count,
        total_kb=(before.available_kb - after.available_kb) / count,
        engine_descriptors=(after.engine.descriptors - before.engine.descriptors) / count,
        spawner_descriptors=(after.spawner.descriptors - before.spawner.descriptors) / count,
        idle_seconds=idle,
        engine_idle_percent=engine,
        engine_wakeups=engine_wakeups,
        spawner_idle_percent=spawner,
        spawner_wakeups=spawner_wakeups,
        others_idle_percent=share(after.others, later.others)[0],
    )


def _measure(server: Server, mode: str, names: Sequence[str], plan: Plan) -> DensityRow:
    server.wait_for_blanks()
    before = look(server.pid)
    result = each(server.target(names[0]), [INVOKE.format(name) for name in names], clients=CLIENTS)
    time.sleep(REST_S)
    made = server.environments()
    time.sleep(REST_S)  # the listing itself has to be forgotten by the CPU counters
    after = look(server.pid)
    time.sleep(plan.idle_seconds)
    later = look(server.pid)
    return row(mode, (before, after, later), made, len(names), result.elapsed_ns / 1e9)


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[DensityRow], None]) -> list[DensityRow]:
    """One row per mode."""
    rows: list[DensityRow] = []
    try:
        one = function("native")
    except Missing as error:
        say(f"skipped: density: {error}")
        return rows
    names = [f"idle-{number}" for number in range(plan.density)]
    for mode in modes:
        try:
            with EngineSubject(mode).serve("--memory-budget", str(BUDGET_MB), "--wait-limit", "30") as server:
                server.create(one, *names)
                rows.append(_measure(server, mode, names, plan))
        except (LoadError, OSError) as error:
            say(f"failed: density in {mode} mode: {error}")
            continue
        show(rows[-1])
        if rows[-1].failed:
            say(f"density in {mode} mode: {rows[-1].failed} of {len(names)} environments were not made")
    return rows
