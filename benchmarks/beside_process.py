"""Warm invocations in sandbox mode beside process mode: what isolation costs once an environment is there.

Two loads. *Back to back*, closed loop: environments have no time to be frozen. *Seldom*: ten requests per second to one
environment, by a timetable; it is frozen after 50 ms without work, so each request finds it frozen and has to thaw it.
Beside it the same engine with ``--freeze-after 0``: the difference is the price of freezing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.load import LoadError
from benchmarks.plan import Plan
from benchmarks.subjects import EngineSubject
from benchmarks.warm import Cell, Say, cell, grid, started

SELDOM = 10.0
"""Requests per second; the gap is twice the time after which an idle environment is frozen."""
PAYLOAD = 16


def subjects(modes: Sequence[str], *, freezing: bool) -> list[EngineSubject]:
    """Engines by mode; with `freezing` also those that never freeze. Process mode is last: what others compare with."""
    found = [EngineSubject(mode, name=mode) for mode in modes]
    if freezing:
        found += [EngineSubject(mode, name=f"{mode}, never frozen", options=("--freeze-after", "0")) for mode in modes]
    return found


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[Cell], None]) -> list[Cell]:
    """Back to back over the plan's grid, then seldom."""
    cells = grid("closed", subjects(modes, freezing=False), plan.beside(), say, show, base="process")
    for name in plan.seldom:
        with started(subjects(modes, freezing=True), name, 1, say) as targets:
            try:
                one = cell(
                    targets,
                    plan.beside(),
                    loop="open",
                    name=name,
                    clients=1,
                    payload=PAYLOAD,
                    rate=SELDOM,
                    base="process, never frozen",
                )
            except LoadError as error:
                say(f"failed: seldom, {name}: {error}")
                continue
        cells.append(one)
        show(one)
    return cells
