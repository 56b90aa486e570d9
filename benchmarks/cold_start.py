"""Cold starts, phase by phase, in each isolation mode, with the pool of blank sandboxes full and empty.

Each sample is the first invocation of a function of its own, so it has a new environment. Nothing is retired or evicted
meanwhile (the memory budget is set out of reach): only the cold start itself is running. One sample per function kind
comes first and is not counted: after it the interpreter's files are in the page cache, as on any machine that is in
use.

*Pool full*: before each sample the engine has said that blanks are there and that it makes no more. *Pool empty*: an
engine that keeps none (`poolless`), so each sample pays for the whole sandbox.

The client sees the *total*. The engine's own story of the invocation splits it:

* *sandbox*: from Invoke received until the environment has its sandbox and Runtime API;
* *spawn*: from there to the runtime's process started;
* *init*: from there to the runtime's first `next`;
* *response*: from the event handed over to the answer in our hands;
* what is left of the total is the client's and the kernel's share.

An emulator is measured as a new process per sample that is already listening when the request is sent, after the same
rest and over a connection that it knows already; its bootstrap starts with the first request.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from benchmarks.client import Answer, Client
from benchmarks.functions import Function, Missing, function
from benchmarks.load import LoadError, each
from benchmarks.peers.rie_classic import RieClassic
from benchmarks.plan import Plan
from benchmarks.subjects import BUDGET_MB, INVOKE, WHOLE_CPU_MB, EngineSubject, Server
from benchmarks.warm import Say

REST_S = 0.02
"""Before each sample; what the sample before it left to do is done by then."""
BLOCKS = 4
"""Engines and emulator take turns in so many blocks of samples."""
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
        isolation: the engine's mode; empty for a peer.
        pool: ``full`` or ``empty``; empty text for a peer.
        started: how the engine says that the environments were started -> how many, where it says so.
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
    isolation: str = ""
    pool: str = ""
    started: dict[str, int] = {}

    @property
    def label(self) -> str:
        """``sandbox, pool full``, or the peer's name."""
        return f"{self.isolation}, pool {self.pool}" if self.isolation else self.subject


class Samples:
    """Collects until a row is made of them."""

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self.failed = 0
        self.not_cold = 0
        self.problems: set[str] = set()
        self.started: dict[str, int] = {}

    def row(self, name: str, subject: str) -> ColdRow:
        """What they come to."""
        phases = {phase: found for phase, values in self.phases.items() if (found := Quantiles.of(values))}
        return ColdRow(name, subject, phases, self.failed, self.not_cold, started=self.started)

    def good(self, answer: Answer) -> bool:
        """Whether it is; books it as failed when it is not."""
        if answer.problem:
            self.failed += 1
            self.problems.add(answer.problem)
        return not answer.problem


class Contender:
    """An engine in one mode, with its samples of one function."""

    def __init__(self, mode: str, server: Server, *, full: bool) -> None:
        self.mode = mode
        self.server = server
        self.full = full
        self.samples = Samples()
        self.per_second: float | None = None

    def row(self, name: str) -> ColdRow:
        """What was found."""
        row = self.samples.row(name, "lambent")
        row.isolation, row.pool, row.per_second = self.mode, "full" if self.full else "empty", self.per_second
        return row

    def block(self, one: Function, names: Sequence[str], samples: Samples, memory_mb: int = WHOLE_CPU_MB) -> None:
        """One sample per name."""
        self.server.create(one, *names, memory_mb=memory_mb)
        with Client(self.server.port) as client:
            for name in names:
                if self.full:
                    self.server.wait_for_blanks()
                time.sleep(REST_S)
                client.request("GET", "/_lambent/health")  # the connection is there, and known to the engine
                answer = client.request("POST", INVOKE.format(name), b"{}")
                if samples.good(answer):
                    _split(self.server, answer, samples)
        for environment in self.server.listing():
            how = environment.get("start")
            if how and environment["function"] in names:
                samples.started[how] = samples.started.get(how, 0) + 1

    def burst(self, one: Function, count: int) -> None:
        """Cold starts per second, four at a time."""
        names = [f"burst-{one.name}-{number}" for number in range(count)]
        self.server.create(one, *names, memory_mb=WHOLE_CPU_MB)
        result = each(self.server.target(names[0]), [INVOKE.format(name) for name in names], clients=BURST_CLIENTS)
        good = sum(not sample.problem for sample in result.samples)
        self.per_second = good / (result.elapsed_ns / 1e9) if good else None


def _split(server: Server, sample: Answer, samples: Samples) -> None:
    """Books one sample with the engine's own story of it."""
    story = server.request("GET", f"/_lambent/story/{sample.request_id}")
    assert isinstance(story, dict)
    if story.get("init_ms") is None:
        samples.not_cold += 1
        return
    samples.phases["total"].append(sample.ns / 1e6)
    for phase, took in phases(story["timeline"]).items():
        samples.phases[phase].append(took)


def phases(timeline: Sequence[dict[str, object]]) -> dict[str, float]:
    """The phases, in ms, that a story's timeline tells apart."""
    times: dict[str, float] = {}
    for step in timeline:
        event = str(step["event"])
        for mark, text in (
            ("sandbox", "sandbox ready"),
            ("process", "process started"),
            ("init", "NEXT: INIT -> READY"),
            ("handed", "handed to the runtime"),
            ("answered", "answered by the runtime"),
        ):
            if event.startswith(text):
                times.setdefault(mark, float(str(step["ms"])))
    found: dict[str, float] = {}
    if "sandbox" in times:
        found["sandbox"] = times["sandbox"]
    if "sandbox" in times and "process" in times:
        found["spawn"] = times["process"] - times["sandbox"]
    if "process" in times and "init" in times:
        found["init"] = max(0.0, times["init"] - times["process"])
    if "handed" in times and "answered" in times:
        found["response"] = times["answered"] - times["handed"]
    return found


def _emulator_block(one: Function, count: int, samples: Samples) -> None:
    for _ in range(count):
        with RieClassic().start(one, 1) as target, Client(target.port) as client:
            time.sleep(REST_S)  # as before the engine's samples: a processor that has just been busy wakes up faster
            client.request("GET", "/")  # the connection is there, and known to the emulator
            answer = client.request("POST", target.path, b"{}")
            if samples.good(answer):
                samples.phases["total"].append(answer.ns / 1e6)


class Emulator:
    """The emulator's samples, until it turns out not to be there; of functions that it can run."""

    def __init__(self, say: Say) -> None:
        self._there = True
        self._without: set[str] = set()
        self._say = say

    def block(self, one: Function, count: int, samples: Samples) -> None:
        """So many samples, each of an emulator of its own."""
        if self._there and one.name not in self._without:
            try:
                _emulator_block(one, count, samples)
            except Missing as error:
                self._say(f"skipped: cold starts of {RieClassic.name}: {error}")
                self._there = False
            except (LoadError, OSError) as error:
                self._say(f"failed: cold starts of {RieClassic.name} with {one.name}: {error}")
                self._without.add(one.name)


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[ColdRow], None]) -> list[ColdRow]:
    """The plan's cold grid; rows are shown as they come."""
    rows: list[ColdRow] = []
    emulator = Emulator(say)
    for name, count in plan.cold:
        try:
            one = function(name)
        except Missing as error:
            say(f"skipped: cold {name}: {error}")
            continue
        theirs = Samples()
        contenders: list[Contender] = []
        try:
            with contextlib.ExitStack() as stack:
                for mode in modes:
                    for full in (True, False):
                        subject = EngineSubject(mode, pool=full)
                        server = stack.enter_context(subject.serve("--memory-budget", str(BUDGET_MB)))
                        contenders.append(Contender(mode, server, full=full))
                        contenders[-1].block(one, [f"{name}-first"], Samples())
                share = max(1, count // BLOCKS)
                for block in range(BLOCKS):
                    names = [f"{name}-{block}-{number}" for number in range(share)]
                    for contender in contenders if block % 2 == 0 else reversed(contenders):
                        contender.block(one, names, contender.samples)
                    emulator.block(one, max(1, share // 2), theirs)
                for contender in contenders:
                    contender.burst(one, max(8, count // 2))
        except (LoadError, OSError) as error:
            say(f"failed: cold starts of {name}: {error}")
        found = [contender.row(name) for contender in contenders]
        problems = [contender.samples.problems for contender in contenders]
        for row, problem in zip([*found, theirs.row(name, RieClassic.name)], [*problems, theirs.problems], strict=True):
            if problem:
                say(f"cold {name}, {row.label}: {', '.join(sorted(problem))}")
            if row.phases or row.failed:
                rows.append(row)
                show(row)
    return rows
