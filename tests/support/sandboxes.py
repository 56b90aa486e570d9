"""Real sandboxes for tests: a provider in both of its forms, and a child process that can be asked things."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from engine.sandbox import Exit, ProcessProvider, ProcessSpec, SandboxLimits, users
from engine.sandbox.process_sandbox import ProcessSandbox, SandboxProcess

LIMITS = SandboxLimits(memory_mb=128)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that users of sandboxes can reach (pytest's own tmp_path is closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["private-user", "shared-user"])
def user_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sandboxes with users of their own (an engine that is root), and without (any other)."""
    if request.param == "private-user" and (reason := users.why_not()):
        pytest.skip(f"sandboxes cannot have users of their own: {reason}")
    if request.param == "shared-user":
        monkeypatch.setattr(users, "why_not", lambda: "the test wants it so")
    return request.param


@pytest.fixture
async def provider(no_leaks: None, open_folder: Path, user_mode: str) -> AsyncIterator[ProcessProvider]:
    """A started provider; stopped after the test, which must leave nothing."""
    provider = ProcessProvider(open_folder / "run")
    await provider.start()
    yield provider
    await provider.stop()
    assert not list((open_folder / "run" / "tmp").iterdir())


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
