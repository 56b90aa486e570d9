"""How much CPU time a tree has consumed, from readings of its processes. Pure.

Each living process has a clock of its own, exact to the nanosecond. What ended and was waited for appears in the
clock "children" of the one that waited, in ticks. So a process that was seen and has ended would count twice: what it
had is kept as `_ended`, and taken off what appears among the children. What nobody in the tree waited for (a daemon's
child) is counted as long as it was seen alive.
"""

from __future__ import annotations

from collections.abc import Mapping


class CpuMeter:
    """Accumulates one tree's consumption; `take` hands it over."""

    __slots__ = ("_children", "_ended", "_own", "_total")

    def __init__(self) -> None:
        self._own: dict[int, float] = {}
        self._children: dict[int, float] = {}
        self._ended = 0.0
        self._total = 0.0

    def join(self, pid: int, own: float, children: float = 0.0) -> None:
        """A process belongs to the tree from now on; what its clocks say already was not the tree's."""
        self._own[pid] = own
        self._children[pid] = children

    def born(self, pid: int) -> None:
        """A process that the tree made: everything on its clocks is the tree's."""
        self._own.setdefault(pid, 0.0)
        self._children.setdefault(pid, 0.0)

    def own(self, pid: int, seconds: float | None) -> None:
        """The process's own clock; None when it has ended."""
        if seconds is None:
            self._ended += self._own.pop(pid, 0.0) + self._children.pop(pid, 0.0)
            return
        before = self._own.get(pid, 0.0)
        if seconds > before:
            self._total += seconds - before
        self._own[pid] = seconds

    def children(self, clocks: Mapping[int, float]) -> None:
        """The clocks of what was waited for, by the pid of who waited, all read at about the same time."""
        appeared = 0.0
        for pid, seconds in clocks.items():
            if pid in self._children:
                appeared += max(0.0, seconds - self._children[pid])
                self._children[pid] = seconds
        self._total += max(0.0, appeared - self._ended)
        self._ended = 0.0

    def take(self) -> float:
        """The CPU seconds consumed since the last `take`."""
        total, self._total = self._total, 0.0
        return total
