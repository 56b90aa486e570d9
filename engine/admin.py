"""The admin API under ``/_lambent/``: what `lambent ps`, `logs` and `story` read. JSON; not part of AWS's API."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from engine._version import __version__
from engine.errors import AwsError, ResourceNotFoundException
from engine.model.invocation import Invocation
from engine.telemetry.environment_log import group_of
from engine.telemetry.logs import LogRecord
from engine.telemetry.store import Event

if TYPE_CHECKING:
    from engine.engine import Engine

_MAX_BACKLOG = 10_000


def add_admin_routes(app: web.Application, engine: Engine) -> None:
    """Serve the admin API in `app`."""
    admin = _Admin(engine)
    app.router.add_get("/_lambent/health", admin.health)
    app.router.add_get("/_lambent/info", admin.info)
    app.router.add_get("/_lambent/environments", admin.environments)
    app.router.add_get("/_lambent/story/{request_id}", admin.story)
    app.router.add_get("/_lambent/logs/{function}", admin.logs)


class _Admin:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began = time.monotonic()

    async def health(self, request: web.Request) -> web.Response:
        return _json({"status": "draining" if self._engine.dispatcher.closing else "ok"})

    async def info(self, request: web.Request) -> web.Response:
        engine = self._engine
        stats = engine.dispatcher.scheduler.stats()
        return _json(
            {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": round(time.monotonic() - self._began, 3),
                "isolation": engine.provider.mode,
                "weaknesses": engine.weaknesses(),
                "data_dir": str(engine.data_dir),
                "account_id": engine.account_id,
                "region": engine.region,
                "memory_budget_mb": engine.memory_mb,
                "in_flight": engine.dispatcher.in_flight,
                "environments": len(engine.dispatcher.environments),
                "blanks": engine.provider.blanks,
                "scheduler": msgspec.to_builtins(stats),
            }
        )

    async def environments(self, request: web.Request) -> web.Response:
        return _json({"environments": list(self._engine.dispatcher.listing())})

    async def story(self, request: web.Request) -> web.Response:
        request_id = request.match_info["request_id"]
        invocation = self._engine.dispatcher.find(request_id)
        if invocation is None:
            return _refuse(
                ResourceNotFoundException(
                    f"No invocation {request_id} is remembered: the id is wrong, the engine was restarted, or "
                    f"{self._engine.dispatcher.recent.maxlen} newer invocations have come since"
                )
            )
        return _json(tell(invocation, self._engine))

    async def logs(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["function"]
        try:
            function = self._engine.registry.get(name)
            limit = min(_MAX_BACKLOG, max(0, int(request.query.get("limit", "100"))))
        except AwsError as error:
            return _refuse(error)
        except ValueError:
            return _json({"message": f"limit must be a whole number, not {request.query['limit']!r}"}, status=400)
        log = self._engine.log(name)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        queue: asyncio.Queue[LogRecord] = asyncio.Queue(_MAX_BACKLOG)

        def follow(record: LogRecord) -> None:
            if not queue.full():  # a reader that does not read loses lines, the function never waits for it
                queue.put_nowait(record)

        following = request.query.get("follow") in {"1", "true"}
        backlog = self._engine.log_store.backlog(group_of(function), f"/{function.name}[", limit)
        if following:  # the backlog ends where this begins
            log.followers.append(follow)
        try:
            for event in await backlog:
                await response.write(msgspec.json.encode(_record(event)) + b"\n")
            while following:
                await response.write(msgspec.json.encode(await queue.get()) + b"\n")
        except ConnectionError:
            pass
        finally:
            if following:
                log.followers.remove(follow)
        return response


def tell(invocation: Invocation, engine: Engine) -> dict[str, Any]:
    """The story of one invocation: its own timeline, and what befell its environment. Times in ms since received."""
    environment = engine.dispatcher.environments.get(invocation.environment_id)
    zero = invocation.received
    steps = [
        ("received", invocation.received),
        ("assigned to an environment", invocation.assigned),
        ("handed to the runtime" if invocation.responded else "begun", invocation.started),
        ("first byte of a streamed response", invocation.stream.first_byte if invocation.stream is not None else 0.0),
        ("answered by the runtime", invocation.responded),
        ("ended", invocation.ended),
    ]
    timeline = [
        {"ms": round((at - zero) * 1000, 3), "event": event, "source": "invocation"} for event, at in steps if at
    ]
    if environment is not None:
        timeline += [
            {"ms": round((at - zero) * 1000, 3), "event": text, "source": "environment"}
            for at, text in environment.transitions()
        ]
    timeline.sort(key=lambda step: float(str(step["ms"])))
    return {
        "request_id": invocation.request_id,
        "function": invocation.route.function.name,
        "function_arn": invocation.function_arn,
        "environment": invocation.environment_id or None,
        "environment_alive": environment is not None,
        "status": invocation.status or (invocation.error.code if invocation.error else "in flight"),
        "error_type": invocation.error_type or None,
        "init_ms": None if invocation.init_s is None else round(invocation.init_s * 1000, 3),
        "received_ms": int((time.time() - time.monotonic() + zero) * 1000),
        "timeline": timeline,
    }


def _record(event: Event) -> LogRecord:
    message = event.message.removesuffix("\n")
    return LogRecord(time_ms=event.time_ms, stream=event.stream, request_id=event.request_id, message=message)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _refuse(error: AwsError) -> web.Response:
    return _json(error.body(), error.status)
