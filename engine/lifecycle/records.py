"""What is written down about one environment: its log lines, its reports, and its story."""

from __future__ import annotations

import time
from math import inf
from typing import Final

from engine.dispatch.deployment import Deployment
from engine.lifecycle.core import EnvironmentCore
from engine.lifecycle.failures import Failure
from engine.lifecycle.output import OutputReader
from engine.lifecycle.states import Event, Phase
from engine.model.initialization import InitializationType
from engine.model.invocation import Invocation
from engine.sandbox.api import Sandbox
from engine.telemetry import events, report
from engine.telemetry.environment_log import EnvironmentLog

_STORY: Final = 64

now = time.monotonic


class RecordedEnvironment(EnvironmentCore):
    """The core with its note-taking actions carried out.

    Attributes:
        id: unique within the engine; also the sandbox's id.
        deployment: the function revision it runs.
        initialization: how it comes to be initialised.
        log: what it says.
        created: monotonic seconds.
    """

    __slots__ = (
        "_current",
        "_output",
        "_sandbox",
        "_story",
        "created",
        "deployment",
        "id",
        "initialization",
        "log",
    )

    def __init__(
        self, environment_id: str, deployment: Deployment, *, init_timeout_s: float, freeze_after_s: float = inf
    ) -> None:
        super().__init__(
            timeout_s=deployment.function.timeout_s, init_timeout_s=init_timeout_s, freeze_after_s=freeze_after_s
        )
        self.id = environment_id
        self.deployment = deployment
        self.initialization: InitializationType = deployment.initialization
        self.log = EnvironmentLog(deployment.log, deployment.log_stream(), deployment.function)
        self.created = now()
        self._current: Invocation | None = None
        self._output: OutputReader | None = None
        self._sandbox: Sandbox | None = None
        self._story: list[tuple[float, str]] = []

    @property
    def log_stream(self) -> str:
        """Its log stream, kept over resets."""
        return self.log.stream

    def _line(self, text: str) -> None:
        self.log.line(self._current, text)

    def _framed(self, text: str, level: int, when: float | None) -> None:
        self.log.framed(self._current, text, level, when)

    def _extension_line(self, text: str) -> None:
        self.log.line(self._current, text, "extension")

    def note_extensions(self) -> None:
        """An Init is over, well or not: EXTENSION, for each."""
        if self.extending is not None:
            for one in self.extending.known:
                self.log.event(
                    events.Extension(
                        name=one.name,
                        state=one.state.aws_name,
                        events=tuple(one.events),
                        error_type=one.error_type or None,
                    )
                )

    def _drain(self) -> None:
        """Pass on what has been printed."""
        if self._output is not None:
            self._output.drain()

    def note_start(self, invocation: Invocation) -> None:
        """START."""
        self._current = invocation
        invocation.environment_id = self.id
        if invocation.tail:
            invocation.log = []
        self.log.start(invocation)

    def note_end(self, invocation: Invocation, failure: Failure | None = None) -> None:
        """The last printed lines, then END and REPORT."""
        self._drain()
        self._current = None
        if self._sandbox is not None:
            invocation.max_memory = self._sandbox.memory_peak()
        if failure is not None and failure.cause == "memory":  # what the kernel refused it is not in any peak
            invocation.max_memory = self.deployment.function.memory_mb * report.MIB
        invocation.payload = b""
        self.log.end(invocation)

    def note_beginning(self) -> None:
        """INIT_START; from here on extensions may subscribe."""
        function = self.deployment.function
        version, arn = report.runtime_version(function.runtime or "image", self.deployment.region)
        self.log.event(
            events.InitStart(
                initialization_type=self.initialization,
                phase=self._init_phase(),
                function_name=function.name,
                function_version=function.version,
                instance_id=self.log.stream,
                instance_max_memory=function.memory_mb * report.MIB,
                runtime_version=version,
                runtime_version_arn=arn,
            )
        )

    def note_init(self, failure: Failure | None, seconds: float) -> None:
        """INIT_REPORT where it says more than the first REPORT will; nobody may subscribe any more."""
        self._drain()
        if failure is not None:
            self.note_extensions()
        status: events.Status = "success" if failure is None else failure.status
        error_type = failure.error_type if failure is not None else None
        phase, how = self._init_phase(), self.initialization
        self.log.event(
            events.InitRuntimeDone(initialization_type=how, phase=phase, status=status, error_type=error_type)
        )
        metrics = events.InitMetrics(duration_ms=round(seconds * 1000, 3))
        self.log.event(
            events.InitReport(
                initialization_type=how, phase=phase, status=status, error_type=error_type, metrics=metrics
            )
        )
        if failure is None:
            self.log.initialized()

    def note_restoring(self) -> None:
        """RESTORE_START."""
        function = self.deployment.function
        version, arn = report.runtime_version(function.runtime or "image", self.deployment.region)
        self.log.event(
            events.RestoreStart(
                function_name=function.name,
                function_version=function.version,
                instance_id=self.log.stream,
                instance_max_memory=function.memory_mb * report.MIB,
                runtime_version=version,
                runtime_version_arn=arn,
            )
        )

    def note_restore(self, failure: Failure | None, seconds: float) -> None:
        """RESTORE_REPORT."""
        self._drain()
        status: events.Status = "success" if failure is None else failure.status
        error_type = failure.error_type if failure is not None else None
        self.log.event(events.RestoreRuntimeDone(status=status, error_type=error_type))
        metrics = events.InitMetrics(duration_ms=round(seconds * 1000, 3))
        self.log.event(events.RestoreReport(status=status, error_type=error_type, metrics=metrics))

    def _init_phase(self) -> events.InitPhase:
        return "init" if self.invocation is None else "invoke"

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
