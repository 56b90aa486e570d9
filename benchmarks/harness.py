"""Interleaved runs and the statistics over them.

Two subjects A and B that are compared run in turns, A B A B, minutes of other people's load falling on both alike. Each
turn gives one ratio; the result is the median of the ratios with the lowest and highest beside it. A figure of one
subject alone is the median over its turns; latencies are the merged histogram of all turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from benchmarks.load import Latencies, LoadResult, merge


class Spread(Struct, frozen=True):
    """A median with what lay around it."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def times(self, factor: float) -> Spread:
        """In another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.n)


class Series(Struct):
    """All turns of one subject under one load."""

    results: list[LoadResult] = []

    @property
    def throughput(self) -> Spread:
        """Good answers per second."""
        return Spread.of([result.throughput for result in self.results])

    @property
    def latency(self) -> Latencies:
        """From when requests were due, all turns together."""
        return merge([result.latency_ns for result in self.results])

    @property
    def service(self) -> Latencies:
        """From when requests were sent, all turns together."""
        return merge([result.service_ns for result in self.results])

    @property
    def p50(self) -> Spread | None:
        """Milliseconds: the median latency of each turn."""
        values = [value for result in self.results if (value := result.latency_ns.quantile(0.5)) is not None]
        return Spread.of(values) if values else None

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(result.failed for result in self.results)

    @property
    def problems(self) -> dict[str, int]:
        """What they got."""
        counts: dict[str, int] = {}
        for result in self.results:
            for kind, count in result.errors.items():
                counts[kind] = counts.get(kind, 0) + count
            if result.unanswered:
                counts["no answer"] = counts.get("no answer", 0) + result.unanswered
        return counts

    @property
    def engine_cpu_us(self) -> Spread | None:
        """CPU time of the engine's process per invocation, in microseconds: steadier than rates on a shared machine."""
        values = [result.engine_cpu_us for result in self.results if result.engine_cpu_us is not None]
        return Spread.of(values) if values else None


def interleave(runs: Mapping[str, Callable[[], LoadResult]], turns: int) -> dict[str, Series]:
    """Runs each of `runs` once per turn; every other turn in reverse order (A B B A), so that drift cancels."""
    series = {name: Series() for name in runs}
    names = list(runs)
    for turn in range(turns):
        for name in names if turn % 2 == 0 else reversed(names):
            series[name].results.append(runs[name]())
    return series


def ratio(of: Series, to: Series) -> Spread | None:
    """Throughput ratios turn by turn; None when the other had none."""
    pairs = [
        one.throughput / other.throughput
        for one, other in zip(of.results, to.results, strict=True)
        if other.throughput > 0
    ]
    return Spread.of(pairs) if pairs else None


def added_p50(of: Series, to: Series) -> Spread | None:
    """Difference of median latencies turn by turn, in milliseconds."""
    pairs = [
        (one.latency_ns.quantile(0.5), other.latency_ns.quantile(0.5))
        for one, other in zip(of.results, to.results, strict=True)
    ]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    return Spread.of(differences) if differences else None
