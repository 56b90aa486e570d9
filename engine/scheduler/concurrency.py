"""Concurrency limits: the account's, and reserved ones per function.

A function with reserved concurrency has a :class:`Limit` of its own; all others share one, whose ceiling is what the
account has left. So an invocation is counted in exactly one place, and admission on the hot path is one comparison.
"""

from __future__ import annotations

from typing import Generic

from .state import I, Limit, Pool


class Function(Generic[I]):
    """What the scheduler knows of one function: its pools that still hold or may get environments, and its limit."""

    __slots__ = ("limit", "name", "pools", "reserved")

    def __init__(self, name: str, limit: Limit) -> None:
        self.name = name
        self.limit = limit
        self.reserved: int | None = None
        self.pools: dict[Pool[I], None] = {}

    @property
    def in_flight(self) -> int:
        """Accepted invocations of the function that are not answered, over all its revisions."""
        return sum(pool.running + pool.waiting for pool in self.pools)


class Concurrency(Generic[I]):
    """Every function's limit. Cost of each operation: O(revisions of the one function)."""

    __slots__ = ("account", "functions", "reserved_total", "unreserved")

    def __init__(self, account: int) -> None:
        if account < 0:
            raise ValueError(f"account_concurrency must be 0 or more, not {account}")
        self.account = account
        self.reserved_total = 0
        self.unreserved = Limit(account, "ConcurrentInvocationLimitExceeded")
        self.functions: dict[str, Function[I]] = {}

    def function(self, name: str) -> Function[I]:
        """The record of this function, made if need be."""
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = Function(name, self.unreserved)
        return found

    def reserve(self, name: str, reserved: int | None) -> None:
        """Set (or, with None, lift) a function's reserved concurrency; what is in flight moves with it.

        The unreserved remainder never falls below 0, and invocations already in flight are left alone.

        Raises:
            ValueError: `reserved` is negative.
        """
        if reserved is not None and reserved < 0:
            raise ValueError(f"reserved concurrency of {name!r} must be 0 or more, not {reserved}")
        function = self.function(name)
        moving = function.in_flight
        function.limit.in_flight -= moving
        self.reserved_total += (reserved or 0) - (function.reserved or 0)
        self.unreserved.ceiling = max(0, self.account - self.reserved_total)
        function.reserved = reserved
        if reserved is None:
            function.limit = self.unreserved
        else:
            function.limit = Limit(reserved, "ReservedFunctionConcurrentInvocationLimitExceeded")
        function.limit.in_flight += moving
        for pool in function.pools:
            pool.limit = function.limit
        self.forget_if_unused(function)

    def forget_if_unused(self, function: Function[I]) -> None:
        """Drop the record of a function that has neither pools nor a reservation."""
        if not function.pools and function.reserved is None:
            self.functions.pop(function.name, None)

    def drop_pool(self, pool: Pool[I]) -> None:
        """A closed pool has lost its last environment."""
        function = self.functions.get(pool.function)
        if function is not None:
            function.pools.pop(pool, None)
            self.forget_if_unused(function)
