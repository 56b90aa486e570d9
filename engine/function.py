"""A function, as the embedding API hands it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from engine.invoke.result import InvocationResult
from engine.invoke.stream import InvocationStream
from engine.layers import LayerSource
from engine.layers import arns as layer_arns
from engine.model.function import FunctionVersion
from engine.store.requests import (
    Environment,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)

if TYPE_CHECKING:
    from engine.engine import Engine


class Function:
    """A handle on one function of an engine. Cheap; holds no state but the name."""

    __slots__ = ("_engine", "name")

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __repr__(self) -> str:
        return f"<Function {self.name}>"

    @property
    def configuration(self) -> FunctionVersion:
        """The current configuration of $LATEST.

        Raises:
            ResourceNotFoundException: the function was deleted.
        """
        return self._engine.registry.get(self.name)

    async def invoke(
        self, payload: Any = None, *, qualifier: str | None = None, tail: bool = False, client_context: str = ""
    ) -> InvocationResult:
        """Invoke it and wait for the answer; see `Engine.invoke`."""
        return await self._engine.invoke(
            self.name, payload, qualifier=qualifier, tail=tail, client_context=client_context
        )

    def invoke_stream(
        self, payload: Any = None, *, qualifier: str | None = None, tail: bool = False, client_context: str = ""
    ) -> InvocationStream:
        """Invoke it and take the answer in pieces; see `Engine.invoke_stream`."""
        return self._engine.invoke_stream(
            self.name, payload, qualifier=qualifier, tail=tail, client_context=client_context
        )

    async def update_code(self, code: str | Path | bytes) -> None:
        """Replace its code; invocations from now on run the new one.

        Raises:
            AwsError: what UpdateFunctionCode would refuse.
            ConfigurationError: `code` is not there or not of a known kind.
        """
        from engine.engine import read_code

        package = code if isinstance(code, bytes) else await anyio.to_thread.run_sync(read_code, Path(code))
        await self._engine.registry.update_code(UpdateFunctionCodeRequest(function_name=self.name, zip_file=package))

    async def configure(
        self,
        *,
        handler: str | None = None,
        runtime: str | None = None,
        memory_mb: int | None = None,
        timeout_s: int | None = None,
        environment: Mapping[str, str] | None = None,
        layers: Iterable[LayerSource] | None = None,
    ) -> None:
        """Change its configuration; what is None stays as it is. Layers as in `Engine.create_function`.

        Raises:
            AwsError: what UpdateFunctionConfiguration would refuse.
        """
        await self._engine.registry.update_configuration(
            UpdateFunctionConfigurationRequest(
                function_name=self.name,
                handler=handler,
                runtime=runtime,
                memory_size=memory_mb,
                timeout=timeout_s,
                environment=None if environment is None else Environment(variables=dict(environment)),
                layers=None if layers is None else [*await layer_arns(self._engine.registry, layers)],
            )
        )

    async def publish(self, description: str | None = None) -> FunctionVersion:
        """Publish a version of it as it is now, to be invoked with its number as the qualifier.

        Args:
            description: of the version; None for the function's.

        Returns:
            The version; when nothing has changed since the last one, that one again.

        Raises:
            AwsError: what PublishVersion would refuse.
        """
        return await self._engine.registry.publish(
            PublishVersionRequest(function_name=self.name, description=description)
        )

    async def delete(self) -> None:
        """Delete it and all its versions; their environments end."""
        await self._engine.registry.delete(self.name)
