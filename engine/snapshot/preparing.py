"""Init of a published version: while its state is Pending, and again when there is no image of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any, Final
from weakref import WeakSet

from engine.dispatch.deployment import Deployment
from engine.dispatch.dispatcher import Dispatcher
from engine.errors import AwsError, SandboxError
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
#: After so many images of a revision that did not work, none is made any more.
MOST_DROPPED: Final = 3
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
        self._deployments: WeakSet[Deployment] = WeakSet()
        self._closing = False

    @property
    def running(self) -> int:
        """How many are being prepared at this moment."""
        return len(self._running)

    def begin(self, version: FunctionVersion) -> None:
        """Prepare a version that is Pending, in a task of the engine's."""
        self._dispatcher.run(lambda: self._prepare(version.name, version.version))

    def follow(self, deployment: Deployment) -> None:
        """A revision is deployed. When it is initialised for a caller for want of an image, one is made beside that."""
        if deployment.initialization == "snap-start":
            self._deployments.add(deployment)
            deployment.want_image = lambda: self._want(deployment)

    def _want(self, deployment: Deployment) -> None:
        if (
            self._closing
            or self._provider.mode == "process"
            or deployment.image_wanted
            or deployment.images_dropped >= MOST_DROPPED
        ):
            return
        if deployment.image_refused is not None and not deployment.images_dropped:
            return  # it is not a process that can be written down
        deployment.image_wanted = True
        function = deployment.function
        self._dispatcher.run(lambda: self._prepare(function.name, function.version))

    def stop(self) -> None:
        """End those that run, without a verdict: the versions stay Pending and are prepared by the next engine."""
        self._closing = True
        for preparation in tuple(self._running):
            preparation.stop()

    def let_images_go(self) -> None:
        """The engine ends, and no environment is left."""
        for deployment in self._deployments:
            deployment.let_image_go()

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
                pool.data.image_wanted = False
        if self._closing:
            return
        if pool.data.image is None and pool.data.image_refused is None:
            pool.data.image_refused = preparation.reason or "the runtime did not ask for restore/next"
        if preparation.reason is None:
            await self._registry.version_ready(name, version)
        elif await self._registry.version_failed(name, version, preparation.reason_code, preparation.reason):
            _log.warning("version %s of %s cannot be used: %s", version, name, preparation.reason)


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

    def environment_refused(
        self, environment: Any, reason: str, error: AwsError | None = None, *, again: bool = False
    ) -> None:
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
    """An environment that is not released: it is written down where it parks, and ends."""

    __slots__ = ()

    template = True

    def restore(self) -> None:
        """It has come as far as it shall."""
        self.run(self._write_down)

    async def _write_down(self) -> None:
        deployment = self.deployment
        async with self._order:
            if self.phase is Phase.RESTORE and self._sandbox is not None and self._process is not None:
                began = now()
                try:
                    image = await self._sandbox.snapshot(self._process)
                except SandboxError as error:
                    deployment.image_refused = str(error)
                    _log.info("no snapshot of %s:%s: %s", deployment.function.name, deployment.function.version, error)
                else:
                    if self.phase is not Phase.RESTORE:  # the engine ends
                        image.close()
                        return
                    deployment.let_image_go()
                    deployment.image, deployment.image_refused = image, None
                    self._note(f"written down in {now() - began:.3f} s: {image.size >> 20} MB")
        if self.phase is Phase.RESTORE:
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
