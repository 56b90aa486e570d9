"""Panels of what concerns sandboxes; `plots` puts them into the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks import targets
from benchmarks.density import DensityRow
from benchmarks.enforcement import HANGS, Enforcement
from benchmarks.storm import StormRow
from benchmarks.warm import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "sandbox": "#d9480f",
    "process": "#4263eb",
    "sandbox, never frozen": "#ffa94d",
    "process, never frozen": "#91a7ff",
}
GREY = "#495057"


def _goal(axes: Axes, value: float, text: str) -> None:
    """A target across the panel."""
    axes.axhline(value, color=GREY, ls="--", lw=0.8)
    axes.text(0.005, value, text, fontsize=7, color=GREY, va="bottom", transform=axes.get_yaxis_transform())


def storm(axes: Axes, rows: Sequence[StormRow]) -> None:
    """Cold starts per second of each storm, with the median and worst latency as text."""
    groups = list(dict.fromkeys((row.kind, row.function) for row in rows))
    for row in rows:
        place = groups.index((row.kind, row.function)) + (-0.2 if row.isolation == "sandbox" else 0.2)
        first = row is next(one for one in rows if one.isolation == row.isolation)
        label = row.isolation if first else None
        axes.bar(place, row.per_second, 0.38, color=COLOURS[row.isolation], label=label)
        if row.latency:
            text = f"{row.latency.median:.0f}\n{row.latency.high:.0f}"
            failed = f"\n{row.failed} failed" if row.failed else ""
            axes.text(place, row.per_second, text + failed, ha="center", va="bottom", fontsize=7, color=GREY)
    _goal(axes, targets.COLD_PER_SECOND, f"goal {targets.COLD_PER_SECOND:g} sustained")
    axes.margins(y=0.25)
    axes.set_xticks(range(len(groups)), [f"{kind}\n{function}" for kind, function in groups], fontsize=8)
    axes.set_ylabel("cold starts per second")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Storms (numbers: median and worst latency, ms)")


def density(axes: Axes, rows: Sequence[DensityRow]) -> None:
    """Memory per idle environment."""
    parts = (
        ("engine_kb", "engine", "#d9480f"),
        ("spawner_kb", "spawner", "#fd7e14"),
        ("environment_kb", "its processes", "#ffd8a8"),
        ("kernel_kb", "kernel (machine-wide)", "#ced4da"),
    )
    for index, row in enumerate(rows):
        left = 0.0
        for name, label, colour in parts:
            width = max(0.0, getattr(row, name))
            axes.barh(index, width, left=left, color=colour, label=label if index == 0 else None)
            left += width
        idle = row.engine_idle_percent + row.spawner_idle_percent
        wakeups = row.engine_wakeups + row.spawner_wakeups
        text = f"  engine {row.engine_kb:.0f} KB, {row.engine_descriptors:.1f} files each\n"
        text += f"  idle, all: {idle:.2f} % of a core, {wakeups:.0f} wake-ups/s"
        axes.text(left, index, text, va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [f"{row.isolation}\n{row.environments} idle" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.6, y=0.4)
    axes.set_xlabel("KB per idle environment")
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=4)
    axes.set_title("Density")


def shares(axes: Axes, found: Enforcement) -> None:
    """Error of the granted CPU share."""
    axes.axhspan(-100 * targets.SHARE_ERROR, 100 * targets.SHARE_ERROR, color="#f1f3f5")
    axes.axhline(0, color=GREY, lw=0.8)
    sizes = list(dict.fromkeys(row.memory_mb for row in found.cpu))
    for mode in dict.fromkeys(row.isolation for row in found.cpu):
        rows = [row for row in found.cpu if row.isolation == mode]
        shift = -0.08 if mode == "sandbox" else 0.08
        places = [sizes.index(row.memory_mb) + shift for row in rows]
        middle = [100 * row.error for row in rows]
        low = [100 * (row.granted.median - row.granted.low) / row.asked for row in rows]
        high = [100 * (row.granted.high - row.granted.median) / row.asked for row in rows]
        axes.errorbar(places, middle, yerr=[low, high], fmt="o", color=COLOURS[mode], label=mode, ms=5, lw=1)
    asked = {row.memory_mb: row.asked for row in found.cpu}
    axes.set_xticks(range(len(sizes)), [f"{size} MB\n{asked[size]:.2f} cores" for size in sizes], fontsize=8)
    axes.set_ylabel("granted against asked, %")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("CPU share (band: goal)")


def overshoot(axes: Axes, found: Enforcement) -> None:
    """How late a timeout is answered: median and worst."""
    for row in found.timeout:
        if row.client is None:
            continue
        place = HANGS.index(row.how) + (-0.15 if row.isolation == "sandbox" else 0.15)
        axes.plot([place, place], [row.client.low, row.client.high], color=COLOURS[row.isolation], lw=2)
        first = row is next(one for one in found.timeout if one.isolation == row.isolation)
        label = row.isolation if first else None
        axes.plot(place, row.client.median, "o", color=COLOURS[row.isolation], label=label)
    _goal(axes, targets.OVERSHOOT_MS, f"goal {targets.OVERSHOOT_MS:g} ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.6, len(HANGS) - 0.4)
    axes.set_xticks(range(len(HANGS)), HANGS)
    axes.set_ylabel("ms over the limit, as the client sees it")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Timeout (median, lowest, highest)")


def beside(axes: Axes, cells: Sequence[Cell]) -> None:
    """Warm throughput of sandbox mode as a share of process mode's."""
    points = [
        (cell, one.ratio)
        for cell in cells
        if cell.loop == "closed" and (one := cell.subjects.get("sandbox")) and one.ratio
    ]
    for index, (_, spread) in enumerate(points):
        axes.plot([index, index], [spread.low, spread.high], color="#adb5bd", lw=3, solid_capstyle="round")
        axes.plot(index, spread.median, "o", color=COLOURS["sandbox"], ms=5)
    _goal(axes, targets.WARM_RATIO, f"goal {targets.WARM_RATIO:g}")
    axes.axhline(1, color=GREY, lw=0.8)
    axes.set_ylim(0, max([1.2, *(spread.high * 1.1 for _, spread in points)]))
    labels = [f"{cell.function}\n{cell.clients}x {cell.payload} B" for cell, _ in points]
    axes.set_xticks(range(len(points)), labels, fontsize=8)
    axes.set_title("Warm throughput, sandbox as a share of process mode")


def seldom(axes: Axes, cells: Sequence[Cell]) -> None:
    """Latency of requests that find their environment frozen, beside those that do not."""
    chosen = [cell for cell in cells if cell.loop == "open"]
    names = [name for name in COLOURS if any(name in cell.subjects for cell in chosen)]
    for index, cell in enumerate(chosen):
        for place, name in enumerate(names):
            latency = cell.subjects[name].latency if name in cell.subjects else {}
            middle, high = latency.get("p50"), latency.get("p99")
            if middle is None or high is None:
                continue
            at = index + (place - (len(names) - 1) / 2) * 0.18
            axes.bar(at, middle, 0.16, color=COLOURS[name], label=name if index == 0 else None)
            axes.plot(at, high, "_", color=GREY, ms=8)
            axes.text(at, middle, f"{middle:.2f}", ha="center", va="bottom", fontsize=7, color=GREY)
    axes.set_xticks(range(len(chosen)), [cell.function for cell in chosen])
    axes.margins(y=0.2)
    axes.set_ylabel("ms, median; _ is p99")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Ten requests per second to one environment: the price of freezing")
