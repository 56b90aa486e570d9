"""The scheduler's shell: feeds it what happens, carries out what it decides.

One object is the scheduler's `Effects` and the environments' `Owner`. On the warm path it is a few plain calls between
the caller's connection and the runtime's; tasks exist only for what is slow (starting, killing, closing environments),
and belong to the engine's task group.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any

from engine.dispatch.deployment import Deployment
from engine.dispatch.routes import Route
from engine.errors import (
    AwsError,
    EngineClosedError,
    ResourceNotFoundException,
    ServiceException,
    TooManyRequestsException,
)
from engine.lifecycle.concurrent.environment import ConcurrentEnvironment
from engine.lifecycle.environment import Environment
from engine.lifecycle.states import Phase
from engine.model.initialization import limit_s
from engine.model.invocation import Invocation
from engine.sandbox.api import SandboxProvider
from engine.scheduler import GONE, LOST, READY, Pool, Refusal, RetireReason, Scheduler, SharedSlot, Slot

STORIES = 4_096
"""Invocations whose story can still be told."""

_log = logging.getLogger("lambent")
now = time.monotonic


class Dispatcher:
    """Hands invocations to environments.

    Attributes:
        scheduler: the pure core.
        recent: the newest invocations, oldest first, for `story`.
        environments: every environment that is not gone, by id.
    """

    __slots__ = (
        "_answered",
        "_counter",
        "_drained",
        "_emptied",
        "_freeze_after_s",
        "_init_timeout_s",
        "_loop",
        "_pools",
        "_provider",
        "_submit",
        "_tasks",
        "_timer",
        "closing",
        "environments",
        "in_flight",
        "recent",
        "scheduler",
    )

    def __init__(
        self,
        provider: SandboxProvider,
        tasks: asyncio.TaskGroup,
        *,
        memory_mb: int,
        account_concurrency: int,
        keep_alive_s: float,
        wait_limit_s: float,
        init_timeout_s: float,
        freeze_after_s: float = inf,
        max_environments: int | None = None,
    ) -> None:
        self._provider = provider
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._init_timeout_s = init_timeout_s
        self._freeze_after_s = freeze_after_s
        self.scheduler: Scheduler[Invocation] = Scheduler(
            self,
            memory_mb=memory_mb,
            account_concurrency=account_concurrency,
            keep_alive_s=keep_alive_s,
            wait_limit_s=wait_limit_s,
            max_environments=max_environments,
        )
        self._submit = self.scheduler.submit
        self._answered = self.scheduler.answered
        self._pools: dict[tuple[str, str], Pool[Invocation]] = {}  # by function name and version
        self._timer: asyncio.TimerHandle | None = None
        self._counter = 0
        self._drained: asyncio.Event | None = None
        self._emptied: asyncio.Event | None = None
        self.closing = False
        self.in_flight = 0
        self.environments: dict[str, Environment | ConcurrentEnvironment] = {}
        self.recent: deque[Invocation] = deque(maxlen=STORIES)

    # ---- deployments -----------------------------------------------------------------------------------------------

    def deploy(self, deployment: Deployment) -> Pool[Invocation]:
        """Put a function revision in place of the one before; who waited for that one waits for this one.

        ``$LATEST`` and each published version have a pool of their own; concurrency limits count the function's
        invocations over all of them.
        """
        function = deployment.function
        pool = self.scheduler.open_pool(
            function.name, function.memory_mb, deployment.concurrency, deployment.initialization
        )
        pool.data = deployment
        key = function.name, function.version
        old = self._pools.get(key)
        self._pools[key] = pool
        if old is not None:
            route = Route(deployment, function.arn, pool)
            for invocation in self.scheduler.close_pool(now(), old):
                route_of = invocation.route
                invocation.route = route if route_of.arn == route.arn else Route(deployment, route_of.arn, pool)
                self._submit(now(), pool, invocation)
            self._superseded(old.data)
        return pool

    def remove(self, name: str, version: str) -> None:
        """The version was deleted: who waited is told so; who runs, ends."""
        pool = self._pools.pop((name, version), None)
        if pool is None:
            return
        for invocation in self.scheduler.close_pool(now(), pool):
            self._fail(invocation, ResourceNotFoundException(f"Function not found: {invocation.route.arn}"))
        self._superseded(pool.data)

    def _superseded(self, deployment: Deployment) -> None:
        deployment.superseded = True
        self._release(deployment)

    def let_go(self, deployment: Deployment) -> None:
        """One environment less runs this revision."""
        deployment.environments -= 1
        self._release(deployment)

    def _release(self, deployment: Deployment) -> None:
        release = deployment.take_release()
        if release is not None:
            self.run(release)

    def pool(self, name: str, version: str) -> Pool[Invocation] | None:
        """The current pool of a function's version."""
        return self._pools.get((name, version))

    # ---- invocations -----------------------------------------------------------------------------------------------

    def submit(self, invocation: Invocation) -> None:
        """Take an invocation; its `reply` is called once, now or later.

        Raises:
            EngineClosedError: the engine is draining.
        """
        if self.closing:
            raise EngineClosedError("the engine is stopping and takes no new invocations; retry against its successor")
        self.in_flight += 1
        self.recent.append(invocation)
        pool = invocation.route.pool
        if pool.closed is not None:  # superseded between resolving and submitting
            function = invocation.route.function
            pool = self._pools.get((function.name, function.version), pool)
            if pool.closed is not None:
                arn = invocation.route.arn
                self._fail(invocation, ResourceNotFoundException(f"Function not found: {arn}"))
                return
            invocation.route = Route(pool.data, invocation.route.arn, pool)
        self._submit(invocation.received, pool, invocation)

    def _fail(self, invocation: Invocation, error: AwsError) -> None:
        invocation.error = error
        invocation.error_type = error.code
        invocation.ended = now()
        invocation.answered = True
        invocation.payload = b""
        self.finished()
        invocation.reply(invocation)

    def finished(self) -> None:
        """An invocation is over, one way or the other."""
        self.in_flight -= 1
        if self._drained is not None and not self.in_flight:
            self._drained.set()

    # ---- the scheduler's Effects -----------------------------------------------------------------------------------

    def start(self, slot: Slot[Any], invocation: Invocation, /) -> None:
        """Hand over."""
        at = now()
        invocation.assigned = at
        slot.environment.begin(at, invocation)

    def launch(self, slot: Slot[Any], /) -> None:
        """Make an environment."""
        self._counter += 1
        environment_id = f"{self._counter:x}-{secrets.token_hex(4)}"
        deployment = slot.pool.data
        limit = limit_s(slot.initialization, deployment.function.timeout_s, self._init_timeout_s)
        environment: Environment | ConcurrentEnvironment
        if isinstance(slot, SharedSlot):
            environment = ConcurrentEnvironment(
                environment_id, slot, deployment, self._provider, self, init_timeout_s=limit
            )
        else:
            environment = Environment(
                environment_id,
                slot,
                deployment,
                self._provider,
                self,
                init_timeout_s=limit,
                freeze_after_s=self._freeze_after_s,
            )
        slot.environment = environment
        environment.deployment.environments += 1
        self.environments[environment_id] = environment
        environment.start(now())

    def retire(self, slot: Slot[Any], reason: RetireReason, /) -> None:
        """End an idle environment."""
        slot.environment.retire(now())

    def refuse(self, invocation: Invocation, reason: Refusal, /) -> None:
        """Throttle."""
        self._fail(invocation, TooManyRequestsException(reason))

    def wake(self, at: float, /) -> None:
        """Be back at `at`."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, at - now()), self._advance)

    def _advance(self) -> None:
        self._timer = None
        at = self.scheduler.advance(now())
        if at is not None:
            self.wake(at)

    # ---- the environments' Owner -----------------------------------------------------------------------------------

    def environment_answered(self, environment: Environment, invocation: Invocation) -> None:
        """Free in a moment."""
        self._answered(invocation.responded, environment.slot)

    def environment_available(self, environment: Environment, *, broken: bool) -> None:
        """Free again."""
        self.scheduler.ready(now(), environment.slot, broken)

    def environment_refused(
        self,
        environment: Environment | ConcurrentEnvironment,
        reason: str,
        error: AwsError | None = None,
        *,
        again: bool = False,
    ) -> None:
        """The host would not make it, or its restore failed: those that it was to serve hear of it, or wait again."""
        _log.error("environment %s of %s: %s", environment.id, environment.deployment.function.name, reason)
        for failed in self.scheduler.launch_failed(now(), environment.slot):
            if again and failed.route.pool.closed is None:
                self._submit(now(), failed.route.pool, failed)
                continue
            self._fail(failed, error or ServiceException(f"The execution environment could not be created: {reason}"))

    def environment_lost(self, environment: Environment | ConcurrentEnvironment) -> None:
        """It will not be free again; its memory is, later, or never."""
        slot = environment.slot
        if slot.state not in {LOST, GONE}:  # GONE: its launch was refused
            self.scheduler.lost(now(), slot)

    def environment_stuck(self, environment: Environment | ConcurrentEnvironment, reason: str) -> None:
        """An operator must know, whether or not it goes away by itself later."""
        _log.error(
            "environment %s of %s could not be ended completely: %s. It takes no more invocations, its memory (%d MB) "
            "is not given to others, and ending it is tried again; see `lambent ps`",
            environment.id,
            environment.deployment.function.name,
            reason,
            environment.deployment.function.memory_mb,
        )

    def environment_gone(self, environment: Environment | ConcurrentEnvironment) -> None:
        """Its memory is free."""
        self.environments.pop(environment.id, None)
        self.let_go(environment.deployment)
        if self._emptied is not None and not self.environments:
            self._emptied.set()
        if environment.slot.state != GONE:  # it is gone for the scheduler already when the launch was refused
            self.scheduler.gone(now(), environment.slot)

    # ---- and of those that take several invocations -----------------------------------------------------------------

    def place_free(self, environment: ConcurrentEnvironment) -> None:
        """One more may come."""
        self.scheduler.place_free(now(), environment.slot)

    def place_answered(self, environment: ConcurrentEnvironment, *, returns: bool) -> None:
        """One less is in flight."""
        self.scheduler.place_answered(now(), environment.slot, returns)

    def place_withdrawn(self, environment: ConcurrentEnvironment) -> None:
        """One less may come."""
        self.scheduler.place_withdrawn(now(), environment.slot)

    def place_abandoned(self, environment: ConcurrentEnvironment) -> None:
        """One less will come."""
        self.scheduler.place_abandoned(now(), environment.slot)

    def environment_bereaved(self, environment: ConcurrentEnvironment) -> list[Invocation]:
        """Its Init has failed."""
        return self.scheduler.init_failed(now(), environment.slot)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run it in the engine's task group; a bug in it must not end the engine."""
        self._tasks.create_task(_guarded(work))  # of asyncio's: anyio's takes 20 us for this, on every cold start

    # ---- the end ---------------------------------------------------------------------------------------------------

    async def drain(self, limit_s: float) -> int:
        """Take nothing new and wait for what runs, at most `limit_s` seconds. Returns how many still run."""
        self.closing = True
        if self.in_flight:
            self._drained = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), limit_s)
        return self.in_flight

    def stop(self) -> None:
        """End every environment; who still waits or runs is told that the engine stopped."""
        self.closing = True
        for invocation in self.scheduler.shutdown():
            self._fail(invocation, ServiceException("The engine stopped before the invocation began"))
        for environment in list(self.environments.values()):
            if environment.phase is not Phase.CLOSED:
                environment.retire(now(), final=True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def gone(self) -> None:
        """Wait until no environment is left, after `stop`."""
        while self.environments:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    # ---- for the curious -------------------------------------------------------------------------------------------

    def find(self, request_id: str) -> Invocation | None:
        """The invocation with that id, if it is still remembered."""
        return next((one for one in reversed(self.recent) if one.request_id == request_id), None)

    def listing(self) -> Iterator[dict[str, Any]]:
        """One dict per environment, for `lambent ps`."""
        at = now()
        for environment in list(self.environments.values()):
            slot = environment.slot
            function = environment.deployment.function
            memory = environment.memory_peak()
            running = environment.in_flight()
            yield {
                "id": environment.id,
                "function": function.name,
                "version": function.version,
                "runtime": function.runtime,
                "phase": environment.phase.name,
                "trouble": environment.stuck,
                "pid": environment.pid,
                "start": environment.started_by,
                "initialization": slot.initialization,
                "extensions": environment.extensions(),
                "memory_mb": function.memory_mb,
                "max_memory_bytes": memory,
                "age_s": round(at - environment.created, 3),
                "idle_s": round(at - slot.ready_since, 3) if slot.state == READY else 0.0,
                "invocations": environment.served,
                "in_flight": len(running),
                "capacity": slot.pool.capacity,
                "request_id": running[0] if running else None,
                "log_stream": environment.log_stream,
            }


async def _guarded(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:  # noqa: BLE001 - reported below; one environment's trouble must not end the engine
        _log.exception("a background task of an environment failed; this is a bug in Lambent")
