"""Our Python and Node.js runtimes through the engine, held to what AWS's do (`runtime_contract`)."""

from __future__ import annotations

import pytest
import uvloop

from engine import Engine
from tests.conformance.runtime_contract import CONTRACT
from tests.support.clients import OUR_NODE, OUR_PYTHON


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # the runtimes are under test, not the loops


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("client", [OUR_PYTHON, OUR_NODE], ids=lambda client: client.name)
async def test_our_runtime(client, clause, tmp_path):
    async with Engine() as engine:
        await clause(engine, client, tmp_path)
