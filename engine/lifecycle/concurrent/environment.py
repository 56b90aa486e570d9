"""The environment with several invocations in flight, as its Runtime API server and its owner see it."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from engine.dispatch.deployment import Deployment
from engine.lifecycle import failures
from engine.lifecycle.concurrent.core import ConcurrentCore
from engine.lifecycle.extending import Extending, Stage
from engine.lifecycle.failures import Failure
from engine.lifecycle.owner import Owner
from engine.lifecycle.processes import EnvironmentProcesses
from engine.lifecycle.states import Phase
from engine.model.invocation import Invocation
from engine.sandbox.api import SandboxProvider
from engine.telemetry import report
from runtime_api import BodySource, ConcurrentRuntimeServer, RuntimeFault
from runtime_api import Invocation as RuntimeInvocation

if TYPE_CHECKING:
    from engine.scheduler import SharedSlot

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LONG: Final = 8_192
"""Of a longer line only the first and the last half of so many characters are looked at for a request id."""
_ENDED: Final = 256
"""Invocations that ended and are still known, for lines that come after their answer."""

now = time.monotonic


class ConcurrentOwner(Owner, Protocol):
    """The dispatcher, as this kind of environment sees it."""

    def place_free(self, environment: ConcurrentEnvironment) -> None:
        """A worker of it asks for an invocation."""
        ...

    def place_answered(self, environment: ConcurrentEnvironment, *, returns: bool) -> None:
        """An invocation on it is answered, or has timed out, which its caller is told next.

        `returns`: a worker is expected back for it.
        """
        ...

    def place_withdrawn(self, environment: ConcurrentEnvironment) -> None:
        """A worker that asked is gone."""
        ...

    def place_abandoned(self, environment: ConcurrentEnvironment) -> None:
        """A worker that answered is not expected back any more."""
        ...

    def environment_bereaved(self, environment: ConcurrentEnvironment) -> list[Invocation]:
        """It will never serve. Returns the invocations that waited for it, to be told why."""
        ...


class ConcurrentEnvironment(ConcurrentCore, EnvironmentProcesses):
    """One execution environment that takes several invocations at a time.

    Implements `runtime_api.ConcurrentHost`: its Runtime API server calls it.

    Attributes:
        slot: the scheduler's record of it.
    """

    runtime_ms = 600

    def __init__(
        self,
        environment_id: str,
        slot: SharedSlot[Invocation],
        deployment: Deployment,
        provider: SandboxProvider,
        owner: ConcurrentOwner,
        *,
        init_timeout_s: float,
    ) -> None:
        super().__init__(environment_id, deployment, provider, init_timeout_s=init_timeout_s)
        self.prepare(slot.home.capacity)
        self.slot = slot
        self.initialization = slot.initialization
        self._server = self.server = ConcurrentRuntimeServer(self, slot.home.capacity)
        self._owner = owner
        self._early = 0  # workers that ask, while Init waits for extensions
        self._ended: OrderedDict[str, Invocation] = OrderedDict()

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run it in a task of the owner's."""
        self._owner.run(work)

    def in_flight(self) -> list[str]:
        """The request ids of what it has, oldest first."""
        return list(self.flight)

    # ---- from the Runtime API server -------------------------------------------------------------------------------
    # A process that is being killed may still get a word in: it is not heard.

    def runtime_next(self) -> None:
        """A worker waits."""
        if self.phase is Phase.READY:
            self.next(now())
        elif self.phase is Phase.INIT:
            self._early += 1
            if self.extending is None or self._all_back(self.extending):
                self.next(now())

    @staticmethod
    def _all_back(extending: Extending) -> bool:
        """Whether Init waits for no extension, now that a worker asks."""
        if extending.stage is Stage.INIT_TAIL or extending.stage is Stage.IDLE:  # another worker has asked before
            return extending.stage is Stage.IDLE
        return extending.runtime_next()

    def next(self, now: float) -> None:
        """A worker asks; or Init is over, by its first worker or by the last extension: all that asked do so now."""
        if self.phase is Phase.READY:
            super().next(now)
            return
        early, self._early = self._early, 0  # none when they are gone again: Init goes on until another one asks
        for _ in range(early):
            if self.phase in {Phase.INIT, Phase.READY}:
                super().next(now)

    def runtime_left(self) -> None:
        """A worker that waited is gone."""
        if self.phase is Phase.READY:
            self.left(now())
        elif self._early:
            self._early -= 1

    def runtime_response(self, invocation: RuntimeInvocation, body: bytes, content_type: bytes) -> None:
        """A worker answered."""
        if self.phase is Phase.READY:
            assert isinstance(invocation, Invocation)
            self.answered(now(), invocation, body)

    def runtime_stream(self, invocation: RuntimeInvocation, content_type: bytes, source: BodySource) -> bool:
        """Not here yet: streamed responses are collected, and come as a whole."""
        return False

    def runtime_piece(self, invocation: RuntimeInvocation, data: bytes) -> None:
        """Never called: nothing streams."""

    def runtime_streamed(self, invocation: RuntimeInvocation) -> None:
        """Never called: nothing streams."""

    def runtime_error(
        self, invocation: RuntimeInvocation, body: bytes, error_type: str, xray_cause: bytes | None
    ) -> None:
        """A worker reported that the handler failed."""
        self._errored(invocation, failures.posted(body, error_type))

    def runtime_fault(self, invocation: RuntimeInvocation, fault: RuntimeFault) -> None:
        """A worker posted a response that cannot be used: too large, truncated, or of an unknown mode."""
        self._errored(invocation, failures.unusable(fault.error_type, fault.message))

    def _errored(self, invocation: RuntimeInvocation, failure: Failure) -> None:
        if self.phase is Phase.READY:
            assert isinstance(invocation, Invocation)
            self.errored(now(), invocation, failure)

    def runtime_init_error(self, body: bytes, error_type: str) -> None:
        """A worker could not initialise, before any was ready."""
        if self.phase is Phase.INIT:
            self.init_failed(now(), failures.posted(body, error_type))

    # ---- actions ---------------------------------------------------------------------------------------------------

    def deliver(self, invocation: Invocation) -> None:
        """Hand the event to a worker, with its deadline on the wall clock."""
        invocation.deadline_ms = int((time.time() + self.timeout_s) * 1000)
        self._server.deliver(invocation)

    def replied(self, comes_back: bool) -> None:
        """Tell the dispatcher."""
        self._owner.place_answered(self, returns=comes_back)

    def expired(self, invocation: Invocation) -> None:
        """Tell the Runtime API server and the dispatcher."""
        self._server.expire(invocation)
        self._owner.place_answered(self, returns=False)

    def answer(self, invocation: Invocation) -> None:
        """Tell the caller, once, and let the payloads go: the invocation itself stays in the logs for a while."""
        invocation.answered = True
        self._owner.finished()
        invocation.reply(invocation)
        invocation.outcome = b""

    def available(self, *, broken: bool) -> None:
        """Tell the dispatcher."""
        self._owner.place_free(self)

    def withdrawn(self) -> None:
        """Tell the dispatcher."""
        self._owner.place_withdrawn(self)

    def abandoned(self) -> None:
        """Tell the dispatcher."""
        self._owner.place_abandoned(self)

    def bereaved(self) -> list[Invocation]:
        """Ask the dispatcher."""
        return self._owner.environment_bereaved(self)

    def refused(self, reason: str) -> None:
        """Tell the dispatcher."""
        self._owner.environment_refused(self, reason)

    def lost(self) -> None:
        """Tell the dispatcher."""
        self._owner.environment_lost(self)

    def gone(self) -> None:
        """Tell the dispatcher."""
        self._owner.environment_gone(self)

    def note_stuck(self, reason: str) -> None:
        """Tell the dispatcher."""
        self._owner.environment_stuck(self, reason)

    # ---- what is written down --------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        """A line belongs to the invocation whose request id it carries, else to the environment."""
        self.log.line(self._subject(text), text)

    def _framed(self, text: str, level: int, when: float | None) -> None:
        """As a line: no client is offered frames, but whoever writes them is heard."""
        self.log.framed(self._subject(text), text, level, when)

    def _subject(self, text: str) -> Invocation | None:
        seen = text if len(text) <= _LONG else text[: _LONG // 2] + "\n" + text[-_LONG // 2 :]
        for found in _UUID.finditer(seen):
            subject = self.flight.get(found[0]) or self._ended.get(found[0])
            if subject is not None:
                return subject
        return None

    def note_start(self, invocation: Invocation) -> None:
        """START."""
        invocation.environment_id = self.id
        if invocation.tail:
            invocation.log = []
        self.log.start(invocation)

    def note_end(self, invocation: Invocation, failure: Failure | None = None) -> None:
        """Its last printed lines, then END and REPORT."""
        ended = self._ended
        ended[invocation.request_id] = invocation
        if len(ended) > _ENDED:
            ended.popitem(last=False)
        self._drain()
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.memory_peak()
        if failure is not None and failure.cause == "memory":  # what the kernel refused it is not in any peak
            invocation.max_memory = self.deployment.function.memory_mb * report.MIB
        invocation.payload = b""
        self.log.end(invocation)
