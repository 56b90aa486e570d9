"""Cold starts, phase by phase.

Each sample is the first invocation of a function of its own, so it has a new environment. Nothing is retired or evicted
meanwhile (the memory budget is set out of reach): only the cold start itself is running. One sample per function kind
comes first and is not counted: after it the interpreter's files are in the page cache, as on any machine that is in
use.

The client sees the *total*. The engine's own story of the invocation splits it:

* *sandbox*: from Invoke received until the environment has its sandbox and Runtime API;
* *spawn*: from there to the runtime's process started;
* *init*: from there to the runtime's first `next`;
* *response*: from the event handed over to the answer in our hands;
* what is left of the total is the client's and the kernel's share.

An emulator is measured as a new process per sample that is already listening when the request is sent; its bootstrap
starts with the first request.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from msgspec import Struct

from benchmarks.functions import Function, Missing, function
from benchmarks.load import LoadError, LoadResult, Sample, each
from benchmarks.peers.rie_classic import RieClassic
from benchmarks.plan import Plan
from benchmarks.subjects import INVOKE, EngineSubject, Server
from benchmarks.warm import Say

GAP_MS = 20
BUDGET_MB = 1_000_000
"""No sample evicts another one; idle environments cost next to nothing for the minute that they live."""
BLOCKS = 4
"""Engine and emulator take turns in so many blocks of samples."""
BURST_CLIENTS = 4
PHASES = ("total", "sandbox", "spawn", "init", "response")


class Quantiles(Struct, frozen=True):
    """Milliseconds."""

    n: int
    median: float
    p90: float
    p99: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Quantiles | None:
        """None without values; percentiles by nearest rank, so p99 of fewer than 100 is the highest."""
        if not values:
            return None
        ordered = sorted(values)

        def at(fraction: float) -> float:
            return ordered[math.ceil(fraction * len(ordered)) - 1]

        return cls(len(ordered), statistics.median(ordered), at(0.9), at(0.99), ordered[0], ordered[-1])


class ColdRow(Struct):
    """Cold starts of one function on one subject.

    Attributes:
        phases: of `PHASES`, those that the subject tells.
        failed: samples without a good answer; they are in no figure.
        not_cold: samples that turned out to have found an environment; they are in no figure.
        per_second: cold starts per second with four clients at once, each request to a new function.
    """

    function: str
    subject: str
    phases: dict[str, Quantiles]
    failed: int = 0
    not_cold: int = 0
    per_second: float | None = None


class _Samples:
    """Collects until a row is made of them."""

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self.failed = 0
        self.not_cold = 0
        self.problems: set[str] = set()

    def row(self, name: str, subject: str, per_second: float | None = None) -> ColdRow:
        phases = {phase: found for phase, values in self.phases.items() if (found := Quantiles.of(values))}
        return ColdRow(name, subject, phases, self.failed, self.not_cold, per_second)


def _split(server: Server, sample: Sample, samples: _Samples) -> None:
    """Books one sample with the engine's own story of it."""
    story = server.request("GET", f"/_lambent/story/{sample.request_id}")
    assert isinstance(story, dict)
    if story.get("init_ms") is None:
        samples.not_cold += 1
        return
    samples.phases["total"].append(sample.ns / 1e6)
    times: dict[str, float] = {}
    for step in story["timeline"]:
        event = str(step["event"])
        for mark, text in (
            ("sandbox", "sandbox ready"),
            ("process", "process started"),
            ("init", "NEXT: INIT -> READY"),
            ("handed", "handed to the runtime"),
            ("answered", "answered by the runtime"),
        ):
            if event.startswith(text):
                times.setdefault(mark, float(step["ms"]))
    if "sandbox" in times:
        samples.phases["sandbox"].append(times["sandbox"])
    if "sandbox" in times and "process" in times:
        samples.phases["spawn"].append(times["process"] - times["sandbox"])
    if "process" in times and "init" in times:
        samples.phases["init"].append(max(0.0, times["init"] - times["process"]))
    if "handed" in times and "answered" in times:
        samples.phases["response"].append(times["answered"] - times["handed"])


def _good(result: LoadResult, samples: _Samples) -> list[Sample]:
    good = [sample for sample in result.samples if not sample.problem]
    samples.failed += len(result.samples) - len(good)
    samples.problems.update(sample.problem for sample in result.samples if sample.problem)
    return good


def _engine_block(server: Server, one: Function, names: list[str], samples: _Samples) -> None:
    for name in names:
        server.create(one, name)
    target = server.target(names[0])
    for sample in _good(each(target, [INVOKE.format(name) for name in names], gap_ms=GAP_MS), samples):
        _split(server, sample, samples)


def _emulator_block(one: Function, count: int, samples: _Samples) -> None:
    for _ in range(count):
        with RieClassic().start(one, 1) as target:
            for sample in _good(each(target, [target.path]), samples):
                samples.phases["total"].append(sample.ns / 1e6)


def _burst(server: Server, one: Function, count: int) -> float | None:
    """Cold starts per second, four at a time."""
    names = [f"burst-{one.name}-{number}" for number in range(count)]
    for name in names:
        server.create(one, name)
    result = each(server.target(names[0]), [INVOKE.format(name) for name in names], clients=BURST_CLIENTS)
    good = sum(not sample.problem for sample in result.samples)
    return good / (result.elapsed_ns / 1e9) if good else None


def measure(engine: EngineSubject, plan: Plan, say: Say, show: Callable[[ColdRow], None]) -> list[ColdRow]:
    """The plan's cold grid; rows are shown as they come."""
    rows: list[ColdRow] = []
    emulator_there = True
    for name, count in plan.cold:
        try:
            one = function(name)
        except Missing as error:
            say(f"skipped: cold {name}: {error}")
            continue
        ours, theirs = _Samples(), _Samples()
        per_second: float | None = None
        try:
            with engine.serve("--memory-budget", str(BUDGET_MB)) as server:
                _engine_block(server, one, [f"{name}-first"], _Samples())
                share = max(1, count // BLOCKS)
                for block in range(BLOCKS):
                    _engine_block(server, one, [f"{name}-{block}-{number}" for number in range(share)], ours)
                    if emulator_there:
                        try:
                            _emulator_block(one, max(1, share // 2), theirs)
                        except (Missing, LoadError) as error:
                            say(f"skipped: cold starts of {RieClassic.name}: {error}")
                            emulator_there = False
                per_second = _burst(server, one, max(8, count // 2))
        except (LoadError, OSError) as error:
            say(f"failed: cold starts of {name}: {error}")
        for subject, samples in ((engine.name, ours), (RieClassic.name, theirs)):
            if samples.problems:
                say(f"cold {name} on {subject}: {', '.join(sorted(samples.problems))}")
            if samples.phases["total"] or samples.failed:
                row = samples.row(name, subject, per_second if subject == engine.name else None)
                rows.append(row)
                show(row)
    return rows
