"""Storms of cold starts: many first invocations at once, and a steady rain of them.

*Many functions*: one request to each of n new functions, all at once. *One function*: n requests to one new function at
once; the engine may answer some from environments that became free meanwhile, so cold starts are counted by the engine.

*Rain*: new environments as fast as the engine makes them, some at a time, for ten seconds. The memory budget holds
fewer environments than there are functions, which are asked in turn, so each request finds its function without an
environment and has to have another function's removed for room: making and removing both count, as they would go on for
ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from benchmarks.cold_start import Quantiles
from benchmarks.functions import Function, Missing, function
from benchmarks.load import LoadError, LoadResult, each
from benchmarks.plan import Plan
from benchmarks.subjects import BUDGET_MB, INVOKE, EngineSubject, Server
from benchmarks.warm import Say

KEPT = 64
"""Environments of 128 MB that have room in the rain."""
FUNCTIONS = 160
"""Asked in turn in the rain; well above `KEPT` and the clients together."""
CLIENTS = 8


class StormRow(Struct):
    """One storm.

    Attributes:
        kind: ``many functions``, ``one function`` or ``rain``.
        requests: how many were made.
        cold: environments that the engine started for them.
        seconds: from the first request to the last answer.
        latency: milliseconds, of good answers; None when there was none.
        problems: what the others got.
    """

    kind: str
    function: str
    isolation: str
    requests: int
    cold: int
    seconds: float
    latency: Quantiles | None
    problems: dict[str, int] = {}

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.problems.values())

    @property
    def per_second(self) -> float:
        """Cold starts per second."""
        return min(self.cold, self.requests - self.failed) / self.seconds if self.seconds else 0.0


def _row(kind: str, one: Function, mode: str, results: Sequence[LoadResult], cold: int, asked: int) -> StormRow:
    samples = [sample for result in results for sample in result.samples]
    problems: dict[str, int] = {}
    for sample in samples:
        if sample.problem:
            problems[sample.problem] = problems.get(sample.problem, 0) + 1
    if len(samples) < asked:
        problems["no answer"] = asked - len(samples)
    good = [sample.ns / 1e6 for sample in samples if not sample.problem]
    seconds = sum(result.elapsed_ns for result in results) / 1e9
    return StormRow(kind, one.name, mode, asked, cold, seconds, Quantiles.of(good), problems)


def _at_once(server: Server, one: Function, mode: str, kind: str, names: Sequence[str]) -> StormRow:
    server.wait_for_blanks()
    before = server.launches()
    result = each(server.target(names[0]), [INVOKE.format(name) for name in names], clients=len(names))
    return _row(kind, one, mode, [result], server.launches() - before, len(names))


def _storms(one: Function, mode: str, count: int) -> list[StormRow]:
    """Both kinds, each on an engine that knows nothing of storms yet: its pool has the size of calm times."""
    rows: list[StormRow] = []
    for kind, names in (
        ("many functions", [f"storm-{number}" for number in range(count)]),
        ("one function", ["storm"] * count),
    ):
        options = ("--memory-budget", str(BUDGET_MB), "--wait-limit", "30")
        with EngineSubject(mode).serve(*options) as server:
            server.create(one, "first", *dict.fromkeys(names))
            each(server.target("first"), [INVOKE.format("first")])
            rows.append(_at_once(server, one, mode, kind, names))
    return rows


def _rain(one: Function, mode: str, seconds: float) -> StormRow:
    names = [f"rain-{number}" for number in range(FUNCTIONS)]
    paths = [INVOKE.format(name) for name in names]
    with EngineSubject(mode).serve("--memory-budget", str(KEPT * 128), "--wait-limit", "10") as server:
        server.create(one, *names)
        each(server.target(names[0]), paths, clients=CLIENTS)  # fills the room
        before = server.launches()
        results: list[LoadResult] = []
        while sum(result.elapsed_ns for result in results) < seconds * 1e9:
            results.append(each(server.target(names[0]), paths, clients=CLIENTS))
        return _row("rain", one, mode, results, server.launches() - before, len(paths) * len(results))


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[StormRow], None]) -> list[StormRow]:
    """The plan's storms, in each mode."""
    rows: list[StormRow] = []
    for name in plan.storm_functions:
        try:
            one = function(name)
        except Missing as error:
            say(f"skipped: storm of {name}: {error}")
            continue
        for mode in modes:
            try:
                found = [*_storms(one, mode, plan.storm), _rain(one, mode, plan.rain_seconds)]
            except (LoadError, OSError) as error:
                say(f"failed: storm of {name} in {mode} mode: {error}")
                continue
            for row in found:
                rows.append(row)
                show(row)
    return rows
