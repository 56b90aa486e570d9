"""Whether a request to the control plane comes from a function.

Functions that share the host's network reach the engine's port as any client of this machine does, and no signature
tells who that is. What they may do there is what functions do in practice: invoke others. They may not read, replace or
delete functions, nor have the engine read a folder for them (hot reload), nor read logs.

A connection of this machine carries its user in the kernel (`engine.sandbox.peers`), and functions have users of their
own where the engine is root. Elsewhere nothing tells them from the operator's own programs, and nobody is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.errors import AccessDeniedException
from engine.sandbox.peers import Connected, PeerUsers

__all__ = ["no_functions"]

_MAY: Final = re.compile(
    r"/\d{4}-\d\d-\d\d/functions/[^/]+/(?:invocations|response-streaming-invocations|invoke-async/?)"
)


def no_functions(peers: PeerUsers, users: Sequence[range]) -> Middleware:
    """A middleware that lets functions invoke functions, and nothing else.

    Args:
        peers: knows the users at the other end of connections.
        users: the ids of functions' users.
    """

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not (request.method == "POST" and _MAY.fullmatch(request.path)):
            connection = request.transport.get_extra_info("socket") if request.transport is not None else None
            if connection is not None and _is_function(connection, peers, users):
                raise AccessDeniedException(
                    f"A function is not authorized to perform: {request.method} {request.path}. "
                    "Functions may invoke functions on this engine, and nothing else."
                )
        return await handler(request)

    return refuse


def _is_function(connection: Connected, peers: PeerUsers, users: Sequence[range]) -> bool:
    """Whether a function's process is at the other end, or was: who of this machine has gone already may have been."""
    user = peers.uid_of_connection(connection)
    if user is not None:
        return any(user in some for some in users)
    try:
        here, there = connection.getsockname()[0], connection.getpeername()[0]
    except OSError:
        return True
    return here == there or ipaddress.ip_address(there.partition("%")[0]).is_loopback
