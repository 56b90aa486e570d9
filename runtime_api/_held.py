"""How much of unfinished messages one environment may leave with the engine.

A message is whole when its last byte has come, and until then what there is of it is kept here, in the engine's memory.
A function may open many connections and finish on none of them. So the connections of one environment share an
allowance. Beyond it only the one that began first is read on; the others wait, and what they would send waits in the
kernel, or with its sender. A connection that finishes, or ends, lets the next one go on, so that none waits for ever
that should not: if the first never finishes, that is the function's own doing, and its time limit ends it.

What arrives whole in one read, which is nearly everything, is never kept, and costs nothing here.
"""

from __future__ import annotations

from typing import Final, Protocol

from ._limits import MAX_PAYLOAD

__all__ = ["MAX_HELD", "Held", "Holder"]

MAX_HELD: Final = MAX_PAYLOAD
"""One answer of full size is within it, so that whoever sends one after the other never waits."""


class Holder(Protocol):
    """A connection, as far as `Held` needs it."""

    def wait(self) -> None:
        """Read nothing until `go_on`. More than once does no harm."""
        ...

    def go_on(self) -> None:
        """Read again. More than once does no harm."""
        ...


class Held:
    """The account of one environment.

    Attributes:
        total: bytes of unfinished messages, all connections together.
    """

    __slots__ = ("_by", "_limit", "_tight", "total")

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._limit = limit
        self._by: dict[Holder, int] = {}  # in the order in which their messages began
        self._tight = False
        self.total = 0

    def keep(self, connection: Holder, size: int) -> None:
        """So many more bytes of an unfinished message are kept; the connection may have to wait."""
        by = self._by
        by[connection] = by.get(connection, 0) + size
        self.total += size
        if self.total <= self._limit:
            return
        first, *others = by
        if not self._tight:
            self._tight = True
            for other in others:
                other.wait()
        elif connection is not first:
            connection.wait()

    def let_go(self, connection: Holder) -> None:
        """Nothing is kept of this connection any more: its message is whole, or has been given up."""
        size = self._by.pop(connection, 0)
        if not size:
            return
        self.total -= size
        if not self._tight:
            return
        connection.go_on()
        if self.total <= self._limit:
            self._tight = False
            for other in self._by:
                other.go_on()
        else:
            next(iter(self._by)).go_on()
