"""What sandbox mode is to reach, beside what it reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from benchmarks.report import Document

COLD_MS = {"native": 5.0, "python": 8.0}
COLD_PER_SECOND = 100.0
SHARE_ERROR = 0.05
OVERSHOOT_MS = 20.0
WARM_RATIO = 0.9
MODE = "sandbox"


class Verdict(Struct, frozen=True):
    """One target."""

    what: str
    target: str
    value: str
    met: bool


def verdicts(document: Document) -> list[Verdict]:
    """The targets that this run measured."""
    return [*_cold(document), *_storm(document), *_limits(document), *_warm(document)]


def _cold(document: Document) -> Iterator[Verdict]:
    for row in document.cold:
        total = row.phases.get("total")
        if (row.isolation, row.pool) == (MODE, "full") and row.function in COLD_MS and total:
            target = COLD_MS[row.function]
            what = f"cold start, {row.function}, pool full, median"
            yield Verdict(what, f"<= {target:g} ms", f"{total.median:.2f} ms", total.median <= target)


def _storm(document: Document) -> Iterator[Verdict]:
    for row in document.storm:
        if (row.isolation, row.kind) == (MODE, "rain"):
            met = row.per_second >= COLD_PER_SECOND and not row.failed
            what = f"cold starts sustained, {row.function}"
            yield Verdict(what, f">= {COLD_PER_SECOND:g} per second", f"{row.per_second:.0f} per second", met)


def _limits(document: Document) -> Iterator[Verdict]:
    found = document.enforcement
    if found is None:
        return
    shares = [row for row in found.cpu if row.isolation == MODE and not row.whole_machine]
    if shares:
        worst = max(shares, key=lambda row: abs(row.error))
        value = f"{worst.error:+.1%} with {worst.memory_mb} MB"
        yield Verdict("CPU share, furthest from what was asked", "within 5 %", value, abs(worst.error) <= SHARE_ERROR)
    late = [(row.client.high, row.how) for row in found.timeout if row.isolation == MODE and row.client]
    if late:
        worst_ms, how = max(late)
        value = f"{worst_ms:.1f} ms, {how}"
        yield Verdict("timeout overshoot, worst sample", "<= 20 ms", value, worst_ms <= OVERSHOOT_MS)


def _warm(document: Document) -> Iterator[Verdict]:
    for cell in document.beside:
        one = cell.subjects.get(MODE)
        if cell.loop == "closed" and one and one.ratio:
            what = f"warm, {cell.function}, {cell.clients} clients, {cell.payload} B, of process mode"
            yield Verdict(what, ">= 0.90", f"{one.ratio.median:.2f}", one.ratio.median >= WARM_RATIO)
