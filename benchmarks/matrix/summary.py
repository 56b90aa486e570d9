"""What the blocks come to: a line per runtime and memory size, ours beside AWS's, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from benchmarks.cold_start import ColdRow, Quantiles
from benchmarks.machine import Machine
from benchmarks.matrix.measure import Block
from benchmarks.peers.rie_classic import RieClassic
from benchmarks.targets import Verdict
from benchmarks.warm import Cell, Figures

#: Languages whose runtime of ours is to start faster than AWS's client and be no slower warm.
PROMISED = ("Python", "Node.js", "Ruby")
#: What counts as no slower: two runs of the same differ by this much.
NOISE = 0.95


class Document(Struct):
    """One run of the matrix, as it is kept."""

    taken: str
    machine: Machine
    isolation: str
    quick: bool
    blocks: list[Block] = []
    verdicts: list[Verdict] = []
    notes: list[str] = []
    seconds: float = 0.0


class Line(Struct):
    """One runtime at one memory size. Milliseconds; None where it was not measured.

    Attributes:
        started: how its environments were started, with the pool full.
        emulator: median cold start of the same package in AWS's emulator.
        warm_p50, one_client: median latency, and invocations per second, with one client.
        emulator_warm: the same invocations per second in the emulator.
        per_second: at the largest number of clients.
        of_aws_cold, of_aws_warm: ours over AWS's client: median cold start (lower is better), and throughput with the
            largest number of clients (higher is better).
        of_reference_cold, of_reference_warm: ours in the engine over AWS's client in AWS's emulator, with one client.
    """

    language: str
    runtime: str
    ours: bool
    memory_mb: int
    full: Quantiles | None
    empty: Quantiles | None
    phases: dict[str, float]
    started: str
    emulator: float | None
    warm_p50: float | None
    per_second: float | None
    clients: int
    one_client: float | None = None
    emulator_warm: float | None = None
    of_aws_cold: float | None = None
    of_aws_warm: float | None = None
    of_reference_cold: float | None = None
    of_reference_warm: float | None = None


def lines(blocks: Sequence[Block]) -> Iterator[Line]:
    """Ours first in each block."""
    for block in blocks:
        found = [_line(block, name) for name in block.runtimes]
        ours = found[0] if found else None
        if ours is not None and len(found) > 1:
            theirs = found[-1]
            if ours.full and theirs.full:
                ours.of_aws_cold = ours.full.median / theirs.full.median
            ours.of_aws_warm = _ratio(block, ours.runtime, theirs.runtime)
            reference = f"{RieClassic.name}: {theirs.runtime}"
            if ours.full and theirs.emulator:
                ours.of_reference_cold = ours.full.median / theirs.emulator
            ours.of_reference_warm = _ratio(block, ours.runtime, reference)
        yield from found


def _line(block: Block, name: str) -> Line:
    rows = [row for row in block.cold if row.function == name]
    full = next((row for row in rows if row.pool == "full"), None)
    emulator = _total(next((row for row in rows if row.subject == RieClassic.name), None))
    one = _figures(block.warm[0] if block.warm else None, name)
    many = _figures(block.warm[-1] if block.warm else None, name)
    in_emulator = _figures(block.warm[0] if block.warm else None, f"{RieClassic.name}: {name}")
    p50 = one.latency.get("p50") if one else None
    return Line(
        language=block.language,
        runtime=name,
        ours=name == block.runtimes[0],
        memory_mb=block.memory_mb,
        full=_total(full),
        empty=_total(next((row for row in rows if row.pool == "empty"), None)),
        phases={phase: found.median for phase, found in full.phases.items()} if full else {},
        started=", ".join(f"{count} {how}" for how, count in sorted(full.started.items())) if full else "",
        emulator=emulator.median if emulator else None,
        warm_p50=float(p50) if p50 is not None else None,
        per_second=many.throughput.median if many else None,
        clients=block.warm[-1].clients if block.warm else 0,
        one_client=one.throughput.median if one else None,
        emulator_warm=in_emulator.throughput.median if in_emulator else None,
    )


def _ratio(block: Block, name: str, base: str) -> float | None:
    """Of the cell with the most clients that was compared with `base`."""
    for cell in reversed(block.warm):
        figures = cell.subjects.get(name)
        if cell.base == base and figures and figures.ratio:
            return figures.ratio.median
    return None


def _total(row: ColdRow | None) -> Quantiles | None:
    return row.phases.get("total") if row else None


def _figures(cell: Cell | None, name: str) -> Figures | None:
    return cell.subjects.get(name) if cell else None


def verdicts(found: Sequence[Line]) -> list[Verdict]:
    """Whether our runtimes are ahead of AWS's clients where that is promised, at each memory size."""
    out = []
    for line in found:
        if line.ours and line.language in PROMISED:
            where = f"{line.language}, {line.memory_mb} MB"
            if line.of_aws_cold is not None:
                value, met = f"{line.of_aws_cold:.2f}", line.of_aws_cold < 1.0
                out.append(Verdict(f"{where}: cold start over that of AWS's client", "< 1", value, met))
            if line.of_aws_warm is not None:
                value, met = f"{line.of_aws_warm:.2f}", line.of_aws_warm >= NOISE
                out.append(Verdict(f"{where}: warm throughput over that of AWS's client", f">= {NOISE}", value, met))
            if line.full and line.emulator is not None:
                value, met = f"{line.full.median / line.emulator:.2f}", line.full.median < line.emulator
                out.append(Verdict(f"{where}: cold start over the emulator's", "< 1", value, met))
            if line.of_reference_cold is not None:
                value, met = f"{line.of_reference_cold:.2f}", line.of_reference_cold < 1.0
                out.append(Verdict(f"{where}: cold start over AWS's client in AWS's emulator", "< 1", value, met))
            if line.of_reference_warm is not None:
                value, met = f"{line.of_reference_warm:.2f}", line.of_reference_warm >= NOISE
                what = f"{where}: warm throughput over AWS's client in AWS's emulator"
                out.append(Verdict(what, f">= {NOISE}", value, met))
    return out
