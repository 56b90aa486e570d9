"""Init of a published version while its state is Pending."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any, Final

from engine.dispatch.dispatcher import Dispatcher
from engine.errors import AwsError
from engine.lifecycle.environment import Environment
from engine.lifecycle.failures import Failure
from engine.lifecycle.states import Phase
from engine.model.function import FunctionVersion
from engine.model.initialization import limit_s
from engine.model.invocation import Invocation
from engine.sandbox.api import SandboxProvider
from engine.scheduler import Pool, Slot
from engine.store import FunctionRegistry

#: At a time: Init may take all of a processor.
MOST: Final = 2
_log = logging.getLogger("lambent")
now = time.monotonic


class Preparations:
    """Those of one engine. Its environments are beside the scheduler's: no invocation comes to them, and they end."""

    def __init__(
        self, registry: FunctionRegistry, dispatcher: Dispatcher, provider: SandboxProvider, *, init_timeout_s: float
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._provider = provider
        self._init_timeout_s = init_timeout_s
        self._turns = asyncio.Semaphore(MOST)
        self._running: set[_Preparation] = set()
        self._closing = False

    @property
    def running(self) -> int:
        """How many are being prepared at this moment."""
        return len(self._running)

    def begin(self, version: FunctionVersion) -> None:
        """Prepare a version that is Pending, in a task of the engine's."""
        self._dispatcher.run(lambda: self._prepare(version.name, version.version))

    def stop(self) -> None:
        """End those that run, without a verdict: the versions stay Pending and are prepared by the next engine."""
        self._closing = True
        for preparation in tuple(self._running):
            preparation.stop()

    async def _prepare(self, name: str, version: str) -> None:
        async with self._turns:
            pool = self._dispatcher.pool(name, version)
            if self._closing or pool is None:  # None: it was deleted meanwhile
                return
            preparation = _Preparation(self._dispatcher, self._provider, pool, self._init_timeout_s)
            self._running.add(preparation)
            try:
                await preparation.done.wait()
            finally:
                self._running.discard(preparation)
        if self._closing:
            return
        if preparation.reason is None:
            await self._registry.version_ready(name, version)
        else:
            _log.warning("version %s of %s cannot be used: %s", version, name, preparation.reason)
            await self._registry.version_failed(name, version, preparation.reason_code, preparation.reason)


class _Preparation:
    """One: the owner of its environment.

    Attributes:
        done: nothing is left of the environment.
        reason: why Init failed, None when it did not; and AWS's code for it.
    """

    def __init__(
        self, dispatcher: Dispatcher, provider: SandboxProvider, pool: Pool[Invocation], init_timeout_s: float
    ) -> None:
        self.done = asyncio.Event()
        self.reason: str | None = None
        self.reason_code = ""
        self.run = dispatcher.run
        self._dispatcher = dispatcher
        deployment = pool.data
        limit = limit_s(pool.initialization, deployment.function.timeout_s, init_timeout_s)
        self._environment = _Parking(
            f"snap-{secrets.token_hex(4)}", Slot(pool), deployment, provider, self, init_timeout_s=limit
        )
        deployment.environments += 1
        self._environment.start(now())

    def stop(self) -> None:
        """End it now."""
        if self._environment.phase is not Phase.CLOSED:
            self._environment.retire(now(), final=True)

    # ---- the environment's Owner -----------------------------------------------------------------------------------

    def environment_available(self, environment: Environment, *, broken: bool) -> None:
        """Init is over: well, or not, and then it could be tried again. Either way it has done its part."""
        if broken:
            assert environment.init_failure is not None
            self.reason, self.reason_code = words(environment.init_failure)
        environment.retire(now())

    def environment_refused(self, environment: Any, reason: str, error: AwsError | None = None) -> None:
        """The host would not make it."""
        self.reason, self.reason_code = f"The execution environment could not be created: {reason}", "InternalError"

    def environment_gone(self, environment: Any) -> None:
        """Nothing is left of it."""
        self._dispatcher.let_go(environment.deployment)
        self.done.set()

    def environment_stuck(self, environment: Any, reason: str) -> None:
        """An operator must know."""
        self._dispatcher.environment_stuck(environment, reason)

    def environment_lost(self, environment: Any) -> None:
        """No scheduler counts on it."""

    def environment_answered(self, environment: Environment, invocation: Invocation) -> None:
        """Never: no invocation comes to it."""

    def finished(self) -> None:
        """Never, likewise."""


class _Parking(Environment):
    """An environment that is not released."""

    __slots__ = ()

    def restore(self) -> None:
        """It has come as far as it shall."""
        self.available(broken=False)


def words(failure: Failure) -> tuple[str, str]:
    """StateReason and StateReasonCode for an Init that failed (the codes are botocore's enumeration)."""
    kind = failure.error_type
    if failure.status == "timeout":
        code = "FunctionError.InitTimeout"
    elif kind == "Runtime.InvalidEntrypoint":
        code = "FunctionError.InvalidEntryPoint"
    elif kind == "Runtime.OutOfMemory":
        code = "FunctionError.InitResourceExhausted"
    elif kind.startswith("Extension."):
        code = "FunctionError.ExtensionInitError"
    else:
        code = "FunctionError.RuntimeInitError"
    reason = failure.reason or (failure.whole or b"").decode("utf-8", "replace")[:500]
    return f"The function could not be initialized: {kind}: {reason}", code
