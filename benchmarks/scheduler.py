"""What a decision of the scheduler costs, with 10, 1,000 and 100,000 functions. Flat is the promise.

``python -m benchmarks.scheduler [--json FILE] [--quick]``

Each figure is the time of the scheduler's own work and of effects that do nothing, in nanoseconds per decision: the
best of several rounds, the sizes taken in turn within each round so that a slow moment of the machine hits all alike.

- *warm, one function*: ``submit`` to a ready environment, then its ``answered`` and ``ready``, always one function.
- *warm, Zipf*: the same, few functions often and many seldom, as real ones come.
- *warm, any function*: the same, each time another function in random order. With 100,000 functions the records no
  longer fit into the processor's caches, and that is what the ratio shows: memory, not more work.
- *cold launch*: ``submit`` with no environment ready, up to the launch; the host has room.
- *eviction*: a full cold start on a full host: ``submit``, retire another function's environment, ``gone``, launch,
  ``ready`` (start), ``ready`` (idle).
- *gap*: ``submit`` while the only environment is returning, and ``ready``, which starts it there, after ``answered``.
- *throttle*: ``submit`` over the limit, refused.
- *keep-alive*: ``advance``, per environment that expires.

Also measured: the warm path against a twin that returns its effects as a list of commands for the shell to carry out.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.scheduler import BUSY, READY, Pool, Scheduler, Slot

SIZES = (10, 1_000, 100_000)
MEMORY_MB = 128

Measure = Callable[[int, int], float]


class Host:
    """Effects that do nothing but remember what was launched or retired last."""

    def __init__(self) -> None:
        self.launched: Slot[Any] | None = None
        self.retired: Slot[Any] | None = None

    def start(self, slot: Slot[Any], invocation: object, /) -> None:
        """Nothing."""

    def launch(self, slot: Slot[Any], /) -> None:
        """Remember."""
        self.launched = slot

    def retire(self, slot: Slot[Any], reason: str, /) -> None:
        """Remember."""
        self.retired = slot

    def refuse(self, invocation: object, reason: str, /) -> None:
        """Nothing."""

    def wake(self, at: float, /) -> None:
        """Nothing."""


def make(functions: int, *, environments: bool, memory_mb: int | None = None) -> tuple[Scheduler[Any], Host, list[Any]]:
    """A scheduler with that many functions; with one idle environment each, if wanted, as pairs of pool and slot."""
    host = Host()
    budget = memory_mb if memory_mb is not None else MEMORY_MB * (functions + 100_000)
    scheduler: Scheduler[Any] = Scheduler(host, memory_mb=budget, account_concurrency=10**9)
    pairs = []
    for number in range(functions):
        pool = scheduler.open_pool(f"function-{number}", MEMORY_MB)
        slot = None
        if environments:
            scheduler.submit(0.0, pool, object())
            slot = host.launched
            assert slot is not None
            scheduler.ready(0.0, slot)
            scheduler.ready(0.0, slot)
        pairs.append((pool, slot))
    return scheduler, host, pairs


def timed(work: Callable[[], None], decisions: int) -> float:
    """Nanoseconds per decision."""
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - began) / decisions
    finally:
        gc.enable()


def warm_pairs(scheduler: Scheduler[Any], pairs: Iterable[tuple[Pool[Any], Slot[Any]]]) -> None:
    """The warm path, as often as there are pairs."""
    submit, answered, ready, invocation = scheduler.submit, scheduler.answered, scheduler.ready, object()
    for pool, slot in pairs:
        submit(1.0, pool, invocation)
        answered(1.0, slot)
        ready(1.0, slot)


def warm_one(functions: int, decisions: int) -> float:
    """Warm, always one function."""
    scheduler, _, pairs = make(functions, environments=True)
    work = [pairs[functions // 2]] * decisions
    return timed(lambda: warm_pairs(scheduler, work), decisions)


def warm_any(functions: int, decisions: int) -> float:
    """Warm, functions in random order."""
    scheduler, _, pairs = make(functions, environments=True)
    work = random.Random(1).choices(pairs, k=decisions)
    return timed(lambda: warm_pairs(scheduler, work), decisions)


def warm_zipf(functions: int, decisions: int) -> float:
    """Warm, few functions often and many seldom: the n-th comes 1/n**1.1 times as often as the first."""
    scheduler, _, pairs = make(functions, environments=True)
    weights = [1 / (rank + 1) ** 1.1 for rank in range(functions)]
    work = random.Random(1).choices(pairs, weights, k=decisions)
    return timed(lambda: warm_pairs(scheduler, work), decisions)


def cold_launch(functions: int, decisions: int) -> float:
    """A submit that launches, with every other function idle."""
    scheduler, _, _ = make(functions, environments=True)
    pools = [scheduler.open_pool(f"cold-{number}", MEMORY_MB) for number in range(min(functions, decisions))]
    work = [(pools[number % len(pools)], object()) for number in range(min(decisions, 50_000))]

    def run() -> None:
        submit = scheduler.submit
        for pool, invocation in work:
            submit(1.0, pool, invocation)

    return timed(run, len(work))


def eviction(functions: int, decisions: int) -> float:
    """A cold start that evicts: there is room for all functions but one, and they come in order."""
    scheduler, host, pairs = make(functions, environments=True, memory_mb=MEMORY_MB * functions)
    pools = [scheduler.open_pool("one more", MEMORY_MB), *(pool for pool, _ in pairs)]
    work = [pools[number % len(pools)] for number in range(decisions)]

    def run() -> None:
        submit, ready, gone, invocation = scheduler.submit, scheduler.ready, scheduler.gone, object()
        for pool in work:
            submit(1.0, pool, invocation)
            assert host.retired is not None
            gone(1.0, host.retired)
            slot = host.launched
            assert slot is not None
            ready(1.0, slot)
            ready(1.0, slot)

    before = scheduler.evictions
    cost = timed(run, decisions)
    assert scheduler.evictions - before == decisions
    return cost


def gap(functions: int, decisions: int) -> float:
    """A caller that is back before the environment is, each time: it waits, and nothing is launched."""
    scheduler, _, pairs = make(functions, environments=True)
    pool, slot = pairs[functions // 2]
    invocations = [object(), object()] * (decisions // 2)
    scheduler.submit(1.0, pool, object())

    def run() -> None:
        submit, answered, ready = scheduler.submit, scheduler.answered, scheduler.ready
        for invocation in invocations:
            answered(1.0, slot)
            submit(1.0, pool, invocation)
            ready(1.0, slot)

    before = scheduler.launches
    cost = timed(run, len(invocations))
    assert scheduler.launches == before
    return cost


def throttle(functions: int, decisions: int) -> float:
    """A submit over a reserved concurrency of 0."""
    scheduler, _, pairs = make(functions, environments=True)
    pool = pairs[functions // 2][0]
    scheduler.reserve(pool.function, 0)

    def run() -> None:
        submit, invocation = scheduler.submit, object()
        for _ in range(decisions):
            submit(1.0, pool, invocation)

    return timed(run, decisions)


def keep_alive(functions: int, decisions: int) -> float:
    """Expiry of every idle environment, per environment; small hosts are emptied again and again."""
    total, count = 0.0, 0
    while count < min(decisions, 20_000):
        scheduler, _, _ = make(functions, environments=True)
        total += timed(lambda scheduler=scheduler: scheduler.advance(1e6), 1)  # type: ignore[misc]
        assert scheduler.expirations == functions
        count += functions
    return total / count


class ReturningScheduler(Scheduler[Any]):
    """The twin: the hot paths word for word, but `start` is returned as a command. For the comparison only."""

    __slots__ = ()

    def submit(self, now: float, pool: Pool[Any], invocation: Any) -> Any:
        """A list of commands, each a tuple; the warm case only."""
        limit = pool.limit
        in_flight = limit.in_flight
        slot = pool.top
        if in_flight >= limit.ceiling or slot is None:
            return super().submit(now, pool, invocation)  # set-up only
        limit.in_flight = in_flight + 1
        pool.busy += 1
        pool.top = below = slot.below
        if below is None:
            pool.bottom = None
        else:
            below.above = None
        older = slot.older
        newer = slot.newer
        older.newer = newer
        newer.older = older
        slot.state = BUSY
        return [("start", slot, invocation)]

    def ready(self, now: float, slot: Slot[Any], broken: bool = False) -> Any:
        """No commands, in the warm case: a shared empty tuple, the cheapest that can be returned."""
        pool = slot.pool
        if slot.state == BUSY:
            pool.limit.in_flight -= 1
            pool.busy -= 1
            if slot.answered:
                slot.answered = False
                pool.returning -= 1
        else:
            self._started(now, slot)
        if broken or pool.waiters or pool.closed:
            return self._ready_otherwise(now, slot, broken)  # set-up only
        slot.state = READY
        slot.ready_since = now
        slot.above = None
        slot.below = below = pool.top
        if below is None:
            pool.bottom = slot
        else:
            below.above = slot
        pool.top = slot
        slot.newer = idle = self._idle
        slot.older = newest = idle.older
        newest.newer = slot
        idle.older = slot
        if self._alert:
            self._look_up(now)
        return ()


def compare_effects(decisions: int, rounds: int) -> dict[str, float]:
    """The warm path of one function with effects as calls, and with effects as returned commands."""
    best = {"calls": float("inf"), "commands": float("inf")}
    invocation = object()
    for _ in range(rounds):
        for kind, make_scheduler in (("calls", Scheduler), ("commands", ReturningScheduler)):
            host = Host()
            scheduler: Scheduler[Any] = make_scheduler(host, memory_mb=MEMORY_MB)
            pool = scheduler.open_pool("function", MEMORY_MB)
            scheduler.submit(0.0, pool, invocation)
            slot = host.launched
            assert slot is not None
            scheduler.ready(0.0, slot)
            scheduler.ready(0.0, slot)

            def calls(scheduler: Any = scheduler, pool: Any = pool, slot: Any = slot) -> None:
                submit, answered, ready = scheduler.submit, scheduler.answered, scheduler.ready
                for _ in range(decisions):
                    submit(1.0, pool, invocation)
                    answered(1.0, slot)
                    ready(1.0, slot)

            def commands(scheduler: Any = scheduler, pool: Any = pool, slot: Any = slot, host: Any = host) -> None:
                submit, answered, ready = scheduler.submit, scheduler.answered, scheduler.ready
                start = host.start
                for _ in range(decisions):
                    for command, where, what in submit(1.0, pool, invocation):
                        if command == "start":
                            start(where, what)
                    answered(1.0, slot)
                    for command, where, what in ready(1.0, slot):
                        if command == "start":
                            start(where, what)

            cost = timed(calls if kind == "calls" else commands, decisions)
            best[kind] = min(best[kind], cost)
    return {**best, "commands_to_calls": best["commands"] / best["calls"]}


MEASURES: dict[str, tuple[Measure, int]] = {
    "warm, one function": (warm_one, 200_000),
    "warm, Zipf": (warm_zipf, 200_000),
    "warm, any function": (warm_any, 200_000),
    "cold launch": (cold_launch, 20_000),
    "eviction": (eviction, 20_000),
    "gap": (gap, 50_000),
    "throttle": (throttle, 200_000),
    "keep-alive": (keep_alive, 20_000),
}


def fingerprint() -> dict[str, object]:
    """The machine and interpreter on which the figures were taken."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": model or platform.processor(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler", description="Cost per scheduler decision.")
    parser.add_argument("--json", type=Path, help="write the figures to this file instead of standard output")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds")
    arguments = parser.parse_args()
    rounds, share = (2, 10) if arguments.quick else (3, 1)
    results: dict[str, dict[str, float]] = {}
    for name, (measure, decisions) in MEASURES.items():
        best = dict.fromkeys(SIZES, float("inf"))
        for _ in range(rounds):
            for size in SIZES:
                best[size] = min(best[size], measure(size, decisions // share))
        results[name] = {str(size): round(cost, 1) for size, cost in best.items()}
    effects = compare_effects(200_000 // share, rounds)
    size_of = {"pool": sys.getsizeof(Pool("f", 1, make(1, environments=False)[2][0][0].limit))}
    size_of["slot"] = sys.getsizeof(make(1, environments=True)[2][0][1])
    report = {
        "benchmark": "scheduler",
        "unit": "ns per decision",
        "machine": fingerprint(),
        "functions": results,
        "effects": {key: round(value, 3) for key, value in effects.items()},
        "bytes": size_of,
    }
    print(
        f"{'ns per decision, functions:':28}"
        + "".join(f"{size:>12,}" for size in SIZES)
        + f"{'ratios to the first':>24}"
    )
    for name, costs in results.items():
        first = costs[str(SIZES[0])]
        ratios = "  ".join(f"{costs[str(size)] / first:.2f}" for size in SIZES[1:])
        print(f"{name:28}" + "".join(f"{costs[str(size)]:>12,.0f}" for size in SIZES) + f"{ratios:>24}")
    print(
        f"effects on the warm path: calls {effects['calls']:.0f} ns, returned commands {effects['commands']:.0f} ns"
        f" ({effects['commands_to_calls']:.2f} times)"
    )
    print(f"records: {size_of['pool']} bytes per function, {size_of['slot']} bytes per environment")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    else:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
