"""Our runtimes through the engine, held to what AWS's do (`runtime_contract`)."""

from __future__ import annotations

import pytest
import uvloop

from engine import Engine
from engine.sandbox.namespaces import NamespaceSandbox
from tests.conformance.runtime_contract import CONTRACT, create
from tests.support.clients import OUR_DOTNET, OUR_GO, OUR_JAVA, OUR_NODE, OUR_PYTHON, OUR_RUBY, OUR_RUST
from tests.support.preloading import need_sandboxes, never_preloaded, warm_up
from tests.support.standing_by import until_standing_by


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # the runtimes are under test, not the loops


@pytest.fixture
def sandboxes():
    need_sandboxes()


@pytest.mark.parametrize("how", ["exec", "preloaded"])
@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
async def test_our_python_in_a_sandbox(sandboxes, how, clause, tmp_path, monkeypatch):
    """Executed, and as a fork of a preloaded interpreter."""
    starts = []
    spawn = NamespaceSandbox.spawn

    async def spawned(self, spec, on_exit):
        process = await spawn(self, spec, on_exit)
        starts.append("preloaded" if process.preloaded else "exec")
        return process

    if how == "exec":
        never_preloaded(monkeypatch)
    async with Engine(isolation="sandbox") as engine:
        if how == "preloaded":
            await warm_up(engine, tmp_path)
        monkeypatch.setattr(NamespaceSandbox, "spawn", spawned)
        await clause(engine, OUR_PYTHON, tmp_path)
    assert set(starts) == {how}


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("client", [OUR_NODE, OUR_RUBY], ids=lambda client: client.name)
async def test_our_runtime_that_stood_by(sandboxes, client, clause, tmp_path, monkeypatch):
    """Started before there was a function for it."""
    starts = []
    spawn = NamespaceSandbox.spawn

    async def spawned(self, spec, on_exit):
        process = await spawn(self, spec, on_exit)
        starts.append("preloaded" if process.preloaded else "exec")
        return process

    async with Engine(isolation="sandbox") as engine:
        first = await create(engine, client, tmp_path, "first")
        assert (await first.invoke({"do": "count"})).json() == 1
        await until_standing_by(engine)
        monkeypatch.setattr(NamespaceSandbox, "spawn", spawned)
        await clause(engine, client, tmp_path)
    assert starts[0] == "preloaded"


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize(
    "client",
    [OUR_PYTHON, OUR_NODE, OUR_RUBY, OUR_JAVA, OUR_DOTNET, OUR_GO, OUR_RUST],
    ids=lambda client: client.name,
)
async def test_our_runtime(client, clause, tmp_path):
    async with Engine() as engine:
        await clause(engine, client, tmp_path)
