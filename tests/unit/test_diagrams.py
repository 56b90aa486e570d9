"""The state diagrams in ARCHITECTURE.md are those of the tables."""

from __future__ import annotations

import importlib.util
import re
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    """scripts/diagrams.py, which is no package."""
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "scripts/diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class State(IntEnum):
    """Of a table for tests."""

    A = 0
    B = 1
    C = 2
    D = 3
    E = 4
    END = 5


class Event(IntEnum):
    """Of a table for tests."""

    GO = 0
    STOP = 1
    JUMP = 2


def test_the_page_shows_the_tables_as_they_are(diagrams):
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert diagrams.drawn(page) == page, "make diagrams"


def test_every_row_is_an_arrow_or_in_a_sentence(diagrams):
    for table, first in diagrams.DIAGRAMS.values():
        text = diagrams.draw(table, first)
        arrows = re.findall(r"^    (\w+) --> (\w+): (.*)$", text, re.MULTILINE)
        shown = {(source, event, target) for source, target, events in arrows for event in events.split(", ")}
        for event, target, others in re.findall(
            r"^(\w+) leads to (\w+) from everywhere but (.*)\.$", text, re.MULTILINE
        ):
            shown |= {(state.name, event, target) for state in table if state.name not in others.split(", ")}
        rows = {(state.name, event.name, target.name) for state, row in table.items() for event, target in row.items()}
        assert shown == rows


def test_events_between_two_states_share_an_arrow_and_common_ones_are_told(diagrams):
    table = {
        **{state: {Event.STOP: State.END} for state in State if state < State.END},
        State.END: {},
    }
    table[State.A] = {Event.GO: State.B, Event.JUMP: State.B, Event.STOP: State.END}
    text = diagrams.draw(table, State.A)
    assert "    [*] --> A\n    A --> B: GO, JUMP\n    END --> [*]\n" in text
    assert text.endswith("STOP leads to END from everywhere but END.")


def test_a_page_without_the_markers_is_refused(diagrams):
    with pytest.raises(ValueError, match="<!-- states: environment -->"):
        diagrams.drawn("# Architecture\n")
