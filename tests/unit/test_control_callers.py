"""Who may ask the control plane for more than an invocation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from engine.control.callers import no_functions
from engine.errors import AccessDeniedException

FUNCTIONS = range(1_900_000_000, 1_900_000_010)
INVOKE = ("POST", "/2015-03-31/functions/f/invocations")


class Peers:
    """Says what the test says."""

    user: int | None = 0
    asked = 0

    def uid_of_connection(self, accepted: Any) -> int | None:
        self.asked += 1
        return self.user


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
async def client(peers: Peers) -> AsyncIterator[TestClient[Any, Any]]:
    @web.middleware
    async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except AccessDeniedException as error:
            return web.Response(status=error.status, text=str(error))

    async def done(request: web.Request) -> web.StreamResponse:
        return web.Response(text="done")

    app = web.Application(middlewares=[refusals, no_functions(peers, [FUNCTIONS])])  # type: ignore[arg-type]
    app.router.add_route("*", "/{path:.*}", done)
    async with TestClient(TestServer(app)) as opened:
        yield opened


@pytest.mark.parametrize("user", [0, 1000, FUNCTIONS.start - 1, FUNCTIONS.stop])
async def test_others_may_do_everything(client, peers, user):
    peers.user = user
    assert (await client.delete("/2015-03-31/functions/f")).status == 200


@pytest.mark.parametrize("user", [*FUNCTIONS][::9])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/2015-03-31/functions/f"),
        ("GET", "/2015-03-31/functions/f"),
        ("POST", "/2015-03-31/functions"),
        ("GET", "/2015-03-31/functions/f/invocations"),
        ("POST", "/2015-03-31/functions/f/invocations/x"),
        ("POST", "/2015-03-31/functions/f/g/invocations"),
        ("POST", "/2015-03-31/functions/f/invocations%0a"),
        ("POST", "/x/2015-03-31/functions/f/invocations"),
        ("GET", "/_lambent/environments"),
    ],
)
async def test_functions_are_refused(client, peers, user, method, path):
    peers.user = user
    reply = await client.request(method, path)
    assert reply.status == 403
    assert "Functions may invoke functions" in await reply.text()


@pytest.mark.parametrize(
    "path",
    [
        INVOKE[1],
        "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f:1/invocations",
        "/2021-11-15/functions/f/response-streaming-invocations",
        "/2014-11-13/functions/f/invoke-async",
        "/2014-11-13/functions/f/invoke-async/",
    ],
)
async def test_functions_may_invoke_and_nobody_is_asked(client, peers, path):
    peers.user = FUNCTIONS.start
    assert (await client.post(path)).status == 200
    assert peers.asked == 0


async def test_who_of_this_machine_is_gone_already_is_refused(client, peers):
    peers.user = None
    assert (await client.delete("/2015-03-31/functions/f")).status == 403
