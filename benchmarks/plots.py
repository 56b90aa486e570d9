"""One picture of a run: warm against the floor, latency with its tail, cold starts in phases, scheduler cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import sandbox_plots
from benchmarks.report import Document, size
from benchmarks.targets import COLD_MS
from benchmarks.warm import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "floor": "#9aa5b1",
    "lambent": "#d9480f",
    "rie classic": "#4263eb",
    "rie lmi": "#74c0fc",
    "cargo-lambda": "#2b8a3e",
}
PHASE_COLOURS = {"sandbox": "#fff3bf", "spawn": "#ffd8a8", "init": "#fd7e14", "response": "#d9480f", "rest": "#dee2e6"}
TARGET = 0.6
QUICK_STARTERS = ("native", "python")
"""Their cold starts have a panel, and a scale, of their own."""


def _bars(axes: Axes, cells: Sequence[Cell], labels: Sequence[str]) -> None:
    """Throughput, one group of bars per cell; a subject that could not run leaves no gap."""
    names = [name for name in COLOURS if any(name in cell.subjects for cell in cells)]
    width = 0.8 / max(1, len(names))
    named: set[str] = set()
    for index, cell in enumerate(cells):
        present = [name for name in names if name in cell.subjects]
        for place, name in enumerate(present):
            spread = cell.subjects[name].throughput
            axes.bar(
                index + (place - (len(present) - 1) / 2) * width,
                spread.median,
                width * 0.92,
                yerr=[[spread.median - spread.low], [spread.high - spread.median]],
                label=None if name in named else name,
                color=COLOURS[name],
                error_kw={"lw": 0.8, "ecolor": "#495057"},
            )
            named.add(name)
    axes.set_xticks(range(len(cells)), labels, fontsize=8)
    axes.set_ylabel("invocations per second")
    axes.legend(frameon=False, fontsize=8)


def _throughput(axes: Axes, cells: list[Cell]) -> None:
    chosen = [cell for cell in cells if cell.loop == "closed" and cell.payload == min(c.payload for c in cells)]
    _bars(axes, chosen, [f"{cell.function}\n{cell.clients}" for cell in chosen])
    axes.set_title("Warm throughput, closed loop, 16 B, by function and clients")


def _ratios(axes: Axes, cells: list[Cell]) -> None:
    chosen = [cell for cell in cells if cell.loop == "closed" and "lambent" in cell.subjects]
    points = [(cell, spread) for cell in chosen if (spread := cell.subjects["lambent"].ratio)]
    for index, (_, spread) in enumerate(points):
        axes.plot([index, index], [spread.low, spread.high], color="#adb5bd", lw=3, solid_capstyle="round")
        axes.plot(index, spread.median, "o", color=COLOURS["lambent"], ms=5)
    axes.axhline(TARGET, color="#495057", ls="--", lw=0.8)
    axes.text(0.005, TARGET + 0.02, "goal 0.6", fontsize=7, color="#495057", transform=axes.get_yaxis_transform())
    axes.set_ylim(0, max([1.1, *(spread.median * 1.1 for _, spread in points)]))
    labels = [f"{cell.function} {cell.clients}x {size(cell.payload)}" for cell, _ in points]
    axes.set_xticks(range(len(points)), labels, rotation=90, fontsize=7)
    axes.set_title("Throughput as a share of the floor (median, range of turns)")


def _latency(axes: Axes, cells: list[Cell]) -> None:
    payload = min(cell.payload for cell in cells)
    chosen = [cell for cell in cells if cell.loop == "open" and cell.payload == payload]
    points = ("p50", "p90", "p99", "p99.9", "max")
    styles = {"native": "-", "python": "--", "node": ":"}
    clients = 4 if any(cell.clients == 4 for cell in chosen) else 1
    for cell in chosen:
        if cell.clients != clients:
            continue
        for name, figures in cell.subjects.items():
            pairs = [(point, value) for point in points if (value := figures.latency.get(point)) is not None]
            axes.plot(
                [point for point, _ in pairs],
                [value for _, value in pairs],
                styles.get(cell.function, "-."),
                marker=".",
                color=COLOURS[name],
                label=f"{name}, {cell.function}, {cell.rate or 0:,.0f}/s",
            )
    axes.set_yscale("log")
    axes.set_ylabel("ms from when due")
    axes.grid(axis="y", which="both", color="#f1f3f5")
    axes.legend(frameon=False, fontsize=7)
    axes.set_axisbelow(True)
    axes.set_title(f"Warm latency, open loop, {clients} clients, {size(payload)}")


def _cold(axes: Axes, rows: list[Any]) -> None:
    labels = [f"{row.function}, {row.label}" for row in rows]
    named: set[str] = set()
    for index, row in enumerate(rows):
        total = row.phases["total"].median if "total" in row.phases else 0.0
        left = 0.0
        for phase in ("sandbox", "spawn", "init", "response"):
            if phase in row.phases:
                width = row.phases[phase].median
                axes.barh(index, width, left=left, color=PHASE_COLOURS[phase], label=None if phase in named else phase)
                named.add(phase)
                left += width
        axes.barh(index, max(0.0, total - left), left=left, color=PHASE_COLOURS["rest"])
        if "total" in row.phases:
            axes.plot([row.phases["total"].p99], [index], "|", color="#212529", ms=10)
            text = f"  {total:.1f} ms (p99 {row.phases['total'].p99:.1f})"
            place = max(total, row.phases["total"].p99)
            axes.text(place, index, text, va="center", fontsize=8 if len(rows) <= 12 else 7)
    axes.set_yticks(range(len(rows)), labels, fontsize=8 if len(rows) <= 12 else 7)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set_xlabel("ms, median; | is p99; grey: not told apart; dashed: goal of sandbox mode, pool full")
    for function in dict.fromkeys(row.function for row in rows):
        if (goal := COLD_MS.get(function)) is not None:
            mine = [index for index, row in enumerate(rows) if row.function == function]
            axes.plot([goal, goal], [mine[0] - 0.5, mine[-1] + 0.5], color="#495057", ls="--", lw=0.8)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    axes.set_title("Cold start, as the client sees it")


def _scheduler(axes: Axes, figures: dict[str, dict[str, float]]) -> None:
    for name, costs in figures.items():
        axes.plot([int(functions) for functions in costs], list(costs.values()), marker="o", ms=4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="y", which="both", color="#f1f3f5")
    axes.set_xlabel("functions")
    axes.set_ylabel("ns per decision")
    axes.set_ylim(top=20 * max(cost for costs in figures.values() for cost in costs.values()))
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper left")
    axes.set_title("Scheduler: cost of a decision")


def draw(document: Document, path: Path) -> bool:
    """Writes the PNG; False when there is nothing to draw. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels: list[tuple[Any, Any]] = []
    closed = [cell for cell in document.warm if cell.loop == "closed"]
    opened = [cell for cell in document.warm if cell.loop == "open"]
    if closed:
        panels += [(_throughput, closed), (_ratios, closed)]
    if opened:
        panels.append((_latency, opened))
    quick = [row for row in document.cold if row.function in QUICK_STARTERS]
    panels += [(_cold, rows) for rows in (quick, [row for row in document.cold if row not in quick]) if rows]
    if document.storm:
        panels.append((sandbox_plots.storm, document.storm))
    if document.density:
        panels.append((sandbox_plots.density, document.density))
    if document.enforcement and document.enforcement.cpu:
        panels.append((sandbox_plots.shares, document.enforcement))
    if document.enforcement and document.enforcement.timeout:
        panels.append((sandbox_plots.overshoot, document.enforcement))
    if any(cell.loop == "closed" for cell in document.beside):
        panels.append((sandbox_plots.beside, document.beside))
    if any(cell.loop == "open" for cell in document.beside):
        panels.append((sandbox_plots.seldom, document.beside))
    if document.peers:
        panels.append((_peers, document.peers))
    if document.scheduler:
        panels.append((_scheduler, document.scheduler))
    if not panels:
        return False
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(8.0 * columns, 4.6 * lines), squeeze=False)
    flat = list(grid.flat)
    for axes, (paint, data) in zip(flat, panels, strict=False):
        paint(axes, data)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in flat[len(panels) :]:
        axes.set_visible(False)
    machine = document.machine
    figure.suptitle(
        f"Lambent ({document.isolation} mode where none is named), {machine.cpu}, {machine.cores} cores,"
        f"{' ' if columns > 1 else chr(10)}"
        f"load before {machine.load_before:.1f}, commit {machine.commit}, {document.taken}",
        fontsize=9,
        color="#495057",
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _peers(axes: Axes, cells: list[Cell]) -> None:
    _bars(axes, cells, [f"{cell.clients} clients" for cell in cells])
    axes.set_title("Beside the peers: native bootstrap, 16 B, closed loop")
