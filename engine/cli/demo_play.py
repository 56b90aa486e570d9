"""The scenes that a function of ``lambent demo`` plays, and whether it played them as it must."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from engine.errors import LambentError

if TYPE_CHECKING:
    from engine import Function
    from engine.cli.demo_functions import Example

WARM = 50
"""Warm requests whose median is shown; fewer when they take longer than a second together."""

WARM_LIMIT_S = 1.0


class Row(Struct):
    """What one function did. Times in ms; None and "" mean "not yet".

    Attributes:
        cold_ms: from the request to the answer, the first time, with a new process.
        init_ms: the part of it that the runtime took to start.
        warm_ms: median of the next `WARM` requests.
        raised, hung, crashed: the errorType that the caller saw.
        hung_ms: how long the caller waited for the timeout.
        again_ms: the first answer after the crash.
        problems: what was not as it must be; empty when all was.
    """

    language: str
    how: str
    cold_ms: float | None = None
    init_ms: float | None = None
    warm_ms: float | None = None
    raised: str = ""
    hung: str = ""
    hung_ms: float | None = None
    crashed: str = ""
    again_ms: float | None = None
    doing: str = ""
    done: bool = False
    problems: list[str] = []

    @property
    def behaved(self) -> bool:
        """Whether everything was as it must be."""
        return self.done and not self.problems


class Play:
    """One function and its row.

    Each scene may be played once, in this order: `start`, `hang`, `crash`. `hang` only waits, so that the functions can
    do it together; the others are measured and want the machine for themselves.
    """

    def __init__(self, function: Function, example: Example, row: Row) -> None:
        self._function = function
        self._example = example
        self._row = row
        self._expected = example.expected if example.expected is not None else example.event("answer")

    async def start(self) -> None:
        """Answer cold, answer warm, raise."""
        await self._guarded(self._start)

    async def hang(self) -> None:
        """Run into the time limit."""
        await self._guarded(self._hang)

    async def crash(self) -> None:
        """End the process in the middle of an invocation, and answer the next."""
        await self._guarded(self._crash)
        self._row.done = True

    async def _guarded(self, scene: Callable[[], Awaitable[None]]) -> None:
        try:
            await scene()
        except LambentError as error:  # refused by the engine: the function's row says so, and the others go on
            self._row.problems.append(str(error))
        self._row.doing = ""

    async def _start(self) -> None:
        row = self._row
        row.cold_ms, answer, _ = await self._act("answer", "starting")
        self._check("the first answer", answer, self._expected)
        self._check("a cold start", row.init_ms is not None, True)

        row.doing = "answering"
        times: list[float] = []
        until = time.monotonic() + WARM_LIMIT_S
        while len(times) < WARM and (not times or time.monotonic() < until):
            took, answer, _ = await self._ask("answer")
            times.append(took)
            if answer != self._expected:
                self._check("a warm answer", answer, self._expected)
                break
        row.warm_ms = median(times)

        _, _, row.raised = await self._act("raise", "raising")
        self._check("an error", row.raised, self._example.error or row.raised or "an error")

    async def _hang(self) -> None:
        row = self._row
        row.hung_ms, _, row.hung = await self._act("hang", "hanging")
        self._check("a timeout", row.hung, "Sandbox.Timedout")

    async def _crash(self) -> None:
        row = self._row
        _, _, row.crashed = await self._act("crash", "crashing")
        self._check("a crash", row.crashed, "Runtime.ExitError")
        row.again_ms, answer, _ = await self._act("answer", "starting again")
        self._check("the answer after the crash", answer, self._expected)

    async def _act(self, name: str, doing: str) -> tuple[float, Any, str]:
        self._row.doing = doing
        if self._example.modes is not None:
            await self._function.configure(environment=self._example.modes[name])
        return await self._ask(name)

    async def _ask(self, name: str) -> tuple[float, Any, str]:
        """Returns (ms, the answer, the error's type or "")."""
        result = await self._function.invoke(self._example.event(name))
        answer = result.json()
        if self._row.init_ms is None:
            self._row.init_ms = result.init_ms
        return result.total_ms, answer, str(answer.get("errorType", "?")) if result.function_error else ""

    def _check(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            self._row.problems.append(f"{what}: {seen!r} instead of {wanted!r}")
