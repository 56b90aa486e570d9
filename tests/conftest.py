"""Shared by all tests: the event loops under test, and a guard against blocking calls on them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx

from tests.support.leaks import threads_of_ours

# A suite started in the background of a script inherits "ignore" for Ctrl-C, and would pass it on to every process that
# it starts: the tests of Ctrl-C need the usual state of affairs.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Which modes of a test that has several are run on which loop. Every mode and every loop is, but not every mode on every
#: loop: neither knows of the other, and each of these tests costs processes.
_ON_UVLOOP = {"private-user", "sandbox", "host"}
_ON_ASYNCIO = {"shared-user", "process", "own"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the pairs of mode and loop that prove nothing more."""
    left_out = [item for item in items if not _worth_it(getattr(item, "callspec", None))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _worth_it(callspec: Any) -> bool:
    if callspec is None or "anyio_backend" not in callspec.params:
        return True
    on_uvloop = callspec.params["anyio_backend"][1]["loop_factory"] is uvloop.new_event_loop
    modes = {value for value in callspec.params.values() if isinstance(value, str)} & (_ON_UVLOOP | _ON_ASYNCIO)
    return not modes or bool(modes & (_ON_UVLOOP if on_uvloop else _ON_ASYNCIO))


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


@pytest.fixture(autouse=True)
def threads_end_with_their_engine() -> Iterator[None]:
    """A thread of ours that a test has started ends with it; so the test that leaks one fails, not one that counts."""
    before = threads_of_ours()
    yield
    deadline = time.monotonic() + 10
    while left := threads_of_ours() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"threads are left: {', '.join(sorted(thread.name for thread in left))}", pytrace=False)
        time.sleep(0.005)
