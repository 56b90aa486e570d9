"""The slow parts of one environment: its sandbox and the processes in it, made, frozen, ended.

Everything here takes time. It runs in tasks that the engine owns, one after the other per environment (`_order`), and
turns what comes of it into events for the core.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from abc import abstractmethod
from collections.abc import Sequence
from math import inf
from typing import ClassVar, Final

from msgspec.structs import replace

from engine.dispatch.deployment import Deployment, EntrypointMissing
from engine.errors import SandboxError
from engine.lifecycle import failures
from engine.lifecycle.extended import ExtendedEnvironment, ExtensionProcesses
from engine.lifecycle.failures import Failure
from engine.lifecycle.output import OutputReader
from engine.lifecycle.states import Phase
from engine.lifecycle.timer import DeadlineTimer
from engine.sandbox.api import Exit, Image, Process, Sandbox, SandboxProvider, SpawnFailed
from engine.telemetry.delivery import Delivery
from engine.telemetry.relay import TelemetryRelay
from runtime_api import Buffer, Subscription

#: After the process ended, how long bytes that it sent may still be on their way while a grandchild of it holds the
#: connection open. Without such a grandchild nothing waits: the kernel closes the connection with the process.
SETTLE_S: Final = 0.02
#: How long an environment that is being closed waits for subscribers to take what they were not sent yet.
FLUSH_S: Final = 0.5

now = time.monotonic


class EnvironmentProcesses(ExtendedEnvironment):
    """The environment with its sandbox: carries out launch, freeze, thaw, kill and close.

    Attributes:
        template: it is initialised to be written down.
        copied: the image that its runtime began as a copy of; None: it was initialised.
    """

    template: ClassVar[bool] = False

    __slots__ = (
        "_begun",
        "_generation",
        "_listener",
        "_loop",
        "_order",
        "_pending_exit",
        "_process",
        "_provider",
        "_stopped",
        "_timer",
        "copied",
    )

    def __init__(
        self,
        environment_id: str,
        deployment: Deployment,
        provider: SandboxProvider,
        *,
        init_timeout_s: float,
        freeze_after_s: float = inf,
    ) -> None:
        super().__init__(environment_id, deployment, init_timeout_s=init_timeout_s, freeze_after_s=freeze_after_s)
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._order = asyncio.Lock()  # fair, and costs no turn of the loop when nobody is before us
        self._generation = 0
        self._begun = 0
        self.copied: Image | None = None
        self._process: Process | None = None
        self._timer = DeadlineTimer(self._loop, self._fire)
        self._pending_exit: Exit | None = None
        self._listener: socket.socket | None = None
        self._stopped = False  # whether the sandbox has been told to freeze, and not successfully to thaw since

    @property
    def pid(self) -> int | None:
        """The runtime's process id, None when there is no process."""
        return self._process.pid if self._process is not None else None

    @property
    def started_by(self) -> str | None:
        """How the runtime came to be. None: there is no process.

        ``exec``, ``preloaded`` (a fork of its interpreter) or ``restored`` (the copy of an initialised one).
        """
        if self._process is None:
            return None
        if self.copied is not None:
            return "restored"
        return "preloaded" if self._process.preloaded else "exec"

    @abstractmethod
    def note_stuck(self, reason: str) -> None:
        """Something of the sandbox would not be ended or removed, which an operator must know."""

    # ---- actions ---------------------------------------------------------------------------------------------------

    def arm(self, deadline: float) -> None:
        """(Re-)set the one timer."""
        self._timer.arm(deadline)

    def _fire(self) -> None:
        self.tick(now())

    def initialized(self) -> None:
        """Tell the sandbox."""
        if self._sandbox is not None:
            self._sandbox.initialized()
        self.note_extensions()

    def restore(self) -> None:
        """Answer the parked runtime."""
        self.note_restoring()
        self.server.restored()

    def not_restored(self, failure: Failure) -> None:
        """As for a host that would not make the environment."""
        self.refused(failure.reason)

    def freeze(self) -> None:
        """Stop the processes."""
        self.run(self._freeze)

    def thaw(self) -> None:
        """Let the processes run; the invocation waits for it, its own time limit does not run yet."""
        self.run(self._thaw)

    def launch(self) -> None:
        """Make the sandbox if need be and start the runtime."""
        self.run(self._launch)

    def kill(self) -> None:
        """End the process tree; connections stay until then, as a runtime that loses them would say so in the log."""
        self._disarm()
        self.run(self._kill)

    def close(self) -> None:
        """Destroy the sandbox."""
        self._disarm()
        self.run(self._close)

    # ---- their tasks, one at a time per environment ----------------------------------------------------------------

    async def _launch(self) -> None:
        async with self._order:
            if self.phase is not Phase.INIT and self.phase is not Phase.REINIT:
                return  # retired before it began
            try:
                sandbox = self._sandbox
                if sandbox is None:
                    sandbox = self._sandbox = await self._provider.acquire(self.id, self.deployment.limits)
            except (SandboxError, OSError) as error:  # OSError: no descriptor left
                if self.phase is Phase.INIT:
                    self.unavailable(now(), str(error))
                return
            if self.phase is not Phase.INIT and self.phase is not Phase.REINIT:
                return  # retired while the sandbox was being made; `close` is waiting for its turn
            self._generation += 1
            self._pending_exit = None
            began = now()
            image = self._image()
            if image is not None and await self._restore(sandbox, image, began):
                return
            self._loop.call_soon(self._beginning, self._generation, began)
            if self.deployment.opt_root is not None and (names := await self._extension_names()):
                failure = await self._extend(external=True).start(sandbox, names)
            else:
                failure = await self._spawn(sandbox, self._generation)
            self._beginning(self._generation, began)
            refused = await self._serve(sandbox, failure)
        self._launched(failure, refused)

    def _image(self) -> Image | None:
        """What to begin as a copy of: not to make an image, and not inside an invocation, after a failed Init."""
        deployment = self.deployment
        if deployment.want_image is None or self.template or self.phase is not Phase.INIT:
            return None
        if deployment.image is None:
            if deployment.image_refused is not None:
                self._note(f"no snapshot: {deployment.image_refused}")
            deployment.want_image()
        return deployment.image

    async def _restore(self, sandbox: Sandbox, image: Image, began: float) -> bool:
        """Begin as a copy of an initialised one. False: it could not be made, and Init has to run, if anybody waits."""
        generation = self._generation
        try:
            spec = await self.deployment.process(sandbox, self.log_stream, self.initialization, self.token)
            process = await sandbox.spawn(
                replace(spec, image=image), lambda exit_: self._process_ended(generation, exit_)
            )
        except (EntrypointMissing, SpawnFailed, SandboxError) as error:
            self._note(f"not restored: {error}")
            self.deployment.drop_image(image, str(error))
            return self.phase is not Phase.INIT
        self.copied = image
        self._launched_process(process, "restored")
        self._began(generation, began)
        if self.phase is Phase.INIT:
            self.restored(now(), began)
            self.note_restoring()
            self.server.resumed()
        refused = await self._serve(sandbox, None)
        if refused is not None and self.phase < Phase.CLOSING:
            self.unavailable(now(), refused)
        return True

    async def _launch_runtime(self, extensions: ExtensionProcesses) -> None:
        async with self._order:
            sandbox = self._sandbox
            if sandbox is None or extensions is not self._extensions:
                return
            if self.phase is not Phase.INIT and self.phase is not Phase.REINIT:
                return  # retired, or at its deadline, meanwhile
            failure = await self._spawn(sandbox, self._generation)
        self._launched(failure, None)

    async def _extension_names(self) -> Sequence[str]:
        names, self.extensions_enabled = await self.deployment.extensions()
        return names if self.extensions_enabled else ()

    async def _spawn(self, sandbox: Sandbox, generation: int) -> Failure | None:
        """Start the runtime. Returns why not, if not."""
        try:
            spec = await self.deployment.process(sandbox, self.log_stream, self.initialization, self.token)
            if self.template:
                spec = replace(spec, template=True)
            process = await sandbox.spawn(spec, lambda exit_: self._process_ended(generation, exit_))
        except EntrypointMissing as error:
            return failures.invalid_entrypoint(str(error))
        except SpawnFailed as error:
            return failures.invalid_entrypoint(await self.deployment.explain(error, sandbox))
        except SandboxError as error:
            return failures.sandbox_failed(str(error))
        self._launched_process(process, "preloaded" if process.preloaded else "")
        return None

    def _launched_process(self, process: Process, how: str) -> None:
        self._note(f"process started{', ' if how else ''}{how}: pid {process.pid}")
        self._process = process
        self._output = OutputReader(self._loop, process.output, self._line, self.log.congested, self._framed)

    async def _serve(self, sandbox: Sandbox, failure: Failure | None) -> str | None:
        """Serve the Runtime API, if there is anybody to serve. Returns why not, if not."""
        if failure is not None or self._listener is sandbox.listener:
            return None
        return await self._listen(sandbox)

    def _launched(self, failure: Failure | None, refused: str | None) -> None:
        if self.phase is not Phase.INIT and self.phase is not Phase.REINIT:
            return
        if refused is not None:
            self.unavailable(now(), refused)
        elif failure is not None:
            self.exited(now(), failure)

    def _runtime_process(self) -> Process | None:
        return None if self._pending_exit is not None else self._process

    def _beginning(self, generation: int, began: float) -> None:
        """Write down, once, that a process is being started. While the kernel does so, to lose no time over it."""
        if generation == self._begun:
            return
        self._began(generation, began)
        self.note_beginning()

    def _began(self, generation: int, began: float) -> None:
        self._begun = generation
        self._story.append((began, "sandbox ready"))
        self.sandbox_made(began)
        self.log.relay = TelemetryRelay(self._courier, self.log.event)

    def _courier(self, subscription: Subscription, buffer: Buffer) -> Delivery:
        """What takes telemetry to a subscriber in the sandbox; it lives until the processes are gone."""
        assert self._sandbox is not None
        delivery = Delivery(subscription, buffer, self._sandbox.connect)
        self.run(delivery.run)
        return delivery

    async def _flush_telemetry(self, sandbox: Sandbox) -> None:
        """What subscribers were not sent yet, they are sent now, if they can take it."""
        relay = self.log.relay
        if relay is None or self.extending is None:
            return
        if self._stopped and await self._run_again(sandbox) is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await relay.flush()

    async def _listen(self, sandbox: Sandbox) -> str | None:
        """Serve the Runtime API. Returns why not, if not.

        After the process was started, as that takes about as long to say its first word: the sandbox's socket has been
        listening all the while, so the kernel keeps what comes early. The end of the process is not judged before.
        """
        try:
            if self._listener is not None:  # the sandbox had to be made anew, with a network of its own
                self._listener = None
                await self.server.close()
            self.server.admit = sandbox.admits
            await self.server.listen(sandbox.listener)
        except OSError as error:  # no descriptor left to listen with
            return str(error)
        self._listener = sandbox.listener
        if self._pending_exit is not None:
            self._settle_soon(self._generation)
        return None

    async def _freeze(self) -> None:
        async with self._order:
            sandbox = self._sandbox
            if self.phase is not Phase.FROZEN or sandbox is None:
                return  # an invocation has come, or its end, before it came to that
            self._stopped = True
            if self.log.relay is not None:
                self.log.relay.pause()
            try:
                await sandbox.freeze()
            except SandboxError as error:
                self._note(f"not frozen: {error}")
            else:
                self._note("frozen")
                return
            if self.phase is not Phase.FROZEN:
                return  # what comes next sees to it that all of it runs, or none
            reason = await self._run_again(sandbox)  # a part of it may have been stopped
        if self.phase is Phase.FROZEN:
            if reason is None:
                self.freeze_refused(now())
            else:
                self.unavailable(now(), reason)

    async def _thaw(self) -> None:
        async with self._order:
            reason = None
            if self._stopped and self._sandbox is not None and self.phase is not Phase.CLOSING:
                reason = await self._run_again(self._sandbox)
        if self.phase is Phase.THAWING:
            if reason is None:
                self.thawed(now())
            else:
                self.unavailable(now(), reason)
        elif reason is not None and self.phase is Phase.RESETTING:
            self.unavailable(now(), reason)  # a process started in it would not run

    async def _run_again(self, sandbox: Sandbox) -> str | None:
        """Thaw, in order. Returns why it could not be done."""
        try:
            await sandbox.thaw()
        except SandboxError as error:
            self._note(f"not thawed: {error}")
            return str(error)
        self._stopped = False
        if self.log.relay is not None:
            self.log.relay.resume()
        self._note("thawed")
        return None

    async def _kill(self) -> None:
        async with self._order:
            self._generation += 1  # exits of the killed processes are no news
            sandbox = self._sandbox
            reason = None
            if sandbox is not None:
                if self.extending is not None:
                    await self._part(sandbox)
                try:
                    await sandbox.kill()
                except SandboxError as error:
                    reason = str(error)
            self.server.reset()
            self._end_output()
            self.log.processes_gone()
            self._process = None
        if self.phase is Phase.CLOSING:
            return
        if reason is None:
            self.killed(now())
        else:
            self._note(f"not ended: {reason}")
            self.unavailable(now(), reason)

    async def _close(self) -> None:
        reason = None
        async with self._order:
            self._generation += 1
            if self._sandbox is not None:
                await self._flush_telemetry(self._sandbox)
                if self.extending is not None:
                    await self._part(self._sandbox)
                try:
                    await self._sandbox.close()
                except SandboxError as error:
                    reason = str(error)
            await self.server.close()
            self._end_output()
            self.log.processes_gone()
            self._process = None
            if reason is None:
                self._sandbox = None
        if reason is None:
            self.closed(now())
            return
        self._note(f"not closed: {reason}")
        self.note_stuck(reason)
        self.not_closed(now(), reason)

    # ---- the process's end -----------------------------------------------------------------------------------------

    def _process_ended(self, generation: int, exit_: Exit) -> None:
        """The process is dead, but what it sent before may not have been read yet: that comes first.

        The kernel closed its connections with it, so once the server has seen them close, everything it sent has been
        handled. Two turns of the loop let connections be accepted that it made just before.
        """
        if self._extensions is not None:
            self._extensions.runtime_gone.set()
        if generation != self._generation:
            return
        self._pending_exit = exit_
        if self._listener is not None:
            self._settle_soon(generation)

    def _settle_soon(self, generation: int) -> None:
        self._loop.call_soon(lambda: self._loop.call_soon(self._settle, generation, now() + SETTLE_S))

    def _settle(self, generation: int, until: float) -> None:
        if generation != self._generation or self._pending_exit is None:
            return
        if self.server.connections() and now() < until:
            self.server.on_idle = lambda: self._settle(generation, until)
            self._loop.call_later(max(0.0, until - now()) + 0.001, self._settle, generation, until)
            return
        exit_, self._pending_exit = self._pending_exit, None
        self.server.on_idle = None
        if self._output is not None:
            self._output.drain()
        self._note(f"process ended: {exit_.describe()}" + (f", by its limit of {exit_.cause}" if exit_.cause else ""))
        failure = failures.exited(exit_, self.deployment.limits)
        self.exited(now(), failure if self.extending is None else self.extending.judge(failure))

    def _end_output(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None
        self._forget_extensions()

    def _disarm(self) -> None:
        self._armed_for = inf
        self._timer.disarm()
