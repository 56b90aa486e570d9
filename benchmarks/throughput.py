"""Warm throughput in closed loop: each client sends its next request when it has its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.plan import Plan
from benchmarks.subjects import Subject
from benchmarks.warm import Cell, Say, grid


def measure(subjects: Sequence[Subject], plan: Plan, say: Say, show: Callable[[Cell], None]) -> list[Cell]:
    """The plan's warm grid in closed loop."""
    return grid("closed", subjects, plan, say, show)
