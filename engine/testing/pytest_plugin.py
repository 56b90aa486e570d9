"""A pytest plugin, loaded with the distribution: the fixture ``lambent_engine``.

::

    async def test_adder(lambent_engine):
        adder = await lambent_engine.create_function("adder", code="adder", handler="app.handler")
        assert (await adder.invoke({"a": 1, "b": 2})).json() == 3

The fixture is asynchronous and runs under anyio's pytest plugin (``anyio_mode = "auto"``, or ``@pytest.mark.anyio``).
Its data lives in a temporary directory; afterwards nothing is left, no process, no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from engine import Engine


@pytest.fixture
async def lambent_engine(anyio_backend: object) -> AsyncIterator[Engine]:  # noqa: ARG001 - it must come first
    """A running engine with nothing in it."""
    from engine import Engine

    async with Engine() as engine:
        yield engine
