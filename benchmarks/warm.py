"""Warm invocations: a cell of the grid is one function, so many clients, one payload, one loop; all subjects in turns.

Cold starts are kept out: before the first turn of a cell, each subject gets the cell's own load, unrecorded, until the
number of its environments no longer changes; a turn in which it changed all the same is counted in `grown`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from msgspec import Struct

from benchmarks.functions import Missing, function
from benchmarks.harness import Series, Spread, added_p50, interleave, ratio
from benchmarks.load import LoadError, LoadResult, Target, run
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

OPEN_SHARE = 0.5
"""Open loop runs at this share of what the slowest subject does in closed loop: queues form and drain, none grows."""

MIN_ANSWERS = 100
LONGER = 4
"""A turn takes up to so many times the plan's seconds where it would see fewer than `MIN_ANSWERS`."""

Loop = Literal["closed", "open"]
Say = Callable[[str], None]


class Figures(Struct):
    """One subject in one cell.

    Attributes:
        latency: percentiles in milliseconds from when requests were due.
        service: the same from when they were sent; in open loop the difference is what coordinated omission would hide.
        engine_cpu_us: CPU time of the subject's own process per invocation.
        failed: requests without a good answer, with kinds in `problems`.
        grown: environments that were made while measuring (should be 0).
        ratio: throughput against the base (mostly the floor), turn by turn; closed loop only, as in open loop the rate
            is given.
        added_p50: median latency over the base's, in milliseconds, turn by turn.
    """

    throughput: Spread
    latency: dict[str, float | int | None]
    service: dict[str, float | int | None]
    engine_cpu_us: Spread | None
    failed: int
    problems: dict[str, int]
    grown: int = 0
    ratio: Spread | None = None
    added_p50: Spread | None = None


class Cell(Struct):
    """One line of the results; ratios are to the subject `base`."""

    loop: Loop
    function: str
    clients: int
    payload: int
    rate: float | None
    turns: int
    seconds: float
    subjects: dict[str, Figures]
    base: str = ""


@contextlib.contextmanager
def started(subjects: Sequence[Subject], name: str, environments: int, say: Say) -> Iterator[dict[str, Target]]:
    """Starts those subjects that are to be had; says why for the others."""
    with contextlib.ExitStack() as stack:
        targets: dict[str, Target] = {}
        for subject in subjects:
            try:
                targets[subject.name] = stack.enter_context(subject.start(function(name), environments))
            except (Missing, LoadError) as error:
                say(f"skipped: {subject.name} with {name} x{environments}: {error}")
        yield targets


def settle(target: Target, clients: int, payload: int, plan: Plan) -> LoadResult:
    """Loads the target, unrecorded, until it makes no more environments."""
    result = run(target, clients=clients, payload=payload, seconds=plan.settle_seconds, warmup=0.1)
    if target.environments is not None:
        quiet = 0
        for _ in range(12):
            before = target.environments()
            result = run(target, clients=clients, payload=payload, seconds=plan.settle_seconds, warmup=0.0)
            quiet = quiet + 1 if target.environments() == before else 0
            if quiet == 2:
                break
    if result.in_window < MIN_ANSWERS:  # too slow for so short a look: large payloads, many clients
        result = run(target, clients=clients, payload=payload, seconds=LONGER * plan.settle_seconds, warmup=0.0)
    return result


def _counted(target: Target, grown: dict[str, int], name: str, action: Callable[[], LoadResult]) -> LoadResult:
    if target.environments is None:
        return action()
    before = target.environments()
    result = action()
    grown[name] = grown.get(name, 0) + max(0, target.environments() - before)
    return result


def figures(series: Series, base: Series | None, grown: int, loop: Loop) -> Figures:
    """The numbers of one subject."""
    compared = base is not series
    return Figures(
        throughput=series.throughput,
        latency=series.latency.summary(),
        service=series.service.summary(),
        engine_cpu_us=series.engine_cpu_us,
        failed=series.failed,
        problems=series.problems,
        grown=grown,
        ratio=ratio(series, base) if compared and loop == "closed" and base else None,
        added_p50=added_p50(series, base) if compared and base else None,
    )


def cell(
    targets: dict[str, Target],
    plan: Plan,
    *,
    loop: Loop,
    name: str,
    clients: int,
    payload: int,
    rate: float | None = None,
    base: str = "floor",
) -> Cell:
    """Measures one cell on subjects that run already.

    Args:
        targets: the subjects.
        plan: how long.
        loop: closed, or open at `OPEN_SHARE` of what the slowest can do unless `rate` says otherwise.
        name: of the function.
        clients: connections.
        payload: bytes.
        rate: requests per second in open loop.
        base: the subject that the others are compared with.

    Raises:
        LoadError: nothing could be measured.
    """
    settled = {subject: settle(target, clients, payload, plan) for subject, target in targets.items()}
    expected = rate or max(5.0, min(result.throughput for result in settled.values()))
    if loop == "open" and rate is None:
        expected = rate = OPEN_SHARE * expected
    seconds = min(LONGER * plan.seconds, max(plan.seconds, MIN_ANSWERS / expected))
    grown: dict[str, int] = {}
    action = partial(run, clients=clients, payload=payload, seconds=seconds, warmup=plan.warmup, rate=rate)
    runs = {
        subject: partial(_counted, target, grown, subject, partial(action, target))
        for subject, target in targets.items()
    }
    series = interleave(runs, plan.turns)
    compared = series.get(base)
    subjects = {subject: figures(each, compared, grown.get(subject, 0), loop) for subject, each in series.items()}
    return Cell(loop, name, clients, payload, rate, plan.turns, round(seconds, 3), subjects, base)


def grid(
    loop: Loop,
    subjects: Sequence[Subject],
    plan: Plan,
    say: Say,
    show: Callable[[Cell], None],
    base: str = "floor",
) -> list[Cell]:
    """All cells of the plan; each is shown as soon as it is there."""
    cells: list[Cell] = []
    for name, client_counts, payloads in plan.warm:
        for clients in client_counts:
            try:
                function(name)
            except Missing as error:
                say(f"skipped: {name}: {error}")
                break
            with started(subjects, name, clients, say) as targets:
                for payload in payloads:
                    try:
                        one = cell(targets, plan, loop=loop, name=name, clients=clients, payload=payload, base=base)
                    except LoadError as error:
                        say(f"failed: {loop} loop, {name}, {clients} clients, {payload} bytes: {error}")
                        continue
                    cells.append(one)
                    show(one)
    return cells
