"""Runtimes with several invocations in flight: ours, and AWS's own, unmodified."""

from __future__ import annotations

import dataclasses
import json
import shutil

import anyio
import pytest
import uvloop

from engine import Engine
from engine.function import Function
from engine.invoke.result import InvocationResult
from engine.lifecycle.concurrent.environment import ConcurrentEnvironment
from tests.support.clients import AWS_LAMBDA_RIC_4, AWSLAMBDARIC, OUR_NODE, OUR_PYTHON, OUR_RUST, Client, rust

MANY = 3

#: "meet" is answered when three of them run at once; "nap" takes longer than the function's time limit.
PYTHON = """
import logging, os, time

TMP = os.environ.get("TMPDIR", "/tmp")
logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    do = event["do"]
    if do == "meet":
        logging.info("meeting %s", event["value"])
        open(os.path.join(TMP, event["name"] + context.aws_request_id), "w").close()
        while sum(name.startswith(event["name"]) for name in os.listdir(TMP)) < 3:
            time.sleep(0.002)
        return {"id": context.aws_request_id, "value": event["value"]}
    if do == "fail":
        raise ValueError("it failed")
    if do == "nap":
        time.sleep(1.2)
    return do
"""

NODE = """
const fs = require('fs');
const path = require('path');
const TMP = process.env.TMPDIR || '/tmp';
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

exports.handler = async (event, context) => {
  switch (event.do) {
    case 'meet':
      console.log('meeting %s', event.value);
      fs.writeFileSync(path.join(TMP, event.name + context.awsRequestId), '');
      while (fs.readdirSync(TMP).filter((name) => name.startsWith(event.name)).length < 3) await pause(2);
      return { id: context.awsRequestId, value: event.value };
    case 'fail': throw new TypeError('it failed');
    case 'nap': await pause(1200);
  }
  return event.do;
};
"""

CLIENTS = [
    dataclasses.replace(client, source=PYTHON if client.family == "python" else NODE)
    for client in (OUR_PYTHON, OUR_NODE, AWSLAMBDARIC, AWS_LAMBDA_RIC_4)
]


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # the clients are under test, not the loops


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request) -> Client:
    return request.param


async def make(engine: Engine, client: Client, folder, **options) -> Function:
    code = client.folder(folder / "package")
    return await engine.create_function(
        "f", code=code, runtime=client.runtime, handler=client.handler, max_concurrency=MANY, **options
    )


async def invoke_all(function: Function, events: list[dict]) -> list[InvocationResult]:
    results: list[InvocationResult | None] = [None] * len(events)

    async def one(number: int) -> None:
        results[number] = await function.invoke(events[number], tail=True)

    async with anyio.create_task_group() as tasks:
        for number in range(len(events)):
            tasks.start_soon(one, number)
    return [result for result in results if result is not None]


async def all_ask(engine: Engine, environment_id: str) -> None:
    """Wait until every worker of it asks for an invocation."""
    environment = engine.dispatcher.environments[environment_id]
    assert isinstance(environment, ConcurrentEnvironment)
    while environment.asking < MANY:
        await anyio.sleep(0.01)


async def meet(function: Function, name: str) -> list[InvocationResult]:
    """Three that wait for each other."""
    results = await invoke_all(function, [{"do": "meet", "name": name, "value": f"v{n}"} for n in range(MANY)])
    for number, result in enumerate(results):
        assert result.json() == {"id": result.request_id, "value": f"v{number}"}
    return results


async def test_invocations_run_at_the_same_time_and_get_their_own_answers(client, tmp_path):
    async with Engine() as engine:
        function = await make(engine, client, tmp_path, timeout_s=20)
        first = await function.invoke({"do": "hello"})
        assert first.json() == "hello"
        for number in range(2):
            await all_ask(engine, first.environment_id)
            results = await meet(function, f"meeting-{number}-")
            assert {result.environment_id for result in results} == {first.environment_id}


async def test_their_log_lines_are_told_apart(client, tmp_path):
    async with Engine() as engine:
        function = await make(engine, client, tmp_path, timeout_s=20)
        first = await function.invoke({"do": "hello"})
        await all_ask(engine, first.environment_id)
        for number, result in enumerate(await meet(function, "meeting-")):
            lines = [json.loads(line) for line in result.log_tail.splitlines() if line.startswith("{")]
            (line,) = [line for line in lines if "meeting" in str(line.get("message"))]
            assert (line["requestId"], line["message"]) == (result.request_id, f"meeting v{number}")


async def test_one_that_fails_is_told_so_and_the_others_are_not(client, tmp_path):
    async with Engine() as engine:
        function = await make(engine, client, tmp_path, timeout_s=20)
        await function.invoke({"do": "hello"})
        bad, good = await invoke_all(function, [{"do": "fail"}, {"do": "hello"}])
        assert (bad.function_error, bad.json()["errorMessage"]) == ("Unhandled", "it failed")
        assert (good.function_error, good.json()) == (None, "hello")
        assert bad.environment_id == good.environment_id


async def test_one_that_times_out_fails_alone_and_its_worker_comes_back(client, tmp_path):
    async with Engine() as engine:
        function = await make(engine, client, tmp_path, timeout_s=1)
        first = await function.invoke({"do": "hello"})
        await all_ask(engine, first.environment_id)
        late, *good = await invoke_all(function, [{"do": "nap"}, {"do": "hello"}, {"do": "hello"}])
        assert late.json() == {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 1.00 seconds"}
        assert [one.json() for one in good] == ["hello", "hello"]
        await all_ask(engine, first.environment_id)
        results = await meet(function, "meeting-")
        assert {result.environment_id for result in results} == {first.environment_id}


async def test_an_init_that_fails_is_told_to_the_caller(client, tmp_path):
    async with Engine() as engine:
        code = client.folder(tmp_path / "package", client.broken)
        function = await engine.create_function(
            "f", code=code, runtime=client.runtime, handler=client.handler, max_concurrency=MANY, timeout_s=20
        )
        result = await function.invoke({})
        assert (result.function_error, result.json()["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")


async def test_aws_runtime_for_rust_runs_several_invocations_at_the_same_time(tmp_path):
    (tmp_path / "f").mkdir()
    shutil.copy(rust("official"), tmp_path / "f/bootstrap")
    async with Engine() as engine:
        function = await engine.create_function("f", code=tmp_path / "f", max_concurrency=MANY, timeout_s=20)
        first = await function.invoke({})
        await all_ask(engine, first.environment_id)
        results = await invoke_all(function, [{"meet": MANY, "n": number} for number in range(MANY)])
        for number, result in enumerate(results):
            assert (result.json()["echo"]["n"], result.json()["requestId"]) == (number, result.request_id)
        assert {result.environment_id for result in results} == {first.environment_id}
        (bad, good) = await invoke_all(function, [{"fail": "odd"}, {}])
        assert (bad.json()["errorMessage"], good.function_error) == ("odd", None)


async def test_our_runtime_for_rust_runs_several_invocations_at_the_same_time(tmp_path):
    async with Engine() as engine:
        code = OUR_RUST.folder(tmp_path / "f")
        function = await engine.create_function("f", code=code, max_concurrency=MANY, timeout_s=20)
        first = await function.invoke({"do": "echo"})
        await all_ask(engine, first.environment_id)
        results = await invoke_all(function, [{"do": "meet", "many": MANY}] * MANY)
        assert [result.json() for result in results] == [result.request_id for result in results]
        assert {result.environment_id for result in results} == {first.environment_id}
        (bad, good) = await invoke_all(function, [{"do": "panic"}, {"do": "echo", "value": 1}])
        assert (bad.json()["errorType"], good.json()) == ("Panic", 1)
