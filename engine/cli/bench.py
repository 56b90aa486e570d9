"""``lambent bench``: the benchmarks of the source tree; without one, a short measurement through the embedding API."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

import engine
from engine.cli.console import CommandError, emit_json, note, table
from engine.cli.options import common, setting
from engine.model.limits import MB_PER_VCPU
from engine.settings import Settings, load

if TYPE_CHECKING:
    from engine import Function
    from engine.cli.demo_functions import Example

PARTS = ("all", "throughput", "latency", "cold", "scheduler", "peers", "hot")
COLD = 10
WARM = 300
CLIENTS = 4
PER_PART_S = 1.0
"""Slow runtimes give fewer samples: each of a function's three parts ends after so long."""


class Measured(Struct):
    """One function. Times in ms, of whole requests inside the engine; cold and warm samples are kept apart.

    Attributes:
        cold_ms, cold_worst_ms: median and worst of `cold_samples` first requests, each to a new environment.
        init_ms: median of the part of a cold start that Init took.
        warm_ms, warm_p99_ms: median and 99th percentile of `warm_samples` requests, one after another.
        per_second: requests answered per second with `CLIENTS` at once.
    """

    language: str
    how: str
    cold_samples: int
    cold_ms: float
    cold_worst_ms: float
    init_ms: float
    warm_samples: int
    warm_ms: float
    warm_p99_ms: float
    per_second: float


@click.command("bench", epilog="\b\nExample:\n  lambent bench --quick\n  lambent bench --embedded --json")
@click.argument("part", type=click.Choice(PARTS), default="all", metavar=f"[{'|'.join(PARTS)}]")
@click.option("--matrix", is_flag=True, help="Every runtime, ours and AWS's, side by side: a table, a page, JSON.")
@click.option("--quick", is_flag=True, help="Fewer samples: about two minutes instead of many.")
@click.option(
    "--out",
    type=click.Path(),
    metavar="FILE",
    help="Where results go, without suffix.  [default: benchmarks/results/local]",
)
@click.option(
    "--embedded", is_flag=True, help="Only the short measurement through the embedding API, a quarter of a minute."
)
@click.option("--json", "as_json", is_flag=True, help="With --embedded: print JSON instead of a table.")
@setting("isolation")
@common
def command(
    *,
    part: str,
    matrix: bool,
    quick: bool,
    out: str | None,
    embedded: bool,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> int:
    """Measure cold starts, warm latency and throughput.

    In a source tree this runs its benchmarks: against the floor and the peers, with a table, JSON and a picture.
    Without one, or with --embedded, it is a short measurement of this machine's languages through the embedding API.
    """
    settings = load(flags, config=config)
    root = Path(engine.__file__).resolve().parent.parent
    if not embedded and (root / "benchmarks" / "__main__.py").is_file():
        if as_json:
            raise click.UsageError("--json goes with --embedded: the benchmarks write JSON to --out by themselves.")
        if matrix and part != "all":
            raise click.UsageError(f"--matrix is a part of its own: it does not go with {part}.")
        arguments = [sys.executable, "-m", *(["benchmarks.matrix"] if matrix else ["benchmarks", part])]
        arguments += ["--quick"] if quick else []
        arguments += ["--out", os.path.abspath(out)] if out else []  # noqa: PTH100 - it need not be there yet
        if settings.isolation != "auto":
            arguments += ["--isolation", settings.isolation]
        os.chdir(root)
        os.execv(sys.executable, arguments)  # noqa: S606 - our own benchmarks, in our place: Ctrl-C is theirs
    if part != "all" or out is not None or matrix:
        raise CommandError(
            f"{root} has no benchmarks, and the short measurement knows neither parts nor --matrix nor --out. Run "
            "'lambent bench' without them, or in a source tree of Lambent."
        )
    from engine.cli.loop import run

    return run(_bench(settings, as_json))


async def _bench(settings: Settings, as_json: bool) -> int:
    import asyncio

    from engine import Engine
    from engine.cli.demo_functions import examples
    from engine.cli.embed import engine_options

    found, missing = await asyncio.to_thread(examples)
    for line in missing:
        note(f"left out: {line}")
    rows: list[Measured] = []
    async with Engine(**engine_options(settings)) as host:
        mode = host.provider.mode
        for index, example in enumerate(found):
            note(f"measuring {example.language} ({example.how})")
            function = await host.create_function(
                f"bench-{index}",
                code=example.package,
                runtime=example.runtime,
                handler=example.handler,
                memory_mb=min(MB_PER_VCPU, host.memory_mb),
                timeout_s=30,
            )
            rows.append(await _measure(function, example))
            await function.delete()
    if as_json:
        import msgspec

        emit_json({"isolation": mode, "clients": CLIENTS, "functions": msgspec.to_builtins(rows)})
        return 0
    columns = ["FUNCTION", "COLD ms", "INIT ms", "WORST ms", "WARM ms", "P99 ms", f"PER SECOND, {CLIENTS} CLIENTS"]
    table(
        columns,
        [
            [
                f"{row.language} ({row.how})",
                f"{row.cold_ms:.2f}",
                f"{row.init_ms:.2f}",
                f"{row.cold_worst_ms:.2f}",
                f"{row.warm_ms:.3f}",
                f"{row.warm_p99_ms:.3f}",
                f"{row.per_second:,.0f}",
            ]
            for row in rows
        ],
        right=columns[1:],
    )
    note(f"isolation {mode}, {MB_PER_VCPU} MB each (one CPU)")
    note(f"at most {COLD} cold and {WARM} warm samples each; one client but for the last column")
    return 0


async def _measure(function: Function, example: Example) -> Measured:
    event = example.event("answer")

    async def ask() -> tuple[float, float | None]:
        result = await function.invoke(event)
        if result.function_error is not None:
            raise CommandError(
                f"{example.language} ({example.how}) failed: {result.payload.decode('utf-8', 'replace')}. "
                "'lambent demo' shows more."
            )
        return result.total_ms, result.init_ms

    cold: list[float] = []
    init: list[float] = []
    until = time.monotonic() + PER_PART_S
    for index in range(COLD):
        await function.configure(environment={"BENCH_ROUND": str(index)})  # a new revision: its first request is cold
        total, init_ms = await ask()
        if init_ms is not None:
            cold.append(total)
            init.append(init_ms)
        if time.monotonic() > until:
            break
    warm: list[float] = []
    until = time.monotonic() + PER_PART_S
    while len(warm) < WARM and (len(warm) < 2 or time.monotonic() < until):
        total, init_ms = await ask()
        if init_ms is None:
            warm.append(total)
    return Measured(
        language=example.language,
        how=example.how,
        cold_samples=len(cold),
        cold_ms=median(cold),
        cold_worst_ms=max(cold),
        init_ms=median(init),
        warm_samples=len(warm),
        warm_ms=median(warm),
        warm_p99_ms=_p99(warm),
        per_second=await _throughput(ask),
    )


async def _throughput(ask: Any) -> float:
    """Requests per second of `CLIENTS` clients, after each has had a first request that does not count."""
    import asyncio

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    began = time.monotonic()

    async def client() -> int:
        count = 0
        while time.monotonic() < began + PER_PART_S:
            await ask()
            count += 1
        return count

    counts = await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return sum(counts) / (time.monotonic() - began)


def _p99(samples: Sequence[float]) -> float:
    return quantiles(samples, n=100, method="inclusive")[98]
