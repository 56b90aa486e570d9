"""AWS's own runtime clients, unmodified, on the engine: from PyPI, npm, Maven Central and as a Go module."""

from __future__ import annotations

import pytest
import uvloop

from engine import Engine
from tests.conformance.runtime_contract import CONTRACT
from tests.support.clients import AWS_GO, AWS_JAVA, AWS_LAMBDA_RIC, AWSLAMBDARIC


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # the clients are under test, not the loops


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("client", [AWSLAMBDARIC, AWS_LAMBDA_RIC, AWS_JAVA, AWS_GO], ids=lambda client: client.name)
async def test_the_official_client(client, clause, tmp_path):
    async with Engine() as engine:
        await clause(engine, client, tmp_path)
