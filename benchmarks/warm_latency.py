"""Warm latency in open loop: requests are due at a fixed rate, half of what the slowest subject can do.

Latency counts from when a request was due, so a stall of the engine is charged with every request that it delayed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.plan import Plan
from benchmarks.subjects import Subject
from benchmarks.warm import Cell, Say, grid


def measure(subjects: Sequence[Subject], plan: Plan, say: Say, show: Callable[[Cell], None]) -> list[Cell]:
    """The plan's warm grid in open loop."""
    return grid("open", subjects, plan, say, show)
