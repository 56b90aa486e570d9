"""The shell around `EnvironmentCore`: sandbox, Runtime API server, output pipe and timer of one environment.

Everything slow (making a sandbox, starting a process, killing a tree) runs in tasks that the engine owns, one after the
other per environment (`_order`). Everything on the warm path is a plain call.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from math import ceil, inf
from typing import TYPE_CHECKING, Final, Protocol

from engine.dispatch.deployment import Deployment, EntrypointMissing
from engine.errors import SandboxError
from engine.lifecycle import failures
from engine.lifecycle.core import EnvironmentCore
from engine.lifecycle.failures import Failure
from engine.lifecycle.output import OutputReader
from engine.lifecycle.states import Event, Phase
from engine.model.invocation import Invocation
from engine.sandbox.api import Exit, Process, Sandbox, SandboxProvider, SpawnFailed
from engine.telemetry import report
from runtime_api import Invocation as RuntimeInvocation
from runtime_api import RuntimeFault, RuntimeServer

if TYPE_CHECKING:
    from engine.scheduler import Slot

#: After the process ended, how long bytes that it sent may still be on their way while a grandchild of it holds the
#: connection open. Without such a grandchild nothing waits: the kernel closes the connection with the process.
SETTLE_S: Final = 0.02
_STORY: Final = 64
_LISTENING: Final = Phase.REINIT

now = time.monotonic


class Owner(Protocol):
    """The dispatcher, as an environment sees it."""

    def environment_answered(self, environment: Environment, invocation: Invocation) -> None:
        """Its runtime has answered this invocation, which its caller is told next, and is expected back."""
        ...

    def environment_available(self, environment: Environment, *, broken: bool) -> None:
        """It can take an invocation."""
        ...

    def environment_refused(self, environment: Environment, reason: str) -> None:
        """The host would not make it."""
        ...

    def environment_lost(self, environment: Environment) -> None:
        """It can take no invocation any more, and its memory is not free yet. May be told more than once."""
        ...

    def environment_stuck(self, environment: Environment, reason: str) -> None:
        """Something of it would not be ended or removed; destroying it is tried again."""
        ...

    def environment_gone(self, environment: Environment) -> None:
        """Nothing is left of it."""
        ...

    def finished(self) -> None:
        """An invocation is being answered."""
        ...

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in a task that the engine owns; its exceptions are reported and never lost."""
        ...


class Environment(EnvironmentCore):
    """One execution environment. Implements `runtime_api.RuntimeHost`: its Runtime API server calls it.

    Attributes:
        id: unique within the engine; also the sandbox's id.
        slot: the scheduler's record of it.
        deployment: the function revision it runs.
        log_stream: its log stream, kept over resets.
        created: monotonic seconds.
    """

    __slots__ = (
        "_begun",
        "_current",
        "_generation",
        "_listener",
        "_loop",
        "_order",
        "_output",
        "_owner",
        "_pending_exit",
        "_process",
        "_provider",
        "_sandbox",
        "_stopped",
        "_story",
        "_timer",
        "created",
        "deployment",
        "id",
        "log_stream",
        "server",
        "slot",
    )

    def __init__(
        self,
        environment_id: str,
        slot: Slot[Invocation],
        deployment: Deployment,
        provider: SandboxProvider,
        owner: Owner,
        *,
        init_timeout_s: float,
        freeze_after_s: float = inf,
    ) -> None:
        super().__init__(
            timeout_s=deployment.function.timeout_s, init_timeout_s=init_timeout_s, freeze_after_s=freeze_after_s
        )
        self.id = environment_id
        self.slot = slot
        self.deployment = deployment
        self.log_stream = deployment.log_stream()
        self.created = now()
        self.server = RuntimeServer(self)
        self._provider = provider
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._order = asyncio.Lock()  # fair, and costs no turn of the loop when nobody is before us
        self._generation = 0
        self._begun = 0
        self._sandbox: Sandbox | None = None
        self._process: Process | None = None
        self._output: OutputReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending_exit: Exit | None = None
        self._listener: socket.socket | None = None
        self._stopped = False  # whether the sandbox has been told to freeze, and not successfully to thaw since
        self._current: Invocation | None = None
        self._story: list[tuple[float, str]] = []

    @property
    def pid(self) -> int | None:
        """The runtime's process id, None when there is no process."""
        return self._process.pid if self._process is not None else None

    @property
    def started_by(self) -> str | None:
        """How the runtime came to be: ``exec``, or ``preloaded`` (a fork of its interpreter); None: no process."""
        if self._process is None:
            return None
        return "preloaded" if self._process.preloaded else "exec"

    # ---- from the Runtime API server -------------------------------------------------------------------------------
    # A process that is being killed may still get a word in: it is not heard.

    def runtime_next(self) -> None:
        """The runtime parked on `next`."""
        if self.phase <= _LISTENING:
            self.next(now())

    def runtime_response(self, invocation: RuntimeInvocation, body: bytes, content_type: bytes) -> None:
        """The runtime answered."""
        if self.phase <= _LISTENING:
            self.responded(now(), body)

    def runtime_error(
        self, invocation: RuntimeInvocation, body: bytes, error_type: str, xray_cause: bytes | None
    ) -> None:
        """The runtime reported that the handler failed."""
        if self.phase <= _LISTENING:
            self.failed(now(), failures.posted(body, error_type))

    def runtime_init_error(self, body: bytes, error_type: str) -> None:
        """The runtime could not initialise."""
        if self.phase <= _LISTENING:
            self.init_failed(now(), failures.posted(body, error_type))

    def runtime_fault(self, invocation: RuntimeInvocation, fault: RuntimeFault) -> None:
        """The runtime posted a response that cannot be used: too large, truncated, or of an unknown mode."""
        if self.phase <= _LISTENING:
            self.failed(now(), failures.unusable(fault.error_type, fault.message))

    # ---- actions ---------------------------------------------------------------------------------------------------

    def deliver(self, invocation: Invocation) -> None:
        """Hand the event to the parked runtime, with its deadline on the wall clock."""
        invocation.deadline_ms = int(time.time() * 1000 + (self.deadline - invocation.started) * 1000)
        self.server.deliver(invocation)

    def arm(self, deadline: float) -> None:
        """(Re-)set the one timer, to the next whole millisecond.

        uvloop counts in milliseconds, rounds, and counts from when the loop last woke up: a timer for 0.4 ms would fire
        at once and be set again, over and over, until the 0.4 ms are over.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(ceil(max(0.0, deadline - now()) * 1000) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.tick(now())

    def returning(self, invocation: Invocation) -> None:
        """Tell the dispatcher."""
        self._owner.environment_answered(self, invocation)

    def answer(self, invocation: Invocation) -> None:
        """Tell the caller, once, and let the payloads go: the invocation itself stays in the logs for a while."""
        invocation.answered = True
        self._owner.finished()
        invocation.reply(invocation)
        invocation.outcome = b""

    def initialized(self) -> None:
        """Tell the sandbox."""
        if self._sandbox is not None:
            self._sandbox.initialized()

    def freeze(self) -> None:
        """Stop the processes."""
        self._owner.run(self._freeze)

    def thaw(self) -> None:
        """Let the processes run; the invocation waits for it, its own time limit does not run yet."""
        self._owner.run(self._thaw)

    def launch(self) -> None:
        """Make the sandbox if need be and start the runtime."""
        self._owner.run(self._launch)

    def kill(self) -> None:
        """End the process tree; connections stay until then, as a runtime that loses them would say so in the log."""
        self._disarm()
        self._owner.run(self._kill)

    def close(self) -> None:
        """Destroy the sandbox."""
        self._disarm()
        self._owner.run(self._close)

    def available(self, *, broken: bool) -> None:
        """Tell the dispatcher."""
        self._owner.environment_available(self, broken=broken)

    def refused(self, reason: str) -> None:
        """Tell the dispatcher."""
        self._owner.environment_refused(self, reason)

    def lost(self) -> None:
        """Tell the dispatcher."""
        self._owner.environment_lost(self)

    def gone(self) -> None:
        """Tell the dispatcher."""
        self._owner.environment_gone(self)

    # ---- the slow parts: tasks, one at a time per environment ------------------------------------------------------

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
            generation = self._generation
            began = now()
            self._loop.call_soon(self._beginning, generation, began)
            failure: Failure | None = None
            try:
                spec = await self.deployment.process(sandbox, self.log_stream)
                process = await sandbox.spawn(spec, lambda exit_: self._process_ended(generation, exit_))
            except EntrypointMissing as error:
                failure = failures.invalid_entrypoint(str(error))
            except SpawnFailed as error:
                failure = failures.invalid_entrypoint(await self.deployment.explain(error, sandbox))
            except SandboxError as error:
                failure = failures.sandbox_failed(str(error))
            else:
                self._note(f"process started{', preloaded' if process.preloaded else ''}: pid {process.pid}")
                self._process = process
                self._output = OutputReader(self._loop, process.output, self._line)
            self._beginning(generation, began)
            served = failure is not None or self._listener is sandbox.listener
            refused = None if served else await self._listen(sandbox)
        if self.phase is not Phase.INIT and self.phase is not Phase.REINIT:
            return
        if refused is not None:
            self.unavailable(now(), refused)
        elif failure is not None:
            self.exited(now(), failure)

    def _beginning(self, generation: int, began: float) -> None:
        """Write down, once, that a process is being started. While the kernel does so, to lose no time over it."""
        if generation == self._begun:
            return
        self._begun = generation
        self._story.append((began, "sandbox ready"))
        self.sandbox_made(began)
        runtime = self.deployment.function.runtime or "image"
        self.deployment.log.platform(self.log_stream, report.init_start_line(runtime, self.deployment.region))

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
        self._note("thawed")
        return None

    async def _kill(self) -> None:
        async with self._order:
            self._generation += 1  # exits of the killed processes are no news
            sandbox = self._sandbox
            reason = None
            if sandbox is not None:
                try:
                    await sandbox.kill()
                except SandboxError as error:
                    reason = str(error)
            self.server.reset()
            self._end_output()
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
                try:
                    await self._sandbox.close()
                except SandboxError as error:
                    reason = str(error)
            await self.server.close()
            self._end_output()
            self._process = None
            if reason is None:
                self._sandbox = None
        if reason is None:
            self.closed(now())
            return
        self._note(f"not closed: {reason}")
        self._owner.environment_stuck(self, reason)
        self.not_closed(now(), reason)

    # ---- the process's end -----------------------------------------------------------------------------------------

    def _process_ended(self, generation: int, exit_: Exit) -> None:
        """The process is dead, but what it sent before may not have been read yet: that comes first.

        The kernel closed its connections with it, so once the server has seen them close, everything it sent has been
        handled. Two turns of the loop let connections be accepted that it made just before.
        """
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
        self.exited(now(), failures.exited(exit_, self.deployment.limits))

    # ---- what is written down --------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self.deployment.log.line(self.log_stream, self._current, text)

    def note_start(self, invocation: Invocation) -> None:
        """START."""
        self._current = invocation
        invocation.environment_id = self.id
        if invocation.tail:
            invocation.log = []
        self.deployment.log.start(self.log_stream, invocation)

    def note_end(self, invocation: Invocation, failure: Failure | None = None) -> None:
        """The last printed lines, then END and REPORT."""
        if self._output is not None:
            self._output.drain()
        self._current = None
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.memory_peak()
        if failure is not None and failure.cause == "memory":  # what the kernel refused it is not in any peak
            invocation.max_memory = self.deployment.function.memory_mb * report.MIB
        invocation.payload = b""
        self.deployment.log.end(self.log_stream, invocation)

    def note_init(self, failure: Failure | None, seconds: float) -> None:
        """INIT_REPORT when it failed; a good Init shows in the first REPORT."""
        if self._output is not None:
            self._output.drain()
        if failure is not None:
            phase = "init" if self.invocation is None else "invoke"
            self.deployment.log.platform(
                self.log_stream, report.init_report_line(seconds, phase, failure.status, failure.error_type)
            )

    def note_transition(self, event: Event, target: Phase) -> None:
        """For the story."""
        self._note(f"{event.name}: {self.phase.name} -> {target.name}")

    def _note(self, text: str) -> None:
        story = self._story
        story.append((now(), text))
        if len(story) > _STORY:
            del story[: _STORY // 2]

    def transitions(self) -> list[tuple[float, str]]:
        """(monotonic seconds, what happened), oldest first; a bounded number of the newest."""
        return list(self._story)

    def story(self) -> str:
        """The transitions as text, for error messages."""
        return "\n".join(f"  {when - self.created:10.6f} s  {text}" for when, text in self._story)

    def memory_peak(self) -> int | None:
        """Peak memory in bytes, None when unknown."""
        return self._sandbox.memory_peak() if self._sandbox is not None else None

    def _end_output(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None

    def _disarm(self) -> None:
        self._armed_for = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
