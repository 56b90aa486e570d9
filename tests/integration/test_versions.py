"""Versions with real environments: each has code, settings and environments of its own."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import SocketAttribute

from engine import Engine
from engine.errors import (
    ResourceConflictException,
    ResourceNotFoundException,
    SnapStartNotReadyException,
    TooManyRequestsException,
)
from engine.store import CreateFunctionRequest, FunctionCode, pack_folder
from engine.store.requests import SnapStart
from tests.support.functions import bootstrap
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)

SAYS = """
while True:
    request_id, event, headers = take()
    give(request_id, {{
        "says": {0!r}, "version": os.environ["AWS_LAMBDA_FUNCTION_VERSION"], "stage": os.environ.get("STAGE"),
        "arn": headers["lambda-runtime-invoked-function-arn"], "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
    }})
"""
#: Answers when the listener at the port that is the event has closed the connection.
WAITS = """
while True:
    request_id, event, _ = take()
    if event:
        socket.create_connection(("127.0.0.1", event)).recv(1)
    give(request_id, os.environ["AWS_LAMBDA_FUNCTION_VERSION"])
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param, freeze_after_ms=0) as running:
        yield running


def says(folder, word):
    return bootstrap(folder / word, SAYS.format(word))


async def test_each_version_runs_its_own_code_with_its_own_settings_in_its_own_environments(engine, tmp_path):
    function = await engine.create_function("f", code=says(tmp_path, "one"), environment={"STAGE": "a"})
    await function.publish()
    await function.update_code(says(tmp_path, "two"))
    await function.configure(environment={"STAGE": "b"})
    await function.publish()
    await function.update_code(says(tmp_path, "three"))
    results = {qualifier: await function.invoke(qualifier=qualifier) for qualifier in ("1", "2", "$LATEST", None)}
    answers = {qualifier: result.json() for qualifier, result in results.items()}
    assert [(a["says"], a["version"], a["stage"]) for a in answers.values()] == [
        ("one", "1", "a"),
        ("two", "2", "b"),
        ("three", "$LATEST", "b"),
        ("three", "$LATEST", "b"),
    ]
    arn = function.configuration.arn
    assert [a["arn"] for a in answers.values()] == [f"{arn}:1", f"{arn}:2", f"{arn}:$LATEST", arn]
    assert "[1]" in answers["1"]["stream"]
    assert [result.executed_version for result in results.values()] == ["1", "2", "$LATEST", "$LATEST"]
    assert len({result.environment_id for result in results.values()}) == 3
    again = await engine.invoke("f:1")
    assert not again.cold
    assert again.environment_id == results["1"].environment_id


async def test_an_update_does_not_touch_the_environments_of_versions(engine, tmp_path):
    function = await engine.create_function("f", code=says(tmp_path, "one"))
    await function.publish()
    first = await function.invoke(qualifier="1")
    await function.update_code(says(tmp_path, "two"))
    await function.publish()
    second = await function.invoke(qualifier="1")
    assert (second.environment_id, second.cold) == (first.environment_id, False)


async def test_a_deleted_version_ends_and_the_others_go_on(engine, tmp_path):
    function = await engine.create_function("f", code=says(tmp_path, "one"))
    await function.publish()
    await function.invoke(qualifier="1")
    latest = await function.invoke()
    await engine.registry.delete("f", "1")
    with pytest.raises(ResourceNotFoundException, match="function:f:1"):
        await function.invoke(qualifier="1")
    assert (await function.invoke()).environment_id == latest.environment_id
    await _until(lambda: [one["version"] for one in engine.dispatcher.listing()] == ["$LATEST"])


async def test_deleting_the_function_ends_every_version_and_drops_their_code(engine, tmp_path):
    function = await engine.create_function("f", code=says(tmp_path, "one"))
    await function.publish()
    await function.update_code(says(tmp_path, "two"))
    await function.publish()
    for qualifier in ("1", "2", None):
        await function.invoke(qualifier=qualifier)
    await function.delete()
    await _until(lambda: not list(engine.dispatcher.listing()))
    await engine.registry.collect()
    code = anyio.Path(engine.data_dir / "code")
    await _until(lambda: not list((engine.data_dir / "code").iterdir()))
    assert [path async for path in code.iterdir()] == []


async def test_reserved_concurrency_is_the_functions_over_all_its_versions(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", WAITS), timeout_s=20)
    await function.publish()
    await engine.registry.reserve("f", 1)
    refused = []

    async def hold(connection):
        async with connection:
            with pytest.raises(TooManyRequestsException) as caught:
                await function.invoke()
            refused.append(caught.value.reason)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hold)
        held = await function.invoke(listener.extra(SocketAttribute.local_port), qualifier="1")
        group.cancel_scope.cancel()
    assert held.json() == "1"
    assert refused == ["ReservedFunctionConcurrentInvocationLimitExceeded"]
    assert (await function.invoke()).json() == "$LATEST"


async def test_a_restarted_engine_knows_its_versions(no_leaks, tmp_path, open_folder):
    for start in (1, 2):
        async with Engine(data_dir=open_folder / "data", isolation=MODES[-1]) as engine:
            if start == 1:
                function = await engine.create_function("f", code=says(tmp_path, "one"))
                await function.publish()
                await function.update_code(says(tmp_path, "two"))
            assert (await engine.invoke("f", qualifier="1")).json()["says"] == "one"
            assert (await engine.invoke("f")).json()["says"] == "two"
            await engine.registry.reserve("f", 0)
            with pytest.raises(TooManyRequestsException):
                await engine.invoke("f", qualifier="1")
            await engine.registry.reserve("f", None)


async def test_a_version_that_is_being_prepared_is_not_invoked(engine, tmp_path):
    engine.registry.prepare_versions_with(lambda _: None)
    for name in ("good", "bad"):
        await engine.registry.create(
            CreateFunctionRequest(
                function_name=name,
                role="arn:aws:iam::000000000000:role/r",
                runtime="provided.al2023",
                handler="h",
                code=FunctionCode(zip_file=await anyio.to_thread.run_sync(pack_folder, says(tmp_path, name))),
                snap_start=SnapStart(apply_on="PublishedVersions"),
                publish=True,
            )
        )
        assert (await engine.invoke(name)).json()["says"] == name
        with pytest.raises(SnapStartNotReadyException, match="Lambda is initializing your function"):
            await engine.invoke(name, qualifier="1")
    await engine.registry.version_ready("good", "1")
    assert (await engine.invoke("good:1")).json()["version"] == "1"
    await engine.registry.version_failed("bad", "1", "FunctionError", "no")
    with pytest.raises(ResourceConflictException, match="currently in the following state: Failed"):
        await engine.invoke("bad:1")


async def _until(condition) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)
