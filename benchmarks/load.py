"""Runs the load generator (`loadgen/`, Rust) and reads what it found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec
from msgspec import Struct

CRATE = Path(__file__).parent / "loadgen"
MIN_SAMPLES_P999 = 2000
"""Fewer samples than this say nothing about one in a thousand."""


@dataclass(frozen=True)
class Target:
    """Where to send invocations, and which processes serve them.

    Attributes:
        port: on 127.0.0.1.
        path: request target of invoke.
        engine_pid: the process whose CPU time counts as the engine's own (without functions and client).
        environments: how many environments there are now, where the subject can tell.
    """

    port: int
    path: str
    engine_pid: int
    environments: Callable[[], int] | None = None


class Latencies(Struct):
    """Latencies of one or more runs, in nanoseconds: `(upper bound, count)` per histogram step, 0.8 % wide."""

    buckets: list[tuple[int, int]] = []
    count: int = 0

    def quantile(self, fraction: float) -> float | None:
        """Milliseconds; None when there are too few samples to say (p99.9 needs 2,000)."""
        if not self.count or (fraction > 0.99 and self.count < MIN_SAMPLES_P999):
            return None
        wanted = max(1.0, fraction * self.count)
        seen = 0
        for bound, count in self.buckets:
            seen += count
            if seen >= wanted:
                return bound / 1e6
        return self.buckets[-1][0] / 1e6

    @property
    def max(self) -> float | None:
        """Milliseconds; the bound of the last step in use."""
        return self.buckets[-1][0] / 1e6 if self.buckets else None

    def summary(self) -> dict[str, float | int | None]:
        """The percentiles that tables and results carry, in milliseconds."""
        points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
        return {"n": self.count, **{name: self.quantile(at) for name, at in points.items()}, "max": self.max}


def merge(parts: Sequence[Latencies]) -> Latencies:
    """One histogram of several runs."""
    counts: dict[int, int] = {}
    for part in parts:
        for bound, count in part.buckets:
            counts[bound] = counts.get(bound, 0) + count
    return Latencies(buckets=sorted(counts.items()), count=sum(part.count for part in parts))


class Sample(Struct):
    """One request of a run with listed samples (cold starts)."""

    path: str
    status: int
    ns: int
    problem: str = ""
    request_id: str = ""
    log_result: str = ""


class LoadResult(Struct):
    """What one run found.

    Attributes:
        in_window: good answers within the measured seconds; `throughput` is this per second.
        errors: counts by kind: a status other than 200, a function error, a lost connection, a wrong length.
        unanswered: requests that were due and had no answer when the generator gave up.
        client_cpu_ns: CPU time of the generator itself.
        elapsed_ns: from the first request to the last answer.
        latency_ns: from when a request was due (open loop: by the timetable; closed loop: when it was sent).
        service_ns: from when it was sent.
    """

    seconds: float
    in_window: int
    finished: int
    reconnects: int
    unanswered: int
    client_cpu_ns: int
    errors: dict[str, int]
    elapsed_ns: int
    latency_ns: Latencies
    service_ns: Latencies
    throughput: float = 0.0
    samples: list[Sample] = []
    engine_cpu_us: float | None = None

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.errors.values()) + self.unanswered


class LoadError(RuntimeError):
    """The generator could not load the target at all."""


@cache
def generator() -> Path:
    """Builds the generator when its source changed; the path of the binary."""
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    built = subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=False)
    if built.returncode:
        raise LoadError(f"{' '.join(command)} in {CRATE} failed:\n{built.stderr}")
    return CRATE / "target/release/lambent-loadgen"


def _run(arguments: list[str], seconds: float) -> LoadResult:
    command = [str(generator()), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=seconds + 60)
    if done.returncode:
        raise LoadError(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    return msgspec.json.decode(done.stdout, type=LoadResult)


def _cpu_seconds(pid: int) -> float:
    """User and system CPU time of one process, from /proc (its own threads, not its children)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def run(
    target: Target,
    *,
    clients: int = 1,
    payload: int = 16,
    seconds: float = 1.0,
    warmup: float = 0.2,
    rate: float | None = None,
) -> LoadResult:
    """One run of warm invocations.

    Args:
        target: where to.
        clients: connections, each with at most one request in flight.
        payload: bytes of the body, a JSON string; an answer of another length is an error (all functions echo).
        seconds: how long to measure, after `warmup` seconds of the same load.
        warmup: seconds.
        rate: open loop with so many requests per second in all; None: closed loop.

    Raises:
        LoadError: nothing could be measured.
    """
    arguments = ["--connections", str(clients), "--payload", str(payload), "--expect", str(payload)]
    arguments += ["--duration", f"{seconds:g}", "--warmup", f"{warmup:g}"]
    if rate is not None:
        arguments += ["--rate", f"{rate:.1f}"]
    before = _cpu_seconds(target.engine_pid)
    result = _run([*arguments, f"127.0.0.1:{target.port}", target.path], seconds + warmup)
    used = _cpu_seconds(target.engine_pid) - before
    served = max(1.0, result.in_window * (seconds + warmup) / seconds)
    result.engine_cpu_us = used / served * 1e6
    return result


def each(target: Target, paths: Sequence[str], *, clients: int = 1, gap_ms: int = 0, body: str = "{}") -> LoadResult:
    """One request to each path, in order; every sample is listed. For cold starts."""
    with NamedTemporaryFile("w", suffix=".paths") as file:
        file.write("\n".join(paths))
        file.flush()
        arguments = ["--each", file.name, "--connections", str(clients), "--gap-ms", str(gap_ms), "--body", body]
        return _run([*arguments, f"127.0.0.1:{target.port}"], 10.0 * len(paths))
