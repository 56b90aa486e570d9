"""``python -m benchmarks [PART] [--quick]``; the parts are in `PARTS`, and told in README.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks import (
    beside,
    beside_process,
    cold_start,
    density,
    enforcement,
    modes,
    peers,
    plots,
    report,
    storm,
    streaming,
    tables,
    targets,
    throughput,
    warm_latency,
)
from benchmarks.cold_start import ColdRow
from benchmarks.functions import ROOT
from benchmarks.machine import fingerprint
from benchmarks.plan import FULL, HOT_PATH, QUICK, Plan
from benchmarks.subjects import EngineSubject, FloorSubject, Subject
from benchmarks.warm import Cell

PARTS = (
    "throughput",
    "latency",
    "cold",
    "storm",
    "density",
    "enforcement",
    "streaming",
    "beside",
    "scheduler",
    "peers",
)

ISOLATION = "mode of throughput, latency and peers; the other parts measure all that there are (default: process)"


class Run:
    """One run of the benchmark: measures part by part, shows what it has, keeps it all in one document."""

    def __init__(self, plan: Plan, document: report.Document, out: Console) -> None:
        self.plan = plan
        self.document = document
        self.out = out
        self.engine = EngineSubject(document.isolation)
        self.ours: Sequence[Subject] = (FloorSubject(), self.engine)
        self._modes: tuple[str, ...] | None = None

    @property
    def modes(self) -> tuple[str, ...]:
        """The isolation modes of this machine, for those parts that measure all of them."""
        if self._modes is None:
            self._modes = modes.offered(self.say)
        return self._modes

    def say(self, line: str) -> None:
        """A remark that belongs to the results: what was skipped or failed, and why."""
        self.document.notes.append(line)
        self.out.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def show_cell(self, cell: Cell) -> None:
        """Progress."""
        rates = ", ".join(f"{name} {one.throughput.median:,.0f}/s" for name, one in cell.subjects.items())
        what = f"{cell.loop} loop, {cell.function}, {cell.clients} clients, {report.size(cell.payload)}"
        self.out.print(f"  {what}: {rates}", style="dim", highlight=False, soft_wrap=True)

    def show_row(self, row: ColdRow) -> None:
        """Progress."""
        total = row.phases.get("total")
        self.show(f"cold, {row.function}, {row.label}: {f'{total.median:.2f} ms' if total else 'nothing'}")

    def show(self, line: str) -> None:
        """Progress."""
        self.out.print(f"  {line}", style="dim", highlight=False)

    def throughput(self) -> None:
        """Closed loop."""
        cells = throughput.measure(self.ours, self.plan, self.say, self.show_cell)
        self.document.warm += cells
        self.out.print(report.warm_table("Warm, closed loop", cells))

    def latency(self) -> None:
        """Open loop."""
        cells = warm_latency.measure(self.ours, self.plan, self.say, self.show_cell)
        self.document.warm += cells
        self.out.print(report.warm_table("Warm, open loop, latency from when a request was due", cells))

    def cold(self) -> None:
        """Cold starts."""
        self.document.cold = cold_start.measure(self.modes, self.plan, self.say, self.show_row)
        self.out.print(report.cold_table(self.document.cold))

    def storm(self) -> None:
        """Storms of cold starts."""
        self.document.storm = storm.measure(
            self.modes,
            self.plan,
            self.say,
            lambda row: self.show(f"{row.kind}, {row.function}, {row.isolation}: {row.per_second:.0f}/s"),
        )
        self.out.print(tables.storm_table(self.document.storm))

    def density(self) -> None:
        """Idle environments."""
        self.document.density = density.measure(
            self.modes,
            self.plan,
            self.say,
            lambda row: self.show(f"{row.environments} idle, {row.isolation}: made in {row.made_seconds:.1f} s"),
        )
        self.out.print(tables.density_table(self.document.density))

    def enforcement(self) -> None:
        """How exactly limits hold."""
        self.document.enforcement = enforcement.measure(self.modes, self.plan, self.say, self.show)
        for table in tables.limit_tables(self.document.enforcement):
            self.out.print(table)

    def streaming(self) -> None:
        """Streamed responses."""
        self.document.streaming = streaming.measure(
            self.modes,
            self.plan,
            self.say,
            lambda row: self.show(f"streaming, {row.function}, {row.isolation}: {row.mb_per_second:.0f} MiB/s"),
        )
        self.out.print(tables.stream_table(self.document.streaming))

    def beside(self) -> None:
        """Warm, sandbox mode beside process mode."""
        cells = beside_process.measure(self.modes, self.plan, self.say, self.show_cell)
        self.document.beside = cells
        closed = [cell for cell in cells if cell.loop == "closed"]
        title = "Warm, sandbox beside process mode, closed loop"
        self.out.print(report.warm_table(title, closed, "process mode"))
        title = "Warm, ten requests per second to one environment: frozen in between, or never"
        self.out.print(report.warm_table(title, [cell for cell in cells if cell.loop == "open"], "process mode"))

    def peers(self) -> None:
        """Beside the peers."""
        self.out.print(f"peers: {peers.versions()}", style="dim", highlight=False)
        self.document.peers = beside.measure(self.ours, self.plan, self.say, self.show_cell)
        self.out.print(report.warm_table("Beside the peers, closed loop", self.document.peers))

    def scheduler(self) -> None:
        """The scheduler's decisions (`scheduler.py`), in a process of its own."""
        with TemporaryDirectory(prefix="lambent-bench-") as folder:
            path = Path(folder, "scheduler.json")
            command = [sys.executable, "-m", "benchmarks.scheduler", "--json", str(path)]
            if self.document.quick:
                command.append("--quick")
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode or not path.exists():
                self.say(f"failed: the scheduler's benchmark ended with status {done.returncode}")
                return
            self.document.scheduler = json.loads(path.read_text())["functions"]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Lambent against its floor and its peers."
    )
    choices = ("all", "hot", *PARTS)
    parser.add_argument("part", nargs="?", default="all", choices=choices, help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="a first look: fewer cells and samples")
    parser.add_argument("--isolation", default="process", help=ISOLATION)
    parser.add_argument("--out", type=Path, help="where results go, without suffix (default: benchmarks/results/local)")
    options = parser.parse_args()
    out = report.console()
    began = time.monotonic()
    machine = fingerprint()
    for line in machine.lines():
        out.print(line, style="dim", highlight=False)
    plan = HOT_PATH if options.part == "hot" else QUICK if options.quick else FULL
    run = Run(plan, report.new(machine, isolation=options.isolation, quick=options.quick), out)
    parts = {"all": PARTS, "hot": ("throughput",)}.get(options.part, (options.part,))
    for part in parts:
        getattr(run, part)()
    run.document.targets = targets.verdicts(run.document)
    if run.document.targets:
        out.print(tables.target_table(run.document.targets))
    run.document.seconds = round(time.monotonic() - began, 1)
    path = report.write(run.document, options.out or report.LOCAL / options.part)
    out.print(f"{run.document.seconds:g} s; written: {report.shown(path)}", highlight=False)
    picture = path.with_suffix(".png")
    try:
        if plots.draw(run.document, picture):
            out.print(f"picture: {report.shown(picture)}", highlight=False)
    except ImportError as error:
        out.print(f"no picture: {error} (uv sync --group bench)", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
