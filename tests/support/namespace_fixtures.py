"""Fixtures for tests with real sandboxes of namespaces. Named as a plugin, as `sandbox_fixtures` is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.sandbox import NamespaceProvider, namespaces
from tests.support.leaks import leak_check


@pytest.fixture
def tight() -> object:
    """The test, with all fixtures that depend on this one, leaves nothing behind."""
    if reason := namespaces.why_not():
        pytest.skip(f"no sandboxes of namespaces here: {reason}")
    with leak_check():
        yield


@pytest.fixture(params=["host", "own"])
def network(request: pytest.FixtureRequest) -> str:
    """Whose network the sandboxes have."""
    return request.param


@pytest.fixture
async def namespace_provider(tight: None, tmp_path: Path, network: str) -> AsyncIterator[NamespaceProvider]:
    """A started provider; stopped after the test, which must leave nothing."""
    runtimes = tmp_path / "runtimes"
    runtimes.mkdir()
    (runtimes / "marker").write_text("here\n")
    provider = await asyncio.to_thread(  # it looks around
        NamespaceProvider, tmp_path / "run", runtimes, own_network=network == "own"
    )
    await provider.start()
    yield provider
    await provider.stop()
