"""An environment's extensions as its Runtime API server and its processes see them: the shell around `extending`.

An external extension is a process of its own in the environment's sandbox, started before the runtime, from an
executable in ``/opt/extensions``. What it prints goes to the function's log. Here they are started, heard, told that
the end has come, and waited for. Without extensions nothing of this exists but two attributes that are None.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import ClassVar, Final

from engine.dispatch.deployment import Deployment
from engine.errors import SandboxError
from engine.lifecycle import failures
from engine.lifecycle.extending import RUNTIME_MS, Extending, Stage
from engine.lifecycle.failures import Failure
from engine.lifecycle.output import OutputReader
from engine.lifecycle.records import RecordedEnvironment
from engine.lifecycle.states import Phase
from engine.model.invocation import Invocation
from engine.sandbox.api import Exit, Process, Sandbox, SpawnFailed
from runtime_api import (
    SHUTDOWN,
    Extension,
    ExtensionEvent,
    ExtensionRefused,
    ExtensionsApi,
    FunctionMetadata,
    RuntimeServer,
)

LISTENING: Final = Phase.REINIT
"""The last phase in which what processes say counts."""
SETTLE_S: Final = 0.02
"""After an extension's process ended, how long what it sent may still be on its way."""

now = time.monotonic


class ExtendedEnvironment(RecordedEnvironment):
    """The environment with its extensions. Implements `runtime_api.ExtensionHost`.

    Attributes:
        server: its Runtime API server.
        runtime_ms: how long its runtime has to end where there are external extensions, milliseconds.
        extensions_enabled: False when a layer turns extensions off.
    """

    __slots__ = ("_extensions", "extensions_enabled", "server")

    runtime_ms: ClassVar[int] = RUNTIME_MS
    server: RuntimeServer

    def __init__(
        self, environment_id: str, deployment: Deployment, *, init_timeout_s: float, freeze_after_s: float = inf
    ) -> None:
        super().__init__(environment_id, deployment, init_timeout_s=init_timeout_s, freeze_after_s=freeze_after_s)
        self.extensions_enabled = True
        self._extensions: ExtensionProcesses | None = None

    @abstractmethod
    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in a task that the engine owns; its exceptions are reported and never lost."""

    @abstractmethod
    async def _launch_runtime(self, extensions: ExtensionProcesses) -> None:
        """Start the runtime, as its turn has come: these extensions have registered."""

    @abstractmethod
    def _runtime_process(self) -> Process | None:
        """The runtime's process, None when there is none or its end is known."""

    @property
    def token(self) -> str | None:
        """For its credentials endpoint; None when it has none, and the credentials in its variables."""
        credentials = self.server.credentials
        return credentials.token if credentials is not None else None

    def extensions(self) -> dict[str, str]:
        """The state of each of its extensions, in AWS's words."""
        return {} if self.extending is None else {one.name: one.state.aws_name for one in self.extending.known}

    # ---- from the Runtime API server -------------------------------------------------------------------------------

    def function_metadata(self) -> FunctionMetadata:
        """What extensions are told of the function."""
        function = self.deployment.function
        return FunctionMetadata(
            name=function.name,
            version=function.version,
            handler=function.handler,
            account_id=self.deployment.account_id,
        )

    def extension_registered(self, extension: Extension) -> None:
        """One has registered; the runtime is started after the last of the external ones."""
        self._note(f"extension {extension.name} registered for [{', '.join(extension.events)}]")
        extensions = self._extensions or self._extend(external=False)
        if self.phase <= LISTENING and extensions.extending.registered():
            self.run(lambda: self._launch_runtime(extensions))

    def extension_ready(self, extension: Extension) -> None:
        """One asked `event/next`."""
        extending = self.extending
        if extending is not None and self.phase <= LISTENING:
            if extending.stage <= Stage.INIT_TAIL:
                self._note(f"extension {extension.name} ready")
            if extending.extension_next():
                self.next(now())

    def extension_failed(self, extension: Extension) -> None:
        """One posted init/error or exit/error; its process is expected to exit."""
        self._note(f"extension {extension.name} failed: {extension.state.aws_name}, {extension.error_type}")
        if self.extending is not None:
            self.extending.failed(extension)

    def telemetry_subscribe(self, extension: Extension, api_version: str, body: bytes) -> tuple[int, bytes]:
        """One subscribes to what the environment says, from its beginning on."""
        self._note(f"extension {extension.name} subscribes to telemetry")
        return self.log.subscribe(extension.identifier, extension.name, api_version, body)

    def _tell_extensions(self, invocation: Invocation) -> None:
        """The runtime has its event: those who asked for INVOKE get theirs."""
        if self._extensions is not None:
            self._extensions.extending.delivered()
            self._extensions.api.invoke(invocation)

    # ---- from the processes ----------------------------------------------------------------------------------------

    def _extend(self, *, external: bool) -> ExtensionProcesses:
        """It has extensions from here on, until its processes are gone."""
        if self.server.extensions is None:
            self.server.extensions = ExtensionsApi(invocations=self.server.tells_extensions)
        api = self.server.extensions
        self.extending = Extending(api.known, external=external, runtime_ms=self.runtime_ms)
        extensions = self._extensions = ExtensionProcesses(self, api, self.extending)
        if not external and self._runtime_process() is None:
            extensions.runtime_gone.set()  # it registered with its last words
        return extensions

    def _drain(self) -> None:
        super()._drain()
        if self._extensions is not None:
            self._extensions.drain()

    async def _part(self, sandbox: Sandbox) -> None:
        """Tell the processes that the end has come, and give them the time that they are due."""
        if self._extensions is not None and self.extending is not None:
            self.extending.end("spindown")
            await self._extensions.shut_down(sandbox, self._runtime_process())

    def _forget_extensions(self) -> None:
        """Their processes are gone."""
        extensions, self._extensions = self._extensions, None
        self.extending = None
        if extensions is not None:
            extensions.close()


class ExtensionProcesses:
    """The processes of one environment's external extensions, from their start to their end.

    Attributes:
        api: their half of the Runtime API server.
        extending: what is decided for them.
        runtime_gone: set when the runtime's process has ended.
    """

    def __init__(self, environment: ExtendedEnvironment, api: ExtensionsApi, extending: Extending) -> None:
        self.extending = extending
        self.runtime_gone = asyncio.Event()
        self._environment = environment
        self.api = api
        self._processes: dict[Extension, Process] = {}
        self._gone: dict[Extension, asyncio.Event] = {}
        self._outputs: list[OutputReader] = []
        self._told = False

    async def start(self, sandbox: Sandbox, names: Sequence[str]) -> Failure | None:
        """Start these, all of them before any is waited for. Returns why not, if not."""
        environment = self._environment
        deployment = environment.deployment
        try:
            extensions = [self.api.known.expect(name) for name in names]
        except ExtensionRefused as refused:
            return failures.extension_not_launched(str(refused))
        for extension in extensions:
            spec = deployment.extension_process(sandbox, environment.log_stream, extension.name, environment.token)
            try:
                process = await sandbox.spawn(spec, partial(self._ended, extension))
            except SpawnFailed as error:
                if extension.may(ExtensionEvent.LAUNCH_ERROR):  # another one may have registered in its name
                    extension.fire(ExtensionEvent.LAUNCH_ERROR)
                extension.error_type = "PermissionDenied" if error.errno == errno.EACCES else "UnknownError"
                environment._note(f"extension {extension.name} not started: {error}")
                return failures.extension_not_launched(str(error))
            except SandboxError as error:
                return failures.sandbox_failed(str(error))
            environment._note(f"extension {extension.name} started: pid {process.pid}")
            self._processes[extension] = process
            self._gone[extension] = asyncio.Event()
            loop = asyncio.get_running_loop()
            output = OutputReader(loop, process.output, environment._extension_line, environment.log.congested)
            self._outputs.append(output)
        return None

    def drain(self) -> None:
        """Pass on what they have printed."""
        for output in self._outputs:
            output.drain()

    def close(self) -> None:
        """Their processes are gone, so is what they print."""
        outputs, self._outputs = self._outputs, []
        for output in outputs:
            output.close()

    # ---- the end of one, and of all --------------------------------------------------------------------------------

    def _ended(self, extension: Extension, exit_: Exit) -> None:
        self._gone[extension].set()
        environment = self._environment
        environment._note(f"extension {extension.name} ended: {exit_.describe()}")
        if self.extending.stage is Stage.ENDING:
            well = exit_.signal is None and exit_.code == 0
            event = ExtensionEvent.EXITED if well else ExtensionEvent.SHUTDOWN_FAILED
            if extension.may(event):
                extension.fire(event)
            return
        # What it said before it ended may not have been read yet, and says more than its exit status.
        asyncio.get_running_loop().call_later(SETTLE_S, self._judge, exit_)

    def _judge(self, exit_: Exit) -> None:
        environment = self._environment
        if environment._extensions is not self or self.extending.stage is Stage.ENDING:
            return  # they are being ended meanwhile, for another reason
        self.drain()
        failure = failures.extension_ended(exit_, environment.deployment.limits)
        environment.exited(now(), self.extending.judge(failure))

    async def shut_down(self, sandbox: Sandbox, runtime: Process | None) -> None:
        """SIGTERM to the runtime, then SHUTDOWN to the extensions that asked for it, each for as long as it may.

        What has not ended then, and what was not to be told, is left to `Sandbox.kill`. Once: a sandbox that would not
        be destroyed is tried again without ceremony.
        """
        if self._told:
            return
        self._told = True
        environment, budget = self._environment, self.extending.budget()
        if not budget.total_ms:
            return
        with suppress(SandboxError):  # what is stopped hears nothing; where that cannot be helped, it is killed
            await sandbox.thaw()
        began = now()
        if runtime is not None:
            environment._note("SIGTERM to the runtime")
            runtime.signal(signal.SIGTERM)
            if not await _within(budget.runtime_ms / 1000, [self.runtime_gone]):
                environment._note("SIGKILL to the runtime")
                runtime.signal(signal.SIGKILL)
        deadline_ms = int(time.time() * 1000 + budget.total_ms - (now() - began) * 1000)
        told: list[asyncio.Event] = []
        for extension, process in self._processes.items():
            if self._gone[extension].is_set():
                continue
            if extension.wants(SHUTDOWN):
                environment._note(f"SHUTDOWN ({self.extending.reason}) to extension {extension.name}")
                self.api.shutdown(extension, self.extending.reason, deadline_ms)
                told.append(self._gone[extension])
            else:
                environment._note(f"SIGKILL to extension {extension.name}")
                process.signal(signal.SIGKILL)
        if not await _within(budget.total_ms / 1000 - (now() - began), told):
            environment._note("extensions did not end in time")


async def _within(seconds: float, events: Sequence[asyncio.Event]) -> bool:
    """Wait for all of these, at most so long. Whether they came."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            for event in events:
                await event.wait()
    except TimeoutError:
        return False
    return True
