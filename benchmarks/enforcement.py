"""How exactly limits hold, as a function that runs into them sees it (`probe.py`).

* *CPU*: the share of a core that a spinner got over some seconds against MemorySize/1769 of a core. With more than the
  machine has, all that it has is what can be asked.
* *Memory*: the last megabyte that a function could say it had before it was killed, and the engine's REPORT.
* *Timeout*: how long after the limit the client had its answer, and what REPORT says; the environment is warm.
* *Disk*: where /tmp is full.
* *Freeze*: CPU time that a thread left behind gets between two invocations: seen from outside, once the environment is
  frozen, and until then.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from benchmarks import processes
from benchmarks.client import Answer, Client
from benchmarks.cold_start import Quantiles
from benchmarks.functions import PYTHON, Function
from benchmarks.harness import Spread
from benchmarks.load import LoadError
from benchmarks.plan import Plan
from benchmarks.subjects import BUDGET_MB, INVOKE, WHOLE_CPU_MB, EngineSubject, Server
from benchmarks.warm import Say

Row = TypeVar("Row")
HANGS = ("asleep", "spinning", "family")
TIMEOUT_S = 1
SETTLED_S = 0.5
"""After an answer; by then an idle environment is frozen (after 50 ms)."""
_TOUCHED = re.compile(r"touched (\d+) own (\d+)")
_WRITTEN = re.compile(r"written (\d+)")


class CpuRow(Struct):
    """Shares of one core.

    Attributes:
        granted: median and range of the samples.
        whole_machine: all that the machine has was asked for; whatever else runs takes from it.
        machine_idle: cores that idled meanwhile, in the sample with the fewest; near 0, others may have had the rest.
    """

    isolation: str
    memory_mb: int
    asked: float
    granted: Spread
    machine_idle: float
    whole_machine: bool = False

    @property
    def error(self) -> float:
        """Of the median, as a fraction of what was asked."""
        return self.granted.median / self.asked - 1


class MemoryRow(Struct):
    """Megabytes. `outcome` is what the client got; `touched_mb` and `own_mb` are the function's last words."""

    isolation: str
    limit_mb: int
    touched_mb: int
    own_mb: int
    reported_mb: int | None
    outcome: str
    ms: float


class TimeoutRow(Struct):
    """Milliseconds over the timeout."""

    isolation: str
    how: str
    client: Quantiles | None
    report: Quantiles | None
    problems: dict[str, int] = {}


class DiskRow(Struct):
    """Megabytes. `written_mb`: until the error; where the function was killed instead, what it had said before."""

    isolation: str
    limit_mb: int
    written_mb: float
    outcome: str


class FreezeRow(Struct):
    """CPU milliseconds of a thread left behind. `before_ms`: from the answer until it was frozen."""

    isolation: str
    before_ms: float
    frozen_ms: float
    frozen_seconds: float


class Enforcement(Struct):
    """All of it."""

    cpu: list[CpuRow] = []
    memory: list[MemoryRow] = []
    timeout: list[TimeoutRow] = []
    disk: list[DiskRow] = []
    freeze: list[FreezeRow] = []


def probe() -> Function:
    """The function that tests its limits."""
    return Function("probe", PYTHON, "app.handler", {"app.py": Path(__file__).with_name("probe.py").read_bytes()})


def asked_share(memory_mb: int, cores: int) -> float:
    """The share of CPU that a function of this size is to have on a machine with so many cores."""
    return min(memory_mb / WHOLE_CPU_MB, float(cores))


def last_words(log: str) -> tuple[int, int]:
    """(touched, own) MB that a function could still say."""
    found = _TOUCHED.findall(log)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def outcome(answer: Answer) -> str:
    """What the client got, in a few words."""
    if not answer.problem:
        return "an answer"
    try:
        told = json.loads(answer.body)
    except ValueError:
        return answer.problem
    kind = str(told.get("errorType") or told.get("Type") or answer.problem)
    message = re.sub(r"^RequestId: \S+ (Error: )?", "", str(told.get("errorMessage") or told.get("Message") or ""))
    return f"{kind}: {message}".rstrip(": ")[:90]


class _Probes:
    """Probe functions on one engine."""

    def __init__(self, server: Server, client: Client, mode: str, plan: Plan) -> None:
        self.server = server
        self.client = client
        self.mode = mode
        self.plan = plan
        self._function = probe()

    def make(self, name: str, **settings: int) -> None:
        """A function, and its environment."""
        self.server.create(self._function, name, **settings)
        self.ask(name, do="nothing")

    def ask(self, name: str, **event: object) -> Answer:
        """One invocation, with the end of its log."""
        return self.client.request("POST", INVOKE.format(name), json.dumps(event).encode(), X_Amz_Log_Type="Tail")

    def cpu(self, memory_mb: int) -> CpuRow:
        """One size; the first fork and the first period fall on all samples alike."""
        cores = len(os.sched_getaffinity(0))
        share = asked_share(memory_mb, cores)
        workers = max(1, -(-memory_mb // WHOLE_CPU_MB))
        self.make(f"cpu-{memory_mb}", memory_mb=memory_mb, timeout_s=60)
        granted: list[float] = []
        idle: list[float] = []
        for _ in range(self.plan.cpu_samples):
            before = processes.idle_seconds(Path("/proc/stat").read_text())
            answer = self.ask(f"cpu-{memory_mb}", do="spin", seconds=self.plan.cpu_seconds, workers=workers)
            after = processes.idle_seconds(Path("/proc/stat").read_text())
            if answer.problem:
                raise LoadError(f"the spinner with {memory_mb} MB: {outcome(answer)}")
            found = json.loads(answer.body)
            granted.append(found["cpu_s"] / found["wall_s"])
            idle.append((after - before) / (answer.ns / 1e9))
        return CpuRow(self.mode, memory_mb, share, Spread.of(granted), min(idle), share >= cores)

    def memory(self, limit_mb: int) -> MemoryRow:
        """One size."""
        name = f"memory-{limit_mb}"
        self.make(name, memory_mb=limit_mb, timeout_s=60)
        answer = self.ask(name, do="touch", most_mb=2 * limit_mb)
        touched, own = last_words(answer.log)
        report = answer.report
        used = report.max_memory_mb if report else None
        return MemoryRow(self.mode, limit_mb, touched, own, used, outcome(answer), answer.ns / 1e6)

    def timeout(self, how: str) -> TimeoutRow:
        """Some samples, each in a warm environment."""
        name = f"timeout-{how}"
        self.make(name, memory_mb=512, timeout_s=TIMEOUT_S)
        client: list[float] = []
        report: list[float] = []
        problems: dict[str, int] = {}
        for _ in range(self.plan.timeouts):
            answer = self.ask(name, do="nothing")
            if answer.problem:
                raise LoadError(f"after a timeout ({how}): {outcome(answer)}")
            answer = self.ask(name, do="hang", how=how)
            if "timed out" not in answer.body.decode(errors="replace"):
                problem = outcome(answer)
                problems[problem] = problems.get(problem, 0) + 1
                continue
            client.append(answer.ns / 1e6 - TIMEOUT_S * 1000)
            if (said := answer.report) is not None:
                report.append(said.duration_ms - TIMEOUT_S * 1000)
        return TimeoutRow(self.mode, how, Quantiles.of(client), Quantiles.of(report), problems)

    def disk(self, limit_mb: int) -> DiskRow:
        """One size."""
        name = f"disk-{limit_mb}"
        self.make(name, memory_mb=WHOLE_CPU_MB, timeout_s=120, storage_mb=limit_mb)
        answer = self.ask(name, do="fill", most_mb=limit_mb + 256)
        if answer.problem:
            said = _WRITTEN.findall(answer.log)
            return DiskRow(self.mode, limit_mb, float(said[-1]) if said else 0.0, outcome(answer))
        found: dict[str, Any] = json.loads(answer.body)
        return DiskRow(self.mode, limit_mb, found["written_mb"], found["error"] or "no limit met")

    def freeze(self) -> FreezeRow:
        """A thread that spins on after the answer, watched from outside."""
        self.make("background", memory_mb=512, timeout_s=60)
        pid = next(int(one["pid"]) for one in self.server.listing() if one["function"] == "background")
        answer = self.ask("background", do="background")
        answered = processes.cpu_ns(pid)
        if answer.problem:
            raise LoadError(f"a thread left behind: {outcome(answer)}")
        time.sleep(SETTLED_S)
        before, at = processes.cpu_ns(pid), time.monotonic()
        time.sleep(self.plan.frozen_seconds)
        after, later = processes.cpu_ns(pid), time.monotonic()
        return FreezeRow(self.mode, (before - answered) / 1e6, (after - before) / 1e6, later - at)


def _work(probes: _Probes, found: Enforcement, plan: Plan) -> Iterator[tuple[str, Callable[[], None]]]:
    """Everything to be done on one engine, by name."""
    for size in plan.cpu_sizes:
        yield f"cpu {size} MB", partial(_keep, found.cpu, partial(probes.cpu, size))
    for size in plan.memory_sizes:
        yield f"memory {size} MB", partial(_keep, found.memory, partial(probes.memory, size))
    for how in HANGS:
        yield f"timeout {how}", partial(_keep, found.timeout, partial(probes.timeout, how))
    for size in plan.disk_sizes:
        yield f"disk {size} MB", partial(_keep, found.disk, partial(probes.disk, size))
    yield "freeze", partial(_keep, found.freeze, probes.freeze)


def _keep(rows: list[Row], take: Callable[[], Row]) -> None:
    rows.append(take())


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[str], None]) -> Enforcement:
    """All limits in each mode; what fails is said and left out."""
    found = Enforcement()
    for mode in modes:
        try:
            with (
                EngineSubject(mode).serve("--memory-budget", str(BUDGET_MB)) as server,
                Client(server.port, timeout=180) as client,
            ):
                for name, action in _work(_Probes(server, client, mode, plan), found, plan):
                    show(f"{name}, {mode}")
                    try:
                        action()
                    except (LoadError, OSError) as error:
                        say(f"failed: {name} in {mode} mode: {error}")
        except (LoadError, OSError) as error:
            say(f"failed: limits in {mode} mode: {error}")
    return found
