"""``python -m benchmarks.matrix [--quick] [LANGUAGE ...]``: a table, a page and JSON."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec
from rich.table import Table

from benchmarks import modes, peers, report, tables
from benchmarks.clients import FAMILIES
from benchmarks.machine import fingerprint
from benchmarks.matrix.measure import LOOK, WHOLE, Matrix
from benchmarks.matrix.summary import Document, Line, lines, verdicts
from benchmarks.report import number


def _table(found: list[Line]) -> Table:
    table = Table(title="Runtimes side by side, ms", title_justify="left", header_style="bold")
    table.add_column("language")
    table.add_column("runtime", no_wrap=True)
    heads = (
        "MB", "cold", "p90", "empty", "emulator", "warm p50", "one/s", "emul./s", "per second",
        "cold/AWS", "warm/AWS", "cold/ref", "warm/ref",
    )  # fmt: skip
    for name in heads:
        table.add_column(name, justify="right")
    table.add_column("started")
    for line in found:
        table.add_row(
            line.language if line.ours else "",
            line.runtime,
            str(line.memory_mb),
            number(line.full.median if line.full else None, 2),
            number(line.full.p90 if line.full else None, 2),
            number(line.empty.median if line.empty else None, 2),
            number(line.emulator, 2),
            number(line.warm_p50, 3),
            *(f"{rate:,.0f}" if rate else "-" for rate in (line.one_client, line.emulator_warm, line.per_second)),
            *(
                number(ratio, 2)
                for ratio in (line.of_aws_cold, line.of_aws_warm, line.of_reference_cold, line.of_reference_warm)
            ),
            line.started,
        )
    return table


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description="Every runtime, side by side.")
    parser.add_argument("language", nargs="*", help=f"of {', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a first look: one memory size, few samples")
    parser.add_argument("--isolation", help="default: the strongest that this machine offers")
    parser.add_argument("--out", type=Path, help="where results go, without suffix (default: benchmarks/results/local)")
    options = parser.parse_args()
    known = {name.lower(): name for name in FAMILIES}
    unknown = [name for name in options.language if name.lower() not in known]
    if unknown:
        parser.error(f"no language {', '.join(unknown)}: there are {', '.join(FAMILIES)}")
    out = report.console()
    began = time.monotonic()
    machine = fingerprint()
    for text in (*machine.lines(), f"peers: {peers.versions()}"):
        out.print(text, style="dim", highlight=False)

    def say(text: str) -> None:
        document.notes.append(text)
        out.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    document = Document(report.new(machine, isolation="", quick=False).taken, machine, "", options.quick)
    document.isolation = options.isolation or modes.offered(say)[0]
    matrix = Matrix(
        LOOK if options.quick else WHOLE,
        document.isolation,
        say,
        lambda text: out.print(f"  {text}", style="dim", highlight=False),
        [known[name.lower()] for name in options.language] or list(FAMILIES),
    )
    for block in matrix.measure():
        document.blocks.append(block)
    found = list(lines(document.blocks))
    document.verdicts = verdicts(found)
    document.seconds = round(time.monotonic() - began, 1)
    out.print(_table(found))
    if document.verdicts:
        out.print(tables.target_table(document.verdicts, "Our runtimes beside AWS's clients"))
    stem = options.out or report.LOCAL / "matrix"
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = stem.with_suffix(".json")
    written.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    out.print(f"{document.seconds:g} s; written: {report.shown(written)}", highlight=False)
    try:
        from benchmarks.matrix.page import render

        page = stem.with_suffix(".html")
        page.write_text(render(document, found), encoding="utf-8")
        out.print(f"page: {report.shown(page)}", highlight=False)
    except ImportError as error:
        out.print(f"no page: {error} (uv sync --group bench)", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
