"""One page of a run: what was found, as pictures and tables, and how it was measured. It needs nothing but itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from benchmarks.matrix.summary import Document, Line
from benchmarks.plots import PHASE_COLOURS
from benchmarks.report import number
from benchmarks.warm import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS, PEER = "#d9480f", "#4263eb", "#868e96"
QUICK_MS = 60.0
"""Faster cold starts have a picture, and a scale, of their own."""
PHASES = ("sandbox", "spawn", "init", "response")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p.machine { color: #495057; margin-top: .2rem; font-size: .85rem; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e9ecef; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
th { color: #495057; font-weight: 600; border-bottom: 2px solid #ced4da; }
tr.ours td:nth-child(2) { color: #d9480f; font-weight: 600; }
tr.first td { border-top: 2px solid #ced4da; }
td.no { color: #c92a2a; font-weight: 600; } td.yes { color: #2b8a3e; }
svg { max-width: 100%; height: auto; } figure { margin: 0; } figcaption { color: #495057; font-size: .85rem; }
.scroll { overflow-x: auto; } li { margin: .2rem 0; }
"""

METHOD = """\
Each function echoes its event of 16 bytes. Engine, functions and client share the cores of one machine; everything is
on loopback. Lambent isolates each environment (mode: {isolation}); the peers isolate nothing.

<b>Cold.</b> A sample is the first invocation of a function of its own, so it has a new environment; the engine's own
story of it must have an Init, or the sample is left out. One cold start per runtime comes first and is not counted:
files are in the page cache. <i>Pool full</i>: the engine has said before each sample that blank sandboxes are there
and that it makes no more. <i>Pool empty</i>: an engine that keeps none, so each sample pays for the whole sandbox.
<i>Emulator</i>: AWS's Runtime Interface Emulator, a new process per sample that already listens; its cold start is
the runtime's start and nothing else, and it knows no memory size.

<b>Phases</b>, from the engine's story. Sandbox: from Invoke received to the environment having its sandbox and
Runtime API. Spawn: to its process started. Init: to its first <code>next</code>. Response: from the event handed over
to the answer in hand. Grey is the client's and the kernel's part.

<b>Preloaded</b> means that no interpreter had to be started: a blank held a fork of a running Python, or a Node.js or
Ruby that was started early. That is what the engine does by itself for two minutes after a cold start.

<b>Warm.</b> Closed loop, a client sends when it has its answer; one environment per client. Runtimes of a language
take turns (A B B A); a ratio is made in each turn, and the median of the ratios is shown. With small memory sizes the
CPU share (MemorySize / 1769 of a core) is what is measured.

<b>Reference</b>: AWS's client in AWS's emulator, which is what AWS gives to run a function elsewhere, in the same
turns. <i>Over reference</i> is ours in Lambent over that: cold with the pool full, and invocations per second with one
client.

<b>Turns</b> make other work on the machine fall on all alike. Absolute figures are of this machine; ratios travel.
"""
"""Paragraphs: how it was measured."""


def render(document: Document, lines: Sequence[Line]) -> str:
    """The page. Raises ImportError without matplotlib."""
    machine = document.machine
    sizes = sorted({line.memory_mb for line in lines})
    most = [line for line in lines if line.memory_mb == (sizes[-1] if sizes else 0)]
    taken = f"taken {document.taken}, {document.seconds:.0f} s{', a first look' if document.quick else ''}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Lambent: runtimes side by side</title><style>{STYLE}</style>",
        "<h1>Runtimes side by side</h1>",
        f"<p class=machine>{'<br>'.join(map(escape, (*machine.lines(), taken)))}</p>",
    ]
    if most:
        caption = (
            f"Median of the first invocation with {sizes[-1]} MB, pool full; ticks: pool empty, diamonds: the emulator."
        )
        quick = [line for line in most if line.full and line.full.median < QUICK_MS]
        slow = [line for line in most if line.full and line not in quick]
        parts += ["<h2>Cold start, phase by phase</h2>"]
        parts += [_figure(partial(_cold, lines=some), len(some), caption) for some in (quick, slow) if some]
        caption = (
            f"Invocations per second with {most[0].clients} clients and {sizes[-1]} MB each; more is better. "
            "With one client: ticks, and diamonds in the emulator, which takes one at a time."
        )
        parts += ["<h2>Warm</h2>", _figure(partial(_warm, lines=most), len(most), caption)]
    if document.verdicts:
        parts += ["<h2>Ours and AWS's clients</h2>", _verdicts(document)]
    parts += ["<h2>All cold starts, ms</h2>", _table(lines, COLD, _cold_values)]
    warm = [name.format(most[0].clients if most else 0) for name in WARM]
    parts += ["<h2>All warm invocations, per second</h2>", _table(lines, warm, _warm_values)]
    cells = [cell for block in document.blocks for cell in block.warm if any(":" in name for name in cell.subjects)]
    if cells:
        parts += ["<h2>Beside the peers, warm</h2>", _peers(cells)]
    paragraphs = METHOD.format(isolation=document.isolation).strip().split("\n\n")
    method = "".join(f"<li>{paragraph}</li>" for paragraph in paragraphs)
    parts += [f"<h2>How it was measured</h2><ul>{method}</ul>"]
    if document.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in document.notes)
        parts += [f"<h2>Left out, and failed</h2><ul>{notes}</ul>"]
    return "\n".join(parts) + "</html>\n"


def _figure(paint: Callable[[Axes], None], rows: int, caption: str) -> str:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "lambent"}):
        figure, axes = plt.subplots(figsize=(10.0, 0.9 + 0.42 * rows))
        paint(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(figure)
    drawing = buffer.getvalue()
    return f"<figure class=scroll>{drawing[drawing.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"


def _names(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_yticks(range(len(lines)), [f"{line.language}: {line.runtime}" for line in lines])
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_color(OURS if line.ours else THEIRS)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#f1f3f5")
    axes.set_axisbelow(True)


def _cold(axes: Axes, lines: Sequence[Line]) -> None:
    named: set[str] = set()
    longest = max((line.full.median for line in lines if line.full), default=1.0)
    for index, line in enumerate(lines):
        left = 0.0
        for phase in PHASES:
            if phase in line.phases:
                label = None if phase in named else phase
                axes.barh(index, line.phases[phase], 0.62, left=left, color=PHASE_COLOURS[phase], label=label)
                named.add(phase)
                left += line.phases[phase]
        if line.full:
            axes.barh(index, max(0.0, line.full.median - left), 0.62, left=left, color=PHASE_COLOURS["rest"])
            marks = (line.full.median, line.empty.median if line.empty else 0.0, line.emulator or 0.0)
            axes.text(max(marks) + longest * 0.02, index, f"{line.full.median:.1f} ms", va="center", fontsize=9)
        if line.empty:
            axes.plot([line.empty.median], [index], "|", color="#212529", ms=13)
        if line.emulator is not None:
            axes.plot([line.emulator], [index], "D", color=PEER, ms=5)
    _names(axes, lines)
    axes.margins(x=0.1)
    axes.set_xlabel("ms")
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _warm(axes: Axes, lines: Sequence[Line]) -> None:
    longest = max((line.per_second for line in lines if line.per_second), default=1.0)
    for index, line in enumerate(lines):
        if line.per_second:
            axes.barh(index, line.per_second, 0.62, color=OURS if line.ours else THEIRS)
            if line.one_client:
                axes.plot([line.one_client], [index], "|", color="#212529", ms=13)
            if line.emulator_warm:
                axes.plot([line.emulator_warm], [index], "D", color=PEER, ms=5)
            latency = f", p50 {line.warm_p50:.2f} ms with one client" if line.warm_p50 else ""
            axes.text(
                line.per_second + longest * 0.01, index, f"{line.per_second:,.0f}/s{latency}", va="center", fontsize=9
            )
    _names(axes, lines)
    axes.margins(x=0.3)
    axes.set_xlabel("per second")


def _cells(values: Sequence[Any], tag: str = "td") -> str:
    return "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values)


def _table(lines: Sequence[Line], heads: Sequence[str], values: Callable[[Line], Sequence[object]]) -> str:
    """A row per line: language, runtime, memory size, and what `values` makes of it."""
    rows = []
    before = ""
    for line in lines:
        kind = f"{'ours ' if line.ours else ''}{'first' if line.language != before else ''}".strip()
        before = line.language
        rows.append(f"<tr class='{kind}'>{_cells((line.language, line.runtime, line.memory_mb, *values(line)))}</tr>")
    head = _cells(("language", "runtime", "MB", *heads), "th")
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(rows)}</table></div>"


COLD = ("pool full", "p90", "highest", "pool empty", "emulator", "started", "over AWS's", "over reference")


def _cold_values(line: Line) -> Sequence[object]:
    full = line.full
    return (
        *(number(value, 2) for value in ((full.median, full.p90, full.high) if full else (None,) * 3)),
        number(line.empty.median if line.empty else None, 2),
        number(line.emulator, 2),
        line.started,
        number(line.of_aws_cold, 2),
        number(line.of_reference_cold, 2),
    )


WARM = ("p50 ms", "one client", "emulator", "{} clients", "over AWS's", "over reference")


def _warm_values(line: Line) -> Sequence[object]:
    return (
        number(line.warm_p50, 3),
        *(f"{rate:,.0f}" if rate else "-" for rate in (line.one_client, line.emulator_warm, line.per_second)),
        number(line.of_aws_warm, 2),
        number(line.of_reference_warm, 2),
    )


def _peers(cells: Sequence[Cell]) -> str:
    rows = []
    for cell in cells:
        for place, (name, one) in enumerate(cell.subjects.items()):
            problems = ", ".join(f"{count} x {kind}" for kind, count in one.problems.items())
            values = (
                cell.function if place == 0 else "",
                name if ":" in name else f"lambent: {name}",
                cell.clients,
                f"{one.throughput.median:,.0f}",
                number(one.latency.get("p50"), 3),
                number(one.latency.get("p99"), 3),
                problems,
            )
            rows.append(f"<tr class='{'first' if place == 0 else ''}'>{_cells(values)}</tr>")
    heads = ("language", "subject", "clients", "per second", "p50 ms", "p99 ms", "problems")
    return f"<div class=scroll><table><tr>{_cells(heads, 'th')}</tr>{''.join(rows)}</table></div>"


def _verdicts(document: Document) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.what)}</td><td>{escape(one.target)}</td><td>{escape(one.value)}</td>"
        f"<td class={'yes' if one.met else 'no'}>{'met' if one.met else 'not met'}</td></tr>"
        for one in document.verdicts
    )
    return f"<div class=scroll><table><tr>{_cells(('what', 'target', 'measured', ''), 'th')}</tr>{rows}</table></div>"
