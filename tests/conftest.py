"""Shared by all tests: the event loops under test, and a guard against blocking calls on them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx

# A suite started in the background of a script inherits "ignore" for Ctrl-C, and would pass it on to every process that
# it starts: the tests of Ctrl-C need the usual state of affairs.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"loop_factory": uvloop.new_event_loop}), id="uvloop"),
        pytest.param(("asyncio", {"loop_factory": asyncio.new_event_loop}), id="asyncio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Every async test runs under uvloop (what we ship) and under plain asyncio (what an embedder may have)."""
    return request.param


@pytest.fixture(autouse=True)
def blocking_calls_on_the_loop_fail() -> Iterator[BlockBuster | None]:
    """A blocking call made on the event loop by our packages is an error, in every test."""
    with blockbuster_ctx(scanned_modules=["engine", "runtime_api"]) as guard:
        yield guard
