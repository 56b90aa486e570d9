"""One function revision, ready to be started: the `data` of a scheduler pool."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence

from engine.lifecycle.variables import Identity, variables
from engine.model.function import FunctionVersion
from engine.model.limits import MB_PER_VCPU
from engine.sandbox.api import ProcessSpec, Sandbox, SandboxLimits
from engine.telemetry.logs import FunctionLog

RuntimeCommand = Callable[[str], Sequence[str] | None]
"""Maps a runtime identifier to the command that runs it; None means "a bootstrap in the package" (``provided.*``)."""


class EntrypointMissing(Exception):  # noqa: N818 - becomes Runtime.InvalidEntrypoint
    """There is no bootstrap to execute, or no interpreter for the runtime."""


class Deployment:
    """What it takes to start an environment of one function revision.

    Attributes:
        function: the configuration; a change makes a new Deployment.
        code_root: where the code lies, as the engine sees it.
        log: the function's log, shared by all its revisions.
        limits: what its sandboxes are allowed.
    """

    __slots__ = ("_command", "_identity", "code_root", "function", "limits", "log")

    def __init__(
        self,
        function: FunctionVersion,
        code_root: str,
        log: FunctionLog,
        identity: Identity,
        command: RuntimeCommand,
    ) -> None:
        self.function = function
        self.code_root = code_root
        self.log = log
        self._identity = identity
        self._command = command
        self.limits = SandboxLimits(
            memory_mb=function.memory_mb,
            ephemeral_storage_mb=function.ephemeral_storage_mb,
            cpu_share=function.memory_mb / MB_PER_VCPU,
        )

    @property
    def region(self) -> str:
        """The engine's region, for INIT_START."""
        return self._identity.region

    def log_stream(self) -> str:
        """A new log stream name, ``2024/01/02/[$LATEST]0123…`` (facts §3.3)."""
        return f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{self.function.version}]{secrets.token_hex(16)}"

    def process(self, sandbox: Sandbox, log_stream: str) -> ProcessSpec:
        """The runtime's process in `sandbox`.

        Raises:
            EntrypointMissing: with the words for Runtime.InvalidEntrypoint.
        """
        paths = sandbox.paths(self.code_root)
        command = self._command(self.function.runtime or "")
        if command is None:
            # The bootstrap is looked up as on Lambda (facts §5.2); layers (/opt) are not there yet.
            if not os.path.lexists(os.path.join(self.code_root, "bootstrap")):
                raise EntrypointMissing(f"Couldn't find valid bootstrap(s): [{paths.task_root}/bootstrap /opt/bootstrap]")
            command = [f"{paths.task_root}/bootstrap"]
        return ProcessSpec(
            argv=list(command),
            env=variables(self.function, self._identity, paths, sandbox.api_address, log_stream),
            cwd=paths.task_root,
        )
