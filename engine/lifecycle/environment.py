"""The environment itself: what its Runtime API server and its owner see of it.

Everything slow (making a sandbox, starting a process, killing a tree) is in `processes`, what is written down in
`records`. Everything on the warm path is a plain call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Final

from engine.dispatch.deployment import Deployment
from engine.errors import SnapStartException, SnapStartTimeoutException
from engine.lifecycle import failures
from engine.lifecycle.failures import Failure
from engine.lifecycle.owner import Owner
from engine.lifecycle.processes import EnvironmentProcesses
from engine.lifecycle.states import Phase
from engine.model.invocation import Invocation
from engine.sandbox.api import SandboxProvider
from runtime_api import BodySource, RuntimeFault, RuntimeServer
from runtime_api import Invocation as RuntimeInvocation

if TYPE_CHECKING:
    from engine.scheduler import Slot

_LISTENING: Final = Phase.REINIT
BROKEN_OFF_S: Final = 0.1
"""How long the end of a process may take to be known after its connection closed in the middle of a response."""

now = time.monotonic


class Environment(EnvironmentProcesses):
    """One execution environment. Implements `runtime_api.RuntimeHost`: its Runtime API server calls it.

    Attributes:
        slot: the scheduler's record of it.
    """

    __slots__ = ("_broken_off", "_owner", "slot")

    def __init__(
        self,
        environment_id: str,
        slot: Slot[Invocation],
        deployment: Deployment,
        provider: SandboxProvider,
        owner: Owner,
        *,
        init_timeout_s: float,
        freeze_after_s: float = inf,
    ) -> None:
        super().__init__(
            environment_id, deployment, provider, init_timeout_s=init_timeout_s, freeze_after_s=freeze_after_s
        )
        self.slot = slot
        self.initialization = slot.initialization
        self.server = RuntimeServer(self, restore=self.initialization == "snap-start")
        if self.initialization == "snap-start":
            self.server.credentials = deployment.credentials()
        self._owner = owner
        self._broken_off: tuple[Invocation, Failure] | None = None

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run it in a task of the owner's."""
        self._owner.run(work)

    def in_flight(self) -> list[str]:
        """The request ids of what it has: one or none."""
        return [] if self.invocation is None else [self.invocation.request_id]

    # ---- from the Runtime API server -------------------------------------------------------------------------------
    # A process that is being killed may still get a word in: it is not heard.

    def runtime_next(self) -> None:
        """The runtime parked on `next`."""
        if self.phase <= _LISTENING:
            if self._broken_off is not None:
                self._judge_broken_off()
            if self.extending is None or self.extending.runtime_next():
                self.next(now())

    def runtime_response(self, invocation: RuntimeInvocation, body: bytes, content_type: bytes) -> None:
        """The runtime answered."""
        if self.phase <= _LISTENING:
            current = self.invocation
            if current is not None and current.stream is not None:
                current.stream.typed(content_type)
            self.responded(now(), body)

    def runtime_stream(self, invocation: RuntimeInvocation, content_type: bytes, source: BodySource) -> bool:
        """The runtime begins to stream its answer: to the caller piece by piece, if it takes it so."""
        if self.phase > _LISTENING:
            return False
        current = self.streaming()
        if current.stream is None:
            return False
        current.stream.begin(current, content_type, source)
        return True

    def runtime_piece(self, invocation: RuntimeInvocation, data: bytes) -> None:
        """A piece of a streamed answer."""
        current = self.invocation
        if self.phase <= _LISTENING and current is not None and current.stream is not None:
            current.stream.piece(now(), data)

    def runtime_streamed(self, invocation: RuntimeInvocation) -> None:
        """A streamed answer is complete."""
        if self.phase <= _LISTENING:
            self.responded(now(), b"")

    def runtime_error(
        self, invocation: RuntimeInvocation, body: bytes, error_type: str, xray_cause: bytes | None
    ) -> None:
        """The runtime reported that the handler failed."""
        if self.phase <= _LISTENING:
            self.failed(now(), failures.posted(body, error_type))

    def runtime_init_error(self, body: bytes, error_type: str) -> None:
        """The runtime could not initialise."""
        if self.phase <= _LISTENING:
            self.init_failed(now(), failures.posted(body, error_type))

    def runtime_restore_next(self) -> None:
        """The runtime parked on `restore/next`."""
        if self.phase <= _LISTENING:
            self.parked(now())

    def runtime_restore_error(self, body: bytes, error_type: str) -> None:
        """A restore hook of the function's failed."""
        if self.phase <= _LISTENING:
            self.restore_failed(now(), failures.posted(body, error_type))

    def runtime_fault(self, invocation: RuntimeInvocation, fault: RuntimeFault) -> None:
        """The runtime posted a response that cannot be used: too large, truncated, or of an unknown mode."""
        if self.phase > _LISTENING:
            return
        failure = failures.unusable(fault.error_type, fault.message)
        current = self.invocation
        if fault.error_type == failures.TRUNCATED and current is not None:
            # Most often its process has died. How, is known in a moment, and says more.
            self._broken_off = (current, failure)
            asyncio.get_running_loop().call_later(BROKEN_OFF_S, self._judge_broken_off)
        else:
            self.failed(now(), failure)

    def _judge_broken_off(self) -> None:
        """A response broke off a while ago, or its runtime is back: nothing better will be known of it."""
        broken_off, self._broken_off = self._broken_off, None
        if broken_off is not None and broken_off[0] is self.invocation and self.phase is Phase.INVOKE:
            self.failed(now(), broken_off[1])

    # ---- actions ---------------------------------------------------------------------------------------------------

    def deliver(self, invocation: Invocation) -> None:
        """Hand the event to the parked runtime, with its deadline on the wall clock."""
        invocation.deadline_ms = int(time.time() * 1000 + (self.deadline - invocation.started) * 1000)
        self.server.deliver(invocation)
        if self.extending is not None:
            self._tell_extensions(invocation)

    def not_restored(self, failure: Failure) -> None:
        """Tell the dispatcher, with what its callers are to hear (botocore's model has the words)."""
        error = SnapStartTimeoutException() if failure.status == "timeout" else SnapStartException()
        broken = self.copied is not None and failure.whole is None  # no hook said so: it may be the fault of the copy
        if broken and self.copied is not None:
            self.deployment.drop_image(self.copied, f"a copy of it ended before it was ready: {failure.reason}")
        self._owner.environment_refused(
            self, f"its restore failed: {failure.error_type}", error, again=broken and failure.status != "timeout"
        )

    def returning(self, invocation: Invocation) -> None:
        """Tell the dispatcher."""
        self._owner.environment_answered(self, invocation)

    def answer(self, invocation: Invocation) -> None:
        """Tell the caller, once, and let the payloads go: the invocation itself stays in the logs for a while."""
        invocation.answered = True
        self._owner.finished()
        invocation.reply(invocation)
        invocation.outcome = b""

    def available(self, *, broken: bool) -> None:
        """Tell the dispatcher."""
        self._owner.environment_available(self, broken=broken)

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
