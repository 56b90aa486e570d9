"""The scripted Runtime API, its runtime in a sandbox: executed there, or a fork of a preloaded interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from engine.dispatch.runtimes import Runtimes
from engine.sandbox import Exit, NamespaceProvider, ProcessSpec, SandboxLimits
from engine.sandbox.namespaces import view
from engine.sandbox.namespaces.zygotes import Key, key_of
from tests.support.preloading import RUNTIME, until_ready
from tests.support.scripted_runtime_api import PATIENCE_S, ScriptedRuntimeApi

T = TypeVar("T")
#: Where sandboxes see an interpreter that is not the system's.
INSTALLATION = "/var/python"
LIMITS = SandboxLimits(memory_mb=256)


def environment(api: ScriptedRuntimeApi) -> dict[str, str]:
    """What a runtime in a sandbox is started with."""
    return {**api.variables(Path(view.TASK)), "PYTHONPATH": view.RUNTIME, "LD_LIBRARY_PATH": f"{INSTALLATION}/lib"}


class Provider(NamespaceProvider):
    """Shows one more folder of the host."""

    installation = ""

    def base_plan(self, user: int | None, names: str | None) -> list[str]:
        """With the folder."""
        return self._and_more(super().base_plan(user, names))

    def zygote_plan(self, own: Mapping[str, str], folders: Sequence[str]) -> list[str]:
        """With the folder."""
        return self._and_more(super().zygote_plan(own, folders))

    def _and_more(self, plan: list[str]) -> list[str]:
        if self.installation:
            at = plan.index("pivot")
            plan[at:at] = ["bind", self.installation, INSTALLATION]
        return plan


class SandboxHost:
    """A provider on an event loop in a thread of its own, for tests that are not on one.

    `executable`: another interpreter than the machine's; its installation is shown inside.
    """

    def __init__(self, executable: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._folder = tempfile.TemporaryDirectory(prefix="lambent-test-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        self.provider = Provider(folder / "run", folder / "runtimes")
        self.provider.installation = str(Path(executable).parents[1]) if executable else ""
        self.runtimes = Runtimes(folder / "runtimes", self.provider.seen_runtimes(), self.provider.reachable)
        self.runtimes.install()
        self._count = 0
        self._thread.start()
        self.run(self.provider.start())
        self.command = list(self.run(self.runtimes.command(RUNTIME)) or [])
        if executable:
            self.command[0] = f"{INSTALLATION}/bin/{Path(executable).name}"

    def run(self, work: Awaitable[T]) -> T:
        """Have the loop do it, and wait."""

        async def do() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE_S)

    def name(self) -> str:
        """For the next sandbox."""
        self._count += 1
        return f"test-{self._count}"

    def preload(self) -> None:
        """See to it that the next runtime is a fork."""
        with ScriptedRuntimeApi() as api:
            spec = ProcessSpec(argv=self.command, env=environment(api), cwd=view.TASK)
        key = key_of(spec)
        assert key is not None
        self.run(self._preload(key))

    async def _preload(self, key: Key) -> None:
        assert self.provider.zygotes is not None
        self.provider.zygotes.want(key, time.monotonic())
        await until_ready(self.provider)

    def stop(self) -> None:
        """End everything."""
        self.run(self.provider.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._folder.cleanup()


@dataclass
class SandboxedRuntime:
    """A runtime process under test, as `scripted_runtime_api.Runtime`."""

    process: Any
    exit: Future[Exit]
    _output: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def pid(self) -> int:
        """Its process id out here."""
        return self.process.pid

    def output(self) -> str:
        """Everything that it has printed so far."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.process.output, 65536):
                self._output += data
        return self._output.decode("utf-8", "replace")

    def lines(self) -> list[str]:
        """The printed lines."""
        return self.output().split("\n")[:-1]

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        how = self.exit.result(PATIENCE_S)
        return how.code if how.code is not None else -(how.signal or 0)


class SandboxedRuntimeApi(ScriptedRuntimeApi):
    """Runs what it is given by the runtime's own command in a sandbox, where the package is at /var/task."""

    host: SandboxHost
    preloaded: bool

    def seen(self, folder: Path) -> str:
        """Where the function has its package."""
        return view.TASK

    @contextmanager
    def start(
        self, argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> Iterator[Any]:
        """As the base class; `argv` must be the runtime's usual command."""
        assert not fds
        host = self.host
        variables = {**environment(self), **(env or {})}
        for folder in (cwd, *cwd.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
        spec = ProcessSpec(argv=host.command, env=variables, cwd=view.TASK, folders={view.TASK: str(cwd)})
        exit_: Future[Exit] = Future()
        sandbox = host.run(host.provider.acquire(host.name(), LIMITS))
        try:
            runtime = SandboxedRuntime(host.run(sandbox.spawn(spec, exit_.set_result)), exit_)
            try:
                assert runtime.process.preloaded == self.preloaded
                yield runtime
            finally:
                os.close(runtime.process.output)
        finally:
            host.run(sandbox.close())
