"""Draws the state tables into ARCHITECTURE.md, between its markers: ``make diagrams``.

A diagram is Mermaid, which GitHub and editors draw. Events that lead to one state from most of the others would cover
the picture with arrows: they stand below it as a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import runtime_api
from engine.lifecycle import extending, states, streaming
from engine.lifecycle.concurrent import states as concurrent
from runtime_api._extension import EXTERNAL

PAGE = Path(__file__).parent.parent / "ARCHITECTURE.md"
#: An event that leads to the same state from more than this part of all states is told, not drawn.
EVERYWHERE = 0.5

Table = Mapping[Any, Mapping[Any, IntEnum]]

#: Marker in the page -> the table that it stands for, and the state in which all begins.
DIAGRAMS: Mapping[str, tuple[Table, IntEnum]] = {
    "environment": (states.TRANSITIONS, states.Phase.NEW),
    "concurrent": (concurrent.TRANSITIONS, states.Phase.NEW),
    "runtime": (runtime_api.TRANSITIONS, runtime_api.State.STARTED),
    "extension": (EXTERNAL, runtime_api.ExtensionState.STARTED),
    "extensions": (extending.STAGES, extending.Stage.STARTING),
    "response": (streaming.TRANSITIONS, streaming.Step.WAITING),
}


def draw(table: Table, first: IntEnum) -> str:
    """The diagram of a table, and the sentences that belong to it, as Markdown."""
    common = _common(table)
    edges: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, target in row.items():
            if (event.name, target.name) not in common:
                edges.setdefault((state.name, target.name), []).append(event.name)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in edges.items()]
    lines += [f"    {state.name} --> [*]" for state, row in table.items() if not row]
    lines.append("```")
    for (happening, where), sources in common.items():
        others = [state.name for state in table if state.name not in sources]
        lines += ["", f"{happening} leads to {where} from everywhere but {', '.join(others)}."]
    return "\n".join(lines)


def _common(table: Table) -> dict[tuple[str, str], list[str]]:
    """(event, target) -> from where, for those that come from most of the others."""
    found: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, target in row.items():
            found.setdefault((event.name, target.name), []).append(state.name)
    return {pair: sources for pair, sources in found.items() if len(sources) > EVERYWHERE * len(table)}


def drawn(page: str) -> str:
    """The page with each diagram as its table is now.

    Raises:
        ValueError: the page lacks a diagram's markers.
    """
    for name, (table, first) in DIAGRAMS.items():
        marked = re.compile(rf"(<!-- states: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        around = marked.split(page)
        if len(around) != 4:
            raise ValueError(f"{PAGE.name} is to have '<!-- states: {name} -->' ... '<!-- end -->' once")
        before, begin, end, after = around
        page = f"{before}{begin}{draw(table, first)}\n{end}{after}"
    return page


def main() -> None:
    """Command line."""
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
