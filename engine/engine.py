"""The engine: everything wired together, in one object with one lifetime.

::

    async with Engine() as engine:
        hello = await engine.create_function("hello", code="functions/hello", handler="app.handler")
        result = await hello.invoke({"name": "Ada"})

Entering it makes the data directory, starts the spawner and opens the store; leaving it ends every environment and
leaves nothing behind. All background work belongs to one task group, the engine's own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
import msgspec
import psutil

from engine.clock import Clock, SystemClock
from engine.dispatch.deployment import Deployment
from engine.dispatch.dispatcher import Dispatcher
from engine.dispatch.routes import Route
from engine.dispatch.runtimes import Runtimes
from engine.errors import (
    AwsError,
    ConfigurationError,
    DataDirectoryError,
    EngineClosedError,
    LambentError,
    ResourceConflictException,
    ServiceException,
    SnapStartNotReadyException,
)
from engine.function import Function
from engine.hot_reload import Watched
from engine.invoke.frontend import Frontend
from engine.invoke.result import InvocationResult, result_of
from engine.invoke.stream import InvocationStream
from engine.layers import LayerSource
from engine.layers import arns as layer_arns
from engine.layers import publish as publish_layer
from engine.lifecycle.variables import Identity
from engine.model import limits, managed
from engine.model.function import LATEST, FunctionVersion
from engine.model.invocation import Invocation
from engine.model.layer import LayerVersion
from engine.sandbox import NamespaceProvider, ProcessProvider, make_provider
from engine.snapshot import Preparations
from engine.store import CreateFunctionRequest, FunctionChange, FunctionCode, FunctionRegistry, pack_folder
from engine.store.requests import CapacityProviderConfig, Environment, ManagedInstancesConfig
from engine.store.unzip import remove_tree, unzip
from engine.telemetry.logs import FunctionLog
from engine.telemetry.store import LogStore

if TYPE_CHECKING:
    from engine.server import Server

MEMORY_SHARE = 0.75
"""How much of the machine's memory environments may be promised, when nothing else is said."""


class Engine:
    """A function engine. Use it as an asynchronous context manager; every method needs it entered.

    Args:
        data_dir: where functions and their code are kept; None for a temporary place that is removed at the end.
        isolation: ``auto``, ``process`` or ``sandbox``.
        network: in sandbox mode, ``host`` (shared with the host) or ``own`` (loopback only) for each environment.
        memory_mb: budget in MB for the sum of MemorySize of all environments; None for 3/4 of the machine's memory.
        account_concurrency: invocations in flight at once, over all functions.
        keep_alive_s: idle environments end after this many seconds.
        wait_limit_s: how long an invocation may wait for room on a full host before it is throttled.
        init_timeout_s: limit of the Init phase.
        freeze_after_ms: an environment that has been idle for so long is frozen until its next invocation: its
            background threads do not run. 0 for never.
        max_environments: most environments at once; None for as many as memory permits.
        log_limit_mb: MiB on the disk that the log of each log group may have; the oldest go.
        account_id, region: what ARNs are made of.
        identity: credentials that functions are given; placeholders by default.
        hot_reload: whether functions may live in folders of this machine (AWS has no such thing).
        clock: where decisions read the time; for tests.
    """

    def __init__(
        self,
        *,
        data_dir: str | Path | None = None,
        isolation: str = "auto",
        network: str = "host",
        memory_mb: int | None = None,
        account_concurrency: int = limits.ACCOUNT_CONCURRENCY,
        keep_alive_s: float = 600.0,
        wait_limit_s: float = 2.0,
        init_timeout_s: float = limits.INIT_TIMEOUT_S,
        freeze_after_ms: float = 50.0,
        max_environments: int | None = None,
        log_limit_mb: int = 64,
        account_id: str = "000000000000",
        region: str = "us-east-1",
        identity: Identity | None = None,
        hot_reload: bool = True,
        clock: Clock | None = None,
    ) -> None:
        if memory_mb is not None and memory_mb < limits.MEMORY_MB_MIN:
            raise ConfigurationError(
                f"memory_mb={memory_mb} is too small: the smallest function takes {limits.MEMORY_MB_MIN} MB"
            )
        self.memory_mb = memory_mb or int(psutil.virtual_memory().total / 1e6 * MEMORY_SHARE)
        self.account_id = account_id
        self.region = region
        self.hot_reload = hot_reload
        self.isolation = isolation
        self._own_network = network == "own"
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._log_limit_mb = log_limit_mb
        self._account_concurrency = account_concurrency
        self._keep_alive_s = keep_alive_s
        self._wait_limit_s = wait_limit_s
        self._init_timeout_s = init_timeout_s
        self._freeze_after_s = freeze_after_ms / 1000 if freeze_after_ms else inf
        self._max_environments = max_environments
        self._identity = identity or Identity(region=region, account_id=account_id)
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._entered = False
        self._logs: dict[str, FunctionLog] = {}
        self._watched: dict[str, Watched] = {}
        self._copies = 0

    # ---- lifetime --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            DataDirectoryError: the data directory is in use, damaged or not writable.
            SandboxError: the host lacks something.
            ConfigurationError: a setting cannot be used.
        """
        if self._entered:
            raise EngineClosedError("an Engine lives once: make a new one instead of entering it again")
        self._entered = True
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        stack = self._stack
        self.data_dir = await anyio.to_thread.run_sync(self._make_data_dir)
        if self._data_dir is None:
            stack.push_async_callback(
                anyio.to_thread.run_sync, lambda: shutil.rmtree(self.data_dir, ignore_errors=True)
            )
        self.registry = FunctionRegistry(
            self.data_dir,
            account_id=self.account_id,
            region=self.region,
            clock=self._clock,
            account_concurrency=self._account_concurrency,
            durable=self._data_dir is not None,
        )
        await self.registry.open()
        stack.push_async_callback(self.registry.close)
        self.log_store = await self._open_logs()
        stack.push_async_callback(self.log_store.close)
        await anyio.to_thread.run_sync(shutil.rmtree, self.data_dir / "live", True)  # what a killed engine left
        folder = self.data_dir / "runtimes"
        self.provider = await anyio.to_thread.run_sync(self._make_provider, folder)
        self.runtimes = Runtimes(folder, self.provider.seen_runtimes(), self.provider.reachable)
        await anyio.to_thread.run_sync(self.runtimes.install)
        await self.provider.start()
        stack.push_async_callback(self.provider.stop)
        self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
        self.dispatcher = Dispatcher(
            self.provider,
            self._tasks,
            memory_mb=self.memory_mb,
            account_concurrency=self._account_concurrency,
            keep_alive_s=self._keep_alive_s,
            wait_limit_s=self._wait_limit_s,
            init_timeout_s=self._init_timeout_s,
            freeze_after_s=self._freeze_after_s,
            max_environments=self._max_environments,
        )
        stack.push_async_callback(self._stop_environments)
        self.frontend = Frontend(self.dispatcher, self.resolve, self._submit_live)
        self.preparations = Preparations(
            self.registry, self.dispatcher, self.provider, init_timeout_s=self._init_timeout_s
        )
        self.registry.subscribe(self._changed)
        self.registry.prepare_versions_with(self.preparations.begin)

    async def _open_logs(self) -> LogStore:
        store = LogStore(self.data_dir / "logs", group_mb=self._log_limit_mb)
        try:
            await store.open()
        except OSError as error:
            raise DataDirectoryError(
                f"the logs in {self.data_dir / 'logs'} cannot be used: {error.strerror}"
            ) from error
        return store

    def _make_provider(self, runtimes: Path) -> ProcessProvider | NamespaceProvider:
        return make_provider(self.isolation, self.data_dir / "run", runtimes, own_network=self._own_network)

    def _make_data_dir(self) -> Path:
        if self._data_dir is None:
            path = Path(tempfile.mkdtemp(prefix="lambent-"))
            path.chmod(0o711)
            return path
        path = self._data_dir.absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {path} cannot be made: {error.strerror}; choose another place"
            ) from error
        return path

    async def _stop_environments(self) -> None:
        self.dispatcher.stop()
        self.preparations.stop()
        with anyio.CancelScope(shield=True):
            await self.dispatcher.gone()
        self.preparations.let_images_go()

    async def drain(self, limit_s: float) -> int:
        """Take no new invocations and wait for the running ones, at most `limit_s` seconds.

        Returns:
            How many still run.
        """
        return await self.dispatcher.drain(limit_s)

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop: running invocations fail, environments end, nothing is left.

        Callers are answered first, while the server can still pass the answers on.
        """
        self.dispatcher.stop()
        await self._stack.aclose()

    def weaknesses(self) -> list[str]:
        """One line per limit that cannot be enforced in this isolation mode on this host."""
        return self.provider.weaknesses()

    # ---- functions -------------------------------------------------------------------------------------------------

    async def create_function(
        self,
        name: str,
        *,
        code: str | Path | bytes,
        runtime: str = "provided.al2023",
        handler: str = "bootstrap",
        memory_mb: int = 128,
        timeout_s: int = 3,
        environment: Mapping[str, str] | None = None,
        layers: Iterable[LayerSource] = (),
        max_concurrency: int | None = None,
        watch: bool = False,
    ) -> Function:
        """Make a function and wait until it can be invoked.

        Args:
            name: as on AWS, up to 64 letters, digits, ``-`` and ``_``.
            code: a folder, a zip file, or a zip's bytes.
            runtime: an AWS runtime identifier.
            handler: as on AWS, e.g. ``app.handler``.
            memory_mb: MemorySize.
            timeout_s: Timeout in seconds.
            environment: the function's variables.
            layers: what is merged into /opt, in order: ARNs, folders, zip files, a zip's bytes, what `publish_layer`
                gave. What is no published layer version yet becomes one, named after its folder or file.
            max_concurrency: each of its environments takes up to so many invocations at a time, as on AWS's managed
                instances; the runtime must know how (AWS_LAMBDA_MAX_CONCURRENCY). None for one at a time.
            watch: with a folder: run from it, so that a saved file is live on the next invocation.

        Raises:
            AwsError: what CreateFunction would refuse.
            ConfigurationError: `code` is not there or not of a known kind.
        """
        folder: str | None = None
        package: bytes | None = None
        if isinstance(code, bytes):
            package = code
        elif watch:
            folder = await anyio.to_thread.run_sync(lambda: str(Path(code).absolute()))
        else:
            package = await anyio.to_thread.run_sync(read_code, Path(code))
        await self.registry.create(
            CreateFunctionRequest(
                function_name=name,
                role=f"arn:aws:iam::{self.account_id}:role/lambent",
                runtime=runtime,
                handler=handler,
                memory_size=memory_mb,
                timeout=timeout_s,
                environment=Environment(variables=dict(environment or {})),
                layers=[*await layer_arns(self.registry, layers)],
                capacity_provider_config=self._concurrently(max_concurrency),
                code=FunctionCode(zip_file=package),
            ),
            source_dir=folder,
        )
        return Function(self, name)

    async def publish_layer(self, name: str, content: str | Path | bytes, *, description: str = "") -> LayerVersion:
        """Publish a version of a layer.

        Args:
            name: up to 140 letters, digits, ``-`` and ``_``.
            content: a folder, a zip file, or a zip's bytes; its top is /opt.
            description: what it is for.

        Raises:
            AwsError: what PublishLayerVersion would refuse.
            ConfigurationError: `content` is not there or not of a known kind.
        """
        return await publish_layer(self.registry, name, content, description=description)

    def _concurrently(self, max_concurrency: int | None) -> CapacityProviderConfig | None:
        if max_concurrency is None:
            return None
        return CapacityProviderConfig(
            lambda_managed_instances_capacity_provider_config=ManagedInstancesConfig(
                capacity_provider_arn=managed.capacity_provider(self.region, self.account_id),
                per_execution_environment_max_concurrency=max_concurrency,
            )
        )

    def function(self, name: str) -> Function:
        """A function that is already there.

        Raises:
            ResourceNotFoundException: it is not.
        """
        self.registry.get(name)
        return Function(self, name)

    def log(self, name: str) -> FunctionLog:
        """A function's log; made when it is first asked for."""
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = FunctionLog(self.log_store.sink)
        return log

    # ---- invocations -----------------------------------------------------------------------------------------------

    async def invoke(
        self,
        name: str,
        payload: Any = None,
        *,
        qualifier: str | None = None,
        tail: bool = False,
        client_context: str = "",
    ) -> InvocationResult:
        """Invoke a function and wait for its answer.

        Args:
            name: name, partial ARN or ARN.
            payload: anything msgspec can write as JSON, or bytes that are JSON already.
            qualifier: version or alias.
            tail: also return the end of the log.
            client_context: JSON text for the function's context object.

        Raises:
            AwsError: refused or throttled. A function's own failure is not an exception: see `function_error`.
            EngineClosedError: the engine is stopping.
        """
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        route = self.resolve(name, qualifier)
        future: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()

        def reply(invocation: Invocation) -> None:
            if future.done():  # the caller was cancelled; the function ran to its end all the same
                return
            if invocation.error is not None:
                future.set_exception(invocation.error)
            else:
                future.set_result(result_of(invocation))

        invocation = self.frontend.prepare(route, {}, body, reply)
        assert invocation is not None
        invocation.tail = tail
        invocation.client_context = client_context
        self.frontend.submit(invocation)
        return await future

    def invoke_stream(
        self,
        name: str,
        payload: Any = None,
        *,
        qualifier: str | None = None,
        tail: bool = False,
        client_context: str = "",
    ) -> InvocationStream:
        """Invoke a function and take its answer in pieces, as it is written; the arguments are those of `invoke`.

        ::

            async for piece in engine.invoke_stream("report", {"year": 2026}):
                ...

        The invocation begins when this is called. A failure of the function ends the loop with a
        `FunctionFailedError`, whether or not pieces came before it.

        Raises:
            AwsError: refused; being throttled shows in the loop.
            EngineClosedError: the engine is stopping.
        """
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        stream = InvocationStream()
        invocation = self.frontend.prepare_stream(self.resolve(name, qualifier), {}, body, stream.queue)
        assert invocation is not None
        invocation.tail = tail
        invocation.client_context = client_context
        self.frontend.submit(invocation)
        return stream

    def resolve(self, name: str, qualifier: str | None = None) -> Route:
        """The route that a name (or ARN) and qualifier lead to.

        Raises:
            AwsError: there is none.
        """
        function, asked = self.registry.find(name, qualifier)
        if function.state != "Active":
            raise not_invocable(function)
        pool = self.dispatcher.pool(function.name, function.version)
        if pool is None:
            raise ServiceException(f"{function.arn} is known but could not be deployed; see the engine's log")
        return Route(pool.data, self.registry.names.arn(function.name, asked), pool)

    # ---- what changes ----------------------------------------------------------------------------------------------

    def _changed(self, change: FunctionChange) -> None:
        """The registry says that a function is new, different or gone."""
        self.frontend.forget()
        self.dispatcher.scheduler.reserve(change.name, change.reserved)
        function = change.new
        if function is None:
            if change.version == LATEST:  # which goes last, and the function with it
                self._watched.pop(change.name, None)
                self._logs.pop(change.name, None)
            self.dispatcher.remove(change.name, change.version)
            return
        pool = self.dispatcher.pool(change.name, change.version)
        if pool is not None and runs_alike(pool.data.function, function):
            return  # only its description, state or tags changed: its environments are still good
        self._deploy(function, self.registry.code_root(function))
        if function.source_dir is not None:  # packed when it is first invoked, and whenever it has changed since
            self._watched[change.name] = Watched(function.source_dir, lambda _: self._repack(function))

    def _deploy(
        self, function: FunctionVersion, code_root: str, remove: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Put a revision in place; its packages are kept, and `remove` is awaited, when nothing runs it any more."""
        self.registry.pin(function)

        async def release() -> None:
            if remove is not None:
                await remove()
            await self.registry.unpin(function)

        log, opt_root = self.log(function.name), self.registry.opt_root(function)
        deployment = Deployment(function, code_root, log, self._identity, self.runtimes.command, release, opt_root)
        self.preparations.follow(deployment)
        self.dispatcher.deploy(deployment)
        self.frontend.forget()
        self.dispatcher.run(lambda: self.runtimes.prepare(function.runtime or ""))

    async def _repack(self, function: FunctionVersion) -> None:
        """Deploy the folder as it is now. A copy, so that nothing changes under a running environment."""
        assert function.source_dir is not None
        self._copies += 1
        copy = self.data_dir / "live" / f"{function.name}-{self._copies}"

        def make() -> None:
            copy.parent.mkdir(mode=0o711, exist_ok=True)
            copy.mkdir(mode=0o755)
            unzip(pack_folder(str(function.source_dir)), copy)

        async def remove() -> None:
            await anyio.to_thread.run_sync(remove_tree, copy)

        await anyio.to_thread.run_sync(make)
        self._deploy(function, str(copy), remove)

    def _submit_live(self, invocation: Invocation) -> None:
        """Submit after a look at the function's folder."""
        name = invocation.route.function.name
        watched = self._watched.get(name)
        if watched is None:
            self.dispatcher.submit(invocation)
            return

        def looked(error: Exception | None) -> None:
            if error is not None:
                text = f"the folder of function {name}, {watched.folder}, cannot be deployed: {error}"
                aws = error if isinstance(error, AwsError) else ServiceException(text)
                invocation.error = aws
                invocation.answered = True
                invocation.reply(invocation)
                return
            try:
                self.dispatcher.submit(invocation)
            except LambentError as closed:
                invocation.error = ServiceException(str(closed))
                invocation.reply(invocation)

        if watched.request(looked):
            self.dispatcher.run(watched.look)

    # ---- the server ------------------------------------------------------------------------------------------------

    async def serve(self, host: str = "127.0.0.1", port: int = 9000) -> Server:
        """Listen for AWS clients; the server stops with the engine.

        Args:
            host: address to listen on.
            port: 0 for any free one; see `Server.url`.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        from engine.server import Server

        server = Server(self, host, port)
        await server.start()
        self._stack.push_async_callback(server.stop)
        return server


def runs_alike(one: FunctionVersion, other: FunctionVersion) -> bool:
    """Whether environments of one revision may serve for the other: nothing that a runtime can see differs."""

    def seen(function: FunctionVersion) -> FunctionVersion:
        return msgspec.structs.replace(
            function,
            description="",
            role="",
            last_modified="",
            revision_id="",
            state="Active",
            state_reason=None,
            state_reason_code=None,
            last_update_status=None,
            last_update_status_reason=None,
            last_update_status_reason_code=None,
        )

    return seen(one) == seen(other)


def not_invocable(function: FunctionVersion) -> AwsError:
    """Why a version in this state cannot be invoked, in AWS's words (facts §10.1, 4.5)."""
    if function.state == "Pending" and function.version != LATEST and function.snap_start == "PublishedVersions":
        return SnapStartNotReadyException(
            "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE."
        )
    return ResourceConflictException(
        f"The operation cannot be performed at this time. The function is currently in the following state: "
        f"{function.state}"
    )


def read_code(path: Path) -> bytes:
    """A zip from a folder, a zip file, or a single executable (which becomes ``bootstrap``). Blocking.

    Raises:
        ConfigurationError: there is nothing of the kind at `path`.
    """
    if path.is_dir():
        return pack_folder(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the code {path} cannot be read: {error.strerror}") from error
    if data[:2] == b"PK":
        return data
    if os.access(path, os.X_OK):
        with tempfile.TemporaryDirectory() as folder:
            bootstrap = Path(folder) / "bootstrap"
            bootstrap.write_bytes(data)
            bootstrap.chmod(0o755)
            return pack_folder(Path(folder))
    raise ConfigurationError(f"{path} is neither a folder, nor a zip file, nor an executable bootstrap")
