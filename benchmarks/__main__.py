"""``python -m benchmarks [all|throughput|latency|cold|scheduler|peers|hot] [--quick]``."""

from __future__ import annotations

import argparse
import sys

from benchmarks import report, throughput, warm_latency
from benchmarks.machine import fingerprint
from benchmarks.plan import FULL, HOT_PATH, QUICK
from benchmarks.subjects import EngineSubject, FloorSubject
from benchmarks.warm import Cell

PARTS = ("throughput", "latency", "cold", "scheduler", "peers")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Lambent against its floor and its peers."
    )
    parser.add_argument("part", nargs="?", default="all", choices=("all", "hot", *PARTS))
    parser.add_argument("--quick", action="store_true", help="a first look: fewer cells and samples, about two minutes")
    parser.add_argument("--isolation", default="process", help="the engine's isolation mode (default: process)")
    options = parser.parse_args()
    plan = HOT_PATH if options.part == "hot" else QUICK if options.quick else FULL
    parts = PARTS if options.part == "all" else (options.part,)
    out = report.console()
    machine = fingerprint()
    for line in machine.lines():
        out.print(line, style="dim", highlight=False)
    document = report.new(machine, isolation=options.isolation, quick=options.quick)
    subjects = [FloorSubject(), EngineSubject(options.isolation)]

    def say(line: str) -> None:
        document.notes.append(line)
        out.print(line, style="yellow", highlight=False)

    def show(cell: Cell) -> None:
        rates = ", ".join(f"{name} {one.throughput.median:,.0f}/s" for name, one in cell.subjects.items())
        what = f"{cell.loop} loop, {cell.function}, {cell.clients} clients, {report.size(cell.payload)}"
        out.print(f"  {what}: {rates}", style="dim", highlight=False)

    if "throughput" in parts or "hot" in parts:
        cells = throughput.measure(subjects, plan, say, show)
        document.warm += cells
        out.print(report.warm_table("Warm, closed loop", cells))
    if "latency" in parts:
        cells = warm_latency.measure(subjects, plan, say, show)
        document.warm += cells
        out.print(report.warm_table("Warm, open loop", cells))
    out.print(f"written: {report.shown(report.write(document, options.part))}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
