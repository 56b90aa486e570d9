"""The subject of ``lambent conform``: a function's package, started by the engine's own sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from engine import Engine
from engine.cli.console import CommandError
from engine.cli.embed import engine_options
from engine.dispatch.deployment import Deployment, EntrypointMissing
from engine.sandbox.api import Exit, Process, Sandbox, SandboxProvider, SpawnFailed
from runtime_api.conform import Report, Result, Started, conform

if TYPE_CHECKING:
    from engine.cli.guess import Guess
    from engine.cli.package import Source
    from engine.settings import Settings

_KEPT = 4096
"""Bytes of output that a report may show."""


async def judge(
    source: Source,
    guess: Guess,
    settings: Settings,
    options: dict[str, Any],
    *,
    chosen: Callable[[str], bool],
    patience_s: float,
    jobs: int,
    told: Callable[[Result], None],
) -> Report:
    """Deploy the package in an engine of its own, and judge its runtime in that engine's sandboxes.

    Raises:
        CommandError: there is nothing that could be started.
    """
    code = await asyncio.to_thread(source.package)
    async with Engine(**engine_options(settings)) as engine:
        name = source.name
        await engine.create_function(name, code=code, runtime=guess.runtime, handler=guess.handler, **options)
        deployment: Deployment = engine.resolve(name).deployment
        subject = _Packaged(name, deployment, engine.provider)
        try:
            return await conform(subject, only=chosen, patience_s=patience_s, jobs=jobs, told=told)
        except* (SpawnFailed, EntrypointMissing) as group:
            raise CommandError(f"{source.path} cannot be started: {group.exceptions[0]}.") from None


class _Packaged:
    def __init__(self, name: str, deployment: Deployment, provider: SandboxProvider) -> None:
        self.name = name
        self._deployment = deployment
        self._provider = provider
        self._count = 0

    @contextlib.asynccontextmanager
    async def start(self, variables: Mapping[str, str]) -> AsyncIterator[Started]:
        self._count += 1
        sandbox = await self._provider.acquire(f"conform-{self._count}", self._deployment.limits)
        try:
            spec = await self._deployment.process(sandbox, self._deployment.log_stream())
            exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
            spec = replace(spec, env={**spec.env, **variables})
            process = await sandbox.spawn(spec, exited.set_result)
            started = _Running(sandbox, process, exited)
            try:
                yield started
            finally:
                started.close()
        finally:
            await sandbox.close()


class _Running:
    """A runtime in a sandbox."""

    def __init__(self, sandbox: Sandbox, process: Process, exited: asyncio.Future[Exit]) -> None:
        self.listener: socket.socket = sandbox.listener
        self._process = process
        self._exited = exited
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(process.output, self._read)

    async def ended(self) -> str:
        return (await asyncio.shield(self._exited)).describe()

    def signal(self, signum: int) -> None:
        self._process.signal(signum)

    def output(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        self._process.signal(signal.SIGKILL)
        if self._process.output >= 0:
            self._loop.remove_reader(self._process.output)
            os.close(self._process.output)
            self._process.output = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._process.output, 65536)
            if not data:
                self._loop.remove_reader(self._process.output)
            self._kept = (self._kept + data)[-_KEPT:]
