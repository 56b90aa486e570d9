"""The listening side of an engine: one port for Invoke, the AWS control plane and the admin API."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from engine.admin import add_admin_routes
from engine.control.app import make_app
from engine.control.callers import no_functions
from engine.control.cloudwatch import add_cloudwatch_route
from engine.errors import ConfigurationError
from engine.invoke.aio import add_invoke_route
from engine.invoke.front import FrontConnection
from engine.sandbox import users

if TYPE_CHECKING:
    from engine.engine import Engine


#: How long replies being written, and readers of logs, may keep a stopping server; invocations are over by then.
_GOODBYE_S = 0.5


class Server:
    """A server of an engine; made by `Engine.serve`.

    Attributes:
        url: ``http://host:port``, with the real port.
    """

    def __init__(self, engine: Engine, host: str, port: int) -> None:
        self._engine = engine
        self._host = host
        self._port = port
        self._connections: set[FrontConnection] = set()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address is taken or not ours.
        """
        peers = self._engine.provider.peers
        app = make_app(
            self._engine.registry,
            hot_reload=self._engine.hot_reload,
            extra_routes=self._routes,
            middlewares=[] if peers is None else [no_functions(peers, await asyncio.to_thread(users.ranges))],
        )
        runner = self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GOODBYE_S)
        await runner.setup()
        handlers = runner.server
        assert handlers is not None
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: FrontConnection(self._engine.frontend, handlers, self._connections),
                self._host,
                self._port,
                backlog=1024,
            )
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}; choose another host or port"
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if self._server.sockets[0].family == socket.AF_INET6 else self._host
        self.url = f"http://{host}:{port}"

    def _routes(self, app: web.Application) -> None:
        add_invoke_route(app, self._engine.frontend)
        add_admin_routes(app, self._engine)
        engine = self._engine
        add_cloudwatch_route(app, engine.log_store, region=engine.region, account_id=engine.account_id)

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
