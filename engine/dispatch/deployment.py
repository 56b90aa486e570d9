"""One function revision, ready to be started: the `data` of a scheduler pool."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread
from msgspec.structs import replace

from bootstraps import for_function
from engine.lifecycle.variables import Identity, extension_variables, variables
from engine.model import managed
from engine.model.function import FunctionVersion, snap_started
from engine.model.initialization import InitializationType
from engine.model.limits import MB_PER_VCPU
from engine.sandbox.api import Image, ProcessSpec, Sandbox, SandboxLimits, SandboxPaths, SpawnFailed
from engine.telemetry.logs import FunctionLog
from engine.telemetry.tracing import Sampler
from runtime_api import Credentials

RuntimeCommand = Callable[[str], Awaitable[Sequence[str] | None]]
"""Maps a runtime identifier to the command that runs it; None means "a bootstrap in the package" (``provided.*``)."""


#: A layer with this file turns extensions off (aws-lambda-runtime-interface-emulator, `extensions/extensions.go`).
_DISABLED: Final = "disable-extensions-jwigqn8j"
#: SDKs ask again when they think that the credentials have expired, and those of a client that Init made would do so
#: at the address of the environment that the snapshot was taken of. Ours never expire.
_CREDENTIALS_S: Final = 365 * 86400.0


class EntrypointMissing(Exception):
    """There is no interpreter for the runtime; the message says what to install."""


class Deployment:
    """What it takes to start an environment of one function revision.

    Attributes:
        function: the configuration; a change makes a new Deployment.
        code_root: where the code lies, as the engine sees it.
        opt_root: where its merged layers lie, as the engine sees it (``/opt`` for the function); None without layers.
        log: the function's log, shared by all its revisions.
        concurrency: how many invocations one environment takes at a time; None for the ordinary kind, which takes one.
        sampler: decides which of its requests are sampled, where its tracing is Active; else None.
        initialization: how its environments are initialised when they are launched on a caller's behalf.
        limits: what its sandboxes are allowed.
        environments: how many of it there are.
        image: its runtime as it was after Init (SnapStart); None when there is none.
        image_refused: why there is none, None when that has not been tried.
        images_dropped: how many could not be used.
        image_wanted: one is being made.
        want_image: asked, when an environment had to be initialised, to see to it that the next need not be.
        superseded: another revision took its place, or the function was deleted.
    """

    __slots__ = (
        "__weakref__",
        "_command",
        "_extensions",
        "_identity",
        "_in_layers",
        "_release",
        "code_root",
        "concurrency",
        "environments",
        "function",
        "image",
        "image_refused",
        "image_wanted",
        "images_dropped",
        "initialization",
        "limits",
        "log",
        "opt_root",
        "sampler",
        "superseded",
        "want_image",
    )

    def __init__(
        self,
        function: FunctionVersion,
        code_root: str,
        log: FunctionLog,
        identity: Identity,
        command: RuntimeCommand,
        release: Callable[[], Awaitable[None]] | None = None,
        opt_root: str | None = None,
    ) -> None:
        """Describe a revision; `release` is awaited once when nothing will run its code any more."""
        self.function = function
        self.code_root = code_root
        self.opt_root = opt_root
        self._extensions: tuple[tuple[str, ...], bool] | None = None
        self._in_layers: bool | None = None if opt_root is not None else False
        self.log = log
        self._identity = identity
        self._command = command
        self._release = release
        self.environments = 0
        self.image: Image | None = None
        self.image_refused: str | None = None
        self.images_dropped = 0
        self.image_wanted = False
        self.want_image: Callable[[], None] | None = None
        self.superseded = False
        self.sampler = Sampler() if function.tracing_mode == "Active" else None
        self.concurrency = managed.concurrency(function)
        self.initialization: InitializationType = (
            "lambda-managed-instances"
            if self.concurrency is not None
            else "snap-start"
            if snap_started(function)
            else "on-demand"
        )
        self.limits = SandboxLimits(
            memory_mb=function.memory_mb,
            ephemeral_storage_mb=function.ephemeral_storage_mb,
            cpu_share=function.memory_mb / MB_PER_VCPU,
        )
        if self.concurrency is not None:
            self.limits = replace(self.limits, cpu_share=managed.vcpus(function), open_files=managed.OPEN_FILES)

    @property
    def region(self) -> str:
        """The engine's region, for INIT_START."""
        return self._identity.region

    @property
    def account_id(self) -> str:
        """The engine's account, for extensions that ask."""
        return self._identity.account_id

    def take_release(self) -> Callable[[], Awaitable[None]] | None:
        """What to await now that nothing runs this revision; None when something still may, or it was taken."""
        if self.environments or not self.superseded:
            return None
        self.let_image_go()
        release, self._release = self._release, None
        return release

    def drop_image(self, image: Image, reason: str) -> None:
        """No process can be made of this image, or none that lives: environments are initialised."""
        if self.image is image:
            self.let_image_go()
            self.image_refused = reason
            self.images_dropped += 1

    def let_image_go(self) -> None:
        """There is no image any more."""
        image, self.image = self.image, None
        if image is not None:
            image.close()

    def log_stream(self) -> str:
        """A new log stream name, ``2024/01/02/[$LATEST]0123…`` (facts §3.3).

        In a log group of the user's choice, where functions may meet, it is ``2024/01/02/name[$LATEST]0123…``.
        """
        function = self.function
        name = function.name if function.log_group not in {"", f"/aws/lambda/{function.name}"} else ""
        return f"{time.strftime('%Y/%m/%d', time.gmtime())}/{name}[{function.version}]{secrets.token_hex(16)}"

    def credentials(self) -> Credentials:
        """For the credentials endpoint of one environment. They are as good as those in variables: without an end."""
        identity = self._identity
        keys = identity.access_key_id, identity.secret_access_key, identity.session_token
        return Credentials(*keys, lifetime_s=_CREDENTIALS_S)

    async def process(
        self,
        sandbox: Sandbox,
        log_stream: str,
        initialization: InitializationType = "on-demand",
        token: str | None = None,
    ) -> ProcessSpec:
        """The runtime's process in `sandbox`, of an environment that is initialised in this way.

        Args:
            sandbox: where it is to run.
            log_stream: the environment's.
            initialization: how it is initialised.
            token: for its credentials endpoint; None: there is none.

        Raises:
            EntrypointMissing: with the words for Runtime.InvalidEntrypoint.
        """
        paths = sandbox.paths(self.code_root, self.opt_root)
        command = await self._command(self.function.runtime or "")
        return ProcessSpec(
            argv=await self._argv(command, paths),
            env=variables(self.function, self._identity, paths, sandbox.api_address, log_stream, initialization, token),
            cwd=paths.task_root,
            folders={inside: host for inside, host in self._folders(paths) if inside != host},
        )

    async def extensions(self) -> tuple[tuple[str, ...], bool]:
        """The names of the external extensions in its layers, and whether its layers allow extensions at all."""
        if self._extensions is None:
            self._extensions = await anyio.to_thread.run_sync(_extensions_in, self.opt_root)
        return self._extensions

    def extension_process(self, sandbox: Sandbox, log_stream: str, name: str, token: str | None = None) -> ProcessSpec:
        """The process of the external extension of that name, in `sandbox`; `token` as for `process`."""
        paths = sandbox.paths(self.code_root, self.opt_root)
        runtime = variables(self.function, self._identity, paths, sandbox.api_address, log_stream, token=token)
        return ProcessSpec(
            argv=[f"{paths.opt}/extensions/{name}"],
            env=extension_variables(runtime),
            cwd=paths.task_root,
            folders={inside: host for inside, host in self._folders(paths) if inside != host},
        )

    def _folders(self, paths: SandboxPaths) -> list[tuple[str, str]]:
        """What the function is shown: the path inside, the host's folder."""
        shown = [(paths.task_root, self.code_root)]
        if self.opt_root is not None:
            shown.append((paths.opt, self.opt_root))
        return shown

    async def _argv(self, command: Sequence[str] | None, paths: SandboxPaths) -> list[str]:
        function = self.function
        if command is None:
            if function.runtime == "go1.x":  # names the executable by the handler
                return [f"{paths.task_root}/{function.handler}"]
            return [await self._bootstrap(paths)]
        wrapper = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER")
        if wrapper:
            for inside, seen in (("/var/task/", f"{paths.task_root}/"), ("/opt/", f"{paths.opt}/")):
                if wrapper.startswith(inside):  # in process mode they lie elsewhere
                    wrapper = seen + wrapper.removeprefix(inside)
        return for_function(command, function.memory_mb, wrapper)

    async def _bootstrap(self, paths: SandboxPaths) -> str:
        """The package's bootstrap; that of the layers when the package has none (facts §5.2)."""
        if self._in_layers is None:
            self._in_layers = await anyio.to_thread.run_sync(self._bootstrap_in_layers)
        return f"{paths.opt if self._in_layers else paths.task_root}/bootstrap"

    def _bootstrap_in_layers(self) -> bool:
        # What is there already when it is looked for need not be executable: that is told apart by executing it.
        return not Path(self.code_root, "bootstrap").is_file() and Path(self.opt_root or "", "bootstrap").is_file()

    async def explain(self, refused: SpawnFailed, sandbox: Sandbox) -> str:
        """Why the runtime could not be executed, in AWS's words (facts §4.2)."""
        paths = sandbox.paths(self.code_root, self.opt_root)
        path = refused.path
        for inside, host in self._folders(paths):
            if path.startswith(f"{inside}/"):
                path = host + path.removeprefix(inside)
                break
        ours = path.endswith("/bootstrap")
        if ours and refused.errno == errno.ENOENT and not await anyio.to_thread.run_sync(os.path.lexists, path):
            return f"Couldn't find valid bootstrap(s): [{paths.task_root}/bootstrap {paths.opt}/bootstrap]"
        return str(refused)


def _extensions_in(opt_root: str | None) -> tuple[tuple[str, ...], bool]:
    """Blocking. Links are not followed here: they mean something else inside a sandbox."""
    if opt_root is None:
        return (), True
    if os.path.lexists(f"{opt_root}/{_DISABLED}"):
        return (), False
    folder = f"{opt_root}/extensions"
    if Path(folder).is_symlink() or not Path(folder).is_dir():
        return (), True
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))), True
