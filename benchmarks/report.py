"""Results for people and for programs: a table on the terminal, JSON with the machine's fingerprint."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.cold_start import PHASES, ColdRow
from benchmarks.density import DensityRow
from benchmarks.enforcement import Enforcement
from benchmarks.functions import ROOT
from benchmarks.harness import Spread
from benchmarks.machine import Machine
from benchmarks.storm import StormRow
from benchmarks.streaming import StreamRow
from benchmarks.targets import Verdict
from benchmarks.warm import Cell, Figures

RESULTS = Path(__file__).parent / "results"
LOCAL = RESULTS / "local"
NOT_MEASURED = (
    "network between client and engine: everything is on loopback",
    "the client's share: generator, engine and functions use the same cores",
    "throughput, latency and peers in other isolation modes than the one named",
    "machines with more cores than this one",
)


class Document(Struct):
    """One run of the benchmark, as it is kept.

    `isolation` is the mode of warm, open-loop and peers' figures; everything else names its own.
    """

    taken: str
    machine: Machine
    isolation: str
    quick: bool
    warm: list[Cell] = []
    cold: list[ColdRow] = []
    peers: list[Cell] = []
    storm: list[StormRow] = []
    density: list[DensityRow] = []
    enforcement: Enforcement | None = None
    streaming: list[StreamRow] = []
    beside: list[Cell] = []
    targets: list[Verdict] = []
    scheduler: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    seconds: float = 0.0
    not_measured: tuple[str, ...] = NOT_MEASURED


def new(machine: Machine, *, isolation: str, quick: bool) -> Document:
    """A document without results."""
    taken = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Document(taken, machine, isolation, quick)


def number(value: float | None, digits: int = 3) -> str:
    """Milliseconds and the like; a dash where there is nothing to say."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"


def spread(value: Spread | None, digits: int = 2) -> str:
    """``0.71 (0.68..0.74)``."""
    if value is None:
        return "-"
    return f"{value.median:.{digits}f} ({value.low:.{digits}f}..{value.high:.{digits}f})"


def size(payload: int) -> str:
    """``16 B``, ``4 KB``, ``1 MB``."""
    for unit, name in ((1 << 20, "MB"), (1 << 10, "KB")):
        if payload >= unit:
            return f"{payload // unit} {name}"
    return f"{payload} B"


def _remarks(one: Figures) -> str:
    remarks = [f"{count} x {kind}" for kind, count in one.problems.items()]
    if one.grown:
        remarks.append(f"{one.grown} cold starts inside")
    return ", ".join(remarks)


def warm_table(title: str, cells: list[Cell], base: str = "floor") -> Table:
    """One line per subject and cell."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("function")
    for name in ("clients", "payload", "due/s"):
        table.add_column(name, justify="right")
    table.add_column("subject")
    for name in ("per second", f"of {base}", "p50 ms", "p90", "p99", "p99.9", "max", "+p50 ms", "cpu us"):
        table.add_column(name, justify="right")
    table.add_column("remarks")
    for cell in cells:
        for position, (name, one) in enumerate(cell.subjects.items()):
            head = (cell.function, str(cell.clients), size(cell.payload), number(cell.rate, 0) if cell.rate else "")
            table.add_row(
                *(head if position == 0 else ("", "", "", "")),
                name,
                f"{one.throughput.median:,.0f}",
                spread(one.ratio),
                *(number(one.latency.get(point)) for point in ("p50", "p90", "p99", "p99.9", "max")),
                "" if one.added_p50 is None else f"{one.added_p50.median:+.3f}",
                "" if one.engine_cpu_us is None else f"{one.engine_cpu_us.median:.0f}",
                _remarks(one),
                end_section=position == len(cell.subjects) - 1,
            )
    return table


def cold_table(rows: list[ColdRow]) -> Table:
    """One line per function and subject."""
    table = Table(title="Cold starts, ms; phases: medians", title_justify="left", header_style="bold")
    table.add_column("function")
    table.add_column("subject", no_wrap=True)
    for name in ("n", "median", "p90", "p99", "lowest", *PHASES[1:], "/s, 4 at once"):
        table.add_column(name, justify="right")
    table.add_column("remarks")
    for row in rows:
        total = row.phases.get("total")
        figures = (total.median, total.p90, total.p99, total.low) if total else (None,) * 4
        phases = [found.median if (found := row.phases.get(phase)) else None for phase in PHASES[1:]]
        remarks = [f"{row.failed} failed"] if row.failed else []
        if row.started:
            remarks.append(", ".join(f"{count} {how}" for how, count in sorted(row.started.items())))
        if row.not_cold:
            remarks.append(f"{row.not_cold} were warm, left out")
        cells = [number(value, 2) for value in (*figures, *phases)]
        rate = number(row.per_second, 0)
        table.add_row(row.function, row.label, str(total.n if total else 0), *cells, rate, ", ".join(remarks))
    return table


def write(document: Document, stem: Path) -> Path:
    """Writes ``stem``.json; the path."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_suffix(".json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


def shown(path: Path) -> str:
    """A path as a person would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def console() -> Console:
    """Wide enough for the tables even where output goes to a file."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=170)
