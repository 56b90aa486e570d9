"""Medians, percentiles and the order of turns, on figures that can be checked by hand."""

from __future__ import annotations

from benchmarks.cold_start import Quantiles
from benchmarks.harness import Spread, added_p50, interleave, ratio
from benchmarks.load import Latencies, LoadResult, merge


def result(throughput: float = 100.0, buckets: list[tuple[int, int]] | None = None) -> LoadResult:
    found = Latencies(buckets=buckets or [], count=sum(count for _, count in buckets or []))
    return LoadResult(
        seconds=1.0,
        in_window=int(throughput),
        finished=int(throughput),
        reconnects=0,
        unanswered=0,
        client_cpu_ns=0,
        errors={},
        elapsed_ns=10**9,
        latency_ns=found,
        service_ns=found,
        throughput=throughput,
    )


def test_percentiles_are_milliseconds_and_missing_where_samples_are_too_few():
    found = Latencies(buckets=[(1_000_000, 50), (2_000_000, 49), (9_000_000, 1)], count=100)
    assert (found.quantile(0.5), found.quantile(0.99), found.max) == (1.0, 2.0, 9.0)
    assert found.quantile(0.999) is None
    assert Latencies(buckets=[(1_000_000, 1999), (7_000_000, 3)], count=2002).quantile(0.999) == 7.0
    assert Latencies().quantile(0.5) is None


def test_histograms_merge_by_adding_their_steps():
    merged = merge([Latencies([(10, 1), (20, 2)], 3), Latencies([(20, 5), (30, 1)], 6)])
    assert merged == Latencies([(10, 1), (20, 7), (30, 1)], 9)


def test_turns_alternate_and_reverse():
    order: list[str] = []

    def turn(name):
        return lambda: order.append(name) or result()

    interleave({"a": turn("a"), "b": turn("b")}, 4)
    assert "".join(order) == "abbaabba"


def test_the_ratio_is_the_median_of_ratios_by_turn_not_a_ratio_of_medians():
    rates = {"engine": iter([50.0, 80.0, 300.0]), "floor": iter([100.0, 100.0, 1000.0])}
    series = interleave({name: lambda name=name: result(next(rates[name])) for name in rates}, 3)
    assert ratio(series["engine"], series["floor"]) == Spread(0.5, 0.3, 0.8, 3)


def test_turns_without_an_answer_are_in_no_ratio():
    silent = interleave({"engine": lambda: result(10.0), "floor": lambda: result(0.0)}, 2)
    assert ratio(silent["engine"], silent["floor"]) is None
    assert added_p50(silent["engine"], silent["floor"]) is None


def test_quantiles_of_a_hundred_cold_starts():
    assert Quantiles.of([float(n) for n in range(1, 101)]) == Quantiles(100, 50.5, 90.0, 99.0, 1.0, 100.0)
    assert Quantiles.of([]) is None
