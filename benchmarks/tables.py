"""Tables of what concerns sandboxes: storms, density, limits, targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.cold_start import Quantiles
from benchmarks.density import DensityRow
from benchmarks.enforcement import CpuRow, Enforcement, MemoryRow, TimeoutRow
from benchmarks.storm import StormRow
from benchmarks.streaming import StreamRow
from benchmarks.targets import Verdict


def _table(title: str, left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    for name in last:
        table.add_column(name)
    return table


def _problems(problems: dict[str, int]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in problems.items())


def storm_table(rows: Sequence[StormRow]) -> Table:
    """One line per storm."""
    right = ("requests", "cold", "seconds", "cold per second", "median ms", "p90", "worst", "failed")
    table = _table("Storms of cold starts", ("storm", "function", "isolation"), right, ("remarks",))
    for row in rows:
        at = row.latency
        latency = [f"{at.median:.1f}", f"{at.p90:.1f}", f"{at.high:.1f}"] if at else ["-"] * 3
        figures = [str(row.requests), str(row.cold), f"{row.seconds:.2f}", f"{row.per_second:.0f}", *latency]
        table.add_row(row.kind, row.function, row.isolation, *figures, str(row.failed), _problems(row.problems))
    return table


def stream_table(rows: Sequence[StreamRow]) -> Table:
    """One line per mode."""
    right = ("first byte, median ms", "p90", "p99", "MiB/s", "of MiB", "times")
    table = _table("Streamed responses", ("function", "isolation"), right)
    for row in rows:
        at = row.first_byte
        first = [f"{at.median:.3f}", f"{at.p90:.3f}", f"{at.p99:.3f}"] if at else ["-"] * 3
        table.add_row(
            row.function, row.isolation, *first, f"{row.mb_per_second:.0f}", str(row.megabytes), str(row.flows)
        )
    return table


def density_table(rows: Sequence[DensityRow]) -> Table:
    """One column per mode, one line per figure."""
    titles = [f"{row.isolation}, {row.environments} environments" for row in rows]
    table = _table("Density: idle environments; growth is per environment", ("",), titles)
    lines = (
        ("made in, s", "made_seconds", ".1f"),
        ("not made", "failed", "d"),
        ("engine's memory, KB each", "engine_kb", ".1f"),
        ("spawner's memory, KB each", "spawner_kb", ".1f"),
        ("environment's processes, KB each (PSS)", "environment_kb", ".0f"),
        ("environment's processes, number", "processes", ".2f"),
        ("kernel's memory, KB each (whole machine)", "kernel_kb", ".0f"),
        ("all memory no longer available, KB each", "total_kb", ".0f"),
        ("engine's open files, each", "engine_descriptors", ".2f"),
        ("spawner's open files, each", "spawner_descriptors", ".2f"),
        ("engine's idle CPU, % of a core", "engine_idle_percent", ".3f"),
        ("engine's wake-ups per second", "engine_wakeups", ".1f"),
        ("spawner's idle CPU, % of a core", "spawner_idle_percent", ".3f"),
        ("spawner's wake-ups per second", "spawner_wakeups", ".1f"),
        ("environments' idle CPU, % of a core, all together", "others_idle_percent", ".3f"),
    )
    for title, name, form in lines:
        table.add_row(title, *(format(getattr(row, name), form) for row in rows))
    return table


def _ms(value: Quantiles | None) -> list[str]:
    if value is None:
        return ["-", "-"]
    return [f"{value.median:.1f}", f"{value.high:.1f}"]


def limit_tables(found: Enforcement) -> Iterator[Table]:
    """One table per limit."""
    yield _cpu_table(found.cpu)
    yield _memory_table(found.memory)
    yield _timeout_table(found.timeout)
    table = _table("/tmp, where it was full", ("isolation",), ("limit MB", "written MB"), ("outcome",))
    for disk in found.disk:
        table.add_row(disk.isolation, str(disk.limit_mb), f"{disk.written_mb:.1f}", disk.outcome)
    yield table
    right = ("CPU ms until frozen", "CPU ms frozen", "watched s")
    table = _table("Freeze: a thread left behind that spins", ("isolation",), right)
    for still in found.freeze:
        figures = (f"{still.before_ms:.1f}", f"{still.frozen_ms:.3f}", f"{still.frozen_seconds:.1f}")
        table.add_row(still.isolation, *figures)
    yield table


def _cpu_table(rows: Sequence[CpuRow]) -> Table:
    right = ("MB", "asked", "granted", "range", "error", "cores idle meanwhile")
    table = _table("CPU share, cores", ("isolation",), right, ("",))
    for row in rows:
        share = row.granted
        figures = (f"{row.asked:.3f}", f"{share.median:.3f}", f"{share.low:.3f}..{share.high:.3f}", f"{row.error:+.1%}")
        rest = "the whole machine; no target" if row.whole_machine else ""
        table.add_row(row.isolation, str(row.memory_mb), *figures, f"{row.machine_idle:.2f}", rest)
    return table


def _memory_table(rows: Sequence[MemoryRow]) -> Table:
    right = ("limit MB", "touched MB", "own MB", "REPORT MB", "ms")
    table = _table("Memory, where the function was killed", ("isolation",), right, ("the client got",))
    for row in rows:
        used = "-" if row.reported_mb is None else str(row.reported_mb)
        figures = (str(row.limit_mb), str(row.touched_mb), str(row.own_mb), used, f"{row.ms:.0f}")
        table.add_row(row.isolation, *figures, row.outcome)
    return table


def _timeout_table(rows: Sequence[TimeoutRow]) -> Table:
    right = ("n", "client, median", "worst", "REPORT, median", "worst")
    table = _table("Timeout, ms over the limit", ("isolation", "function"), right, ("remarks",))
    for row in rows:
        figures = (str(row.client.n if row.client else 0), *_ms(row.client), *_ms(row.report))
        table.add_row(row.isolation, row.how, *figures, _problems(row.problems))
    return table


def target_table(verdicts: Sequence[Verdict], title: str = "Targets of sandbox mode on this machine") -> Table:
    """What is to be reached, and what was."""
    table = _table(title, ("what",), ("target", "measured"), ("",))
    for verdict in verdicts:
        met = "[green]met[/green]" if verdict.met else "[red]missed[/red]"
        table.add_row(verdict.what, verdict.target, verdict.value, met)
    return table
