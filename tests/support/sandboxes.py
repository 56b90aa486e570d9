"""Real processes in real sandboxes, watched; the fixtures are in `sandbox_fixtures`."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

import anyio

from engine.sandbox import Exit, ProcessSpec, SandboxLimits, namespaces
from engine.sandbox.process_sandbox import ProcessSandbox, SandboxProcess

LIMITS = SandboxLimits(memory_mb=128)
#: The isolation modes that this host can offer.
MODES = ("process", *(() if namespaces.why_not() else ("sandbox",)))


@dataclass
class Run:
    """One process under observation."""

    process: SandboxProcess
    exit: asyncio.Future[Exit]
    output: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = os.read(self.process.output, 65536)
        except BlockingIOError:
            return
        self.output += data
        self.arrived.set()
        if not data:
            loop.remove_reader(self.process.output)
            os.close(self.process.output)
            self.ended.set()

    async def until(self, text: bytes) -> None:
        """Wait until the output contains `text`."""
        with anyio.fail_after(20):
            while text not in self.output:
                assert not self.ended.is_set(), bytes(self.output)
                self.arrived.clear()
                await self.arrived.wait()

    async def all(self) -> tuple[Exit, bytes]:
        """Wait for the exit and for the end of the output."""
        with anyio.fail_after(30):
            how = await self.exit
            await self.ended.wait()
        return how, bytes(self.output)


async def run(sandbox: ProcessSandbox, *argv: str, env: dict[str, str] | None = None, cwd: str = "/") -> Run:
    """Start a program and watch it."""
    loop = asyncio.get_running_loop()
    exit_: asyncio.Future[Exit] = loop.create_future()
    process = await sandbox.spawn(ProcessSpec(argv=argv, env=env or {}, cwd=cwd), exit_.set_result)
    watched = Run(process, exit_)
    os.set_blocking(process.output, False)
    loop.add_reader(process.output, watched._readable)
    return watched


async def shell(sandbox: ProcessSandbox, script: str, env: dict[str, str] | None = None, cwd: str = "/") -> Run:
    """Start a shell script, with a PATH."""
    return await run(sandbox, "/bin/sh", "-c", script, env={"PATH": "/usr/bin:/bin", **(env or {})}, cwd=cwd)
